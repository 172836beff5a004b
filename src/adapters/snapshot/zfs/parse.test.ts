import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseDiff, parseList, parseStatus, whyNotDestroyed } from './parse.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');

describe('zfs output', () => {
  it('lists snapshots, with what says that they are ours', () => {
    assert.deepEqual(parseList(transcript('zfs-list-snapshots.txt')), [
      { name: 'tank/db@daily-2026-01-01', creation: 1_767_225_600, holds: 0, run: undefined, cut: undefined },
      {
        name: 'tank/db@stillpoint-20260102-030405-0a1b2c',
        creation: 1_767_323_045,
        holds: 1,
        run: 'stillpoint-20260102-030405-0a1b2c',
        cut: '00112233445566778',
      },
    ]);
    assert.deepEqual(
      parseList('t@x\t1\t-\t-\t-\n').map(({ holds }) => holds),
      [0],
    );
    assert.throws(() => parseList('tank/db@x 1 0 - -'), { code: 'command-failed', message: /zfs list/ });
  });

  it('reads names out of a list of changes, byte by byte', () => {
    assert.deepEqual(parseDiff(transcript('zfs-diff.txt')), [
      { change: 'M', type: '/', paths: ['/srv/db/'] },
      { change: 'M', type: 'F', paths: ['/srv/db/base/16384'] },
      { change: 'R', type: 'F', paths: ['/srv/db/old name', '/srv/db/ü\\new'] },
      { change: '+', type: 'F', paths: ['/srv/db/pg_wal/000000010000000000000002'] },
      { change: '-', type: 'F', paths: ['/srv/db/pg_wal/000000010000000000000001'] },
      { change: 'M', type: 'F', paths: ['/srv/db/linked'] },
    ]);
    assert.deepEqual(parseDiff('1.000000000\tM\tF\t/a\\b\n')[0]?.paths, ['/a\\b']);
    for (const line of ['M\tF\t/a', '1.000000000\tX\tF\t/a', '1.000000000\tM\tF\t/a\t/b', '1.000000000\tR\tF\t/a']) {
      assert.throws(() => parseDiff(line), { code: 'command-failed', message: /zfs diff/ });
    }
  });

  it('takes a pool for healthy only if it says so', () => {
    const said = (text: string): readonly string[] =>
      parseStatus(text, 'tank').map(({ severity, said: words }) => `${severity} ${words}`);
    assert.deepEqual(said('  pool: tank\n state: ONLINE\n\nerrors: No known data errors\n'), []);
    const degraded = said(transcript('zpool-status-degraded.txt'));
    assert.equal(degraded.length, 2);
    assert.match(degraded[0] ?? '', /^warning .*DEGRADED/);
    assert.match(degraded[1] ?? '', /^warning .*resilvered \(resilver in progress .*7\.32% done/);
    const lost = said(transcript('zpool-status-errors.txt'));
    assert.match(lost[0] ?? '', /^error .*SUSPENDED/);
    assert.match(lost[1] ?? '', /^error .*lost data: 2 data errors/);
    for (const text of ['', ' state: ONLINE\n', 'errors: No known data errors\n']) {
      assert.throws(() => parseStatus(text, 'tank'), { code: 'command-failed', message: /zpool status/ });
    }
  });

  it('knows why a snapshot was not destroyed', () => {
    assert.deepEqual(transcript('zfs-messages.txt').trimEnd().split('\n').map(whyNotDestroyed), [
      'missing',
      'missing',
      'held',
      'cloned',
      'cloned',
      'busy',
      'other',
    ]);
  });
});
