import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { processesNaming } from '../../../../test/lab/qemu/processes.ts';
import { qemuScene, type QemuScene } from '../../../../test/lab/qemu/scene.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { systemExec } from '../../../platform/exec.ts';

const signal = new AbortController().signal;
const full = process.env['STILLPOINT_TEST_FULL'] === '1';
const client = join(import.meta.dirname, '../../../../test/lab/qemu/client.ts');
const phases = ['prepare', 'cut', 'open', 'read', 'close', 'delete'] as const;

async function cutOne(scene: QemuScene, label: string): Promise<SnapshotRef> {
  const provider = scene.create();
  const group = await provider.locate([scene.path(0)], signal);
  await provider.prepare(group, signal);
  const [cut] = (await provider.cut(group, label, signal)).cuts;
  assert.ok(cut !== undefined);
  return cut.snapshot;
}

describe('qemu, when something dies', () => {
  it('lets another process remove what a killed run had made, at each step', async (t) => {
    const scene = await qemuScene({ disks: 2 });
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const paths = [scene.path(0), scene.path(1)];
    const group = await scene.create().locate(paths, signal);
    const refs = scene.create().refs(group, 'stillpoint-killed');
    const argument = JSON.stringify({ config: scene.config, stateDirectory: scene.platform.stateDirectory, paths });
    for (let round = 0; round < (full ? 40 : 1); round += 1) {
      for (const phase of phases) {
        const run = systemExec.start({ argv: [process.execPath, client, argument] });
        await run.firstLine((line) => line === phase, 60_000);
        await sleep(round % 2 === 0 ? Math.random() * 20 : Math.random() * 200);
        run.kill('SIGKILL');
        await run.exited;
        for (const ref of refs) await scene.create().delete(ref);
        assert.deepEqual(await scene.leftovers(), [], `killed at ${phase}, round ${round}`);
      }
    }
    await writeFile(join(scene.disk(0).mountPoint, 'after'), 'the disk goes on');
  });

  it('closes and deletes when the process behind the snapshot is killed', async (t) => {
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const file = join(scene.disk(0).mountPoint, 'file');
    await writeFile(file, Buffer.alloc(32_000_000, 'a'));
    const ref = await cutOne(scene, 'stillpoint-dead');
    const snapshot = await scene.create().open(ref);
    const copy = snapshot.at(file);
    assert.ok(copy !== undefined);
    await scene.daemon.kill();
    await assert.rejects(readFile(copy), { code: 'EIO' });
    await assert.rejects(async () => snapshot.proveWhole?.());
    await snapshot[Symbol.asyncDispose]();
    await assert.rejects(scene.create().open(ref), { code: 'command-failed' });
    await scene.create().delete(ref);
    assert.deepEqual(await scene.leftovers('dead'), []);
  });

  it('fails reads and leaves nothing when the process that shows the copy is killed', async (t) => {
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const file = join(scene.disk(0).mountPoint, 'file');
    await writeFile(file, Buffer.alloc(32_000_000, 'a'));
    const ref = await cutOne(scene, 'stillpoint-shown');
    const snapshot = await scene.create().open(ref);
    const copy = snapshot.at(file);
    assert.ok(copy !== undefined);
    const [shower] = processesNaming(ref.at);
    assert.ok(shower !== undefined);
    process.kill(shower, 'SIGKILL');
    await assert.rejects(readFile(copy), { code: 'EIO' });
    await snapshot[Symbol.asyncDispose]();
    await using again = await scene.create().open(ref);
    assert.ok(
      (await readFile(again.at(file) ?? '')).equals(Buffer.alloc(32_000_000, 'a')),
      'the snapshot itself is whole',
    );
    await scene.create().delete(ref);
    assert.deepEqual(await scene.leftovers(), []);
  });

  it('says that a snapshot is gone when its process was started anew, and removes the rest', async (t) => {
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const other = await qemuScene({});
    if ('skip' in other) return t.skip(other.skip);
    await using _other = other;
    const ref = await cutOne(scene, 'stillpoint-gone');
    await scene.daemon.kill();
    const anew = scene.create({ qmp: other.daemon.qmp });
    await assert.rejects(anew.open(ref), { code: 'io', message: /gone/ });
    await anew.delete(ref);
    assert.deepEqual(await scene.leftovers('dead'), []);
  });

  it('does not take files from under a living process whose monitor is out of reach', async (t) => {
    const scene = await qemuScene({});
    if ('skip' in scene) return t.skip(scene.skip);
    await using _ = scene;
    const ref = await cutOne(scene, 'stillpoint-away');
    const away = scene.create({ qmp: '/nonexistent/qmp.sock' });
    await assert.rejects(away.delete(ref), { code: 'undo-failed', message: /still has its overlays open/ });
    await scene.create().delete(ref);
    assert.deepEqual(await scene.leftovers(), []);
  });
});
