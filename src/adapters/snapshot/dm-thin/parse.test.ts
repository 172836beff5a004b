import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  overlayUsed,
  parseIds,
  parseMounts,
  parsePoolMetadata,
  parsePoolState,
  parseSwaps,
  parseThin,
  saysMissing,
  saysNotFrozen,
} from './parse.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');
const notUnderstood = { code: 'command-failed' } as const;

describe('device-mapper output', () => {
  it('reads the table of a thin volume, and takes nothing else for one', () => {
    assert.deepEqual(parseThin('0 655360 thin 253:4 1\n'), { sectors: 655_360, pool: '253:4', id: 1 });
    const recorded = parseThin(transcript('dmsetup-1.02.185-table-thin.txt'));
    assert.ok(recorded !== undefined && recorded.sectors > 0);
    assert.equal(parseThin('0 655360 thin 253:4 1 253:9\n'), undefined, 'an origin outside of the pool');
    assert.equal(parseThin('0 655360 linear 253:4 0\n'), undefined);
    assert.equal(parseThin(''), undefined);
  });

  it('reads a pool', () => {
    assert.match(parsePoolMetadata(transcript('dmsetup-1.02.185-table-pool.txt')), /^\d+:\d+$/);
    assert.throws(() => parsePoolMetadata('0 1 linear 253:1 0'), notUnderstood);
    assert.deepEqual(parsePoolState(transcript('dmsetup-1.02.185-status-pool.txt')), {
      data: 1169 / 8192,
      metadata: 222 / 2048,
      mode: 'rw',
      needsCheck: false,
    });
    assert.equal(parsePoolState(transcript('dmsetup-1.02.185-status-pool-held.txt')).mode, 'rw');
    const bad = parsePoolState(
      '0 8 thin-pool 1 2/4 8/8 - out_of_data_space no_discard_passdown queue_if_no_space needs_check 512',
    );
    assert.deepEqual([bad.mode, bad.needsCheck, bad.data], ['out_of_data_space', true, 1]);
    assert.equal(parsePoolState('0 8 thin-pool Fail\n').mode, 'Fail');
    assert.throws(() => parsePoolState(''), notUnderstood);
  });

  it('reads how much an overlay holds', () => {
    assert.equal(overlayUsed(transcript('dmsetup-1.02.185-status-snapshot.txt')), 0);
    assert.equal(overlayUsed('0 655360 snapshot 64/131072 16\n'), 48);
    assert.throws(() => overlayUsed(transcript('dmsetup-1.02.185-status-snapshot-invalid.txt')), notUnderstood);
  });

  it('reads ids', () => {
    assert.deepEqual(parseIds('   1\n   2\n8388611\n'), [1, 2, 8_388_611]);
    assert.deepEqual(parseIds(''), []);
    assert.throws(() => parseIds('DEV\n1\n'), notUnderstood);
  });

  it('knows the words for what is missing and what is not frozen', () => {
    assert.ok(saysMissing('device-mapper: reload ioctl on x (253:9) failed: No data available\nCommand failed.'));
    assert.ok(!saysMissing('device-mapper: message ioctl on x failed: Device or resource busy'));
    assert.ok(saysNotFrozen('fsfreeze: /mnt/a: unfreeze failed: Invalid argument\n'));
    assert.ok(!saysNotFrozen('fsfreeze: cannot open /mnt/a: No such file or directory\n'));
  });
});

describe('files of the kernel', () => {
  it('reads swap space', () => {
    const head = 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n';
    const line = String.raw`/swap\040file                              file            1048572         0               -2`;
    assert.deepEqual(parseSwaps(`${head}/dev/dm-1                               partition\t4\t0\t-2\n${line}\n`), [
      '/dev/dm-1',
      '/swap file',
    ]);
    assert.deepEqual(parseSwaps(head), []);
    assert.deepEqual(parseSwaps(''), []);
  });

  it('reads mounts, with and without optional fields, and blanks in names', () => {
    const text = [
      '22 28 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw',
      String.raw`36 28 253:5 /sub\040dir /mnt/a\040b rw,relatime - xfs /dev/mapper/vg0-a rw`,
      '',
    ].join('\n');
    assert.deepEqual(parseMounts(text), [
      { id: '22', number: '0:21', root: '/', mountPoint: '/sys', source: 'sysfs' },
      { id: '36', number: '253:5', root: '/sub dir', mountPoint: '/mnt/a b', source: '/dev/mapper/vg0-a' },
    ]);
    assert.throws(() => parseMounts('nonsense'), notUnderstood);
  });
});
