import { access, chmod, chown, lchown, lstat, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf, StillpointError } from '../../../model/errors.ts';
import type { Copy } from '../../../ports/application.ts';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

/** Who has to run the copy's server: the owner of its files, or of the original's files when they belong to root. Never root. */
export async function ownerOf(data: string, facts: Copy['facts']): Promise<Owner | undefined> {
  const seen = await stat(data);
  if (process.getuid?.() !== 0) return undefined;
  if (seen.uid !== 0) return { uid: seen.uid, gid: seen.gid };
  const uid = Number(facts['ownerUid']);
  const gid = Number(facts['ownerGid']);
  if (Number.isInteger(uid) && uid > 0) return { uid, gid };
  throw new StillpointError('drill-failed', `the copy in ${data} belongs to root, as which PostgreSQL does not run`, {
    hint: `give it to the system user of the server: chown -R postgres ${data}`,
  });
}

/** Gives everything below `path` to `owner`; what is theirs already is not touched. */
export async function giveTo(path: string, owner: Owner): Promise<void> {
  const seen = await lstat(path);
  if (seen.uid !== owner.uid) await lchown(path, owner.uid, owner.gid);
  if (!seen.isDirectory()) return;
  for (const name of await readdir(path)) await giveTo(join(path, name), owner);
}

/** PostgreSQL starts only on a data directory that nobody else may write. */
export async function closeToOthers(data: string): Promise<void> {
  const seen = await stat(data);
  if ((seen.mode & 0o027) !== 0 || (seen.mode & 0o700) !== 0o700) await chmod(data, 0o700);
}

export async function ownDirectory(path: string, owner: Owner | undefined): Promise<void> {
  if (owner !== undefined) await chown(path, owner.uid, owner.gid);
  await chmod(path, 0o700);
}

/**
 * Makes every directory above the given ones searchable for others and returns the way back. Only directories at or below the one
 * that all of them share are changed: that is the drill's own place. One above it that is closed is a refusal.
 */
export async function openWay(paths: readonly string[], owner: Owner | undefined): Promise<() => Promise<void>> {
  const changed: { readonly path: string; readonly mode: number }[] = [];
  const back = async (): Promise<void> => {
    for (const { path, mode } of changed.splice(0)) await chmod(path, mode);
  };
  if (owner === undefined) return back;
  const shared = sharedParent(paths.map(dirname));
  const above = new Set(paths.flatMap((path) => parentsOf(path)));
  for (const path of above) {
    const seen = await stat(path);
    const bit = seen.uid === owner.uid ? 0o100 : seen.gid === owner.gid ? 0o010 : 0o001;
    if ((seen.mode & bit) !== 0) continue;
    if (path !== shared && !path.startsWith(`${shared}/`)) {
      await back();
      throw new StillpointError('drill-failed', `user ${owner.uid} cannot reach the copy: ${path} is closed to it`, {
        hint: `let the drill work in another directory, or: chmod o+x ${path}`,
      });
    }
    await chmod(path, (seen.mode & 0o7777) | bit);
    changed.push({ path, mode: seen.mode & 0o7777 });
  }
  return back;
}

function parentsOf(path: string): readonly string[] {
  const parents: string[] = [];
  for (let parent = dirname(path); parent !== '/'; parent = dirname(parent)) parents.push(parent);
  return parents;
}

function sharedParent(paths: readonly string[]): string {
  const [first = '/', ...rest] = paths;
  let shared = first;
  while (shared !== '/' && rest.some((path) => path !== shared && !path.startsWith(`${shared}/`)))
    shared = dirname(shared);
  return shared;
}

/** Removes a file that would change what the start of the copy does. True if there was one. */
export async function removeIfThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return false;
    throw cause;
  }
  await rm(path);
  return true;
}
