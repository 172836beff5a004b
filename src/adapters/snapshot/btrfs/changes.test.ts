import assert from 'node:assert/strict';
import { link, mkdir, mkdtemp, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it, type TestContext } from 'node:test';
import { changedBlocksUnderLoad } from '../../../../test/contract/changed-blocks-load.ts';
import { snapshotProviderContract, type ProviderUnderTest } from '../../../../test/contract/snapshot-provider.ts';
import { loopVolume } from '../../../../test/doubles/loop-volume.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { covers, totalBytes } from '../../../model/ranges.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { systemExec, type Exec } from '../../../platform/exec.ts';
import type { Platform } from '../../../ports/module.ts';
import type { ChangedBlocks, SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { btrfs } from './provider.ts';

const signal = new AbortController().signal;
const timeoutMs = 30_000;
const stateDirectory = await mkdtemp(join(tmpdir(), 'stillpoint-state-'));
after(() => rm(stateDirectory, { recursive: true }));

async function run(...argv: readonly [string, ...string[]]): Promise<void> {
  await systemExec.check({ argv, timeoutMs });
}

/** As if this machine's kernel or program could not send. */
const withoutSend: Exec = {
  ...systemExec,
  check: (command) =>
    systemExec.check(command.argv[1] === 'send' ? { ...command, argv: ['false', ...command.argv] } : command),
};

async function underTest(exec: Exec, mountOptions?: string): Promise<ProviderUnderTest | { readonly skip: string }> {
  const volume = await loopVolume('btrfs', { bytes: 1024 * 1024 * 1024 });
  if ('skip' in volume) return volume;
  if (mountOptions !== undefined) await run('mount', '-o', `remount,${mountOptions}`, volume.mountPoint);
  return {
    directory: volume.mountPoint,
    makeData: (path) => run('btrfs', 'subvolume', 'create', path),
    create: () => btrfs.create({}, realPlatform(stateDirectory, { exec })),
    atomicity: 'one-instant',
    dispose: () => volume[Symbol.asyncDispose](),
  };
}

snapshotProviderContract('btrfs, by maps instead of send', () => underTest(withoutSend));
snapshotProviderContract('btrfs, compressed', () => underTest(systemExec, 'compress-force=zstd'));
changedBlocksUnderLoad('btrfs, by maps instead of send', () => underTest(withoutSend));
changedBlocksUnderLoad('btrfs without copy-on-write', () => underTest(systemExec, 'nodatacow'));

const logged: string[] = [];
const log = { info: (said: string) => void logged.push(said), warn: (said: string) => void logged.push(said) };

interface Scene extends AsyncDisposable {
  readonly at: (name: string) => string;
  readonly platform: Platform;
  readonly provider: SnapshotProvider;
  readonly cut: (label: string) => Promise<SnapshotRef>;
  /** Cuts again and tells what changed since the first cut. */
  readonly since: (base: SnapshotRef, provider?: SnapshotProvider) => Promise<ChangedBlocks | undefined>;
}

async function scene(t: TestContext): Promise<Scene | undefined> {
  const volume = await loopVolume('btrfs');
  if ('skip' in volume) {
    t.skip(volume.skip);
    return undefined;
  }
  const platform = realPlatform(stateDirectory, { log });
  const provider = btrfs.create({}, platform);
  const data = join(volume.mountPoint, 'data');
  await run('btrfs', 'subvolume', 'create', data);
  const path = { path: data, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [] } as const;
  let count = 0;
  const cut = async (label: string): Promise<SnapshotRef> => {
    const group = await provider.locate([path], signal);
    await provider.prepare(group, signal);
    const [one] = (await provider.cut(group, label, signal)).cuts;
    assert.ok(one !== undefined);
    return one.snapshot;
  };
  return {
    at: (name) => join(data, name),
    platform,
    provider,
    cut,
    async since(base, other = provider) {
      const now = await other.open(await cut(`stillpoint-now-${(count += 1)}`));
      return await now.changedSince?.(base, signal);
    },
    [Symbol.asyncDispose]: () => volume[Symbol.asyncDispose](),
  };
}

async function overwrite(file: string, offset: number, text: string): Promise<void> {
  const handle = await open(file, 'r+');
  await handle.write(Buffer.from(text), 0, text.length, offset);
  await handle.close();
}

const megabyte = Buffer.alloc(1024 * 1024, 7);

describe('changes of btrfs', () => {
  it('finds what was written to a file without copy-on-write', async (t) => {
    const made = await scene(t);
    if (made === undefined) return;
    await using _ = made;
    const { at, cut, since } = made;
    await writeFile(at('db'), '');
    await run('chattr', '+C', at('db'));
    await writeFile(at('db'), megabyte);
    const base = await cut('stillpoint-base');
    await overwrite(at('db'), 500_000, 'first');
    await using changes = await since(base);
    const answer = await changes?.of(at('db'));
    assert.ok(answer !== undefined && covers(answer.ranges, 500_000, 5));
    assert.ok(totalBytes(answer.ranges) <= 8192);
    // The second write after the same snapshot goes into the block that the first one got, in place.
    const middle = await cut('stillpoint-middle');
    await overwrite(at('db'), 500_000, 'third');
    await using again = await since(middle);
    assert.ok(covers((await again?.of(at('db')))?.ranges ?? [], 500_000, 5));
  });

  it('goes by the maps where names moved: a renamed directory, a file put in place of another, hard links', async (t) => {
    const made = await scene(t);
    if (made === undefined) return;
    await using _ = made;
    const { at, cut, since } = made;
    await mkdir(at('one'));
    await mkdir(at('two'));
    await writeFile(at('one/file'), megabyte);
    await writeFile(at('two/file'), Buffer.alloc(1024 * 1024, 8));
    await writeFile(at('linked'), megabyte);
    await link(at('linked'), at('other name'));
    await writeFile(at('quiet'), megabyte);
    await mkdir(at('replaced'));
    await writeFile(at('replaced/file'), megabyte);
    const base = await cut('stillpoint-base');
    // The directories change places, so every path below still exists, with an inode of the same kind and size.
    await rename(at('one'), at('three'));
    await rename(at('two'), at('one'));
    await rename(at('three'), at('two'));
    await overwrite(at('linked'), 0, 'new');
    // The same file at the same path, but the stream tells of it while it is elsewhere: below a directory that is on its way out.
    await rename(at('replaced'), at('a'));
    await mkdir(at('replaced'));
    await rename(at('a/file'), at('replaced/file'));
    await rm(at('a'), { recursive: true });
    await overwrite(at('replaced/file'), 8192, 'new');
    await using changes = await since(base);
    assert.equal(changes?.source, 'btrfs send --no-data');
    for (const name of ['one/file', 'two/file']) {
      assert.equal(totalBytes((await changes.of(at(name)))?.ranges ?? []), megabyte.length, name);
    }
    for (const name of ['linked', 'other name']) {
      const answer = await changes.of(at(name));
      assert.deepEqual(answer?.ranges, [{ offset: 0, length: 4096 }], name);
    }
    assert.deepEqual((await changes.of(at('replaced/file')))?.ranges, [{ offset: 8192, length: 4096 }]);
    assert.deepEqual((await changes.of(at('quiet')))?.ranges, []);
    assert.equal(await changes.of('/elsewhere'), undefined);
  });

  it('tells nothing where the subvolume is another one, or a snapshot may be written to', async (t) => {
    const made = await scene(t);
    if (made === undefined) return;
    await using _ = made;
    const { at, cut, since } = made;
    await writeFile(at('file'), megabyte);
    const base = await cut('stillpoint-base');
    await using itself = await made.provider.open(base);
    assert.equal(await itself.changedSince?.(base, signal), undefined);
    await run('btrfs', 'property', 'set', '-f', base.at, 'ro', 'false');
    assert.equal(await since(base), undefined);
    await run('btrfs', 'property', 'set', base.at, 'ro', 'true');
    assert.ok((await since(base)) !== undefined);
    // Brought back from a snapshot: the same path, another subvolume.
    await rename(at('.'), `${at('.')}-old`);
    await run('btrfs', 'subvolume', 'snapshot', base.at, at('.'));
    assert.equal(await since(base), undefined);
    for (const reason of ['the same snapshot', 'not read-only', 'made of another subvolume']) {
      assert.ok(
        logged.some((said) => said.includes(reason)),
        reason,
      );
    }
  });

  it('says so when neither way is open, and leaves nothing in the state directory', async (t) => {
    const made = await scene(t);
    if (made === undefined) return;
    await using _ = made;
    const { at, cut, since, platform } = made;
    await writeFile(at('file'), megabyte);
    await writeFile(at('moved'), megabyte);
    const base = await cut('stillpoint-base');
    await rename(at('moved'), at('file'));
    const without = (exec: Exec): SnapshotProvider =>
      btrfs.create(
        {},
        {
          ...platform,
          exec: { ...exec, which: async (name) => (name === 'filefrag' ? undefined : await exec.which(name)) },
        },
      );
    assert.equal(await since(base, without(withoutSend)), undefined);
    await using changes = await since(base, without(systemExec));
    assert.ok(changes !== undefined);
    assert.equal(await changes.of(at('file')), undefined);
    assert.ok(logged.some((said) => said.includes('filefrag is missing')));

    // A process that was killed in the middle of it; another one that is still at it.
    const ended = systemExec.start({ argv: ['true'] });
    await ended.exited;
    await writeFile(join(stateDirectory, `btrfs-send-${ended.pid}-0a`), 'x');
    await writeFile(join(stateDirectory, `btrfs-send-${process.pid}-0b`), 'x');
    await using again = await since(base);
    assert.ok(again !== undefined);
    assert.deepEqual(await readdir(stateDirectory), [`btrfs-send-${process.pid}-0b`]);
    await rm(join(stateDirectory, `btrfs-send-${process.pid}-0b`));
    assert.equal((await readFile(at('file'))).length, megabyte.length);
  });

  it('takes no half of a stream: killed on the way, it goes by the maps', async (t) => {
    const made = await scene(t);
    if (made === undefined) return;
    await using _ = made;
    const { at, cut, since, platform } = made;
    await writeFile(at('file'), megabyte);
    const base = await cut('stillpoint-base');
    await overwrite(at('file'), 600_000, 'new');
    const halved: Exec = {
      ...systemExec,
      async check(command) {
        const result = await systemExec.check(command);
        const file = command.argv[command.argv.indexOf('-f') + 1];
        if (command.argv[1] === 'send' && file !== undefined) await run('truncate', '-s', '-5', file);
        return result;
      },
    };
    await using changes = await since(base, btrfs.create({}, { ...platform, exec: halved }));
    assert.equal(changes?.source, 'FIEMAP of two btrfs snapshots');
    assert.deepEqual((await changes.of(at('file')))?.ranges, [{ offset: 598_016, length: 4096 }]);
    const off = new AbortController();
    const stopped: Exec = {
      ...systemExec,
      check: async (command) => {
        if (command.argv[1] === 'send') off.abort();
        return await systemExec.check(command);
      },
    };
    await using now = await btrfs.create({}, { ...platform, exec: stopped }).open(await cut('stillpoint-late'));
    await assert.rejects(Promise.resolve(now.changedSince?.(base, off.signal)), { name: 'AbortError' });
    assert.deepEqual(await readdir(stateDirectory), []);
  });
});
