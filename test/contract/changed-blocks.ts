import assert from 'node:assert/strict';
import { lstat, mkdir, open, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { StillpointError } from '../../src/model/errors.ts';
import { covers, normalize, totalBytes } from '../../src/model/ranges.ts';
import type { SnapshotRef, Volume } from '../../src/model/storage.ts';
import { systemExec } from '../../src/platform/exec.ts';
import type { ChangedBlocks, OpenSnapshot, SnapshotProvider } from '../../src/ports/snapshot-provider.ts';

/** A data directory of its own on the provider's file system, located. */
export interface Subject {
  readonly provider: SnapshotProvider;
  readonly again: () => SnapshotProvider;
  readonly data: string;
  readonly group: readonly Volume[];
  readonly label: string;
}

type SetUp = (t: TestContext, fill: (data: string) => Promise<void>) => Promise<Subject | undefined>;

const signal = (): AbortSignal => new AbortController().signal;
const timeoutMs = 60_000;

/** The same numbers from the same seed: a failure can be had again. */
export function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below) | 0;
  };
}

async function cutAs(t: TestContext, { provider, again, group, label }: Subject, name: string): Promise<SnapshotRef> {
  await provider.prepare(group, signal());
  const { cuts } = await provider.cut(group, `${label}-${name}`, signal());
  t.after(async () => {
    for (const { snapshot } of cuts) await again().delete(snapshot);
  });
  const [cut] = cuts;
  assert.ok(cut !== undefined && cuts.length === 1);
  return cut.snapshot;
}

async function bytesAt(file: string, offset: number, bytes: Buffer): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.write(bytes, 0, bytes.length, offset);
  } finally {
    await handle.close();
  }
}

/** What databases, their tools and administrators do to files, and some things that they do not. */
async function disturb(data: string, roll: (below: number) => number, times: number): Promise<void> {
  const random = (length: number): Buffer => Buffer.from(Array.from({ length }, () => roll(256)));
  const fallocate = async (...args: readonly string[]): Promise<void> => {
    // Not every file system can do each of these; what it cannot do changes nothing.
    await systemExec.run({ argv: ['fallocate', ...args], timeoutMs });
  };
  for (let turn = 0; turn < times; turn += 1) {
    const names = (await readdir(data)).filter((name) => !name.startsWith('keep') && name !== 'sub').toSorted();
    const file = join(data, names[roll(names.length)] ?? 'fresh');
    const other = join(data, names[roll(names.length)] ?? 'other');
    if (names.length === 0) await writeFile(file, random(500));
    const { size } = await lstat(file);
    const offset = roll(Math.max(1, size));
    const length = 1 + roll(20_000);
    const range = ['-o', `${offset}`, '-l', `${length}`];
    switch (roll(18)) {
      case 0:
        await truncate(file, offset);
        break;
      case 1:
        await truncate(file, size + roll(60_000));
        break;
      case 2:
        await rm(file);
        break;
      case 3:
        await writeFile(join(data, `new ${turn} ${roll(1000)}`), random(roll(30_000)));
        break;
      case 4:
        await rename(file, other);
        break;
      case 5:
        // The name lives on, the file does not.
        await rm(file);
        await writeFile(file, random(roll(30_000)));
        break;
      case 6:
        await rename(file, `${file}.old`);
        await rename(other === file ? `${file}.old` : other, file);
        break;
      case 7:
        await systemExec.run({ argv: ['ln', '-f', file, join(data, `link ${roll(4)}`)], timeoutMs });
        break;
      case 8:
        await systemExec.run({ argv: ['cp', '--reflink=auto', file, join(data, `copy ${roll(4)}`)], timeoutMs });
        break;
      case 9:
        await fallocate('-p', ...range, file);
        break;
      case 10:
        await fallocate('-z', ...range, file);
        break;
      case 11:
        await fallocate('-n', '-o', `${size}`, '-l', `${length * 4}`, file);
        break;
      case 12:
        await fallocate(...range, file);
        break;
      case 13:
        await bytesAt(file, size, random(length));
        break;
      default:
        await bytesAt(file, offset, random(length));
    }
    if (roll(12) === 0) await systemExec.run({ argv: ['sync', '-f', data], timeoutMs });
  }
}

/** Every byte that differs between the two snapshots must be told of, for each file of the newer one. */
async function assertNoneMissed(
  data: string,
  older: OpenSnapshot,
  newer: OpenSnapshot,
  changes: ChangedBlocks,
  about: string,
): Promise<{ readonly told: number; readonly untold: number }> {
  let [told, untold] = [0, 0];
  for (const name of await readdir(newer.at(data) ?? '', { recursive: true })) {
    const original = join(data, name);
    const newerPath = newer.at(original) ?? '';
    const answer = await changes.of(original);
    if (!(await lstat(newerPath)).isFile()) {
      assert.equal(answer, undefined, `${about}: ${name} is no file`);
      continue;
    }
    if (answer === undefined) {
      untold += 1;
      continue;
    }
    told += 1;
    const olderPath = older.at(original);
    assert.ok(olderPath !== undefined, `${about}: ${name} is not in the base`);
    const stats = older.statOf?.(original) ?? (await lstat(olderPath, { bigint: true }));
    assert.deepEqual(
      [answer.base.size, answer.base.mtimeNs, answer.base.ctimeNs],
      [stats.size, stats.mtimeNs, stats.ctimeNs],
    );
    assert.equal(answer.base.inode, 'ino' in stats ? stats.ino : stats.inode);
    const [was, is] = [await readFile(olderPath), await readFile(newerPath)];
    assert.deepEqual(answer.ranges, normalize(answer.ranges), `${about}: ${name}: not in order`);
    assert.ok(
      answer.ranges.every(({ offset, length }) => offset >= 0 && offset + length <= is.length),
      `${about}: ${name}: behind its end`,
    );
    for (let offset = 0; offset < is.length; offset += 1) {
      const same = offset < was.length && was[offset] === is[offset];
      assert.ok(same || covers(answer.ranges, offset, 1), `${about}: byte ${offset} of ${name} was missed`);
    }
  }
  return { told, untold };
}

/** The tests of `changedSince`, as a part of a provider's suite; skipped for one that cannot tell. */
export function changedBlocksTests(setUp: SetUp): void {
  const tells = async (t: TestContext, snapshot: OpenSnapshot): Promise<boolean> => {
    if (snapshot.changedSince !== undefined) return true;
    t.skip('this provider cannot tell what changed');
    return false;
  };

  it('tells what changed since an older snapshot, and nothing of a file that was new or untouched', async (t) => {
    const megabyte = Buffer.alloc(1024 * 1024, 7);
    const set = await setUp(t, async (data) => {
      for (const name of ['big', 'untouched', 'grown', 'shrunk', 'gone']) await writeFile(join(data, name), megabyte);
      await writeFile(join(data, 'became'), 'a file');
      await mkdir(join(data, 'odd dir'));
      await writeFile(join(data, 'odd dir', 'ü\\ 1'), megabyte);
    });
    if (set === undefined) return;
    const { data } = set;
    const base = await cutAs(t, set, '1');
    await bytesAt(join(data, 'big'), 300_000, Buffer.from('other'));
    await bytesAt(join(data, 'odd dir', 'ü\\ 1'), 300_000, Buffer.from('other'));
    await bytesAt(join(data, 'grown'), megabyte.length, Buffer.alloc(10_000, 8));
    await truncate(join(data, 'shrunk'), 1000);
    await rm(join(data, 'gone'));
    await writeFile(join(data, 'added'), 'new');
    await rm(join(data, 'became'));
    await mkdir(join(data, 'became'));
    const ref = await cutAs(t, set, '2');
    await using now = await set.again().open(ref);
    if (!(await tells(t, now))) return;
    await using before = await set.again().open(base);
    await using changes = await now.changedSince?.(base, signal());
    assert.ok(changes !== undefined, 'two snapshots of one volume, one after the other, must be comparable');
    assert.notEqual(changes.source, '');
    await assertNoneMissed(data, before, now, changes, 'by hand');
    for (const name of ['big', 'odd dir/ü\\ 1']) {
      const answer = await changes.of(join(data, name));
      assert.ok(answer !== undefined && covers(answer.ranges, 300_000, 5), name);
      assert.ok(totalBytes(answer.ranges) < megabyte.length / 4, 'a small change must not make the whole file count');
    }
    assert.deepEqual((await changes.of(join(data, 'untouched')))?.ranges, []);
    assert.deepEqual((await changes.of(join(data, 'shrunk')))?.base.size, BigInt(megabyte.length));
    for (const name of ['added', 'gone', 'became', 'none', '.', '../elsewhere']) {
      assert.equal(await changes.of(join(data, name)), undefined, name);
    }
  });

  it('misses no byte whatever was done to the files', async (t) => {
    const seed = Number(process.env['STILLPOINT_TEST_SEED'] ?? 20_260_102);
    const roll = dice(seed);
    const set = await setUp(t, async (data) => {
      await mkdir(join(data, 'sub'));
      await writeFile(join(data, 'sub', 'inner'), 'inner');
      for (const size of [0, 1, 100, 4096, 50_000, 200_001, 400_000]) {
        await writeFile(join(data, `file ${size}`), Buffer.alloc(size, 1 + (size % 200)));
      }
    });
    if (set === undefined) return;
    const rounds = process.env['STILLPOINT_TEST_FULL'] === '1' ? 24 : 6;
    const refs = [await cutAs(t, set, '00')];
    let [told, untold] = [0, 0];
    for (let round = 1; round <= rounds; round += 1) {
      await disturb(set.data, roll, 4 + roll(20));
      const ref = await cutAs(t, set, String(round).padStart(2, '0'));
      // Also over a snapshot in between, whose blocks may come free.
      const base = refs.at(round % 3 === 2 ? -2 : -1);
      assert.ok(base !== undefined);
      const middle = round % 3 === 2 ? refs.pop() : undefined;
      if (middle !== undefined) await set.again().delete(middle);
      refs.push(ref);
      await using now = await set.again().open(ref);
      if (!(await tells(t, now))) return;
      await using before = await set.again().open(base);
      await using changes = await now.changedSince?.(base, signal());
      assert.ok(changes !== undefined);
      const count = await assertNoneMissed(set.data, before, now, changes, `seed ${seed}, round ${round}`);
      told += count.told;
      untold += count.untold;
    }
    t.diagnostic(`${told} files told, ${untold} to be read whole`);
    assert.ok(told > rounds, 'some files lived from one snapshot to the next');
  });

  it('tells nothing against a snapshot that is gone, of another volume or of another provider', async (t) => {
    const set = await setUp(t, async (data) => writeFile(join(data, 'file'), Buffer.alloc(100_000, 1)));
    const other = await setUp(t, async (data) => writeFile(join(data, 'file'), Buffer.alloc(100_000, 2)));
    if (set === undefined || other === undefined) return;
    const base = await cutAs(t, set, '1');
    const stranger = await cutAs(t, other, '1');
    await using now = await set.again().open(await cutAs(t, set, '2'));
    if (!(await tells(t, now))) return;
    const refused = async (ref: SnapshotRef): Promise<void> => {
      const answer = await now.changedSince?.(ref, signal()).catch((error: unknown) => {
        assert.ok(error instanceof StillpointError, String(error));
        return undefined;
      });
      assert.equal(answer, undefined);
    };
    if (stranger.volume !== base.volume) await refused(stranger);
    await refused({ ...base, volume: `${base.volume}-other` });
    await refused({ ...base, provider: 'other' });
    await set.again().delete(base);
    await refused(base);
  });
}
