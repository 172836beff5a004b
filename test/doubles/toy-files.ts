import { existsSync } from 'node:fs';
import { appendFile, open, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import type { MemberObservation } from '../../src/model/hold.ts';
import type { JournalStart, Marks } from '../../src/model/journal.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { tryLock } from '../../src/platform/process-lock.ts';

/** What lies in the directory of a toy: rows of numbers by part, a journal of them if it has the directory for one, and marks of its state. */
export const toyConfig = z.strictObject({
  directory: z.string(),
  /** Each has its own file of rows, `<part>.toy`, and its own journal. */
  parts: z.array(z.string()).optional(),
  /**
   * `lies`: says that it froze and did not. `loses`: its hold ends by itself before it is asked. `hangs`: never answers a freeze. The
   * others are of its own backup (what a stream or the last answer does wrong) and of rolling forward.
   */
  fault: z
    .enum([
      'none',
      'lies',
      'loses',
      'hangs',
      'will-not-start',
      'ends-early',
      'stream-fails',
      'unfinished',
      'answers-nonsense',
      'misfit',
      'full-instead',
      'refuses-journal',
    ])
    .default('none'),
});

export type ToyConfig = z.output<typeof toyConfig>;

export const toyFiles = {
  rows: 'rows.toy',
  canary: 'canary.toy',
  lock: 'toy.lock',
  epoch: 'epoch.toy',
  hold: 'hold.toy',
  /** `stopped by <hold>` while the users of the toy are stopped. */
  users: 'users.toy',
  /** There while the toy backs itself up. */
  backup: 'backup.toy',
  /** Makes every start of the users fail. */
  broken: 'broken.toy',
  /** JSON: files of the journal that somebody still needs. */
  needed: 'needed.toy',
  /** Lines of `<ms> <severity> <text>`. */
  log: 'log.toy',
  /** A line for each point that was confirmed. */
  confirmed: 'confirmed.toy',
  journal: 'journal',
} as const;

export const recordBytes = 16;

export function encodeRow(row: number): Buffer {
  const record = Buffer.alloc(recordBytes);
  record.writeBigUInt64LE(BigInt(row), 0);
  record.writeUInt32LE(crc32(record.subarray(0, 8)), 8);
  return record;
}

/** Undefined in place of a row whose checksum does not fit. */
export function decodeRows(data: Buffer): readonly (number | undefined)[] {
  const rows: (number | undefined)[] = [];
  for (let at = 0; at + recordBytes <= data.length; at += recordBytes) {
    const record = data.subarray(at, at + recordBytes);
    rows.push(record.readUInt32LE(8) === crc32(record.subarray(0, 8)) ? Number(record.readBigUInt64LE(0)) : undefined);
  }
  return rows;
}

export async function readRows(file: string): Promise<readonly (number | undefined)[]> {
  return decodeRows(await readFile(file));
}

export function partsOf({ parts }: Pick<ToyConfig, 'parts'>): readonly string[] {
  return parts ?? ['rows'];
}

export function fileOf(directory: string, part: string): string {
  return join(directory, `${part}.toy`);
}

/** Waits for the engine's one lock, as every change does. */
export async function locked<T>(directory: string, work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; attempt < 500; attempt++) {
    const lock = tryLock(join(directory, toyFiles.lock));
    if (lock === undefined) {
      await systemClock.sleep(5);
      continue;
    }
    try {
      return await work();
    } finally {
      lock.release();
    }
  }
  throw new Error('the toy stays locked');
}

/** One durable row, or false while the engine is frozen or its users are stopped. Where there is a journal, the row is in it first. */
export async function writeRow(directory: string, file: string, row: number): Promise<boolean> {
  const lock = tryLock(join(directory, toyFiles.lock));
  if (lock === undefined) return false;
  try {
    if (existsSync(join(directory, toyFiles.users))) return false;
    const journal = (await journalNames(directory, file.replace(/\.toy$/, ''))).at(-1);
    if (journal !== undefined) await append(journal.path, `${row} ${systemClock.wallMs()}\n`);
    await append(join(directory, file), encodeRow(row));
    return true;
  } finally {
    lock.release();
  }
}

async function append(path: string, data: string | Buffer): Promise<void> {
  await using handle = await open(path, 'a');
  await handle.writeFile(data);
  await handle.sync();
}

interface JournalName {
  readonly name: string;
  readonly path: string;
  readonly number: number;
}

/** Oldest first; the last is the one written to. */
export async function journalNames(directory: string, part: string): Promise<readonly JournalName[]> {
  const below = join(directory, toyFiles.journal);
  if (!existsSync(below)) return [];
  const names = (await readdir(below)).filter((name) => name.replace(/\.\d+$/, '') === part).toSorted();
  return names.map((name) => ({ name, path: join(below, name), number: Number(name.slice(part.length + 1)) }));
}

/** Begins a new journal file in every part, the first one too. The caller has the lock. */
export async function beginJournals(directory: string, parts: readonly string[]): Promise<void> {
  for (const part of parts) {
    const number = ((await journalNames(directory, part)).at(-1)?.number ?? 0) + 1;
    const name = `${part}.${String(number).padStart(6, '0')}`;
    const head = `${await countRows(directory, part)} ${systemClock.now().wall}\n`;
    await appendFile(join(directory, toyFiles.journal, name), head, { flag: 'ax' });
  }
}

export async function countRows(directory: string, part: string): Promise<number> {
  return Math.floor((await stat(fileOf(directory, part))).size / recordBytes);
}

/** How many rows each part has: the toy's counters. */
export async function marksOf(config: ToyConfig): Promise<Marks> {
  const counts = partsOf(config).map(async (part) => [part, String(await countRows(config.directory, part))] as const);
  return Object.fromEntries(await Promise.all(counts));
}

/** Where rolling forward from this very state begins. The caller has the lock. */
export async function startsOf(config: ToyConfig): Promise<readonly JournalStart[]> {
  const starts: JournalStart[] = [];
  for (const part of partsOf(config)) {
    const current = (await journalNames(config.directory, part)).at(-1);
    if (current === undefined) continue;
    starts.push({ part, file: current.name, position: String(await countRows(config.directory, part)) });
  }
  return starts;
}

async function epochOf(directory: string): Promise<string> {
  return existsSync(join(directory, toyFiles.epoch))
    ? (await readFile(join(directory, toyFiles.epoch), 'utf8')).trim()
    : '1';
}

export async function observe(directory: string): Promise<MemberObservation> {
  return { member: 'toy', role: 'standalone', epoch: await epochOf(directory) };
}
