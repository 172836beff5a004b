import { access, chmod, chown, lchown, lstat, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf, StillpointError } from '../model/errors.ts';

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

/**
 * Free on every usual system: between systemd's home users and its dynamic ones (systemd, UIDS-GIDS: 60578 to 61183 are unused).
 */
const drillUser = 61_100;

/**
 * Who runs the copy's server. As root: a user that owns nothing else, and above all not the original's files. Recovery repeats CREATE
 * TABLESPACE with the original's absolute path, and a copy that may write there would overwrite the live database. Undefined when
 * this process is not root and can only run it as itself.
 */
export function drillOwner(facts: Readonly<Record<string, string>>): Owner | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const uid = facts['ownerUid'] === String(drillUser) ? drillUser + 1 : drillUser;
  return { uid, gid: uid };
}

/** Gives everything below `path` to `owner`; what is theirs already is not touched. */
export async function giveTo(path: string, owner: Owner): Promise<void> {
  const seen = await lstat(path);
  if (seen.uid !== owner.uid || seen.gid !== owner.gid) await lchown(path, owner.uid, owner.gid);
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
