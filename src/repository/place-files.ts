import { constants } from 'node:fs';
import { lchown, lutimes, mkdir, open, symlink, unlink, lstat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import { pathBytes } from './names.ts';
import { posixMode, type TreeNode } from './tree.ts';

const asRoot = process.getuid?.() === 0;

export function unwritable(target: string, error: unknown): StillpointError {
  const full = codeOf(error) === 'ENOSPC' || codeOf(error) === 'EDQUOT';
  return new StillpointError('io', `cannot write ${target}: ${messageOf(error)}`, {
    hint: full
      ? 'free space on the target disk or choose another --target'
      : 'look at the owner and mode of the target directory',
    details: { path: target, code: codeOf(error) },
    cause: error,
  });
}

/** Node takes times as seconds in a double: exact to about a quarter of a microsecond. */
function seconds(ns: bigint): number {
  return Number(ns) / 1e9;
}

export async function makeDirectory(target: string): Promise<void> {
  await mkdir(pathBytes(target), { recursive: true, mode: 0o700 });
}

/** Never through an existing link or file: what stood there is removed first. */
async function clear(target: string): Promise<void> {
  const bytes = pathBytes(target);
  const there = await lstat(bytes).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (there !== undefined) await unlink(bytes);
}

export async function createFile(target: string): Promise<FileHandle> {
  await makeDirectory(dirname(target));
  await clear(target);
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  return await open(pathBytes(target), flags, 0o600);
}

/** Owner before mode: chown clears the setuid bits. */
export async function finishFile(file: FileHandle, node: TreeNode): Promise<void> {
  if (asRoot) await file.chown(node.uid, node.gid);
  await file.chmod(posixMode(node.mode));
  await file.utimes(seconds(node.atimeNs), seconds(node.mtimeNs));
  await file.sync();
}

export async function createLink(target: string, node: TreeNode): Promise<void> {
  await makeDirectory(dirname(target));
  await clear(target);
  const bytes = pathBytes(target);
  await symlink(pathBytes(node.linkTarget ?? ''), bytes);
  if (asRoot) await lchown(bytes, node.uid, node.gid);
  await lutimes(bytes, seconds(node.atimeNs), seconds(node.mtimeNs));
}

/** After everything below was written: its writing changes a directory's times, and its mode may forbid it. */
export async function finishDirectory(target: string, node: TreeNode): Promise<void> {
  const bytes = pathBytes(target);
  await using handle = await open(bytes, constants.O_RDONLY | constants.O_DIRECTORY);
  if (asRoot) await handle.chown(node.uid, node.gid);
  await handle.chmod(posixMode(node.mode));
  await handle.utimes(seconds(node.atimeNs), seconds(node.mtimeNs));
  await handle.sync();
}

/** For directories that no node describes, or the names in them could be lost. */
export async function syncDirectory(target: string): Promise<void> {
  await using handle = await open(pathBytes(target), constants.O_RDONLY | constants.O_DIRECTORY);
  await handle.sync();
}
