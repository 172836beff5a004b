import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { changeBetween, memberOf, observe, othersAtWork, type ClusterMember, type ClusterView } from './cluster.ts';

const member = (name: string, role: ClusterMember['role']): ClusterMember => ({
  name,
  role,
  health: 'healthy',
  reported: role,
  mayTakeOver: true,
  findings: [],
});

const view = (epoch: string, ...members: readonly ClusterMember[]): ClusterView => ({
  manager: 'patroni',
  name: 'shard',
  epoch,
  members,
  quorum: { kind: 'dcs', health: 'healthy', said: 'etcd' },
  failover: { automatic: true, detectionMs: 30_000, said: 'ttl' },
  findings: [],
});

const usual = view('4', member('db1', 'primary'), member('db2', 'replica'));

describe('an observation of a cluster', () => {
  it('tells the member, its role, the epoch and who is primary', () => {
    assert.deepEqual(observe(usual, 'db2'), {
      manager: 'patroni',
      cluster: 'shard',
      epoch: '4',
      member: 'db2',
      role: 'replica',
      primary: 'db1',
    });
  });

  it('has no primary when nobody is, and an unknown role for a member that is gone', () => {
    const observed = observe(view('4', member('db2', 'replica')), 'db9');
    assert.equal('primary' in observed, false);
    assert.equal(observed.role, 'unknown');
  });

  it('finds members by name', () => {
    assert.equal(memberOf(usual, 'db2')?.role, 'replica');
    assert.equal(memberOf(usual, 'db9'), undefined);
  });
});

describe('others at work', () => {
  it('are all who may have the data open, and not the one that is asked for', () => {
    const down = { ...member('db3', 'replica'), health: 'down' } as const;
    const silent = { ...member('db4', 'unknown'), health: 'unknown' } as const;
    const all = view('4', member('db1', 'primary'), member('db2', 'replica'), down, silent, member('ar', 'arbiter'));
    assert.deepEqual(othersAtWork(all, 'db1'), ['db2 (replica, healthy)', 'db4 (unknown, unknown)']);
    assert.equal(othersAtWork(all, undefined).length, 3);
    assert.deepEqual(othersAtWork(view('4', member('db1', 'primary'), down), 'db1'), []);
  });
});

describe('a change between two observations', () => {
  const before = observe(usual, 'db2');

  it('is none when nothing changed', () => {
    assert.equal(changeBetween(before, observe(usual, 'db2')), undefined);
  });

  it('names all that is different', () => {
    const after = observe(view('5', member('db1', 'replica'), member('db2', 'primary')), 'db2');
    assert.equal(
      changeBetween(before, after),
      'epoch was 4 and is 5; role of db2 was replica and is primary; primary was db1 and is db2',
    );
  });

  it('tells a primary that is gone, and one that has come', () => {
    const without = observe(view('4', member('db2', 'replica')), 'db2');
    assert.equal(changeBetween(before, without), 'primary was db1 and is nobody');
    assert.equal(changeBetween(without, before), 'primary was nobody and is db1');
  });

  it('tells another cluster', () => {
    assert.match(changeBetween(before, { ...before, cluster: 'other' }) ?? '', /^cluster was patroni shard/);
  });
});
