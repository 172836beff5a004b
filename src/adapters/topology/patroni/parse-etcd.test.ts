import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { parseEtcdStatus } from './parse-etcd.ts';

describe('the status of an etcd', () => {
  it('names itself, the leader that it follows, and the term', () => {
    const text = readFileSync(new URL('../../../../test/transcripts/etcd-3.4-status.json', import.meta.url), 'utf8');
    const status = parseEtcdStatus(JSON.parse(text));
    assert.match(status?.own ?? '', /^\d{10,20}$/);
    assert.match(status?.leader ?? '', /^\d{10,20}$/);
    assert.ok((status?.term ?? 0n) >= 2n);
  });

  it('has no leader while there is an election, and is nothing if it is not understood', () => {
    assert.deepEqual(parseEtcdStatus({ header: { member_id: '7' } }), { own: '7', leader: '0', term: 0n });
    assert.equal(parseEtcdStatus({ header: { member_id: '7' }, raftTerm: 'x' }), undefined);
    assert.equal(parseEtcdStatus({ error: 'etcdserver: no leader' }), undefined);
    assert.equal(parseEtcdStatus(undefined), undefined);
  });
});
