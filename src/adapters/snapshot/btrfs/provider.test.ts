import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { changedBlocksUnderLoad } from '../../../../test/contract/changed-blocks-load.ts';
import { snapshotProviderContract } from '../../../../test/contract/snapshot-provider.ts';
import { loopVolume } from '../../../../test/doubles/loop-volume.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import type { RequiredPath } from '../../../model/storage.ts';
import { systemExec } from '../../../platform/exec.ts';
import { btrfs } from './provider.ts';

const signal = new AbortController().signal;
const stateDirectory = await mkdtemp(join(tmpdir(), 'stillpoint-state-'));
after(() => rm(stateDirectory, { recursive: true }));
const platform = realPlatform(stateDirectory);
const timeoutMs = 30_000;

function directoryPath(path: string, more: Partial<RequiredPath> = {}): RequiredPath {
  return { path, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [], ...more };
}

async function subvolume(path: string): Promise<void> {
  await systemExec.check({ argv: ['btrfs', 'subvolume', 'create', path], timeoutMs });
}

snapshotProviderContract('btrfs', async () => {
  const volume = await loopVolume('btrfs');
  if ('skip' in volume) return volume;
  return {
    directory: volume.mountPoint,
    makeData: subvolume,
    create: () => btrfs.create({}, platform),
    atomicity: 'one-instant',
    dispose: () => volume[Symbol.asyncDispose](),
  };
});

snapshotProviderContract('btrfs, plain directories of the top subvolume', async () => {
  const volume = await loopVolume('btrfs');
  if ('skip' in volume) return volume;
  return {
    directory: volume.mountPoint,
    create: () => btrfs.create({}, platform),
    atomicity: 'one-instant',
    dispose: () => volume[Symbol.asyncDispose](),
  };
});

changedBlocksUnderLoad('btrfs', async () => {
  const volume = await loopVolume('btrfs', { bytes: 1024 * 1024 * 1024 });
  if ('skip' in volume) return volume;
  return {
    directory: volume.mountPoint,
    makeData: subvolume,
    create: () => btrfs.create({}, platform),
    atomicity: 'one-instant',
    dispose: () => volume[Symbol.asyncDispose](),
  };
});

describe('btrfs', () => {
  it('takes all paths of one subvolume at one instant, and says that two subvolumes are two', async (t) => {
    const volume = await loopVolume('btrfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const at = (name: string): string => join(volume.mountPoint, name);
    await subvolume(at('db'));
    await subvolume(at('wal'));
    await mkdir(at('db/data'));
    await mkdir(at('db/tablespace'));
    const provider = btrfs.create({}, platform);
    const one = await provider.locate(
      [directoryPath(at('db/data')), directoryPath(at('db/tablespace'), { name: 'tablespace' })],
      signal,
    );
    assert.deepEqual(
      one.map(({ holds }) => holds),
      [['data', 'tablespace']],
    );
    assert.equal(provider.atomicity(one).atomicity, 'one-instant');
    const two = await provider.locate(
      [directoryPath(at('db/data')), directoryPath(at('wal'), { name: 'wal' })],
      signal,
    );
    assert.equal(two.length, 2);
    assert.equal(provider.atomicity(two).atomicity, 'sequential');
    await provider.prepare(two, signal);

    // The second of two fails: the first is removed again.
    const [, second] = provider.refs(two, 'stillpoint-x');
    assert.ok(second !== undefined);
    await mkdir(second.at);
    await assert.rejects(provider.cut(two, 'stillpoint-x', signal), { code: 'cut-failed' });
    const left: string[] = [];
    for await (const ref of provider.list(two)) left.push(ref.at);
    assert.deepEqual(left, [second.at]);
  });

  it('refuses a directory with a subvolume inside, but not one beside it, left out, or with only its own snapshots', async (t) => {
    const volume = await loopVolume('btrfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const at = (name: string): string => join(volume.mountPoint, name);
    await subvolume(at('db'));
    await mkdir(at('db/data'));
    await mkdir(at('db/other'));
    await subvolume(at('db/data/nested'));
    const provider = btrfs.create({}, platform);
    await assert.rejects(provider.locate([directoryPath(at('db/data'))], signal), (error: unknown) => {
      assert.ok(error instanceof Error && 'code' in error);
      assert.equal(error.code, 'volume-unsafe');
      assert.ok(error.message.includes(at('db/data/nested')));
      return true;
    });
    assert.equal((await provider.locate([directoryPath(at('db/other'))], signal)).length, 1);
    const leftOut = [{ relative: 'nested', match: 'entry', why: 'not needed' }] as const;
    assert.equal((await provider.locate([directoryPath(at('db/data'), { leftOut })], signal)).length, 1);
    // Its files would be missing although the directory above is kept empty: only what is inside is left out.
    const contents = [{ relative: 'nested', match: 'contents', why: 'not needed' }] as const;
    await assert.rejects(provider.locate([directoryPath(at('db/data'), { leftOut: contents })], signal));

    await systemExec.check({ argv: ['btrfs', 'subvolume', 'delete', at('db/data/nested')], timeoutMs });
    const whole = directoryPath(volume.mountPoint, { leftOut: [{ relative: 'db', match: 'entry', why: 'test' }] });
    const group = await provider.locate([whole], signal);
    await provider.prepare(group, signal);
    await provider.cut(group, 'stillpoint-x', signal);
    assert.equal((await provider.locate([whole], signal)).length, 1);
  });

  it('shows a subvolume beside the data as not held, instead of as an empty directory', async (t) => {
    const volume = await loopVolume('btrfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const at = (name: string): string => join(volume.mountPoint, name);
    await mkdir(at('data'));
    await subvolume(at('wal'));
    await writeFile(at('wal/file'), 'x');
    const provider = btrfs.create({}, platform);
    const group = await provider.locate([directoryPath(at('data'))], signal);
    await provider.prepare(group, signal);
    for (const { snapshot: ref } of (await provider.cut(group, 'stillpoint-x', signal)).cuts) {
      await using snapshot = await provider.open(ref);
      assert.equal(snapshot.at(at('wal')), undefined);
      assert.equal(snapshot.at(at('wal/file')), undefined);
      assert.notEqual(snapshot.at(at('data')), undefined);
    }
  });

  it('keeps snapshots away from other users, and read-only', async (t) => {
    const volume = await loopVolume('btrfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const data = join(volume.mountPoint, 'data');
    await subvolume(data);
    await writeFile(join(data, 'file'), 'x', { mode: 0o644 });
    const provider = btrfs.create({}, platform);
    const group = await provider.locate([directoryPath(data)], signal);
    await provider.prepare(group, signal);
    const [cut] = (await provider.cut(group, 'stillpoint-x', signal)).cuts;
    assert.ok(cut !== undefined);
    const copy = join(cut.snapshot.at, 'file');
    await assert.rejects(writeFile(copy, 'y'), { code: 'EROFS' });
    const stranger = await systemExec.run({ argv: ['cat', copy], uid: 65_534, timeoutMs });
    assert.notEqual(stranger.exitCode, 0);
    assert.equal(await readFile(copy, 'utf8'), 'x');
  });

  it('works where only the subvolume is mounted, and does not take a bind mount of a part of it', async (t) => {
    const volume = await loopVolume('btrfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const other = await mkdtemp(join(tmpdir(), 'stillpoint-mounts-'));
    t.after(() => rm(other, { recursive: true }));
    await subvolume(join(volume.mountPoint, 'db'));
    await mkdir(join(volume.mountPoint, 'db', 'data'));
    const only = join(other, 'only');
    const part = join(other, 'part');
    await mkdir(only);
    await mkdir(part);
    const device = (
      await systemExec.check({ argv: ['findmnt', '-n', '-o', 'SOURCE', volume.mountPoint], timeoutMs })
    ).stdout.trim();
    await systemExec.check({ argv: ['mount', '-o', 'subvol=db', device, only], timeoutMs });
    await systemExec.check({ argv: ['mount', '--bind', join(only, 'data'), part], timeoutMs });
    try {
      const provider = btrfs.create({}, platform);
      assert.deepEqual(await provider.locate([directoryPath(part)], signal), []);
      const group = await provider.locate([directoryPath(join(only, 'data'))], signal);
      await provider.prepare(group, signal);
      const [cut] = (await provider.cut(group, 'stillpoint-x', signal)).cuts;
      assert.ok(cut !== undefined);
      assert.ok(cut.snapshot.at.startsWith(join(only, '.stillpoint')));
      assert.deepEqual(await readdir(join(cut.snapshot.at, 'data')), []);
      await provider.delete(cut.snapshot);
    } finally {
      await systemExec.check({ argv: ['umount', part], timeoutMs });
      await systemExec.check({ argv: ['umount', only], timeoutMs });
    }
  });

  it('shows all files of the subvolume at one instant: a counter over two files never runs backwards', async (t) => {
    const volume = await loopVolume('btrfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const data = join(volume.mountPoint, 'data');
    await subvolume(data);
    // An independent writer: first a, then b, so that at every instant a = b or a = b + 1.
    const writer = systemExec.start({
      argv: [
        'sh',
        '-c',
        'i=0; echo 0 >a.new; mv a.new a; echo 0 >b.new; mv b.new b; echo up; while :; do i=$((i+1)); echo $i >a.new; mv a.new a; echo $i >b.new; mv b.new b; done',
      ],
      cwd: data,
    });
    try {
      await writer.firstLine((line) => line === 'up', timeoutMs);
      const provider = btrfs.create({}, platform);
      const group = await provider.locate([directoryPath(data)], signal);
      await provider.prepare(group, signal);
      for (let round = 0; round < 8; round += 1) {
        const [cut] = (await provider.cut(group, `stillpoint-${round}`, signal)).cuts;
        assert.ok(cut !== undefined);
        const a = Number(await readFile(join(cut.snapshot.at, 'a'), 'utf8'));
        const b = Number(await readFile(join(cut.snapshot.at, 'b'), 'utf8'));
        assert.ok(a === b || a === b + 1, `a ${a}, b ${b}`);
      }
    } finally {
      writer.kill('SIGKILL');
      await writer.exited;
    }
  });
});
