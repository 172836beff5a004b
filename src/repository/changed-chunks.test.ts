import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { lstat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MemoryStore } from '../../test/doubles/memory-store.ts';
import { longAfter, makeRepository, saveDirectory, temporaryDirectory } from '../../test/doubles/repository-fixture.ts';
import { normalize } from '../model/ranges.ts';
import type { ByteRange } from '../model/storage.ts';
import { toFileStat } from './source.ts';
import type { FileChanges, FileStat } from '../ports/snapshot-provider.ts';
import type { Repository, SaveReport, TreeEntry } from './api.ts';
import { chunksToRead, samplesOf } from './changed-chunks.ts';

const chunk = 128 * 1024;

async function statOf(path: string): Promise<FileStat> {
  return toFileStat(await lstat(path, { bigint: true }));
}

interface Edit {
  readonly offset: number;
  readonly length: number;
}

interface Saved {
  readonly repository: Repository;
  readonly path: string;
  readonly file: string;
  readonly base: FileStat;
  readonly content: Buffer;
  readonly first: SaveReport;
}

async function withBase(bytes: number, work: (saved: Saved) => Promise<void>): Promise<void> {
  await using source = await temporaryDirectory();
  const file = join(source.path, 'file');
  const content = randomBytes(bytes);
  await writeFile(file, content);
  const repository = await makeRepository(new MemoryStore());
  const first = await saveDirectory(repository, source.path);
  await work({ repository, path: source.path, file, base: await statOf(file), content, first });
}

/** The parent's cut lies before the file, so that times alone never call it unchanged. */
async function next(
  saved: Saved,
  changes: FileChanges | undefined,
): Promise<{ readonly report: SaveReport; readonly seen: unknown }> {
  let seen: unknown;
  const entry: TreeEntry = {
    kind: 'path',
    at: saved.path,
    from: saved.path,
    changesOf: async (original) => (original === saved.file ? changes : undefined),
  };
  const report = await saveDirectory(saved.repository, saved.path, {
    entries: [entry],
    parent: { snapshot: saved.first.snapshot, cutAt: '2000-01-01T00:00:00Z' },
    last: async (what) => {
      seen = what;
      return [];
    },
  });
  return { report, seen };
}

async function isStored(saved: Saved, report: SaveReport, wanted: Buffer): Promise<void> {
  const stored = await saved.repository.readFile(report.snapshot, saved.file);
  assert.ok(Buffer.from(stored ?? '').equals(wanted), 'the point holds other bytes than the file');
}

describe('a save that is told what changed', () => {
  it('reads the changed chunks and a sample, and stores the file as it is', async () => {
    await withBase(20 * chunk + 17, async (saved) => {
      const content = Buffer.from(saved.content);
      content.fill(1, 3 * chunk + 5, 3 * chunk + 9);
      await writeFile(saved.file, content);
      const { report, seen } = await next(saved, { base: saved.base, ranges: [{ offset: 3 * chunk + 5, length: 4 }] });
      assert.equal(report.bytes.changed, chunk);
      assert.ok(report.bytes.read <= 2 * chunk && report.bytes.read > chunk, `${report.bytes.read}`);
      assert.deepEqual(Object.keys(seen ?? {}).toSorted(), ['byChanges', 'sampledBytes']);
      assert.deepEqual({ ...(seen as object), sampledBytes: 0 }, { byChanges: 1, sampledBytes: 0 });
      assert.equal(report.bytes.logical, content.length);
      await isStored(saved, report, content);
    });
  });

  it('stores every file as it is, whatever was written, cut off or added', async () => {
    const edits = fc.array(fc.record({ offset: fc.nat(6 * chunk), length: fc.integer({ min: 1, max: 2 * chunk }) }), {
      maxLength: 5,
    });
    await fc.assert(
      fc.asyncProperty(edits, fc.integer({ min: 1, max: 8 * chunk }), async (writes: readonly Edit[], size) => {
        await withBase(5 * chunk + 1000, async (saved) => {
          const content = Buffer.concat([saved.content, Buffer.alloc(4 * chunk)]).subarray(0, size);
          const ranges: ByteRange[] = [];
          for (const { offset, length } of writes) {
            if (offset >= size) continue;
            const end = Math.min(offset + length, size);
            randomBytes(end - offset).copy(content, offset);
            ranges.push({ offset, length: end - offset });
          }
          await writeFile(saved.file, content);
          const { report } = await next(saved, { base: saved.base, ranges: normalize(ranges) });
          await isStored(saved, report, content);
        });
      }),
      { numRuns: 40 },
    );
  });

  it('finds a map that calls a changed file unchanged, and keeps nothing of it', async () => {
    await withBase(10 * chunk, async (saved) => {
      await writeFile(saved.file, randomBytes(10 * chunk));
      await assert.rejects(next(saved, { base: saved.base, ranges: [] }), {
        code: 'changed-blocks-wrong',
        message: /the storage called it unchanged/,
      });
      assert.equal((await saved.repository.snapshots()).length, 1);
    });
  });

  it('reads all when the parent holds another file than the changes count from', async () => {
    await withBase(10 * chunk, async (saved) => {
      const content = randomBytes(10 * chunk);
      await writeFile(saved.file, content);
      for (const other of [{ inode: 1n }, { size: 5n }, { mtimeNs: 1n }, { ctimeNs: 1n }]) {
        const { report } = await next(saved, { base: { ...saved.base, ...other }, ranges: [] });
        assert.equal(report.bytes.read, content.length);
        await isStored(saved, report, content);
      }
    });
  });

  it('reads all when nothing is known', async () => {
    await withBase(4 * chunk, async (saved) => {
      const { report, seen } = await next(saved, undefined);
      assert.equal(report.bytes.read, 4 * chunk);
      assert.deepEqual(seen, { byChanges: 0, sampledBytes: 0 });
    });
  });

  it('does not ask for a file that is unchanged by its times', async () => {
    await withBase(4 * chunk, async (saved) => {
      const entry: TreeEntry = {
        kind: 'path',
        at: saved.path,
        from: saved.path,
        changesOf: () => Promise.reject(new Error('asked')),
      };
      const parent = { snapshot: saved.first.snapshot, cutAt: longAfter };
      const report = await saveDirectory(saved.repository, saved.path, { entries: [entry], parent });
      assert.equal(report.files.unchanged, 1);
    });
  });
});

describe('which chunks are read', () => {
  const base = (size: number): FileStat => ({
    type: 'file',
    size: BigInt(size),
    mode: 0,
    uid: 0,
    gid: 0,
    inode: 1n,
    device: 1n,
    links: 1n,
    mtimeNs: 0n,
    ctimeNs: 0n,
    atimeNs: 0n,
  });

  it('are those with a changed byte, and those at an end that moved', () => {
    assert.deepEqual(chunksToRead(100, 10, { base: base(100), ranges: [{ offset: 19, length: 2 }] }), [1, 2]);
    assert.deepEqual(chunksToRead(95, 10, { base: base(100), ranges: [] }), [9]);
    assert.deepEqual(chunksToRead(105, 10, { base: base(95), ranges: [] }), [9, 10]);
    assert.deepEqual(chunksToRead(0, 10, { base: base(95), ranges: [] }), []);
  });

  it('are sampled among the others: at least one, never one that is read anyway', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), fc.array(fc.nat(499)), (chunks, some) => {
        const toRead = [...new Set(some.filter((each) => each < chunks))];
        const samples = samplesOf(chunks, toRead);
        assert.equal(samples.size >= 1, chunks > toRead.length);
        assert.ok(samples.size <= Math.max(1, Math.ceil(toRead.length / 20)));
        for (const each of samples) assert.ok(each < chunks && !toRead.includes(each));
      }),
    );
    assert.deepEqual([...samplesOf(3, [0, 1], () => 0)], [2], 'also when chance never finds it');
  });
});
