import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { MemoryStore } from '../../test/doubles/memory-store.ts';
import {
  deps,
  makeRepository,
  never,
  password,
  saveDirectory,
  temporaryDirectory,
} from '../../test/doubles/repository-fixture.ts';
import { codeOf } from '../model/errors.ts';
import { systemClock, type Clock } from '../platform/clock.ts';
import type { RepositoryDeps } from './context.ts';
import { getFile, putFile } from './files.ts';
import { findKey } from './key.ts';
import { takeLock } from './lock.ts';
import { openRepository } from './repository.ts';

const minute = 60_000;

interface OtherLock {
  readonly exclusive: boolean;
  readonly hostname: string;
  readonly pid: number;
  readonly ageMs?: number;
}

async function putLock(store: MemoryStore, lock: OtherLock): Promise<string> {
  const time = new Date(systemClock.wallMs() - (lock.ageMs ?? 0)).toISOString();
  const json = JSON.stringify({ time, username: 'other', uid: 0, gid: 0, ...lock });
  return `locks/${(await putFile(store, await findKey(store, password), 'locks', json)).id}`;
}

function locksOf(store: MemoryStore): string[] {
  return [...store.files.keys()].filter((name) => name.startsWith('locks/'));
}

const locked = (error: unknown): boolean => codeOf(error) === 'repository-locked';

describe('lock', () => {
  it('of another writer does not stop us, an exclusive one does', async () => {
    await using source = await temporaryDirectory();
    const store = new MemoryStore();
    const repository = await makeRepository(store);
    const shared = await putLock(store, { exclusive: false, hostname: 'elsewhere', pid: 1 });
    await saveDirectory(repository, source.path);
    const exclusive = await putLock(store, { exclusive: true, hostname: 'elsewhere', pid: 1 });
    await assert.rejects(saveDirectory(repository, source.path), locked);
    await assert.rejects(repository.check({ read: 'structure', signal: never }), locked);
    await assert.rejects(repository.removeSnapshot('0'.repeat(64)), locked);
    assert.deepEqual(locksOf(store), [shared, exclusive]);
  });

  const others: readonly (OtherLock & { readonly what: string; readonly stops: boolean })[] = [
    {
      what: 'a young one of another host',
      exclusive: true,
      hostname: 'elsewhere',
      pid: 99,
      ageMs: 29 * minute,
      stops: true,
    },
    { what: 'one of 31 minutes', exclusive: true, hostname: 'elsewhere', pid: 99, ageMs: 31 * minute, stops: false },
    { what: 'one of a dead process here', exclusive: true, hostname: 'testhost', pid: 99, stops: false },
    { what: 'one of a living process here', exclusive: true, hostname: 'testhost', pid: process.pid, stops: true },
  ];
  for (const { what, stops, ...lock } of others) {
    it(`${stops ? 'obeys' : 'ignores'} ${what}`, async () => {
      await using source = await temporaryDirectory();
      const store = new MemoryStore();
      const repository = await makeRepository(store);
      await putLock(store, lock);
      if (stops) await assert.rejects(saveDirectory(repository, source.path), locked);
      else await saveDirectory(repository, source.path);
    });
  }

  it('is seen by another that comes between our look and our lock', async () => {
    await using source = await temporaryDirectory();
    const store = new MemoryStore();
    const repository = await makeRepository(store);
    const put = store.put.bind(store);
    store.put = async (name, data) => {
      await put(name, data);
      if (name.startsWith('locks/') && locksOf(store).length === 1) {
        await putLock(store, { exclusive: true, hostname: 'elsewhere', pid: 1 });
      }
    };
    await assert.rejects(saveDirectory(repository, source.path), locked);
    assert.equal(locksOf(store).length, 1, 'ours is gone again');
  });

  it('is written as restic writes it, and held while a save runs', async () => {
    await using source = await temporaryDirectory();
    await writeFile(join(source.path, 'file'), 'x');
    const store = new MemoryStore();
    const repository = await makeRepository(store);
    const seen: string[] = [];
    await saveDirectory(repository, source.path, { onProgress: () => seen.push(...locksOf(store)) });
    assert.ok(seen.length > 0);
    assert.deepEqual(locksOf(store), []);

    const key = await findKey(store, password);
    const context = { store, key, deps };
    await using _lock = await takeLock(context);
    const { json } = await getFile(store, key, locksOf(store)[0] ?? '');
    const lock = JSON.parse(json) as Record<string, unknown>;
    assert.deepEqual(Object.keys(lock), ['time', 'exclusive', 'hostname', 'username', 'pid', 'uid', 'gid']);
    assert.deepEqual([lock['exclusive'], lock['hostname'], lock['pid']], [false, 'testhost', process.pid]);
  });

  it('is renewed, and a save whose lock could not be renewed makes no snapshot', async () => {
    const store = new MemoryStore();
    await makeRepository(store);
    let mono = 0;
    let tick: () => void = () => assert.fail('nothing to refresh');
    const clock: Clock = {
      ...systemClock,
      monoMs: () => mono,
      every: (ms, callback) => {
        assert.equal(ms, 5 * minute);
        tick = callback;
        return () => undefined;
      },
    };
    const slow: RepositoryDeps = { ...deps, clock };
    const lock = await takeLock({ store, key: await findKey(store, password), deps: slow });
    const [first] = locksOf(store);
    tick();
    for (let turn = 0; turn < 1000 && (locksOf(store).length !== 1 || locksOf(store)[0] === first); turn++) {
      await systemClock.sleep(1);
    }
    assert.equal(locksOf(store).length, 1);
    assert.notEqual(locksOf(store)[0], first);
    mono += 20 * minute;
    lock.assertHeld();
    mono += 6 * minute;
    assert.throws(() => lock.assertHeld(), locked);
    await lock[Symbol.asyncDispose]();
    assert.deepEqual(locksOf(store), []);
  });

  it('of a dead process of this host is removed on request, and no other', async () => {
    const store = new MemoryStore();
    const repository = await makeRepository(store);
    await putLock(store, { exclusive: true, hostname: 'testhost', pid: 99 });
    await putLock(store, { exclusive: false, hostname: 'testhost', pid: 98 });
    const kept = [
      await putLock(store, { exclusive: false, hostname: 'testhost', pid: process.pid }),
      await putLock(store, { exclusive: true, hostname: 'elsewhere', pid: 99, ageMs: 60 * minute }),
    ];
    assert.equal(await repository.removeStaleLocks(), 2);
    assert.deepEqual(locksOf(store).toSorted(), kept.toSorted());
    assert.equal(await repository.removeStaleLocks(), 0);
  });

  it('is no condition for reading from a full disk', async () => {
    await using source = await temporaryDirectory();
    await using target = await temporaryDirectory();
    await writeFile(join(source.path, 'file'), 'x');
    const store = new MemoryStore();
    const { snapshot } = await saveDirectory(await makeRepository(store), source.path);
    store.capacity = 0;
    const repository = await openRepository(store, password, deps);
    assert.equal((await repository.restore({ snapshot, place: (path) => target.path + path, signal: never })).files, 1);
    assert.deepEqual((await repository.check({ read: 'all', signal: never })).findings, []);
    await assert.rejects(saveDirectory(repository, source.path), (error) => codeOf(error) === 'repository-full');
    await repository.removeSnapshot(snapshot);
  });

  it('that cannot be read is ignored, as restic does', async () => {
    await using source = await temporaryDirectory();
    const store = new MemoryStore();
    const repository = await makeRepository(store);
    store.files.set(`locks/${'0'.repeat(64)}`, Buffer.alloc(0));
    await saveDirectory(repository, source.path);
  });
});
