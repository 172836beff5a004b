import { lstat } from 'node:fs/promises';
import { messageOf } from '../model/errors.ts';
import { changedByExtents, type ExtentMap } from '../model/extents.ts';
import type { Ranges } from '../model/ranges.ts';
import type { FileStat } from '../model/storage.ts';
import type { Exec } from './exec.ts';
import { fileStatOf } from './files.ts';
import { parseFiemap } from './parse-fiemap.ts';

const timeoutMs = 5 * 60_000;
/** About 80 bytes for each extent: three million of them. */
const maxOutputBytes = 256 * 1024 * 1024;
/** Of all arguments together the kernel takes 2 MiB at the least of common settings, and counts pointers too. */
const argumentChars = 64 * 1024;
const filesPerCommand = 200;

export interface Mapped {
  readonly maps: ReadonlyMap<string, ExtentMap>;
  /** What the command said about those that are missing. */
  readonly said: string;
}

/**
 * Where the blocks of regular files lie, by FIEMAP, after writing out what the kernel still holds of them: xfs keeps blocks that are not
 * yet written where no map shows them. A file that cannot be told about is missing. Throws only what cannot be about a file: no filefrag,
 * a signal that fired.
 */
export async function fileExtents(exec: Exec, files: readonly string[], signal: AbortSignal): Promise<Mapped> {
  const maps = new Map<string, ExtentMap>();
  const said: string[] = [];
  const regular: string[] = [];
  for (const file of new Set(files)) {
    const why = await whyNotMapped(file);
    if (why === undefined) regular.push(file);
    else said.push(why);
  }
  for (const some of inBatches(regular)) {
    // In units of one byte: with a larger one, two places inside the same unit could not be told apart.
    const argv = ['filefrag', '-s', '-v', '-b1', '--', ...some] as const;
    const result = await exec.run({ argv, timeoutMs, signal, maxOutputBytes });
    signal.throwIfAborted();
    // An exit code other than 0 means that a file was missing; one that was ended has not told all.
    const output = result.exitCode === null || result.timedOut ? '' : result.stdout;
    for (const [file, map] of parseFiemap(output, some)) maps.set(file, map);
    if (result.exitCode !== 0) said.push(result.stderr.trim());
  }
  return { maps, said: said.join('; ') };
}

/** filefrag opens what it is given, and waits for ever at a pipe. A newline in a name could pass for the next line of its output. */
async function whyNotMapped(file: string): Promise<string | undefined> {
  if (file.includes('\n')) return `${JSON.stringify(file)} has a newline in its name`;
  try {
    return (await lstat(file)).isFile() ? undefined : `${file} is no regular file`;
  } catch (error) {
    return messageOf(error);
  }
}

function* inBatches(files: readonly string[]): Generator<readonly string[]> {
  let batch: string[] = [];
  let chars = 0;
  for (const file of files) {
    if (batch.length > 0 && (batch.length === filesPerCommand || chars + file.length > argumentChars)) {
      yield batch;
      [batch, chars] = [[], 0];
    }
    batch.push(file);
    chars += file.length;
  }
  if (batch.length > 0) yield batch;
}

/** One file in two snapshots of one file system (xfs, btrfs) that share blocks. Sizes in bytes. */
export interface FilePair {
  readonly base: { readonly path: string; readonly size: number };
  readonly now: { readonly path: string; readonly size: number };
}

/**
 * Which bytes of the newer copy may differ from the older one; undefined for a pair that cannot be told about, and why. Both copies must
 * exist and stay as they are.
 */
export async function changedByFiemap(
  exec: Exec,
  pairs: readonly FilePair[],
  signal: AbortSignal,
): Promise<{ readonly changed: readonly (Ranges | undefined)[]; readonly said: string }> {
  const paths = pairs.flatMap(({ base, now }) => [base.path, now.path]);
  const { maps, said } = await fileExtents(exec, paths, signal);
  const changed = pairs.map(({ base, now }) => {
    const [older, newer] = [maps.get(base.path), maps.get(now.path)];
    if (older === undefined || newer === undefined) return undefined;
    return changedByExtents({ base: older, now: newer, baseSize: base.size, nowSize: now.size });
  });
  return { changed, said };
}

/** One file in two snapshots of one volume, and where the volume differs between them, in bytes of the file system. */
export interface VolumePair {
  readonly base: string;
  readonly now: string;
  readonly changedPhysical: Ranges;
}

/** Which bytes of the newer copy may differ from the older one, whose identity comes with them; or why that cannot be told. */
export async function changedOnVolume(
  exec: Exec,
  { base, now, changedPhysical }: VolumePair,
  signal: AbortSignal,
): Promise<{ readonly base: FileStat; readonly ranges: Ranges } | { readonly said: string }> {
  const [older, newer] = [await lstat(base, { bigint: true }), await lstat(now, { bigint: true })];
  for (const stats of [older, newer]) {
    if (!stats.isFile() || stats.size > BigInt(Number.MAX_SAFE_INTEGER)) return { said: 'it is no regular file' };
  }
  const { maps, said } = await fileExtents(exec, [base, now], signal);
  const [baseMap, nowMap] = [maps.get(base), maps.get(now)];
  if (baseMap === undefined || nowMap === undefined) return { said };
  const sizes = { baseSize: Number(older.size), nowSize: Number(newer.size) };
  return {
    base: fileStatOf(older),
    ranges: changedByExtents({ base: baseMap, now: nowMap, ...sizes, changedPhysical }),
  };
}
