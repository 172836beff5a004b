import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { snapshotProviderContract } from '../../../../test/contract/snapshot-provider.ts';
import { loopVolume } from '../../../../test/doubles/loop-volume.ts';
import { qemuScene } from '../../../../test/lab/qemu/scene.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { systemClock } from '../../../platform/clock.ts';
import { systemExec } from '../../../platform/exec.ts';
import { qemu } from './provider.ts';
import { Qmp } from './qmp.ts';

const signal = new AbortController().signal;
const full = process.env['STILLPOINT_TEST_FULL'] === '1';

for (const [fileSystem, format] of [
  ['xfs', 'raw'],
  ['ext4', 'qcow2'],
] as const) {
  snapshotProviderContract(`qemu with ${fileSystem} on ${format}`, async () => {
    const scene = await qemuScene({ fileSystem, format });
    if ('skip' in scene) return scene;
    return {
      directory: scene.disk(0).mountPoint,
      create: () => scene.create(),
      atomicity: 'one-instant',
      dispose: () => scene[Symbol.asyncDispose](),
    };
  });
}

describe('qemu', () => {
  it('cuts two disks at one instant while a writer goes from one to the other', async (t) => {
    const scene = await qemuScene({ disks: 2 });
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const [a, b] = [join(scene.disk(0).mountPoint, 'n'), join(scene.disk(1).mountPoint, 'n')];
    const writer = pairWriter([a, b]);
    try {
      await writer.firstLine((line) => line === 'up', 10_000);
      const provider = scene.create();
      const group = await provider.locate([scene.path(0), scene.path(1)], signal);
      assert.equal(group.length, 2);
      const seen: number[] = [];
      for (let round = 0; round < (full ? 200 : 30); round += 1) {
        await provider.prepare(group, signal);
        const { cuts } = await provider.cut(group, `stillpoint-pair-${round}`, signal);
        const opened = await Promise.all(cuts.map(({ snapshot }) => scene.create().open(snapshot)));
        const [first, second] = [a, b].map((file, index) =>
          Number(readFileSync(opened[index]?.at(file) ?? '', 'utf8')),
        );
        assert.ok(first !== undefined && second !== undefined);
        assert.ok(first === second || first === second + 1, `round ${round}: ${first} and ${second}`);
        seen.push(first);
        for (const one of opened) await one[Symbol.asyncDispose]();
        for (const { snapshot } of cuts) await provider.delete(snapshot);
      }
      assert.ok((seen.at(-1) ?? 0) > (seen[0] ?? 0) + 30, `the writer stood still: ${seen.join(' ')}`);
      assert.deepEqual(await scene.leftovers(), []);
    } finally {
      writer.kill('SIGKILL');
      await writer.exited;
    }
  });

  it('keeps several snapshots of one disk apart, in whatever order they go', async (t) => {
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const file = join(scene.disk(0).mountPoint, 'file');
    const provider = scene.create();
    const orders = [
      [1, 0, 2],
      [2, 0, 1],
      [0, 1, 2],
      [1, 2, 0],
    ];
    for (const order of orders.slice(0, full ? orders.length : 2)) {
      const refs: SnapshotRef[] = [];
      for (const round of [0, 1, 2]) {
        await writeFile(file, Buffer.alloc(2_000_000, `${round}`));
        const group = await provider.locate([scene.path(0)], signal);
        await provider.prepare(group, signal);
        const [cut] = (await provider.cut(group, `stillpoint-${order.join('')}-${round}`, signal)).cuts;
        if (cut !== undefined) refs.push(cut.snapshot);
      }
      const left = new Set([0, 1, 2]);
      for (const gone of order) {
        await writeFile(file, Buffer.alloc(2_000_000, 'x'));
        await systemExec.check({ argv: ['sync', '-f', file], timeoutMs: 60_000 });
        for (const round of left) {
          const ref = refs[round];
          assert.ok(ref !== undefined);
          await using snapshot = await scene.create().open(ref);
          const bytes = await readFile(snapshot.at(file) ?? '');
          assert.ok(bytes.equals(Buffer.alloc(2_000_000, `${round}`)), `snapshot ${round}, order ${order.join()}`);
          await snapshot.proveWhole?.();
        }
        const ref = refs[gone];
        assert.ok(ref !== undefined);
        await provider.delete(ref);
        left.delete(gone);
      }
    }
    assert.deepEqual(await scene.leftovers(), []);
  });

  it('refuses overlays on the disk that they would serve', async (t) => {
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const provider = scene.create({ overlayDirectory: join(scene.disk(0).mountPoint, 'overlays') });
    await assert.rejects(provider.locate([scene.path(0)], signal), { code: 'volume-unsafe' });
  });

  it('takes nothing without a monitor, and no disk that the monitor does not know', async (t) => {
    const scene = await qemuScene({ disks: 2 });
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    assert.deepEqual(await qemu.create({}, scene.platform).locate([scene.path(0)], signal), []);
    const one = scene.create({ disks: { [scene.disk(0).file]: scene.disk(0).node } });
    const group = await one.locate([scene.path(0), scene.path(1)], signal);
    assert.deepEqual(
      group.map(({ holds }) => holds),
      [['data0']],
    );
  });

  it('does not wait for a monitor that serves somebody else', async (t) => {
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const provider = scene.create();
    const group = await provider.locate([scene.path(0)], signal);
    using other = await Qmp.connect(scene.daemon.qmp, systemClock);
    await assert.rejects(provider.prepare(group, signal), { code: 'command-failed', hint: /second monitor/ });
    await assert.rejects(provider.cut(group, 'stillpoint-busy', signal), { code: 'cut-failed' });
    other[Symbol.dispose]();
    for (const ref of provider.refs(group, 'stillpoint-busy')) await provider.delete(ref);
    assert.deepEqual(await scene.leftovers(), []);
  });

  it('reserves the space of its overlays before the cut', async (t) => {
    const small = await loopVolume('ext4');
    if ('skip' in small) return t.skip(small.skip);
    await using _small = small;
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const provider = scene.create({ overlayDirectory: join(small.mountPoint, 'overlays') });
    const group = await provider.locate([scene.path(0)], signal);
    await assert.rejects(provider.prepare(group, signal), { code: 'space-short' });
    for (const ref of provider.refs(group, 'stillpoint-x')) await provider.delete(ref);
    assert.deepEqual(await readdir(join(small.mountPoint, 'overlays')), []);

    const [reserved] = (await scene.create().predict(group, 'none', signal)).spaceBytes;
    assert.ok((reserved?.bytes ?? 0) > 320 * 1024 * 1024);
    const risky = await scene.create({ reserve: 0.1 }).predict(group, 'none', signal);
    assert.equal(risky.findings[0]?.check, 'qemu-overlay-space');
  });

  it("keeps the machine's writes and the snapshot whole when the overlays' disk is full", async (t) => {
    const small = await loopVolume('ext4', { bytes: 512 * 1024 * 1024 });
    if ('skip' in small) return t.skip(small.skip);
    await using _small = small;
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const file = join(scene.disk(0).mountPoint, 'file');
    await writeFile(file, Buffer.alloc(200_000_000, 'a'));
    const provider = scene.create({ overlayDirectory: join(small.mountPoint, 'overlays') });
    const group = await provider.locate([scene.path(0)], signal);
    await provider.prepare(group, signal);
    const [cut] = (await provider.cut(group, 'stillpoint-full', signal)).cuts;
    assert.ok(cut !== undefined);
    await assert.rejects(writeFile(join(small.mountPoint, 'filler'), Buffer.alloc(300_000_000)), { code: 'ENOSPC' });
    // In place, so that each block has to be saved first.
    const handle = await open(file, 'r+');
    await handle.write(Buffer.alloc(200_000_000, 'b'), 0, 200_000_000, 0);
    await handle.sync();
    await handle.close();
    await rm(join(small.mountPoint, 'filler'));
    {
      await using snapshot = await provider.open(cut.snapshot);
      const bytes = await readFile(snapshot.at(file) ?? '');
      assert.ok(bytes.equals(Buffer.alloc(200_000_000, 'a')));
      await snapshot.proveWhole?.();
    }
    await provider.delete(cut.snapshot);
  });
});

/** Numbers, each synced on the first disk before it is written on the second. */
function pairWriter(files: readonly string[]): ReturnType<typeof systemExec.start> {
  const program = `
    const fs = require('node:fs');
    const handles = process.argv.slice(1).map((file) => fs.openSync(file, 'w'));
    for (let n = 0; ; n += 1) {
      for (const handle of handles) { fs.writeSync(handle, String(n).padStart(16, '0'), 0); fs.fdatasyncSync(handle); }
      if (n === 0) console.log('up');
    }`;
  return systemExec.start({ argv: [process.execPath, '-e', program, ...files] });
}
