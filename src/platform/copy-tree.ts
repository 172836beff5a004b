import { copyFile, lstat, mkdir, open, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { constants } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { codeOf, StillpointError } from '../model/errors.ts';
import type { FileStat, RequiredPath } from '../model/storage.ts';
import { fileStatOf, isWithin } from './files.ts';

/** A source file's identity before it was copied, as lstat gave it. Times in nanoseconds since 1970. */
export type TreeStat = FileStat;

export interface TreeEntry {
  readonly path: string;
  readonly stat: TreeStat;
}

/** What lies in a copied tree. `vanished`: seen in a directory, gone when its turn came. `skipped`: sockets, pipes, devices. */
export interface TreeManifest {
  readonly entries: ReadonlyMap<string, TreeStat>;
  readonly vanished: readonly string[];
  readonly skipped: readonly string[];
}

/** Copies one regular file that must not exist yet and returns the copy's size. */
export type FileCopier = (from: string, to: string, stat: TreeStat, signal: AbortSignal) => Promise<bigint>;

const manifestName = 'manifest.jsonl';
const filesName = 'root';
const schema = 'stillpoint.tree/1';

/** Undefined when there is nothing of that name (any more). */
async function statOf(path: string): Promise<TreeStat | undefined> {
  try {
    return fileStatOf(await lstat(path, { bigint: true }));
  } catch (error) {
    if (vanishedBy(error)) return undefined;
    throw error;
  }
}

function vanishedBy(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR';
}

/** Runs `work` over a list that may grow meanwhile, `width` at a time; the first failure stops the rest and is thrown. */
async function inParallel<T>(width: number, items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  let failed = false;
  const lane = async (): Promise<void> => {
    while (!failed && next < items.length) {
      const item = items[next++];
      if (item === undefined) continue;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: width }, lane));
  const broken = lanes.find((result) => result.status === 'rejected');
  if (broken !== undefined) throw broken.reason;
}

/**
 * Everything that recovery needs of a path, parents before children, at the time when it is looked at. Left out: what `leftOut` names,
 * and everything below a directory in `without`. A file's companions come after it. Files that vanish meanwhile are not listed.
 */
export async function* walkTree(
  required: RequiredPath,
  without: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<TreeEntry, void, undefined> {
  const top = await statOf(required.path);
  if (top === undefined) {
    throw new StillpointError('io', `${required.path} is missing`, {
      hint: 'the engine named this path; check that it is mounted',
    });
  }
  yield { path: required.path, stat: top };
  if (top.type === 'directory') {
    const entries = new Set(required.leftOut.filter(({ match }) => match === 'entry').map((left) => left.relative));
    const contents = new Set(required.leftOut.filter(({ match }) => match === 'contents').map((left) => left.relative));
    const directories = contents.has('.') ? [] : [required.path];
    for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
      signal.throwIfAborted();
      let names: string[];
      try {
        names = await readdir(directory);
      } catch (error) {
        if (vanishedBy(error)) continue;
        throw error;
      }
      for (const name of names) {
        const path = join(directory, name);
        const below = relative(required.path, path);
        if (entries.has(below) || without.some((other) => isWithin(path, other))) continue;
        const stat = await statOf(path);
        if (stat === undefined) continue;
        yield { path, stat };
        if (stat.type === 'directory' && !contents.has(below)) directories.push(path);
      }
    }
  }
  for (const companion of required.companions) {
    const stat = await statOf(companion);
    if (stat !== undefined) yield { path: companion, stat };
  }
}

/**
 * Copies everything of a required path into the empty directory `at` and writes the manifest last: a directory without one is a copy
 * that was never finished. The files of a directory are taken `width` at a time; a single file comes before its companions, and those
 * are looked for only then. A file that vanishes on the way is noted, for the engine's recovery to judge. Nothing is synced.
 */
export async function copyTree(request: {
  readonly required: RequiredPath;
  readonly at: string;
  readonly without: readonly string[];
  readonly copyFile: FileCopier;
  readonly width: number;
  readonly signal: AbortSignal;
}): Promise<TreeManifest> {
  const { required, at, signal } = request;
  const entries = new Map<string, TreeStat>();
  const vanished: string[] = [];
  const skipped: string[] = [];
  const place = (path: string): string => join(at, filesName, path);
  await mkdir(dirname(place(required.path)), { recursive: true, mode: 0o700 });

  const take = async ({ path, stat }: TreeEntry): Promise<void> => {
    signal.throwIfAborted();
    try {
      const size = await takeOne(path, place(path), stat, request.copyFile, signal);
      // A file that grew or shrank since lstat: the size of what was copied, so that metadata and content agree.
      if (size === undefined) skipped.push(path);
      else entries.set(path, { ...stat, size });
    } catch (error) {
      if (!vanishedBy(error) || path === required.path) throw error;
      vanished.push(path);
    }
  };

  const companions = new Set(required.companions);
  const files: TreeEntry[] = [];
  for await (const entry of walkTree(required, request.without, signal)) {
    // In step with the walk for directories, which must be there before what is in them, and for a file and its companions, whose
    // order matters: a journal that is looked at before its database could miss pages that the database's copy already has.
    if (entry.stat.type === 'directory' || entry.path === required.path) await take(entry);
    else if (companions.has(entry.path)) {
      await inParallel(request.width, files.splice(0), take);
      await mkdir(dirname(place(entry.path)), { recursive: true, mode: 0o700 });
      await take(entry);
    } else files.push(entry);
  }
  await inParallel(request.width, files, take);
  signal.throwIfAborted();
  const manifest = { entries, vanished, skipped };
  await writeFile(join(at, manifestName), formatManifest(manifest), { flag: 'wx', mode: 0o600 });
  return manifest;
}

async function takeOne(
  from: string,
  to: string,
  stat: TreeStat,
  copy: FileCopier,
  signal: AbortSignal,
): Promise<bigint | undefined> {
  switch (stat.type) {
    case 'directory':
      await mkdir(to, { mode: 0o700 });
      return stat.size;
    case 'symlink':
      await symlink(await readlink(from), to);
      return stat.size;
    case 'file':
      return await copy(from, to, stat, signal);
    case 'other':
      return undefined;
  }
}

function formatManifest(manifest: TreeManifest): string {
  const lines: unknown[] = [{ schema, vanished: manifest.vanished, skipped: manifest.skipped }];
  for (const [path, s] of manifest.entries) {
    const big = [s.size, s.inode, s.device, s.links, s.mtimeNs, s.ctimeNs, s.atimeNs].map(String);
    lines.push([path, s.type, s.mode, s.uid, s.gid, ...big]);
  }
  lines.push({ end: manifest.entries.size });
  return `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`;
}

type Row = readonly [string, TreeStat['type'], number, number, number, ...(readonly string[])];

function parseManifest(text: string): TreeManifest | undefined {
  const lines = text.trimEnd().split('\n');
  // Written by this file only, and checked as a whole by its first and last line: no need to doubt each value between them.
  const head = JSON.parse(lines.shift() ?? '') as { schema: string; vanished: string[]; skipped: string[] };
  const tail = JSON.parse(lines.pop() ?? '') as { end: number };
  if (head.schema !== schema || tail.end !== lines.length) return undefined;
  const entries = new Map<string, TreeStat>();
  for (const line of lines) {
    const [path, type, mode, uid, gid, ...big] = JSON.parse(line) as Row;
    const [size = 0n, inode = 0n, device = 0n, links = 0n, mtimeNs = 0n, ctimeNs = 0n, atimeNs = 0n] = big.map(BigInt);
    entries.set(path, { type, size, mode, uid, gid, inode, device, links, mtimeNs, ctimeNs, atimeNs });
  }
  return { entries, vanished: head.vanished, skipped: head.skipped };
}

/** A finished copy: where an original's copy lies, and its metadata at the cut. Throws `io` for one that was never finished. */
export async function openTree(at: string): Promise<{
  readonly at: (original: string) => string | undefined;
  readonly statOf: (original: string) => TreeStat | undefined;
  readonly manifest: TreeManifest;
}> {
  let manifest: TreeManifest | undefined;
  try {
    manifest = parseManifest(await readFile(join(at, manifestName), 'utf8'));
  } catch (error) {
    if (!(error instanceof SyntaxError) && !vanishedBy(error)) throw error;
  }
  if (manifest === undefined) {
    throw new StillpointError('io', `the copy ${at} was never finished`, {
      hint: '`stillpoint recover` removes what a dead run left',
    });
  }
  const { entries } = manifest;
  return {
    at: (original) => (entries.has(original) ? join(at, filesName, original) : undefined),
    statOf: (original) => entries.get(original),
    manifest,
  };
}

/** Shares the blocks of the file on xfs and btrfs. Fails where that is not possible; never falls back to copying. */
export const reflinkFile: FileCopier = async (from, to) => {
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
  return (await lstat(to, { bigint: true })).size;
};

const chunkBytes = 1024 * 1024;
const holeBytes = 64 * 1024;
const zeros = Buffer.alloc(holeBytes);

/**
 * Copies bytes, stops between two chunks when the signal fires, and leaves holes where the original has some. Ends at the size that
 * the file had when it was opened: one that grows faster than it is read would never end.
 */
export const plainFile: FileCopier = async (from, to, stat, signal) => {
  const source = await open(from, 'r');
  try {
    const { size, blocks } = await source.stat({ bigint: true });
    const sparse = blocks * 512n < size;
    const target = await open(to, 'wx', stat.mode & 0o777);
    try {
      const buffer = Buffer.allocUnsafe(
        Number(size < BigInt(chunkBytes) ? (size > 0n ? size : 1n) : BigInt(chunkBytes)),
      );
      let done = 0;
      while (BigInt(done) < size) {
        signal.throwIfAborted();
        const { bytesRead } = await source.read(buffer, 0, Math.min(buffer.length, Number(size) - done), done);
        if (bytesRead === 0) break;
        for (let start = 0; start < bytesRead; start += sparse ? holeBytes : bytesRead) {
          const part = buffer.subarray(start, sparse ? Math.min(start + holeBytes, bytesRead) : bytesRead);
          if (sparse && part.equals(zeros.subarray(0, part.length))) continue;
          await writeFully(target, part, done + start);
        }
        done += bytesRead;
      }
      await target.truncate(done);
      return BigInt(done);
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
};

async function writeFully(target: Awaited<ReturnType<typeof open>>, data: Buffer, position: number): Promise<void> {
  for (let done = 0; done < data.length;) {
    const { bytesWritten } = await target.write(data, done, data.length - done, position + done);
    done += bytesWritten;
  }
}
