import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  appendFile,
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { MemoryStore } from '../../test/doubles/memory-store.ts';
import {
  cheapKey,
  deps,
  longAfter,
  makeRepository,
  never,
  password,
  saveDirectory,
  temporaryDirectory,
} from '../../test/doubles/repository-fixture.ts';
import { smallDisk } from '../../test/doubles/small-disk.ts';
import { LocalStore } from '../adapters/store/local/store.ts';
import { codeOf, StillpointError } from '../model/errors.ts';
import { systemClock } from '../platform/clock.ts';
import type { FileStat } from '../ports/snapshot-provider.ts';
import type { NodeInfo, Progress, Repository, TreeEntry } from './api.ts';
import { initRepository, openRepository } from './repository.ts';

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => {
    assert.equal(codeOf(error), code, String(error));
    assert.ok(error instanceof StillpointError && (code === 'cancelled' || error.hint !== undefined), 'has a hint');
    return true;
  };
}

async function nodesOf(repository: Repository, snapshot: string): Promise<Map<string, NodeInfo>> {
  const nodes = new Map<string, NodeInfo>();
  for await (const node of repository.nodes(snapshot)) nodes.set(node.path, node);
  return nodes;
}

const init = { clock: systemClock, hostname: 'testhost', keyCost: cheapKey };

describe('init and open', () => {
  it('makes a repository that opens with its password only', async () => {
    const store = new MemoryStore();
    const { id } = await initRepository(store, password, init);
    assert.equal((await openRepository(store, password, deps)).id, id);
    await assert.rejects(openRepository(store, 'another', deps), hasCode('repository-password'));
  });

  it('never makes two', async () => {
    const store = new MemoryStore();
    await initRepository(store, password, init);
    await assert.rejects(initRepository(store, password, init), hasCode('repository-exists'));
    store.files.delete('config');
    await assert.rejects(initRepository(store, password, init), hasCode('repository-exists'));
  });

  it('says missing where nothing is', async () => {
    await assert.rejects(openRepository(new MemoryStore(), password, deps), hasCode('repository-missing'));
  });

  const whole = async (): Promise<MemoryStore> => {
    const store = new MemoryStore();
    await initRepository(store, password, init);
    return store;
  };
  const keyName = (store: MemoryStore): string =>
    [...store.files.keys()].find((name) => name.startsWith('keys/')) ?? '';
  const damages: Record<string, (store: MemoryStore) => void> = {
    'config gone': (store) => store.files.delete('config'),
    'config truncated': (store) =>
      store.files.set('config', (store.files.get('config') ?? Buffer.alloc(0)).subarray(0, 40)),
    'config empty': (store) => store.files.set('config', Buffer.alloc(0)),
    'config altered': (store) => flip(store, 'config', 30),
    'key gone': (store) => store.files.delete(keyName(store)),
    'key truncated': (store) => store.files.set(keyName(store), Buffer.from('{"kdf"')),
    'key altered': (store) => flip(store, keyName(store), 100),
  };
  for (const [what, damage] of Object.entries(damages)) {
    it(`calls a ${what} damage`, async () => {
      const store = await whole();
      damage(store);
      await assert.rejects(openRepository(store, password, deps), hasCode('repository-damaged'));
    });
  }

  it('opens by a second key although the first is damaged', async () => {
    const store = await whole();
    store.files.set(`keys/${'0'.repeat(64)}`, Buffer.from('no key'));
    assert.ok(await openRepository(store, password, deps));
  });

  it('signs alike in every session, and differently in every repository', async () => {
    const store = await whole();
    const message = Buffer.from('evidence');
    const first = (await openRepository(store, password, deps)).sign(message);
    assert.equal((await openRepository(store, password, deps)).sign(message), first);
    assert.notEqual((await openRepository(await whole(), password, deps)).sign(message), first);
  });
});

function flip(store: MemoryStore, name: string, at: number): void {
  const content = Buffer.from(store.files.get(name) ?? '');
  content[at] = (content[at] ?? 0) ^ 1;
  store.files.set(name, content);
}

describe('save and restore', () => {
  it('brings back content, names, modes, times, links and holes', async () => {
    await using source = await temporaryDirectory();
    await using target = await temporaryDirectory();
    const at = (name: string): string => join(source.path, name);
    await mkdir(at('dir/empty'), { recursive: true });
    const big = randomBytes(3_000_001);
    await writeFile(at('dir/big'), big);
    await writeFile(at('small'), 'hello');
    await writeFile(at('zero'), '');
    await writeFile(at('exact'), Buffer.alloc(128 * 1024, 7));
    await writeFile(at('megabyte'), randomBytes(1024 * 1024));
    await writeFile(at('sparse'), '');
    await truncate(at('sparse'), 50_000_000);
    await appendFile(at('sparse'), 'end');
    await writeFile(at('日本 "q" <&>\n\u0001'), 'odd');
    await writeFile(Buffer.concat([Buffer.from(`${source.path}/`), Buffer.from('bad\xff\xfe', 'latin1')]), 'bytes');
    await symlink('../not/there', at('link'));
    await chmod(at('small'), 0o4751);
    await chmod(at('dir'), 0o1710);
    await utimes(at('small'), 1_600_000_000.5, 1_500_000_000.25);
    await utimes(at('dir'), 1_600_000_000, 1_400_000_000);

    const repository = await makeRepository(new MemoryStore());
    const progress: Progress[] = [];
    const saved = await saveDirectory(repository, source.path, { onProgress: (step) => progress.push(step) });
    assert.equal(saved.files.total, 8);
    assert.equal(saved.bytes.read, saved.bytes.logical);
    assert.equal(progress.at(-1)?.bytesDone, saved.bytes.logical);
    assert.equal(progress[0]?.bytesTotal, saved.bytes.logical);

    const plan = await repository.plan(saved.snapshot, (path) => path);
    assert.deepEqual(plan, { bytes: saved.bytes.logical, files: 8, missing: [] });
    const seen: Progress[] = [];
    const restored = await repository.restore({
      snapshot: saved.snapshot,
      place: (path) => (path.startsWith(source.path) ? target.path + path.slice(source.path.length) : undefined),
      onProgress: (step) => seen.push(step),
      signal: never,
    });
    assert.deepEqual(restored, { bytes: saved.bytes.logical, files: 8 });
    assert.equal(seen.at(-1)?.bytesDone, seen.at(-1)?.bytesTotal);

    const names = async (path: string): Promise<Buffer[]> =>
      (await readdir(path, { encoding: 'buffer' })).toSorted((left, right) => Buffer.compare(left, right));
    assert.deepEqual(await names(target.path), await names(source.path));
    for (const name of await names(source.path)) {
      const there = Buffer.concat([Buffer.from(`${target.path}/`), name]);
      const here = Buffer.concat([Buffer.from(`${source.path}/`), name]);
      const [restoredStat, originalStat] = [await lstat(there), await lstat(here)];
      assert.equal(restoredStat.mode, originalStat.mode, String(name));
      assert.equal(restoredStat.uid, originalStat.uid);
      assert.ok(Math.abs(restoredStat.mtimeMs - originalStat.mtimeMs) < 0.01, String(name));
      if (originalStat.isFile()) assert.ok((await readFile(there)).equals(await readFile(here)), String(name));
    }
    assert.ok((await readFile(join(target.path, 'dir/big'))).equals(big));
    assert.equal(await readlink(join(target.path, 'link')), '../not/there');
    const sparse = await stat(join(target.path, 'sparse'));
    assert.ok(sparse.blocks * 512 < 2_000_000, `${sparse.blocks} blocks for a file of one chunk`);
    assert.deepEqual((await repository.check({ read: 'all', signal: never })).findings, []);
  });

  it('puts entries over one another: bytes over files, files beside directories, later over earlier', async () => {
    await using source = await temporaryDirectory();
    await mkdir(join(source.path, 'copy/pg_wal'), { recursive: true });
    await writeFile(join(source.path, 'copy/kept'), 'kept');
    await writeFile(join(source.path, 'copy/replaced'), 'old');
    await writeFile(join(source.path, 'copy/postmaster.pid'), '1');
    await writeFile(join(source.path, 'copy/pg_wal/0001'), 'not wanted');
    await writeFile(join(source.path, '0002'), 'journal');
    const bytes = (at: string, text: string): TreeEntry => ({
      kind: 'bytes',
      at,
      data: Buffer.from(text),
      mode: 0o600,
      mtimeNs: 1_700_000_000_000_000_000n,
      uid: 5,
      gid: 6,
    });
    const asked: string[] = [];
    const entries: TreeEntry[] = [
      {
        kind: 'path',
        at: '/no/such/data',
        from: join(source.path, 'copy'),
        leaveOut: (relative) => {
          asked.push(relative);
          return relative === 'postmaster.pid' ? 'entry' : relative === 'pg_wal' ? 'contents' : 'keep';
        },
      },
      bytes('/no/such/data/replaced', 'first'),
      bytes('/no/such/data/replaced', 'new'),
      bytes('/no/such/data/backup_label', 'label'),
      { kind: 'path', at: '/no/such/data/pg_wal/0002', from: join(source.path, '0002') },
      bytes('/.stillpoint/point.json', '{}'),
    ];
    const repository = await makeRepository(new MemoryStore());
    const saved = await saveDirectory(repository, '/no/such/data', { entries });
    const nodes = await nodesOf(repository, saved.snapshot);
    assert.deepEqual(
      [...nodes.keys()],
      [
        '/.stillpoint',
        '/.stillpoint/point.json',
        '/no',
        '/no/such',
        '/no/such/data',
        '/no/such/data/backup_label',
        '/no/such/data/kept',
        '/no/such/data/pg_wal',
        '/no/such/data/pg_wal/0002',
        '/no/such/data/replaced',
      ],
    );
    const text = async (path: string): Promise<string> =>
      Buffer.from((await repository.readFile(saved.snapshot, path)) ?? 'nothing').toString();
    assert.equal(await text('/no/such/data/replaced'), 'new');
    assert.equal(await text('/no/such/data/kept'), 'kept');
    assert.equal(await text('/no/such/data/pg_wal/0002'), 'journal');
    assert.equal(await repository.readFile(saved.snapshot, '/no/such/data'), undefined);
    assert.equal(await repository.readFile(saved.snapshot, '/no/such/thing'), undefined);
    assert.equal(nodes.get('/no/such/data/backup_label')?.uid, 5);
    assert.equal(nodes.get('/.stillpoint')?.uid, 5);
    assert.ok(asked.includes('pg_wal') && asked.includes('kept'));
  });

  it('takes what is known last after all else was read, and makes no snapshot if that fails', async () => {
    await using source = await temporaryDirectory();
    await writeFile(join(source.path, 'file'), 'content');
    const store = new MemoryStore();
    const repository = await makeRepository(store);
    let asked = 0;
    let read = 0;
    const last = (): Promise<TreeEntry[]> => {
      asked += 1;
      assert.equal(read, 7, 'all entries were read before');
      return Promise.resolve([
        {
          kind: 'bytes',
          at: '/.evidence/point.json',
          data: Buffer.from('{}'),
          mode: 0o600,
          mtimeNs: 0n,
          uid: 0,
          gid: 0,
        },
      ]);
    };
    const onProgress = (step: Progress): void => {
      read = step.bytesDone;
    };
    const saved = await saveDirectory(repository, source.path, { last, onProgress });
    assert.equal(asked, 1);
    const nodes = [...(await nodesOf(repository, saved.snapshot)).keys()];
    assert.deepEqual(nodes.slice(0, 2), ['/.evidence', '/.evidence/point.json']);
    assert.equal(nodes.at(-1), `${source.path}/file`);
    const failing = saveDirectory(repository, source.path, { last: () => Promise.reject(new Error('no evidence')) });
    await assert.rejects(failing, /no evidence/);
    assert.equal((await repository.snapshots()).length, 1);
    assert.deepEqual(
      [...store.files.keys()].filter((name) => name.startsWith('locks/')),
      [],
    );
  });

  it('refuses entries below a file, and paths that are not absolute', async () => {
    const repository = await makeRepository(new MemoryStore());
    const file = (at: string): TreeEntry => ({
      kind: 'bytes',
      at,
      data: Buffer.from('x'),
      mode: 0o600,
      mtimeNs: 0n,
      uid: 0,
      gid: 0,
    });
    for (const entries of [[file('/a'), file('/a/b')], [file('a')], [file('/a/../b')]]) {
      await assert.rejects(saveDirectory(repository, '/', { entries }), (error) => codeOf(error) === 'io');
    }
    assert.deepEqual(await repository.snapshots(), []);
  });

  it('leaves out what is no file, directory or link', async () => {
    await using source = await temporaryDirectory();
    const server = createServer().listen(join(source.path, 'socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    await writeFile(join(source.path, 'file'), 'x');
    const repository = await makeRepository(new MemoryStore());
    const saved = await saveDirectory(repository, source.path);
    const nodes = await nodesOf(repository, saved.snapshot);
    await new Promise((resolve) => server.close(resolve));
    assert.equal(nodes.has(`${source.path}/socket`), false);
    assert.equal(nodes.has(`${source.path}/file`), true);
  });

  it('stores equal chunks once', async () => {
    await using source = await temporaryDirectory();
    const content = randomBytes(1_000_000);
    await writeFile(join(source.path, 'a'), content);
    await writeFile(join(source.path, 'b'), content);
    const repository = await makeRepository(new MemoryStore());
    const saved = await saveDirectory(repository, source.path);
    assert.equal(saved.bytes.changed, content.length);
    assert.equal(saved.bytes.logical, 2 * content.length);
    assert.ok(saved.bytes.stored < 1.1 * content.length);
  });

  it('counts as stored what the repository really grew by, and says so again later', async () => {
    await using source = await temporaryDirectory();
    await writeFile(join(source.path, 'a'), randomBytes(20_000_000));
    const repository = await makeRepository(new MemoryStore());
    const before = (await repository.stats()).storedBytes;
    const saved = await saveDirectory(repository, source.path, { tags: ['one', 'two'] });
    const after = await repository.stats();
    assert.equal(after.storedBytes - before, saved.bytes.stored);
    assert.ok(after.packs >= 3, 'two data packs and one of trees');
    const [info] = await repository.snapshots();
    assert.deepEqual(info?.bytes, saved.bytes);
    assert.deepEqual(info?.tags, ['one', 'two']);
    assert.deepEqual(info?.paths, [source.path]);
  });

  it('says which snapshot is not there', async () => {
    const repository = await makeRepository(new MemoryStore());
    await assert.rejects(
      repository.plan('0'.repeat(64), (path) => path),
      hasCode('point-incomplete'),
    );
    await assert.rejects(repository.readFile('../config', '/x'), hasCode('point-incomplete'));
  });

  it('removes a snapshot, once and again', async () => {
    await using source = await temporaryDirectory();
    const repository = await makeRepository(new MemoryStore());
    const { snapshot } = await saveDirectory(repository, source.path);
    await repository.removeSnapshot(snapshot);
    await repository.removeSnapshot(snapshot);
    await repository.removeSnapshot('../../config');
    assert.deepEqual(await repository.snapshots(), []);
  });

  it('does not write through a link that stands where a file goes', async () => {
    await using source = await temporaryDirectory();
    await using target = await temporaryDirectory();
    await writeFile(join(source.path, 'file'), 'content');
    await writeFile(join(target.path, 'precious'), 'precious');
    await symlink(join(target.path, 'precious'), join(target.path, 'file'));
    const repository = await makeRepository(new MemoryStore());
    const { snapshot } = await saveDirectory(repository, source.path);
    const place = (path: string): string | undefined =>
      path.endsWith('/file') ? join(target.path, 'file') : undefined;
    await repository.restore({ snapshot, place, signal: never });
    assert.equal(await readFile(join(target.path, 'precious'), 'utf8'), 'precious');
    assert.equal(await readFile(join(target.path, 'file'), 'utf8'), 'content');
  });
});

describe('incremental save', () => {
  it('reads only what changed, and one changed chunk costs one chunk', async () => {
    await using source = await temporaryDirectory();
    const store = new MemoryStore();
    for (const name of ['a', 'b', 'c']) await writeFile(join(source.path, name), randomBytes(2_000_000));
    const repository = await makeRepository(store);
    const first = await saveDirectory(repository, source.path);
    const parent = { snapshot: first.snapshot, cutAt: longAfter };

    const same = await saveDirectory(repository, source.path, { parent });
    assert.equal(same.bytes.read, 0);
    assert.equal(same.bytes.changed, 0);
    assert.ok(same.bytes.stored < 2000, `${same.bytes.stored} bytes for a snapshot without a change`);
    assert.deepEqual(same.files, { total: 3, unchanged: 3, read: 0 });

    const file = await open(join(source.path, 'b'), 'r+');
    await file.write(Buffer.from('changed'), 0, 7, 1_000_000);
    await file.close();
    const next = await saveDirectory(repository, source.path, { parent });
    assert.equal(next.bytes.read, 2_000_000);
    assert.equal(next.bytes.changed, 128 * 1024);
    assert.deepEqual(next.files, { total: 3, unchanged: 2, read: 1 });
    const restored = await repository.readFile(next.snapshot, join(source.path, 'b'));
    assert.ok(Buffer.from(restored ?? '').equals(await readFile(join(source.path, 'b'))));
    assert.equal((await repository.snapshots()).at(-1)?.parent, first.snapshot);
  });

  it('reads a file again whose ctime is within two seconds before the parent was cut', async () => {
    await using source = await temporaryDirectory();
    await writeFile(join(source.path, 'racy'), 'content');
    const repository = await makeRepository(new MemoryStore());
    const first = await saveDirectory(repository, source.path);
    const { ctimeNs } = await lstat(join(source.path, 'racy'), { bigint: true });
    const cutAfter = (ms: number): string => new Date(Number(ctimeNs / 1_000_000n) + ms).toISOString();
    const readWith = async (cutAt: string): Promise<number> =>
      (await saveDirectory(repository, source.path, { parent: { snapshot: first.snapshot, cutAt } })).files.read;
    assert.equal(await readWith(cutAfter(1900)), 1);
    assert.equal(await readWith(cutAfter(2100)), 0);
    assert.equal(await readWith(cutAfter(-5000)), 1);
    assert.equal(await readWith('no time'), 1);
  });

  it('reads a file again that was replaced by one of the same size and mtime', async () => {
    await using source = await temporaryDirectory();
    const [old, other] = [join(source.path, 'file'), join(source.path, 'new')];
    await writeFile(old, 'aaaa');
    await utimes(old, 1_500_000_000, 1_500_000_000);
    const repository = await makeRepository(new MemoryStore());
    const first = await saveDirectory(repository, source.path);
    await writeFile(other, 'bbbb');
    await utimes(other, 1_500_000_000, 1_500_000_000);
    await rename(other, old);
    const next = await saveDirectory(repository, source.path, {
      parent: { snapshot: first.snapshot, cutAt: longAfter },
    });
    assert.equal(next.files.read, 1);
    assert.equal(Buffer.from((await repository.readFile(next.snapshot, old)) ?? '').toString(), 'bbbb');
  });

  it('takes the identity of the original where the copy has another', async () => {
    await using source = await temporaryDirectory();
    const [first, second] = [join(source.path, 'cut1'), join(source.path, 'cut2')];
    await writeFile(first, 'same');
    await writeFile(second, 'same');
    const original: FileStat = {
      type: 'file',
      size: 4n,
      mode: 0o640,
      uid: 12,
      gid: 13,
      inode: 99n,
      device: 7n,
      links: 1n,
      mtimeNs: 1_600_000_000_123_456_789n,
      ctimeNs: 1_600_000_000_123_456_789n,
      atimeNs: 0n,
    };
    const entry = (from: string): TreeEntry => ({ kind: 'path', at: '/orig/file', from, statOf: () => original });
    const repository = await makeRepository(new MemoryStore());
    const saved = await saveDirectory(repository, '/orig', { entries: [entry(first)] });
    const parent = { snapshot: saved.snapshot, cutAt: longAfter };
    const next = await saveDirectory(repository, '/orig', { entries: [entry(second)], parent });
    assert.deepEqual(next.files, { total: 1, unchanged: 1, read: 0 });
    const node = (await nodesOf(repository, next.snapshot)).get('/orig/file');
    assert.deepEqual([node?.uid, node?.gid, node?.mode], [12, 13, 0o640]);
  });

  it('reads all when the parent is gone, and reads what the index has lost', async () => {
    await using source = await temporaryDirectory();
    const store = new MemoryStore();
    await writeFile(join(source.path, 'a'), randomBytes(500_000));
    const repository = await makeRepository(store);
    const first = await saveDirectory(repository, source.path);
    const gone = await saveDirectory(repository, source.path, {
      parent: { snapshot: 'f'.repeat(64), cutAt: longAfter },
    });
    assert.equal(gone.files.read, 1);
    // The data pack is dropped from the index, as `restic repair index` does for a pack that is lost; the trees stay.
    const writeOther = join(source.path, 'b');
    await writeFile(writeOther, 'x');
    const indexes = [...store.files.keys()].filter((name) => name.startsWith('index/'));
    assert.equal(indexes.length >= 1, true);
    for (const name of indexes.slice(0, 1)) store.files.delete(name);
    const reopened = await openRepository(store, password, deps);
    await assert.rejects(
      saveDirectory(reopened, source.path, { parent: { snapshot: first.snapshot, cutAt: longAfter } }),
      hasCode('repository-damaged'),
    );
    const healed = await saveDirectory(reopened, source.path);
    assert.equal(healed.files.read, 2);
    assert.equal(healed.bytes.changed, 500_001);
  });

  it('keeps the chunk size that the parent was cut by', async () => {
    await using source = await temporaryDirectory();
    const path = join(source.path, 'file');
    await writeFile(path, randomBytes(600_000));
    const repository = await makeRepository(new MemoryStore());
    const first = await saveDirectory(repository, source.path);
    await appendFile(path, 'more');
    const next = await saveDirectory(repository, source.path, {
      parent: { snapshot: first.snapshot, cutAt: longAfter },
    });
    assert.equal(next.bytes.changed, 600_004 - 4 * 128 * 1024);
  });
});

describe('a save that cannot end', () => {
  it('stops on the signal and leaves neither snapshot nor lock', async () => {
    await using source = await temporaryDirectory();
    await writeFile(join(source.path, 'a'), randomBytes(40_000_000));
    const store = new MemoryStore();
    const repository = await makeRepository(store);
    const abort = new AbortController();
    const onProgress = (step: Progress): void => {
      if (step.bytesDone > 30_000_000) abort.abort();
    };
    await assert.rejects(
      saveDirectory(repository, source.path, { signal: abort.signal, onProgress }),
      hasCode('cancelled'),
    );
    const left = [...store.files.keys()].filter((name) => /^(snapshots|locks)\//.test(name));
    assert.deepEqual(left, []);
    const again = await saveDirectory(repository, source.path);
    assert.equal(again.bytes.logical, 40_000_000);
    const { findings } = await repository.check({ read: 'all', signal: never });
    assert.deepEqual(
      findings.filter((finding) => finding.severity !== 'info'),
      [],
    );
  });

  it('says io for a file that cannot be read', async () => {
    await using source = await temporaryDirectory();
    const repository = await makeRepository(new MemoryStore());
    const entries: TreeEntry[] = [{ kind: 'path', at: '/x', from: join(source.path, 'vanished') }];
    await assert.rejects(saveDirectory(repository, '/x', { entries }), hasCode('io'));
    assert.deepEqual(await repository.snapshots(), []);
  });

  it('uses what an interrupted one had indexed', async () => {
    await using source = await temporaryDirectory();
    await writeFile(join(source.path, 'a'), randomBytes(200_000_000));
    const store = new MemoryStore();
    const repository = await makeRepository(store);
    const abort = new AbortController();
    const onProgress = (step: Progress): void => {
      if (step.bytesDone > 180_000_000) abort.abort();
    };
    await assert.rejects(
      saveDirectory(repository, source.path, { signal: abort.signal, onProgress }),
      hasCode('cancelled'),
    );
    const again = await saveDirectory(await openRepository(store, password, deps), source.path);
    assert.ok(again.bytes.changed < 100_000_000, `${again.bytes.changed} bytes stored again`);
  });

  it('reports a full disk, leaves no snapshot and no lock, stays clean, and goes on with space', async (t) => {
    const disk = await smallDisk(8 * 1024 * 1024);
    if (disk === undefined) {
      t.skip('needs root: a tmpfs of its own cannot be mounted');
      return;
    }
    await using held = disk;
    await using source = await temporaryDirectory();
    const ballast = join(held.directory, 'ballast');
    await writeFile(ballast, Buffer.alloc(3_000_000, 1));
    await writeFile(join(source.path, 'a'), randomBytes(6_000_000));
    const directory = join(held.directory, 'repo');
    const repository = await makeRepository(new LocalStore(directory));
    await assert.rejects(saveDirectory(repository, source.path), hasCode('repository-full'));
    assert.deepEqual(await repository.snapshots(), []);
    assert.deepEqual(await readdir(join(directory, 'locks')), []);
    const { findings } = await repository.check({ read: 'all', signal: never });
    assert.deepEqual(
      findings.filter((finding) => finding.severity === 'error'),
      [],
    );
    await truncate(ballast, 0);
    const saved = await saveDirectory(repository, source.path);
    assert.equal((await repository.plan(saved.snapshot, (path) => path)).missing.length, 0);
  });
});
