import assert from 'node:assert/strict';
import { link, mkdir, readdir, readFile, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { dice } from '../../../../test/contract/changed-blocks.ts';
import { snapshotProviderContract } from '../../../../test/contract/snapshot-provider.ts';
import { zfsStandIn } from '../../../../test/doubles/zfs/pool.ts';
import type { RequiredPath, SnapshotRef, Volume } from '../../../model/storage.ts';
import type { OpenSnapshot, SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { zfs } from './provider.ts';

const { signal } = new AbortController();

function directoryPath(path: string, more: Partial<RequiredPath> = {}): RequiredPath {
  return { path, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [], ...more };
}

async function labels(provider: SnapshotProvider, group: readonly Volume[]): Promise<string[]> {
  const found: string[] = [];
  for await (const { at } of provider.list(group)) found.push(at);
  return found;
}

/** The suite wants ranges within files; ZFS names files. What it tells is tested below. */
function wholeFiles(provider: SnapshotProvider): SnapshotProvider {
  return new Proxy(provider, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (name !== 'open') return value.bind(target) as unknown;
      return async (ref: SnapshotRef): Promise<OpenSnapshot> => {
        const opened = await target.open(ref);
        return {
          at: (original) => opened.at(original),
          [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
        };
      };
    },
  });
}

snapshotProviderContract('zfs, on a stand-in', async () => {
  const pool = await zfsStandIn('tank/db');
  if ('skip' in pool) return pool;
  return {
    directory: pool.mountPoints['tank/db'] ?? '',
    create: () => wholeFiles(zfs.create({}, pool.platform)),
    atomicity: 'one-instant',
    dispose: () => pool[Symbol.asyncDispose](),
  };
});

describe('zfs', () => {
  it('cuts the datasets of one pool by one command, and those of two pools by two', async (t) => {
    const pool = await zfsStandIn('tank/db', 'tank/wal', 'other');
    if ('skip' in pool) {
      t.skip(pool.skip);
      return;
    }
    await using _ = pool;
    const provider = zfs.create({}, pool.platform);
    const paths = ['tank/db', 'tank/wal', 'other'].map((name) => directoryPath(pool.mountPoints[name] ?? '', { name }));
    const one = await provider.locate(paths.slice(0, 2), signal);
    assert.equal(provider.atomicity(one).atomicity, 'one-instant');
    const all = await provider.locate(paths, signal);
    assert.equal(provider.atomicity(all).atomicity, 'sequential');
    const before = pool.calls.length;
    const cut = await provider.cut(one, 'stillpoint-1', signal);
    assert.deepEqual(
      pool.calls.slice(before).map((argv) => argv.filter((word) => word.includes('@'))),
      [['tank/db@stillpoint-1', 'tank/wal@stillpoint-1']],
    );
    assert.equal(cut.spans.length, 1);
    assert.equal((await provider.cut(all, 'stillpoint-2', signal)).spans.length, 2);

    // One of them exists in the second pool: nothing stays of the first, and that one is another's.
    await provider.cut(all.slice(2), 'stillpoint-3', signal);
    await assert.rejects(provider.cut(all, 'stillpoint-3', signal), { code: 'cut-failed', message: /already exists/ });
    assert.deepEqual(await labels(provider, all), [
      'tank/db@stillpoint-1',
      'tank/db@stillpoint-2',
      'tank/wal@stillpoint-1',
      'tank/wal@stillpoint-2',
      'other@stillpoint-2',
      'other@stillpoint-3',
    ]);
  });

  it('destroys by name alone what says by its property that it is ours, and nothing that is held', async (t) => {
    const pool = await zfsStandIn('tank/db');
    if ('skip' in pool) {
      t.skip(pool.skip);
      return;
    }
    await using _ = pool;
    const provider = zfs.create({}, pool.platform);
    const group = await provider.locate([directoryPath(pool.mountPoints['tank/db'] ?? '')], signal);
    const [ref] = (await provider.cut(group, 'stillpoint-1', signal)).cuts.map(({ snapshot }) => snapshot);
    assert.ok(ref !== undefined);
    for (const odd of ['stillpoint-%', 'stillpoint-a,b', 'stillpoint-a@b', 'stillpoint-a b', '-r']) {
      assert.throws(() => provider.refs(group, odd), { code: 'undo-failed' });
      await assert.rejects(provider.delete({ ...ref, label: odd, at: `tank/db@${odd}` }), { code: 'undo-failed' });
    }
    await assert.rejects(provider.delete({ ...ref, at: 'tank@stillpoint-1' }), { code: 'undo-failed' });
    // Of our name, but made by somebody else.
    await pool.platform.exec.check({ argv: ['zfs', 'snapshot', 'tank/db@stillpoint-daily'], timeoutMs: 20_000 });
    const strange: SnapshotRef = { ...ref, label: 'stillpoint-daily', at: 'tank/db@stillpoint-daily' };
    await assert.rejects(provider.delete(strange), { code: 'undo-failed', message: /does not say that it is ours/ });
    assert.deepEqual(await labels(provider, group), [ref.at]);

    await pool.hold(ref.at, 1);
    await assert.rejects(provider.delete(ref), { code: 'undo-failed', hint: /zfs holds tank\/db@stillpoint-1/ });
    await pool.hold(ref.at, 0);
    await pool.failNext('cannot open: permission denied');
    await assert.rejects(provider.delete(ref), { code: 'command-failed', hint: /zpool status/ });
    await provider.delete(ref);
    assert.deepEqual(await labels(provider, group), []);
    for (const argv of pool.calls.filter(([, command]) => command === 'destroy')) {
      assert.equal(argv.length, 3, 'no options');
    }
  });

  it('tells what changed by two witnesses', async (t) => {
    const pool = await zfsStandIn('tank/db');
    if ('skip' in pool) {
      t.skip(pool.skip);
      return;
    }
    await using _ = pool;
    const top = pool.mountPoints['tank/db'] ?? '';
    const at = (name: string): string => join(top, name);
    await mkdir(at('dir'));
    for (const name of ['same', 'ch änged', 'gone', 'old', 'linked', 'replaced', 'dir/inside'])
      await writeFile(at(name), name);
    await link(at('linked'), at('linked too'));
    const provider = zfs.create({}, pool.platform);
    const group = await provider.locate([directoryPath(top)], signal);
    const cut = async (label: string): Promise<SnapshotRef> => {
      const [one] = (await provider.cut(group, label, signal)).cuts;
      assert.ok(one !== undefined);
      return one.snapshot;
    };
    const base = await cut('stillpoint-1');
    await writeFile(at('ch änged'), 'other content');
    await rm(at('gone'));
    await rename(at('old'), at('new'));
    await rename(at('dir'), at('moved'));
    await writeFile(at('linked too'), 'by its other name');
    await writeFile(at('fresh'), 'x');
    await writeFile(at('replacement'), 'x');
    await rename(at('replacement'), at('replaced'));
    const newer = await cut('stillpoint-2');
    await using open = await provider.open(newer);
    assert.ok(open.changedSince !== undefined);
    const changed = await open.changedSince(base, signal);
    assert.ok(changed !== undefined);
    const same = await changed.of(at('same'));
    assert.deepEqual(same?.ranges, []);
    assert.equal(same?.base.size, 4n);
    const modified = await changed.of(at('ch änged'));
    assert.deepEqual(modified?.ranges, [{ offset: 0, length: 13 }]);
    assert.equal(modified?.base.size, BigInt(Buffer.byteLength('ch änged')));
    for (const name of ['new', 'fresh', 'replaced', 'linked', 'linked too', 'moved/inside', 'moved', 'gone', 'none']) {
      assert.equal(await changed.of(at(name)), undefined, name);
    }
    await changed[Symbol.asyncDispose]();

    // A list that leaves a changed file out is found out by its times.
    const exec = { ...pool.platform.exec };
    const short = zfs.create(
      {},
      {
        ...pool.platform,
        exec: {
          ...exec,
          run: async (command) => {
            const result = await exec.run(command);
            return command.argv[1] === 'diff' ? { ...result, stdout: '' } : result;
          },
        },
      },
    );
    await using again = await short.open(newer);
    const doubted = await again.changedSince?.(base, signal);
    assert.deepEqual((await doubted?.of(at('same')))?.ranges, []);
    assert.equal(await doubted?.of(at('ch änged')), undefined);
    await doubted?.[Symbol.asyncDispose]();

    assert.equal(await open.changedSince({ ...base, provider: 'other' }, signal), undefined);
    assert.equal(await open.changedSince({ ...base, volume: `${base.volume}x` }, signal), undefined);
    // It complains, or the base is gone: nothing is known.
    await provider.delete(base);
    assert.equal(await open.changedSince(base, signal), undefined);
  });

  it('calls no file unchanged that is not, whatever was done to files', async (t) => {
    const pool = await zfsStandIn('tank/db');
    if ('skip' in pool) {
      t.skip(pool.skip);
      return;
    }
    await using _ = pool;
    const top = pool.mountPoints['tank/db'] ?? '';
    const seed = Number(process.env['STILLPOINT_TEST_SEED'] ?? 20_260_102);
    const roll = dice(seed);
    const name = (): string => join(top, `${roll(3) === 0 ? 'dir/' : ''}file ${roll(6)}`);
    await mkdir(join(top, 'dir'));
    const provider = zfs.create({}, pool.platform);
    const group = await provider.locate([directoryPath(top)], signal);
    let [unchanged, whole] = [0, 0];
    let base: SnapshotRef | undefined;
    for (let round = 0; round < 12; round += 1) {
      for (let turn = roll(6); turn >= 0; turn -= 1) {
        const [from, to] = [name(), name()];
        const done = [
          () => writeFile(from, `${roll(3)}`),
          () => rm(from),
          () => rename(from, to),
          () => link(from, to),
          () => truncate(from, roll(3)),
          () => utimes(from, 1, roll(3)),
        ][roll(6)];
        await done?.().catch(() => undefined);
      }
      const [cut] = (await provider.cut(group, `stillpoint-${round}`, signal)).cuts;
      assert.ok(cut !== undefined);
      await using now = await provider.open(cut.snapshot);
      if (base !== undefined) {
        await using before = await provider.open(base);
        await using changed = await now.changedSince?.(base, signal);
        assert.ok(changed !== undefined);
        for (const entry of await readdir(now.at(top) ?? '', { recursive: true })) {
          const original = join(top, entry);
          const answer = await changed.of(original);
          if (answer === undefined) continue;
          const [is, was] = await Promise.all([now, before].map((one) => readFile(one.at(original) ?? '', 'utf8')));
          assert.equal(answer.base.size, BigInt(was?.length ?? -1), `seed ${seed}, round ${round}, ${entry}`);
          if (answer.ranges.length > 0) whole += 1;
          else if (is !== '') unchanged += 1;
          if (answer.ranges.length === 0)
            assert.equal(is, is === '' ? '' : was, `seed ${seed}, round ${round}, ${entry}`);
          else assert.deepEqual(answer.ranges, [{ offset: 0, length: is?.length }]);
        }
      }
      base = cut.snapshot;
    }
    assert.ok(unchanged > 2 && whole > 2, `${unchanged} unchanged, ${whole} whole`);
  });

  it('opens a snapshot by a mount of its own where .zfs cannot be read, and closes it before deleting', async (t) => {
    const pool = await zfsStandIn('tank/db');
    if ('skip' in pool) {
      t.skip(pool.skip);
      return;
    }
    await using _ = pool;
    const top = pool.mountPoints['tank/db'] ?? '';
    await writeFile(join(top, 'file'), 'x');
    const log: string[] = [];
    // Its `.zfs` is asked for below a mount point where there is none.
    const elsewhere = join(pool.platform.stateDirectory, 'mnt');
    await mkdir(elsewhere);
    const mounts = {
      bind: (argv: readonly string[]): readonly [string, ...string[]] => [
        'mount',
        '--bind',
        join(top, '.zfs/snapshot', argv.at(-2)?.split('@')[1] ?? ''),
        argv.at(-1) ?? '',
      ],
    };
    const provider = zfs.create(
      {},
      {
        ...pool.platform,
        exec: {
          ...pool.platform.exec,
          run: (command) => {
            if (command.argv[0] !== 'mount') return pool.platform.exec.run(command);
            log.push(command.argv.join(' '));
            return pool.platform.exec.run({ ...command, argv: mounts.bind(command.argv) });
          },
        },
      },
    );
    const group = await provider.locate([directoryPath(top)], signal);
    const moved = group.map((volume) => ({
      ...volume,
      id: `zfs:tank/db:${elsewhere}`,
      details: { ...volume.details, mountPoint: elsewhere },
    }));
    const [ref] = (await provider.cut(moved, 'stillpoint-1', signal)).cuts.map(({ snapshot }) => snapshot);
    assert.ok(ref !== undefined);
    const open = await provider.open(ref);
    assert.match(log[0] ?? '', /^mount -t zfs -o ro tank\/db@stillpoint-1 \//);
    assert.equal(await readFile(open.at(join(elsewhere, 'file')) ?? '', 'utf8'), 'x');
    // Never closed, as after a crash.
    await zfs.create({}, pool.platform).delete(ref);
    assert.deepEqual(await labels(provider, group), []);
  });

  it('tells of a pool that is not well, and takes no path without the programs', async (t) => {
    const pool = await zfsStandIn('tank/db');
    if ('skip' in pool) {
      t.skip(pool.skip);
      return;
    }
    await using _ = pool;
    const provider = zfs.create({}, pool.platform);
    const path = directoryPath(pool.mountPoints['tank/db'] ?? '');
    const group = await provider.locate([path], signal);
    assert.deepEqual((await provider.predict(group, 'none', signal)).findings, []);
    const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
    await pool.setStatus(await readFile(join(transcripts, 'zpool-status-errors.txt'), 'utf8'));
    assert.deepEqual(
      (await provider.predict(group, 'none', signal)).findings.map(({ severity }) => severity),
      ['error', 'error'],
    );
    const without = { ...pool.platform, exec: { ...pool.platform.exec, which: () => Promise.resolve(undefined) } };
    assert.deepEqual(await zfs.create({}, without).locate([path], signal), []);
    const file = { ...path, kind: 'file', companions: ['/elsewhere'] } as const;
    assert.deepEqual(await provider.locate([file], signal), []);
  });
});
