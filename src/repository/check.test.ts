import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { MemoryStore } from '../../test/doubles/memory-store.ts';
import {
  deps,
  longAfter,
  makeRepository,
  never,
  password,
  saveDirectory,
  temporaryDirectory,
} from '../../test/doubles/repository-fixture.ts';
import { codeOf } from '../model/errors.ts';
import type { CheckReport, Repository } from './api.ts';
import { openRepository } from './repository.ts';

/** Two snapshots: `both` files in each, `later` only in the second. */
interface Scene {
  readonly repository: Repository;
  readonly store: MemoryStore;
  readonly first: string;
  readonly second: string;
  /** Names of files by what they are: packs by type and snapshot. */
  readonly names: Record<'data1' | 'tree1' | 'data2' | 'tree2' | 'index1' | 'index2', string>;
  readonly directory: string;
}

async function scene(run: (scene: Scene) => Promise<void>): Promise<void> {
  await using source = await temporaryDirectory();
  const directory = source.path;
  const store = new MemoryStore();
  const repository = await makeRepository(store);
  await mkdir(join(directory, 'dir'));
  await writeFile(join(directory, 'dir/both'), randomBytes(1_000_000));
  const added = async (save: () => Promise<string>): Promise<{ snapshot: string; files: string[] }> => {
    const before = new Set(store.files.keys());
    const snapshot = await save();
    return { snapshot, files: [...store.files.keys()].filter((name) => !before.has(name)) };
  };
  const one = await added(async () => (await saveDirectory(repository, directory)).snapshot);
  await writeFile(join(directory, 'dir/later'), randomBytes(300_000));
  const parent = { snapshot: one.snapshot, cutAt: longAfter };
  const two = await added(async () => (await saveDirectory(repository, directory, { parent })).snapshot);
  const pick = (files: readonly string[], from: string, at: number): string =>
    files.filter((name) => name.startsWith(from))[at] ?? assert.fail(`no ${from}`);
  const names = {
    data1: pick(one.files, 'data/', 0),
    tree1: pick(one.files, 'data/', 1),
    data2: pick(two.files, 'data/', 0),
    tree2: pick(two.files, 'data/', 1),
    index1: pick(one.files, 'index/', 0),
    index2: pick(two.files, 'index/', 0),
  };
  await run({ repository, store, first: one.snapshot, second: two.snapshot, names, directory });
}

function content(store: MemoryStore, name: string): Buffer {
  return Buffer.from(store.files.get(name) ?? assert.fail(`no ${name}`));
}

function flip(store: MemoryStore, name: string, at: number): void {
  const bytes = content(store, name);
  const place = at < 0 ? bytes.length + at : at;
  bytes[place] = (bytes[place] ?? 0) ^ 0x10;
  store.files.set(name, bytes);
}

async function check(store: MemoryStore, read: 'structure' | 'all'): Promise<CheckReport> {
  return await (await openRepository(store, password, deps)).check({ read, signal: never });
}

/** The one error finding must name the file and exactly the given snapshots. */
function assertFound(report: CheckReport, file: string, snapshots: readonly string[]): void {
  const errors = report.findings.filter((finding) => finding.severity === 'error');
  const about = errors.filter((finding) => finding.said.includes(file));
  assert.equal(about.length, 1, `one finding about ${file} in ${JSON.stringify(errors)}`);
  for (const id of snapshots) assert.ok(about[0]?.said.includes(id), `${about[0]?.said} names ${id}`);
  assert.deepEqual([...report.damagedSnapshots].toSorted(), [...snapshots].toSorted());
}

describe('check', () => {
  it('finds nothing in a whole repository and counts what it read', async () => {
    await scene(async ({ store }) => {
      const structure = await check(store, 'structure');
      assert.deepEqual([structure.findings, structure.damagedSnapshots, structure.bytesRead], [[], [], 0]);
      const all = await check(store, 'all');
      const packBytes = [...store.files].reduce(
        (sum, [name, bytes]) => sum + (name.startsWith('data/') ? bytes.length : 0),
        0,
      );
      assert.deepEqual([all.findings, all.damagedSnapshots, all.bytesRead], [[], [], packBytes]);
      assert.equal(all.packs, 4);
    });
  });

  it('finds a pack that is missing, truncated or too long, without reading packs', async () => {
    for (const damage of ['missing', 'truncated', 'longer'] as const) {
      await scene(async ({ store, names, first, second }) => {
        const bytes = content(store, names.data1);
        if (damage === 'missing') store.files.delete(names.data1);
        else if (damage === 'truncated') store.files.set(names.data1, bytes.subarray(0, -1));
        else store.files.set(names.data1, Buffer.concat([bytes, Buffer.of(0)]));
        assertFound(await check(store, 'structure'), names.data1, [first, second]);
      });
    }
  });

  it('blames only the snapshots that need the pack', async () => {
    await scene(async ({ store, names, second }) => {
      store.files.delete(names.data2);
      assertFound(await check(store, 'structure'), names.data2, [second]);
    });
  });

  it('finds two packs that were swapped', async () => {
    await scene(async ({ store, names, first, second }) => {
      const [a, b] = [content(store, names.data1), content(store, names.data2)];
      store.files.set(names.data1, b);
      store.files.set(names.data2, a);
      const report = await check(store, 'structure');
      assert.deepEqual([...report.damagedSnapshots].toSorted(), [first, second].toSorted());
      assert.equal(report.findings.filter((finding) => finding.severity === 'error').length, 2);
    });
  });

  it('finds a bit flipped in a data blob by reading all, and only then', async () => {
    for (const at of [0, 20, 50_000]) {
      await scene(async ({ store, names, first, second }) => {
        flip(store, names.data1, at);
        assert.deepEqual((await check(store, 'structure')).damagedSnapshots, []);
        assertFound(await check(store, 'all'), names.data1, [first, second]);
      });
    }
  });

  it('knows that a bit flipped in a pack header hits no blob', async () => {
    for (const at of [-1, -30]) {
      await scene(async ({ store, names }) => {
        flip(store, names.data1, at);
        assertFound(await check(store, 'all'), names.data1, []);
      });
    }
  });

  it('finds every single flipped byte of small files', async () => {
    await scene(async ({ store, names, first, second }) => {
      const snapshot = `snapshots/${first}`;
      for (const name of [names.tree1, names.index1, snapshot]) {
        const whole = content(store, name);
        // Every 13th byte reaches IV, ciphertext, tag, header and length alike without taking minutes.
        for (let at = 0; at < whole.length; at += 13) {
          flip(store, name, at);
          const report = await check(store, 'all');
          const errors = report.findings.filter((finding) => finding.severity === 'error');
          assert.ok(
            errors.some((finding) => finding.said.includes(name)),
            `${name} byte ${at}: ${JSON.stringify(errors)}`,
          );
          if (name === snapshot) assert.deepEqual(report.damagedSnapshots, [first]);
          if (name === names.index1)
            assert.deepEqual([...report.damagedSnapshots].toSorted(), [first, second].toSorted());
          store.files.set(name, whole);
        }
      }
    });
  });

  it('finds damaged trees also without reading packs', async () => {
    await scene(async ({ store, names, second }) => {
      flip(store, names.tree2, 20);
      assertFound(await check(store, 'structure'), names.tree2, [second]);
    });
  });

  it('finds index files that are gone, truncated or swapped', async () => {
    await scene(async ({ store, names, second }) => {
      store.files.delete(names.index2);
      assertFound(await check(store, 'structure'), 'index', [second]);
    });
    await scene(async ({ store, names, second }) => {
      store.files.set(names.index2, content(store, names.index2).subarray(0, 50));
      assertFound(await check(store, 'structure'), names.index2, [second]);
    });
    await scene(async ({ store, names, first, second }) => {
      const [a, b] = [content(store, names.index1), content(store, names.index2)];
      store.files.set(names.index1, b);
      store.files.set(names.index2, a);
      const report = await check(store, 'structure');
      assert.deepEqual([...report.damagedSnapshots].toSorted(), [first, second].toSorted());
    });
  });

  it('finds a damaged snapshot file and a damaged second key', async () => {
    await scene(async ({ store, first }) => {
      store.files.set(`snapshots/${first}`, Buffer.alloc(0));
      store.files.set(`keys/${'0'.repeat(64)}`, Buffer.from('{}'));
      const report = await check(store, 'structure');
      assert.deepEqual(report.damagedSnapshots, [first]);
      assert.ok(report.findings.some((finding) => finding.said.includes(`keys/${'0'.repeat(64)}`)));
    });
  });

  it('only mentions packs that no index knows', async () => {
    await scene(async ({ store }) => {
      store.files.set(`data/00/${'0'.repeat(64)}`, Buffer.from('of an interrupted run'));
      const report = await check(store, 'all');
      assert.deepEqual(
        report.findings.map((finding) => finding.severity),
        ['info'],
      );
    });
  });

  it('throws when cancelled', async () => {
    await scene(async ({ repository }) => {
      const signal = AbortSignal.abort();
      await assert.rejects(repository.check({ read: 'all', signal }), (error) => codeOf(error) === 'cancelled');
    });
  });
});

describe('a damaged repository', () => {
  it('plan names every file that cannot be restored, and why', async () => {
    await scene(async ({ store, names, second, directory }) => {
      store.files.set(names.data2, content(store, names.data2).subarray(0, 100));
      const repository = await openRepository(store, password, deps);
      const { missing } = await repository.plan(second, (path) => path);
      assert.deepEqual(missing.length, 1);
      assert.ok(missing[0]?.startsWith(`${directory}/dir/later: ${names.data2}`), missing[0]);
      const without = await repository.plan(second, (path) => (path.endsWith('later') ? undefined : path));
      assert.deepEqual(without.missing, []);
    });
  });

  it('plan names a missing data pack, tree pack and index', async () => {
    for (const which of ['data2', 'tree2', 'index2'] as const) {
      await scene(async ({ store, names, second }) => {
        store.files.delete(names[which]);
        const repository = await openRepository(store, password, deps);
        assert.ok((await repository.plan(second, (path) => path)).missing.length > 0, which);
      });
    }
  });

  it('plan reads no data pack', async () => {
    await scene(async ({ store, names, second, repository }) => {
      store.gets.length = 0;
      await repository.plan(second, (path) => path);
      assert.ok(!store.gets.includes(names.data1) && !store.gets.includes(names.data2));
    });
  });

  it('restore names the path and the file, and never writes a wrong byte', async () => {
    await scene(async ({ store, names, second, directory }) => {
      await using target = await temporaryDirectory();
      flip(store, names.data2, 1000);
      const repository = await openRepository(store, password, deps);
      const place = (path: string): string => target.path + path;
      await assert.rejects(repository.restore({ snapshot: second, place, signal: never }), (error: unknown) => {
        assert.equal(codeOf(error), 'repository-damaged');
        assert.ok(
          String(error).includes(names.data2) && String(error).includes(`${directory}/dir/later`),
          String(error),
        );
        return true;
      });
    });
  });

  it('restore goes on where an index file is damaged that it does not need; save does not', async () => {
    await scene(async ({ store, names, first, directory }) => {
      await using target = await temporaryDirectory();
      flip(store, names.index2, 30);
      const repository = await openRepository(store, password, deps);
      const restored = await repository.restore({
        snapshot: first,
        place: (path) => target.path + path,
        signal: never,
      });
      assert.equal(restored.bytes, 1_000_000);
      await assert.rejects(saveDirectory(repository, directory), (error) => codeOf(error) === 'repository-damaged');
      assert.deepEqual(
        [...store.files.keys()].filter((name) => name.startsWith('locks/')),
        [],
      );
    });
  });
});
