import { lchown, lstat, readdir, readFile, readlink, realpath, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, StillpointError } from '../../../model/errors.ts';
import type { Copy } from '../../../ports/application.ts';
import { rewriteTablespaceMap, Unreadable } from './parse.ts';
import { createdTablespaces } from './wal-scan.ts';

/** Original path of the data directory of a copy. */
export function dataDirectoryOf(copy: Copy): string {
  const found = copy.required.find((required) => required.role === 'data') ?? { path: copy.facts['dataDirectory'] };
  if (found.path === undefined) {
    throw new StillpointError('point-incomplete', 'the point names no PostgreSQL data directory', {
      hint: 'choose another point: stillpoint points',
    });
  }
  return found.path;
}

/**
 * Bends everything in the copy that still points to the original's places: links at the top of the data directory, links of
 * tablespaces, and the map from which recovery makes those links again. In place, where every path stays, nothing changes.
 */
export async function adopt(copy: Copy): Promise<void> {
  const data = copy.at(dataDirectoryOf(copy));
  await refuseOriginalTablespaces(data, copy);
  for (const name of await readdir(data)) {
    const original = copy.required.find((each) => each.name === (name === 'pg_wal' ? 'wal' : `link-${name}`));
    await bend(join(data, name), original?.path, copy);
  }
  const places = new Map<string, string>();
  for (const each of copy.required) {
    if (each.role === 'tablespace') places.set(each.name.replace(/^tablespace-/, ''), each.path);
  }
  for (const oid of await namesIn(join(data, 'pg_tblspc')))
    await bend(join(data, 'pg_tblspc', oid), places.get(oid), copy);
  await rewriteMap(join(data, 'tablespace_map'), places, copy);
}

/**
 * Recovery repeats a CREATE TABLESPACE that is in the WAL with the original's absolute path, whatever the links say, and then writes
 * there. Beside a living original that would destroy it.
 */
async function refuseOriginalTablespaces(data: string, copy: Copy): Promise<void> {
  if (copy.at(dataDirectoryOf(copy)) === dataDirectoryOf(copy)) return;
  for (const path of await createdTablespaces(data, copy)) {
    if (copy.at(path) === path || (await namesIn(path)).length === 0) continue;
    throw new StillpointError('target-not-empty', `recovery of this point would write to ${path}, which is in use`, {
      hint: `the point was made too soon after CREATE TABLESPACE: run CHECKPOINT on the original and make another point, or restore this one where ${path} does not exist`,
      details: { path },
    });
  }
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return [];
    throw cause;
  }
}

async function bend(link: string, original: string | undefined, copy: Copy): Promise<void> {
  const seen = await lstat(link);
  if (!seen.isSymbolicLink()) return;
  const target = original ?? (await readlink(link));
  if (original === undefined && !copy.required.some((each) => each.path === target)) return;
  const place = copy.at(target);
  if ((await realOf(link)) === (await realOf(place))) return;
  await rm(link);
  await symlink(place, link);
  await lchown(link, seen.uid, seen.gid);
}

async function realOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return path;
    throw cause;
  }
}

async function rewriteMap(path: string, places: ReadonlyMap<string, string>, copy: Copy): Promise<void> {
  let before: string;
  try {
    before = await readFile(path, 'latin1');
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return;
    throw cause;
  }
  let after: string;
  try {
    after = rewriteTablespaceMap(before, (oid, location) => {
      const original = places.get(oid);
      if (original === undefined)
        throw new Unreadable(`the point holds no tablespace ${oid}, which was at ${location}`);
      const place = copy.at(original);
      // In place the map keeps the text that the engine wrote, which may reach the same directory through a link.
      return place === original ? location : Buffer.from(place).toString('latin1');
    });
  } catch (cause) {
    if (!(cause instanceof Unreadable)) throw cause;
    throw new StillpointError('point-incomplete', cause.message, { hint: 'choose another point', cause });
  }
  if (after === before) return;
  const seen = await lstat(path);
  await writeFile(`${path}.new`, after, { encoding: 'latin1', mode: 0o600 });
  await lchown(`${path}.new`, seen.uid, seen.gid);
  await rename(`${path}.new`, path);
}
