import type { BigIntStats } from 'node:fs';
import type { FileStat } from '../model/storage.ts';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, open, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { codeOf } from '../model/errors.ts';

/** Makes renames, creations and deletions in a directory survive a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * The whole file or the old one, never a part, also after a power cut: file and directory are synced when this returns. Throws what
 * the operating system throws (ENOSPC...) and then leaves nothing behind. Do not call it for a file on a disk that is frozen.
 */
export async function writeDurably(path: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const handle = await open(temporary, 'wx', mode);
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(directory);
}

/** Whether there is anything of that name, a dangling link included. Throws what is neither yes nor no (EACCES...). */
export async function pathExists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

/** In hex. Reads the file once, in pieces. */
export async function sha256OfFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file) as AsyncIterable<Uint8Array>) hash.update(piece);
  return hash.digest('hex');
}

/** True if `path` is `directory` or lies below it. Both absolute and normal. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}

/** The mount points of /proc/self/mountinfo's text: fifth field, with blank, tab, newline and backslash as octal escapes (proc(5)). */
export function parseMountPoints(mountinfo: string): readonly string[] {
  return mountinfo
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' ')[4] ?? '')
    .map((field) => field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCodePoint(parseInt(octal, 8))));
}

/** Where other file systems are mounted below a directory (itself not counted): no snapshot of the directory holds them. */
export async function mountPointsBelow(directory: string): Promise<readonly string[]> {
  const all = parseMountPoints(await readFile('/proc/self/mountinfo', 'utf8'));
  return [...new Set(all)].filter((mountPoint) => mountPoint !== directory && isWithin(mountPoint, directory));
}

/** What lstat said, in our words. `mode` with the bits of the type. */
export function fileStatOf(stats: BigIntStats): FileStat {
  return {
    type: stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : stats.isSymbolicLink() ? 'symlink' : 'other',
    size: stats.size,
    mode: Number(stats.mode),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    inode: stats.ino,
    device: stats.dev,
    links: stats.nlink,
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
    atimeNs: stats.atimeNs,
  };
}
