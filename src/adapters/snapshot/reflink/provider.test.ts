import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { changedBlocksUnderLoad } from '../../../../test/contract/changed-blocks-load.ts';
import { snapshotProviderContract } from '../../../../test/contract/snapshot-provider.ts';
import { loopVolume } from '../../../../test/doubles/loop-volume.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import type { RequiredPath } from '../../../model/storage.ts';
import { systemExec } from '../../../platform/exec.ts';
import { reflink } from './provider.ts';

const signal = new AbortController().signal;
const platform = realPlatform('/nonexistent');

function directoryPath(path: string): RequiredPath {
  return { path, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [] };
}

for (const fileSystem of ['xfs', 'btrfs'] as const) {
  snapshotProviderContract(`reflink on ${fileSystem}`, async () => {
    const volume = await loopVolume(fileSystem);
    if ('skip' in volume) return volume;
    return {
      directory: volume.mountPoint,
      create: () => reflink.create({}, platform),
      atomicity: 'sequential',
      dispose: () => volume[Symbol.asyncDispose](),
    };
  });
}

for (const fileSystem of ['xfs', 'btrfs'] as const) {
  changedBlocksUnderLoad(`reflink on ${fileSystem}`, async () => {
    const volume = await loopVolume(fileSystem, { bytes: 1024 * 1024 * 1024 });
    if ('skip' in volume) return volume;
    return {
      directory: volume.mountPoint,
      create: () => reflink.create({}, platform),
      atomicity: 'sequential',
      dispose: () => volume[Symbol.asyncDispose](),
    };
  });
}

describe('reflink', () => {
  it('does not take a file system without reflinks', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-reflink-'));
    t.after(() => rm(directory, { recursive: true }));
    const volume = await loopVolume('ext4');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const data = join(volume.mountPoint, 'data');
    await mkdir(data);
    assert.deepEqual(await reflink.create({}, platform).locate([directoryPath(data)], signal), []);
  });

  it('takes no xfs that was made without reflinks, and leaves no probe behind', async (t) => {
    const volume = await loopVolume('xfs', { mkfs: ['-m', 'reflink=0'] });
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const data = join(volume.mountPoint, 'data');
    await mkdir(data);
    assert.deepEqual(await reflink.create({}, platform).locate([directoryPath(data)], signal), []);
    assert.deepEqual(await readdir(volume.mountPoint), ['data']);
  });

  it('takes no directory with another file system mounted below, nor copies to another one', async (t) => {
    const volume = await loopVolume('xfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const data = join(volume.mountPoint, 'data');
    await mkdir(join(data, 'pg_wal'), { recursive: true });
    const elsewhere = reflink.create({ snapshotDirectory: tmpdir() }, platform);
    assert.deepEqual(await elsewhere.locate([directoryPath(data)], signal), []);
    const provider = reflink.create({}, platform);
    assert.equal((await provider.locate([directoryPath(data)], signal)).length, 1);
    await systemExec.check({ argv: ['mount', '-t', 'tmpfs', 'tmpfs', join(data, 'pg_wal')], timeoutMs: 10_000 });
    try {
      assert.deepEqual(await provider.locate([directoryPath(data)], signal), []);
    } finally {
      await systemExec.check({ argv: ['umount', join(data, 'pg_wal')], timeoutMs: 10_000 });
    }
  });

  it('can copy a directory that is the mount point itself, without its own copies', async (t) => {
    const volume = await loopVolume('xfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    await writeFile(join(volume.mountPoint, 'file'), 'x');
    const provider = reflink.create({}, platform);
    const group = await provider.locate([directoryPath(volume.mountPoint)], signal);
    await provider.prepare(group, signal);
    await provider.cut(group, 'stillpoint-one', signal);
    const cut = await provider.cut(group, 'stillpoint-two', signal);
    for (const { snapshot: ref } of cut.cuts) {
      await using snapshot = await provider.open(ref);
      assert.deepEqual(await readdir(snapshot.at(volume.mountPoint) ?? ''), ['file']);
    }
  });

  it('warns of a file with many extents, and more loudly of one with very many', async (t) => {
    const volume = await loopVolume('xfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const data = join(volume.mountPoint, 'data');
    await mkdir(data);
    await writeFile(join(data, 'db'), new Uint8Array(9 * 1024 * 1024));
    const real = reflink.create({}, platform);
    const group = await real.locate([directoryPath(data)], signal);
    assert.deepEqual((await real.predict(group, 'writes-stopped', signal)).findings, []);
    // To fragment a file that far takes minutes: the count is put into filefrag's mouth, in its own words.
    const predictWith = async (extents: number): Promise<{ cutMs: number; severities: string[] }> => {
      const said = { stdout: `${join(data, 'db')}: ${extents} extents found\n`, exitCode: 0 };
      const exec = {
        ...systemExec,
        run: async (command: Parameters<typeof systemExec.run>[0]) => ({ ...(await systemExec.run(command)), ...said }),
      };
      const prediction = await reflink.create({}, { ...platform, exec }).predict(group, 'writes-stopped', signal);
      return { cutMs: prediction.cutMs, severities: prediction.findings.map(({ severity }) => severity) };
    };
    const some = await predictWith(30_000);
    const many = await predictWith(300_000);
    assert.deepEqual(some.severities, ['warning']);
    assert.deepEqual(many.severities, ['error']);
    assert.ok(many.cutMs > 10_000 && some.cutMs > 1000 && some.cutMs < many.cutMs);
  });
});
