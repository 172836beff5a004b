import assert from 'node:assert/strict';
import { lstat, mkdir, mkdtemp, open, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { RequiredPath, SnapshotRef, Volume } from '../../src/model/storage.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { pathExists } from '../../src/platform/files.ts';
import type { FileStat, OpenSnapshot, SnapshotProvider } from '../../src/ports/snapshot-provider.ts';
import { changedBlocksTests } from './changed-blocks.ts';

/** A place where the provider can cut, and ways to look at it from outside. */
export interface ProviderUnderTest {
  /** A directory on the file system that the provider cuts; the suite makes its files in `data`, which `makeData` creates. */
  readonly directory: string;
  /** Makes `data` below the directory, as the provider wants its volumes (a subvolume for btrfs). Default: mkdir. */
  readonly makeData?: (data: string) => Promise<void>;
  /** A new instance, as after a restart of the program. */
  readonly create: () => SnapshotProvider;
  /** What the provider promises for one required path. */
  readonly atomicity: 'one-instant' | 'sequential';
  readonly dispose: () => PromiseLike<void>;
}

const signal = (): AbortSignal => new AbortController().signal;

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

function required(path: string, more: Partial<RequiredPath> = {}): RequiredPath {
  return { path, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [], ...more };
}

/** The suite that every snapshot provider runs. `make` returns `{ skip }` where the machine lacks what it needs. */
export function snapshotProviderContract(
  name: string,
  make: () => Promise<ProviderUnderTest | { readonly skip: string }>,
): void {
  describe(`snapshot provider contract: ${name}`, () => {
    let made: ProviderUnderTest | { readonly skip: string };
    let count = 0;
    before(async () => {
      made = await make();
    });
    after(async () => {
      if (!('skip' in made)) await made.dispose();
    });

    /** A data directory of its own, located, with a label of its own. */
    async function setUp(
      t: TestContext,
      fill: (data: string) => Promise<void>,
      more: Partial<RequiredPath> = {},
    ): Promise<
      | {
          readonly provider: SnapshotProvider;
          readonly again: () => SnapshotProvider;
          readonly data: string;
          readonly path: RequiredPath;
          readonly group: readonly Volume[];
          readonly label: string;
          readonly cut: () => ReturnType<SnapshotProvider['cut']>;
          readonly openOnly: (refs: readonly SnapshotRef[]) => Promise<OpenSnapshot>;
        }
      | undefined
    > {
      if ('skip' in made) {
        t.skip(made.skip);
        return undefined;
      }
      const { directory, create, makeData } = made;
      count += 1;
      const data = join(directory, `data ${count}`);
      await (makeData ?? ((path) => mkdir(path)))(data);
      await fill(data);
      const provider = create();
      const path = required(data, more);
      const group = await provider.locate([path], signal());
      assert.deepEqual(
        group.flatMap(({ holds }) => holds),
        [path.name],
        'the provider must claim a path of its own file system',
      );
      const label = `stillpoint-20260102-030405-${String(count).padStart(6, '0')}`;
      return {
        provider,
        again: create,
        data,
        path,
        group,
        label,
        async cut() {
          await provider.prepare(group, signal());
          const cut = await provider.cut(group, label, signal());
          t.after(async () => {
            for (const one of cut.cuts) await create().delete(one.snapshot);
          });
          return cut;
        },
        async openOnly(refs) {
          const [ref] = refs;
          assert.ok(ref !== undefined && refs.length === 1);
          return await create().open(ref);
        },
      };
    }

    async function read(snapshot: OpenSnapshot, original: string): Promise<string> {
      const at = snapshot.at(original);
      assert.ok(at !== undefined, `the snapshot must hold ${original}`);
      return await readFile(at, 'utf8');
    }

    it('shows the bytes of the cut although writers go on', async (t) => {
      const set = await setUp(t, async (data) => {
        await mkdir(join(data, 'deep'));
        await writeFile(join(data, 'changed'), 'old');
        await writeFile(join(data, 'deep', 'removed'), 'still here');
        await writeFile(join(data, 'big'), new Uint8Array(3 * 1024 * 1024 + 17).fill(7));
        await symlink('deep/removed', join(data, 'link'));
      });
      if (set === undefined) return;
      const { data } = set;
      const cut = await set.cut();
      const writer = await open(join(data, 'changed'), 'r+');
      await writer.write('NEW', 0);
      await writer.sync();
      await writer.close();
      await rm(join(data, 'deep'), { recursive: true });
      await writeFile(join(data, 'added'), 'later');
      await writeFile(join(data, 'big'), new Uint8Array(3 * 1024 * 1024).fill(8));

      await using snapshot = await set.openOnly(cut.cuts.map(({ snapshot: ref }) => ref));
      assert.equal(await read(snapshot, join(data, 'changed')), 'old');
      assert.equal(await read(snapshot, join(data, 'deep', 'removed')), 'still here');
      const big = await readFile(snapshot.at(join(data, 'big')) ?? '');
      assert.equal(big.length, 3 * 1024 * 1024 + 17);
      assert.ok(big.every((byte) => byte === 7));
      assert.equal(await readlink(snapshot.at(join(data, 'link')) ?? ''), 'deep/removed');
      assert.equal(snapshot.at(join(data, 'added')), undefined);
      assert.equal(snapshot.at('/somewhere/else'), undefined);
      assert.deepEqual((await readdir(snapshot.at(data) ?? '')).toSorted(), ['big', 'changed', 'deep', 'link']);
    });

    it("gives the original's metadata at the cut: by the copy itself or by statOf", async (t) => {
      const set = await setUp(t, async (data) => {
        await mkdir(join(data, 'sub'), { mode: 0o750 });
        await writeFile(join(data, 'sub', 'file'), 'four', { mode: 0o640 });
        await symlink('file', join(data, 'sub', 'link'));
      });
      if (set === undefined) return;
      const paths = ['sub', 'sub/file', 'sub/link'].map((one) => join(set.data, one));
      const before_ = await Promise.all(paths.map((path) => lstat(path, { bigint: true })));
      const cut = await set.cut();
      // Its metadata must be that of the cut, not of now.
      await writeFile(paths[1] ?? '', 'longer than four');
      await using snapshot = await set.openOnly(cut.cuts.map(({ snapshot: ref }) => ref));
      for (const [index, path] of paths.entries()) {
        const at = snapshot.at(path);
        assert.ok(at !== undefined);
        const stats = await lstat(at, { bigint: true });
        const own = {
          size: stats.size,
          mode: Number(stats.mode),
          uid: Number(stats.uid),
          gid: Number(stats.gid),
          inode: stats.ino,
          mtimeNs: stats.mtimeNs,
          ctimeNs: stats.ctimeNs,
        };
        const given: Partial<FileStat> = snapshot.statOf === undefined ? own : (snapshot.statOf(path) ?? {});
        const expected = before_[index];
        assert.ok(expected !== undefined);
        for (const [key, value] of Object.entries({
          size: expected.size,
          mode: Number(expected.mode),
          uid: Number(expected.uid),
          gid: Number(expected.gid),
          inode: expected.ino,
          mtimeNs: expected.mtimeNs,
          ctimeNs: expected.ctimeNs,
        })) {
          assert.equal(given[key as keyof FileStat], value, `${key} of ${path}`);
        }
      }
      assert.equal(snapshot.statOf?.(join(set.data, 'none')), undefined);
    });

    it('does not change the originals', async (t) => {
      const set = await setUp(t, async (data) => writeFile(join(data, 'file'), 'x'));
      if (set === undefined) return;
      const file = join(set.data, 'file');
      const { ctimeNs, ino, size } = await lstat(file, { bigint: true });
      await set.cut();
      const now = await lstat(file, { bigint: true });
      assert.deepEqual([now.ctimeNs, now.ino, now.size], [ctimeNs, ino, size]);
      assert.deepEqual(await readdir(set.data), ['file']);
    });

    it('says when the instant was, and in whose command the time went', async (t) => {
      const set = await setUp(t, async (data) => writeFile(join(data, 'file'), 'x'));
      if (set === undefined) return;
      await set.provider.prepare(set.group, signal());
      const start = systemClock.monoMs();
      const cut = await set.cut();
      const end = systemClock.monoMs();
      assert.deepEqual(
        cut.cuts.map(({ volume }) => volume),
        set.group.map(({ id }) => id),
      );
      for (const { called, fixed } of cut.cuts) {
        assert.ok(start <= called.monoMs && called.monoMs <= fixed.monoMs && fixed.monoMs <= end);
        assert.ok(Date.parse(called.wall) <= Date.parse(fixed.wall));
      }
      assert.ok(cut.spans.length >= 1);
      for (const span of cut.spans) {
        assert.equal(span.party, 'provider');
        assert.ok(start <= span.startMs && span.startMs <= span.endMs && span.endMs <= end);
      }
    });

    it('knows the snapshots before it cuts them', async (t) => {
      const set = await setUp(t, async (data) => writeFile(join(data, 'file'), 'x'));
      if (set === undefined) return;
      const promised = set.provider.refs(set.group, set.label);
      assert.deepEqual(set.provider.refs(set.group, set.label), promised);
      assert.deepEqual(JSON.parse(JSON.stringify(promised)), promised, 'references are plain data');
      assert.deepEqual(JSON.parse(JSON.stringify(set.group)), set.group, 'volumes are plain data');
      for (const ref of promised) assert.equal(ref.label, set.label);
      const other = set.provider.refs(set.group, 'stillpoint-other');
      assert.notEqual(other[0]?.at, promised[0]?.at);
      assert.deepEqual(await collect(set.provider.list(set.group)), []);
      const cut = await set.cut();
      assert.deepEqual(
        cut.cuts.map(({ snapshot }) => snapshot),
        promised,
      );
    });

    it('keeps its word on atomicity and predicts something', async (t) => {
      const set = await setUp(t, async (data) => writeFile(join(data, 'file'), new Uint8Array(100_000)));
      if (set === undefined || 'skip' in made) return;
      const word = set.provider.atomicity(set.group);
      assert.equal(word.atomicity, made.atomicity);
      assert.notEqual(word.how, '');
      const prediction = await set.provider.predict(set.group, 'writes-stopped', signal());
      assert.ok(prediction.cutMs > 0);
      for (const { directory, bytes } of prediction.spaceBytes) {
        assert.ok(directory.startsWith('/'));
        assert.ok(bytes >= 100_000);
      }
      const cut = await set.cut();
      assert.equal(cut.atomicity, word.atomicity);
      assert.equal(cut.how, word.how);
    });

    it('lists its own snapshots alone, also in a new instance', async (t) => {
      const set = await setUp(t, async (data) => writeFile(join(data, 'file'), 'x'));
      if (set === undefined) return;
      const cut = await set.cut();
      const refs = cut.cuts.map(({ snapshot }) => snapshot);
      const [ref] = refs;
      assert.ok(ref !== undefined);
      if (await pathExists(ref.at)) {
        const stranger = join(ref.at, '..', 'daily-2026');
        await mkdir(stranger);
        t.after(() => rm(stranger, { recursive: true }));
      }
      assert.deepEqual(await collect(set.again().list(set.group)), refs);
      const second = await set.provider.cut(set.group, `${set.label}-b`, signal());
      const both = await collect(set.again().list(set.group));
      assert.deepEqual(
        both.map(({ label }) => label),
        [set.label, `${set.label}-b`],
      );
      for (const one of second.cuts) await set.again().delete(one.snapshot);
      assert.deepEqual(await collect(set.provider.list(set.group)), refs);
    });

    it('deletes what it made, twice, and nothing else', async (t) => {
      const set = await setUp(t, async (data) => writeFile(join(data, 'file'), 'x'));
      if (set === undefined) return;
      const cut = await set.cut();
      const [ref] = cut.cuts.map(({ snapshot }) => snapshot);
      assert.ok(ref !== undefined);
      await assert.rejects(set.provider.delete({ ...ref, label: 'daily-2026' }), { code: 'undo-failed' });
      await assert.rejects(set.provider.delete({ ...ref, label: `${ref.label}-x` }), { code: 'undo-failed' });
      await assert.rejects(set.provider.delete({ ...ref, at: set.data }), { code: 'undo-failed' });
      assert.equal(await readFile(join(set.data, 'file'), 'utf8'), 'x');
      assert.deepEqual(await collect(set.provider.list(set.group)), [ref]);
      await set.again().delete(ref);
      await set.again().delete(ref);
      assert.deepEqual(await collect(set.provider.list(set.group)), []);
      await assert.rejects(set.provider.open(ref), { code: 'io' });
    });

    it('leaves nothing behind when a cut is aborted or fails', async (t) => {
      const set = await setUp(t, async (data) => writeFile(join(data, 'file'), new Uint8Array(1024 * 1024)));
      if (set === undefined) return;
      await set.provider.prepare(set.group, signal());
      const stop = new AbortController();
      stop.abort();
      await assert.rejects(set.provider.cut(set.group, set.label, stop.signal), { code: 'cut-failed' });
      assert.deepEqual(await collect(set.provider.list(set.group)), []);

      // Aborted somewhere on the way: it fails, or it was quicker and the snapshot is whole. Nothing in between.
      const late = new AbortController();
      const running = set.provider.cut(set.group, set.label, late.signal);
      setImmediate(() => late.abort());
      const refs = await running.then(
        ({ cuts }) => cuts.map(({ snapshot }) => snapshot),
        () => [],
      );
      assert.deepEqual(await collect(set.provider.list(set.group)), refs);
      for (const ref of refs) await set.provider.delete(ref);

      // A snapshot of that name is there already: it is not touched.
      const cut = await set.cut();
      await assert.rejects(set.provider.cut(set.group, set.label, signal()), { code: 'cut-failed' });
      await using snapshot = await set.openOnly(cut.cuts.map(({ snapshot: ref }) => ref));
      assert.equal((await readFile(snapshot.at(join(set.data, 'file')) ?? '')).length, 1024 * 1024);
    });

    it('cuts a file with those companions that exist', async (t) => {
      if ('skip' in made) {
        t.skip(made.skip);
        return;
      }
      const { directory, makeData, create } = made;
      const data = join(directory, 'single');
      await (makeData ?? ((path) => mkdir(path)))(data);
      const file = join(data, 'main.db');
      await writeFile(file, 'pages');
      await writeFile(`${file}-wal`, 'frames');
      await writeFile(join(data, 'stranger'), 'not ours');
      const path = required(file, { kind: 'file', name: 'main.db', companions: [`${file}-wal`, `${file}-journal`] });
      const provider = create();
      const group = await provider.locate([path], signal());
      assert.deepEqual(
        group.map(({ holds }) => holds),
        [['main.db']],
      );
      await provider.prepare(group, signal());
      const cut = await provider.cut(group, 'stillpoint-single', signal());
      const [ref] = cut.cuts.map(({ snapshot }) => snapshot);
      assert.ok(ref !== undefined);
      t.after(() => create().delete(ref));
      await using snapshot = await create().open(ref);
      assert.equal(await read(snapshot, file), 'pages');
      assert.equal(await read(snapshot, `${file}-wal`), 'frames');
      assert.equal(snapshot.at(`${file}-journal`), undefined);
    });

    it('claims no path of a file system that it cannot cut, or claims it whole', async (t) => {
      const set = await setUp(t, async (data) => writeFile(join(data, 'file'), 'x'));
      if (set === undefined) return;
      const elsewhere = await mkdtemp(join(tmpdir(), 'stillpoint-elsewhere-'));
      t.after(() => rm(elsewhere, { recursive: true }));
      const other = required(elsewhere, { name: 'other' });
      const group = await set.provider.locate([set.path, other], signal());
      const names = group.flatMap(({ holds }) => holds);
      assert.ok(names.includes('data'));
      assert.equal(new Set(names).size, names.length, 'each path belongs to one volume');
      assert.equal(new Set(group.map(({ id }) => id)).size, group.length);
      assert.deepEqual(await readdir(elsewhere), [], 'locate changes nothing');
    });

    changedBlocksTests(setUp);
  });
}
