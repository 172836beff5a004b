import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MemoryStore } from '../../test/doubles/memory-store.ts';
import { makeRepository, never, temporaryDirectory } from '../../test/doubles/repository-fixture.ts';
import { codeOf, StillpointError } from '../model/errors.ts';
import { systemClock } from '../platform/clock.ts';
import type { NodeInfo, Progress, Repository, SaveReport, SaveRequest, TreeEntry } from './api.ts';
import { chunkSizes } from './chunk.ts';

const [chunk] = chunkSizes;

type Open = Extract<TreeEntry, { kind: 'stream' }>['open'];

function stream(at: string, open: Open): TreeEntry {
  return { kind: 'stream', at, open, mode: 0o640, mtimeNs: 1_700_000_000_123_456_789n, uid: 0, gid: 0 };
}

/** A fresh buffer each time would hide a maker that uses one again. */
function pieces(data: Buffer, length: number): Open {
  return async function* () {
    const reused = Buffer.alloc(length);
    for (let at = 0; at < data.length; at += length) {
      const size = data.copy(reused, 0, at, Math.min(at + length, data.length));
      yield reused.subarray(0, size);
      await Promise.resolve();
      reused.fill(0);
    }
  };
}

async function save(repository: Repository, more: Partial<SaveRequest>): Promise<SaveReport> {
  return await repository.save({
    entries: [],
    paths: ['/s'],
    tags: [],
    hostname: 'testhost',
    time: systemClock.now().wall,
    signal: never,
    ...more,
  });
}

async function backAgain(repository: Repository, snapshot: string, at: string): Promise<Buffer> {
  await using directory = await temporaryDirectory();
  const to = join(directory.path, 'out');
  await repository.restore({ snapshot, place: (original) => (original === at ? to : undefined), signal: never });
  return await readFile(to);
}

describe('a stream in a snapshot', () => {
  const sizes: readonly (readonly [string, number, number])[] = [
    ['nothing', 0, 1],
    ['one byte', 1, 1],
    ['a chunk less a byte', chunk - 1, 4096],
    ['a chunk exactly', chunk, 4096],
    ['a chunk in one piece', chunk, chunk],
    ['a chunk and a byte', chunk + 1, chunk + 1],
    ['two chunks and a half in one piece', 2.5 * chunk, 3 * chunk],
    ['many small pieces that fit no chunk', 2 * chunk + 77, 61],
  ];
  for (const [name, size, length] of sizes) {
    it(`comes back byte by byte: ${name}`, async () => {
      const repository = await makeRepository(new MemoryStore());
      const data = randomBytes(size);
      const { snapshot, bytes, files } = await save(repository, { entries: [stream('/s/one', pieces(data, length))] });
      assert.ok((await backAgain(repository, snapshot, '/s/one')).equals(data));
      assert.deepEqual([bytes.logical, bytes.read, files.total], [size, size, 1]);
      let node: NodeInfo | undefined;
      for await (const each of repository.nodes(snapshot)) if (each.path === '/s/one') node = each;
      assert.deepEqual([node?.type, node?.size, node?.mode], ['file', size, 0o640]);
      const report = await repository.check({ read: 'all', signal: never });
      assert.deepEqual(report.findings, []);
    });
  }

  it('is cut as the same file is, so that the two share their data', async () => {
    await using directory = await temporaryDirectory();
    const data = randomBytes(3 * chunk + 5);
    await writeFile(join(directory.path, 'file'), data);
    const repository = await makeRepository(new MemoryStore());
    const from = join(directory.path, 'file');
    await save(repository, { entries: [{ kind: 'path', at: '/s/file', from }] });
    const { bytes } = await save(repository, { entries: [stream('/s/stream', pieces(data, 1000))] });
    assert.ok(bytes.changed < chunk, `${bytes.changed} bytes were new`);
  });

  it('takes pieces of any length, empty ones too', async () => {
    const repository = await makeRepository(new MemoryStore());
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 40 }), async (list) => {
        const open: Open = async function* () {
          yield* list;
          await Promise.resolve();
        };
        const { snapshot } = await save(repository, { entries: [stream('/s', open)] });
        assert.ok((await backAgain(repository, snapshot, '/s')).equals(Buffer.concat(list)));
      }),
      { numRuns: 25 },
    );
  });

  it('leaves no snapshot when it fails in the middle', async () => {
    const repository = await makeRepository(new MemoryStore());
    const open: Open = async function* () {
      yield randomBytes(2 * chunk);
      await Promise.resolve();
      throw new StillpointError('command-failed', 'the engine broke off', { hint: 'look' });
    };
    const entries = [stream('/s/a', pieces(randomBytes(chunk), 999)), stream('/s/b', open)];
    await assert.rejects(save(repository, { entries }), { code: 'command-failed', message: 'the engine broke off' });
    assert.deepEqual(await repository.snapshots(), []);
    const kept = randomBytes(5);
    const { snapshot } = await save(repository, { entries: [stream('/s', pieces(kept, 5))] });
    assert.ok((await backAgain(repository, snapshot, '/s')).equals(kept));
    assert.deepEqual((await repository.check({ read: 'all', signal: never })).damagedSnapshots, []);
  });

  it('ends where the save is cancelled, and its maker is told', async () => {
    const repository = await makeRepository(new MemoryStore());
    const controller = new AbortController();
    let told = false;
    const open: Open = async function* () {
      try {
        for (let piece = 0; piece < 1000; piece++) {
          if (piece === 3) controller.abort();
          yield randomBytes(100);
          await Promise.resolve();
        }
      } finally {
        told = true;
      }
    };
    const work = save(repository, { entries: [stream('/s', open)], signal: controller.signal });
    assert.equal(codeOf(await work.catch((error: unknown) => error)), 'cancelled');
    assert.equal(told, true);
    assert.deepEqual(await repository.snapshots(), []);
  });

  it('is read once, after the files, the record last, however they are given', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'live'), 'rows');
    const repository = await makeRepository(new MemoryStore());
    const order: string[] = [];
    const named = (at: string): TreeEntry =>
      stream(at, async function* () {
        order.push(at);
        yield Buffer.from(at);
        await Promise.resolve();
      });
    const { snapshot } = await save(repository, {
      entries: [{ kind: 'path', at: '/zz/live', from: join(directory.path, 'live') }],
      last: () => {
        order.push('last');
        return Promise.resolve([
          named('/.stillpoint/point.json'),
          named('/.stillpoint/levels/0010-b'),
          named('/.stillpoint/levels/0002-z'),
          named('/.stillpoint/levels/0000-x'),
        ]);
      },
    });
    assert.deepEqual(order, [
      'last',
      '/.stillpoint/levels/0000-x',
      '/.stillpoint/levels/0002-z',
      '/.stillpoint/levels/0010-b',
      '/.stillpoint/point.json',
    ]);
    const record = await repository.readFile(snapshot, '/.stillpoint/point.json');
    assert.equal(Buffer.from(record ?? []).toString(), '/.stillpoint/point.json');
    assert.equal((await backAgain(repository, snapshot, '/zz/live')).toString(), 'rows');
  });

  it('fails the save from the record too, without a snapshot', async () => {
    const repository = await makeRepository(new MemoryStore());
    const refusing = stream('/.stillpoint/point.json', async function* () {
      await Promise.resolve();
      yield Buffer.alloc(0);
      throw new StillpointError('verdict-too-weak', 'the engine did not say that it was done', { hint: 'look' });
    });
    const last = (): Promise<readonly TreeEntry[]> => Promise.resolve([refusing]);
    const entries = [stream('/s', pieces(randomBytes(10), 3))];
    await assert.rejects(save(repository, { entries, last }), { code: 'verdict-too-weak' });
    assert.deepEqual(await repository.snapshots(), []);
  });

  it('moves the progress on although nobody knew its size', async () => {
    const repository = await makeRepository(new MemoryStore());
    const seen: Progress[] = [];
    const entries = [stream('/s', pieces(randomBytes(10_000), 1000))];
    await save(repository, { entries, onProgress: (progress) => seen.push(progress) });
    assert.equal(seen.at(-1)?.bytesDone, 10_000);
    assert.ok(
      seen.every(
        (each, index) => each.bytesDone <= each.bytesTotal && each.bytesDone >= (seen[index - 1]?.bytesDone ?? 0),
      ),
    );
  });

  it('cannot have anything below it', async () => {
    const repository = await makeRepository(new MemoryStore());
    const entries = [stream('/s', pieces(Buffer.alloc(0), 1)), stream('/s/below', pieces(Buffer.alloc(0), 1))];
    await assert.rejects(save(repository, { entries }), { code: 'io' });
    assert.deepEqual(await repository.snapshots(), []);
  });
});
