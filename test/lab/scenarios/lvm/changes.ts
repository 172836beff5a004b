import { randomBytes, randomInt } from 'node:crypto';
import { lstat, mkdir, open, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SnapshotRef } from '../../../../src/model/storage.ts';
import type { ChangedBlocks, OpenSnapshot, SnapshotProvider } from '../../../../src/ports/snapshot-provider.ts';
import { guest } from '../../guest/guest.ts';
import { cutOne, prepared, signal, stateDirectory, thin } from './common.ts';

const mib = 1024 ** 2;
const block = 4096;
const fileBytes = 192 * mib;
const perCluster = 20;
const clusterBytes = 48 * 1024;
const largestWrite = 8192;

export interface FileResult {
  readonly file: string;
  /** Blocks of 4 KiB: those that differ, those that were named although they do not, and those that differ and were not named. */
  readonly differing: number;
  readonly falselyNamed: number;
  readonly missed: number;
  readonly blocks: number;
  /** The older size, as told and as it is. */
  readonly baseSizeRight: boolean;
}

export interface Changes {
  readonly writes: number;
  readonly source: string;
  readonly files: readonly FileResult[];
  /** Of a file that is not in the base. */
  readonly ofNew: string;
  /** After a run that died with the pool's metadata held, and while somebody else holds it. */
  readonly afterCrash: string;
  readonly whileHeld: string;
  readonly heldByOther: boolean;
  readonly heldAtEnd: boolean;
}

const pool = 'vg0-pool-tpool';

/** Two snapshots with thousands of writes between them: what `changedSince` says is held against both files' bytes. */
export async function changes(mountPoint: string, count: number): Promise<Changes> {
  const data = join(mountPoint, 'changes');
  await mkdir(data);
  const file = (name: string): string => join(data, name);
  await fill(file('big'), fileBytes);
  for (const name of ['grown', 'shrunk', 'quiet', 'replaced', 'punched']) await fill(file(name), mib + 12_345);
  const provider = thin();
  const base = await cutOne(provider, await prepared(provider, data), 'stillpoint-changes-1');
  await scatter(file('big'), count);
  await append(file('grown'), 100_000);
  await truncate(file('shrunk'), 300_001);
  await replace(file('replaced'));
  await guest.check(['fallocate', '--punch-hole', '--offset', '65536', '--length', '131072', file('punched')]);
  await fill(file('new'), mib);
  const now = await cutOne(provider, await prepared(provider, data), 'stillpoint-changes-2');
  try {
    return await compare(provider, { base, now, data, count });
  } finally {
    for (const ref of [now, base]) await thin().delete(ref);
    await rm(data, { recursive: true });
  }
}

interface Pair {
  readonly base: SnapshotRef;
  readonly now: SnapshotRef;
  readonly data: string;
  readonly count: number;
}

async function compare(provider: SnapshotProvider, { base, now, data, count }: Pair): Promise<Changes> {
  await using newer = await provider.open(now);
  await using older = await provider.open(base);
  const ask = async (): Promise<ChangedBlocks | undefined> => await newer.changedSince?.(base, signal);
  const changed = await ask();
  if (changed === undefined) throw new Error('it could not be told what changed');
  const files: FileResult[] = [];
  for (const name of ['big', 'grown', 'shrunk', 'quiet', 'replaced', 'punched']) {
    files.push(await compareFile(changed, older, newer, join(data, name)));
  }
  const ofNew = (await changed.of(join(data, 'new'))) === undefined ? 'read whole' : 'ranges';
  await changed[Symbol.asyncDispose]();

  await guest.check(['dmsetup', 'message', pool, '0', 'reserve_metadata_snap']);
  const other = await answer(ask);
  const heldByOther = await isHeld();
  // The note that a run writes before it holds the metadata.
  await writeFile(join(stateDirectory, `thin-pool-${pool}.held`), '');
  const afterCrash = await answer(ask);
  return {
    ...{ writes: count, source: changed.source, files, ofNew, afterCrash, whileHeld: other, heldByOther },
    heldAtEnd: await isHeld(),
  };
}

async function answer(ask: () => Promise<ChangedBlocks | undefined>): Promise<string> {
  const changed = await ask();
  await changed?.[Symbol.asyncDispose]();
  return changed === undefined ? 'not told' : 'told';
}

async function isHeld(): Promise<boolean> {
  return (await guest.check(['dmsetup', 'status', pool])).split(' ')[6] !== '-';
}

async function compareFile(
  changed: ChangedBlocks,
  older: OpenSnapshot,
  newer: OpenSnapshot,
  path: string,
): Promise<FileResult> {
  const said = await changed.of(path);
  const [basePath, nowPath] = [older.at(path), newer.at(path)];
  if (said === undefined || basePath === undefined || nowPath === undefined) throw new Error(`nothing about ${path}`);
  const [before, after] = [await readFile(basePath), await readFile(nowPath)];
  const named = new Uint8Array(after.length);
  for (const { offset, length } of said.ranges) named.fill(1, offset, offset + length);
  let [differing, falselyNamed, missed] = [0, 0, 0];
  for (let start = 0; start < after.length; start += block) {
    const end = Math.min(start + block, after.length);
    const same = end <= before.length && before.compare(after, start, end, start, end) === 0;
    if (!same) differing += 1;
    const names = named.subarray(start, end);
    if (same && names.includes(1)) falselyNamed += 1;
    if (!same && !coversDifferences(before, after, named, start, end)) missed += 1;
  }
  const { size } = await lstat(basePath, { bigint: true });
  const blocks = Math.ceil(after.length / block);
  return { file: path, differing, falselyNamed, missed, blocks, baseSizeRight: said.base.size === size };
}

/** Byte by byte: a block of which only a part was named must not differ in the rest. */
function coversDifferences(before: Buffer, after: Buffer, named: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) if (before[at] !== after[at] && named[at] !== 1) return false;
  return true;
}

async function fill(file: string, bytes: number): Promise<void> {
  const handle = await open(file, 'w');
  for (let at = 0; at < bytes; at += mib) await handle.write(randomBytes(Math.min(mib, bytes - at)));
  await handle.sync();
  await handle.close();
}

/** Writes of odd sizes at odd places, in clusters, so that most of the pool's blocks stay as they are. */
async function scatter(file: string, count: number): Promise<void> {
  const handle = await open(file, 'r+');
  for (let done = 0; done < count; done += perCluster) {
    const centre = randomInt(fileBytes - clusterBytes - largestWrite);
    for (let one = 0; one < Math.min(perCluster, count - done); one += 1) {
      const bytes = randomBytes(randomInt(1, largestWrite));
      await handle.write(bytes, 0, bytes.length, centre + randomInt(clusterBytes));
    }
  }
  await handle.sync();
  await handle.close();
}

async function append(file: string, bytes: number): Promise<void> {
  const handle = await open(file, 'a');
  await handle.write(randomBytes(bytes));
  await handle.close();
}

/** Another file under the old name; its blocks may be those that the old one gave back. */
async function replace(file: string): Promise<void> {
  await rm(file);
  await guest.check(['sync', '-f', join(file, '..')]);
  await fill(`${file}.new`, 2 * mib);
  await rename(`${file}.new`, file);
}
