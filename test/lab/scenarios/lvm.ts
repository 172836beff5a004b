import assert from 'node:assert/strict';
import { differences, inventory, makeFileSystem, makeGroup, makePool, makeThick, makeThin } from '../guest/storage.ts';
import type { Json, Scenario } from '../scenario.ts';
import { changes, type Changes } from './lvm/changes.ts';
import { thick, thin } from './lvm/common.ts';
import { crashWhileOpen, killLvcreate, releaseSuspended, type Crash, type Kills } from './lvm/crash.ts';
import { overflow, type Overflow } from './lvm/overflow.ts';

interface Result {
  readonly overflow: Overflow;
  readonly crash: readonly Crash[];
  readonly kills: readonly Kills[];
  /** Whether writing worked on a suspended device, and after `release`. */
  readonly suspended: readonly (readonly boolean[])[];
  readonly changes: readonly Changes[];
  readonly left: readonly string[];
}

export const scenario: Scenario = {
  name: 'lvm',
  full: true,
  about: 'LVM: changed blocks against every byte, a snapshot that runs over, killed openers and a killed lvcreate',
  disks: [{ name: 'a', bytes: 4 * 1024 ** 3 }],
  memMiB: 1024,
  timeoutMs: 20 * 60_000,
  async run(guest, { full }) {
    await makeGroup('vg0', [guest.disk(0)]);
    await makePool('vg0', 'pool', 1400);
    const thinXfs = await makeFileSystem('xfs', await makeThin('vg0', 'pool', 'thin-xfs', 320), 'thin-xfs');
    const thickExt4 = await makeFileSystem('ext4', await makeThick('vg0', 'thick-ext4', 96), 'thick-ext4');
    const thinExt4 = full
      ? [await makeFileSystem('ext4', await makeThin('vg0', 'pool', 'thin-ext4', 320), 'thin-ext4')]
      : [];
    const before = await inventory();
    const told: Changes[] = [];
    for (const mountPoint of [thinXfs, ...thinExt4]) {
      told.push((await guest.timed(`changes on ${mountPoint}`, () => changes(mountPoint, full ? 20_000 : 2000))).value);
    }
    const ranOver = await guest.timed('overflow', () => overflow(thickExt4));
    const crash = [await crashWhileOpen(thin, thinXfs), await crashWhileOpen(thick, thickExt4)];
    const rounds = full ? 12 : 2;
    const kills = [await killLvcreate(thick, thickExt4, rounds), await killLvcreate(thin, thinXfs, rounds)];
    const suspended = [
      await releaseSuspended(thick, thickExt4, 'vg0-thick--ext4'),
      await releaseSuspended(thin, thinXfs, 'vg0-thin--xfs'),
    ];
    const left = differences(before, await inventory());
    return {
      overflow: ranOver.value,
      crash,
      kills,
      suspended,
      changes: told,
      left,
    } satisfies Result as unknown as Json;
  },
  assess(json, { full }) {
    const result = json as unknown as Result;
    assert.deepEqual(result.left, []);
    assert.deepEqual(result.overflow, {
      before: 'none',
      after: 'cut-failed',
      again: 'cut-failed',
      origin: true,
      deleted: 'none',
    });
    for (const { opened, deleted, left } of result.crash) {
      assert.ok(opened >= 3, `only ${opened} things were open`);
      assert.deepEqual([deleted, left], ['none', []]);
    }
    for (const { bad } of result.kills) assert.deepEqual(bad, []);
    // A round whose lvcreate was quicker than its killer proves nothing.
    assert.ok(result.kills.some(({ killed }) => killed > 0));
    for (const one of result.suspended) assert.deepEqual(one, [false, true]);
    assert.equal(result.changes.length, full ? 2 : 1);
    for (const told of result.changes) assessChanges(told);
  },
};

function assessChanges({ files, ofNew, afterCrash, whileHeld, heldByOther, heldAtEnd, writes }: Changes): void {
  for (const { file, missed, baseSizeRight } of files) assert.deepEqual([missed, baseSizeRight], [0, true], file);
  const [big, ...others] = files;
  assert.ok(big !== undefined && big.differing > writes / 10, 'the writes must be seen');
  assert.ok(big.differing + big.falselyNamed < big.blocks, 'not everything may count as changed');
  const quiet = others.find(({ file }) => file.endsWith('/quiet'));
  assert.equal(quiet?.differing, 0);
  assert.equal(ofNew, 'read whole');
  assert.deepEqual([whileHeld, heldByOther], ['not told', true], "somebody else's hold is respected");
  assert.deepEqual([afterCrash, heldAtEnd], ['told', false], 'our own leftover is released');
}
