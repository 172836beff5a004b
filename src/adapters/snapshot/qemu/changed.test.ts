import assert from 'node:assert/strict';
import { lstatSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { qemuScene, type QemuScene } from '../../../../test/lab/qemu/scene.ts';
import { overlaps, totalBytes } from '../../../model/ranges.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { systemExec } from '../../../platform/exec.ts';
import type { OpenSnapshot } from '../../../ports/snapshot-provider.ts';

const signal = new AbortController().signal;
const full = process.env['STILLPOINT_TEST_FULL'] === '1';
const blockBytes = 4096;

/** `write` comes after all file systems were synced. */
async function cutOne(scene: QemuScene, label: string, write?: () => Promise<void>): Promise<SnapshotRef> {
  const provider = scene.create();
  const group = await provider.locate([scene.path(0)], signal);
  await provider.prepare(group, signal);
  await write?.();
  const [cut] = (await provider.cut(group, label, signal)).cuts;
  assert.ok(cut !== undefined);
  return cut.snapshot;
}

/** Holds what the provider says against the bytes of both snapshots. How many bytes differ, and how many it named. */
async function compare(
  newer: OpenSnapshot,
  older: OpenSnapshot,
  base: SnapshotRef,
  file: string,
): Promise<{ readonly differ: number; readonly named: number } | undefined> {
  const changed = await newer.changedSince?.(base, signal);
  assert.ok(changed !== undefined);
  await using _ = changed;
  const told = await changed.of(file);
  if (told === undefined) return undefined;
  const [now, before] = [await readFile(newer.at(file) ?? ''), await readFile(older.at(file) ?? '')];
  assert.equal(told.base.size, BigInt(before.length));
  assert.equal(told.base.inode, lstatSync(older.at(file) ?? '', { bigint: true }).ino);
  let differ = 0;
  for (let offset = 0; offset < now.length; offset += blockBytes) {
    const block = now.subarray(offset, offset + blockBytes);
    if (block.equals(before.subarray(offset, offset + block.length))) continue;
    differ += block.length;
    assert.ok(
      overlaps(told.ranges, offset, block.length),
      `the block at ${offset} of ${file} changed and was not named`,
    );
  }
  return { differ, named: totalBytes(told.ranges) };
}

describe('changed blocks of qemu', () => {
  for (const fileSystem of ['xfs', 'ext4'] as const) {
    it(`names every block that random writes changed, on ${fileSystem}`, async (t) => {
      const scene = await qemuScene({ fileSystem, format: fileSystem === 'xfs' ? 'qcow2' : 'raw' });
      if ('skip' in scene) return t.skip(scene.skip);
      await using _ = scene;
      const bytes = (fileSystem === 'xfs' ? 128 : 48) * 1024 * 1024;
      const file = join(scene.disk(0).mountPoint, 'file');
      const still = join(scene.disk(0).mountPoint, 'still');
      await writeFile(file, Buffer.alloc(bytes, 'a'));
      await writeFile(still, Buffer.alloc(8 * 1024 * 1024, 's'));
      const base = await cutOne(scene, 'stillpoint-base');
      const handle = await open(file, 'r+');
      for (let n = 0; n < (full ? 20_000 : 2000); n += 1) {
        // In the first quarter, so that something is left that did not change.
        const at = Math.floor((Math.random() * bytes) / 4 / 512) * 512;
        await handle.write(Buffer.alloc(512 + Math.floor(Math.random() * 8192), String(n % 10)), 0, undefined, at);
      }
      await handle.close();
      const ref = await cutOne(scene, 'stillpoint-now');
      const provider = scene.create();
      {
        await using newer = await provider.open(ref);
        await using older = await provider.open(base);
        const said = await compare(newer, older, base, file);
        assert.ok(said !== undefined && said.differ > 0);
        assert.ok(said.named <= bytes / 2, `${said.named} bytes named of ${bytes}`);
        const rest = await compare(newer, older, base, still);
        // A bitmap counts in pieces of 64 KiB: those at both ends may hold something of others.
        assert.ok(rest?.differ === 0 && rest.named <= 2 * 65_536, JSON.stringify(rest));
      }
      for (const one of [base, ref]) await provider.delete(one);
      assert.deepEqual(await scene.leftovers(), []);
    });
  }

  it('sees files that were moved onto the blocks or names of others', async (t) => {
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const at = (name: string): string => join(scene.disk(0).mountPoint, name);
    const names = ['a', 'b', 'grown', 'cut', 'replaced'];
    for (const name of names) await writeFile(at(name), Buffer.alloc(1024 * 1024, name));
    const base = await cutOne(scene, 'stillpoint-base');
    await rename(at('a'), at('c'));
    await rename(at('b'), at('a'));
    await rename(at('c'), at('b'));
    await writeFile(at('grown'), Buffer.alloc(1024 * 1024, 'more'), { flag: 'a' });
    await truncate(at('cut'), 300_000);
    await rm(at('replaced'));
    await mkdir(at('directory'));
    await writeFile(at('replaced'), Buffer.alloc(1024 * 1024, 'other'));
    await writeFile(at('new'), 'new');
    const ref = await cutOne(scene, 'stillpoint-now');
    await using newer = await scene.create().open(ref);
    await using older = await scene.create().open(base);
    for (const name of ['a', 'b', 'grown', 'replaced']) {
      assert.ok(((await compare(newer, older, base, at(name)))?.differ ?? 0) > 0, name);
    }
    assert.equal((await compare(newer, older, base, at('cut')))?.differ, 0);
    assert.equal(await compare(newer, older, base, at('directory')).catch(() => undefined), undefined);
  });

  it('sees content that is still in the journal of ext4', async (t) => {
    const scene = await qemuScene({ fileSystem: 'ext4', mount: 'data=journal' });
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const file = join(scene.disk(0).mountPoint, 'file');
    await writeFile(file, Buffer.alloc(4 * 1024 * 1024, 'a'));
    // A freeze empties the journal, so that nothing of the above is written to its place after the base's cut.
    for (const way of ['--freeze', '--unfreeze']) {
      await systemExec.check({ argv: ['fsfreeze', way, scene.disk(0).mountPoint], timeoutMs: 20_000 });
    }
    const base = await cutOne(scene, 'stillpoint-base');
    const ref = await cutOne(scene, 'stillpoint-now', async () => {
      const handle = await open(file, 'r+');
      for (let n = 0; n < 20; n += 1) await handle.write(Buffer.alloc(blockBytes, 'b'), 0, undefined, n * 200_000);
      await handle.sync();
      await handle.close();
    });
    await using newer = await scene.create().open(ref);
    await using older = await scene.create().open(base);
    assert.ok(((await compare(newer, older, base, file))?.differ ?? 0) >= 20 * blockBytes);
  });

  it('knows nothing without the base, and says so', async (t) => {
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    await writeFile(join(scene.disk(0).mountPoint, 'file'), 'x');
    const base = await cutOne(scene, 'stillpoint-base');
    const ref = await cutOne(scene, 'stillpoint-now');
    await using newer = await scene.create().open(ref);
    await scene.create().delete(base);
    assert.equal(await newer.changedSince?.(base, signal), undefined);
    assert.equal(await newer.changedSince?.({ ...base, volume: 'qemu:/other:disk' }, signal), undefined);
  });
});
