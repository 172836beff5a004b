/** The rows of the layer table that this machine can try, on real file systems: what is forbidden hangs or fails, what is allowed works. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { release } from 'node:os';
import { describe, it, type TestContext } from 'node:test';
import { layerRule, type CutBy } from '../../src/model/layer-rules.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec, type RunningProcess } from '../../src/platform/exec.ts';
import { loopVolume, type LoopFileSystem } from '../doubles/loop-volume.ts';
import { eventually, processState } from './stage.ts';

const timeoutMs = 20_000;

/** Freezes for at most some seconds whatever becomes of this process. */
async function frozen(mountPoint: string): Promise<AsyncDisposable> {
  const rescue = systemExec.start({ argv: ['sh', '-c', 'sleep 15; fsfreeze -u "$1"', 'rescue', mountPoint] });
  await systemExec.check({ argv: ['sync', '-f', mountPoint], timeoutMs });
  await systemExec.check({ argv: ['fsfreeze', '-f', mountPoint], timeoutMs });
  return {
    async [Symbol.asyncDispose]() {
      await systemExec.run({ argv: ['fsfreeze', '-u', mountPoint], timeoutMs });
      rescue.kill('SIGKILL');
    },
  };
}

/** A cut that is tried while its file system is frozen: it must not end before the thaw, and does after it. */
async function blocks(
  t: TestContext,
  kind: LoopFileSystem,
  cut: (at: string) => readonly [string, ...string[]],
): Promise<void> {
  const volume = await loopVolume(kind);
  if ('skip' in volume) {
    t.skip(volume.skip);
    return;
  }
  await using _ = volume;
  const data = join(volume.mountPoint, 'data');
  if (kind === 'btrfs') await systemExec.check({ argv: ['btrfs', 'subvolume', 'create', data], timeoutMs });
  else await mkdir(data);
  await writeFile(join(data, 'file'), 'content of some length');
  let tried: RunningProcess;
  {
    await using _frozen = await frozen(volume.mountPoint);
    // Never awaited while it is frozen: a process that waits for the thaw cannot be killed.
    tried = systemExec.start({ argv: cut(volume.mountPoint) });
    const { pid } = tried;
    assert.ok(await eventually(async () => (await processState(pid)) === 'D', 5000), 'it did not block');
    await systemClock.sleep(300);
    assert.equal(await processState(pid), 'D');
  }
  const { exitCode } = await tried.exited;
  assert.equal(exitCode, 0, tried.stderrTail());
}

describe('what the table of layers forbids', () => {
  const forbidden = (cutsBy: CutBy): void => {
    assert.equal(layerRule(cutsBy, 'file-system', release()).rule, 'forbidden');
  };

  it('hangs: a reflink on a frozen xfs', async (t) => {
    forbidden('reflink');
    await blocks(t, 'xfs', (at) => ['cp', '--reflink=always', join(at, 'data/file'), join(at, 'copy')]);
  });

  it('hangs: a snapshot on a frozen btrfs', async (t) => {
    forbidden('btrfs');
    await blocks(t, 'btrfs', (at) => ['btrfs', 'subvolume', 'snapshot', '-r', join(at, 'data'), join(at, 'snapshot')]);
  });

  it('hangs: a copy that is written onto the frozen file system', async (t) => {
    forbidden('copy');
    await blocks(t, 'ext4', (at) => ['cp', join(at, 'data/file'), join(at, 'copy')]);
  });
});

describe('what the table of layers requires', () => {
  for (const kind of ['xfs', 'ext4'] as const) {
    it(`is needed: below a ${kind} that is not frozen a file may be missing, below a frozen one it is there`, async (t) => {
      assert.equal(layerRule('disk', 'file-system', release()).rule, 'required');
      const volume = await loopVolume(kind);
      if ('skip' in volume) {
        t.skip(volume.skip);
        return;
      }
      await using _ = volume;
      const marker = `written-${'x'.repeat(40)}-${String(process.pid)}`;
      const file = join(volume.mountPoint, 'file');
      const onDisk = async (): Promise<boolean> => (await readFile(volume.image)).includes(marker);
      await writeFile(file, marker);
      assert.equal(await onDisk(), false, 'it was written without a sync, and the test proves nothing');
      await using _frozen = await frozen(volume.mountPoint);
      assert.equal(await onDisk(), true);
    });
  }
});
