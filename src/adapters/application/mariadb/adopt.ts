import {
  lchown,
  lstat,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { chmod, chown } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf, StillpointError } from '../../../model/errors.ts';
import type { Copy } from '../../../ports/application.ts';
import { bendIndex, parseLink } from './parse.ts';

/** Original path of the data directory of a copy. */
export function dataDirectoryOf(copy: Pick<Copy, 'required' | 'facts'>): string {
  const found = copy.required.find(({ name }) => name === 'data')?.path ?? copy.facts['dataDirectory'];
  if (found !== undefined) return found;
  throw new StillpointError('point-incomplete', 'the point names no data directory of MariaDB', {
    hint: 'choose another point: stillpoint points',
  });
}

/**
 * Bends everything in the copy that still points to the original's places: links of databases and tables, `.isl` files, and the index
 * of binary logs. In place, where every path stays, nothing changes.
 */
export async function adopt(copy: Copy): Promise<void> {
  const data = copy.at(dataDirectoryOf(copy));
  for (const name of await readdir(data)) {
    const path = join(data, name);
    await bendSymbolic(path, copy);
    if (!(await isDirectory(path))) continue;
    for (const inner of await readdir(path)) {
      const file = join(path, inner);
      if (inner.endsWith('.isl')) await rewrite(file, (before) => pathIn(copy, parseLink(before)));
      else await bendSymbolic(file, copy);
    }
  }
  const index = copy.facts['logBinIndex'] ?? '';
  if (index === '' || !holds(copy, index)) return;
  await rewrite(copy.at(index), (before) => bendIndex(before, (original) => pathIn(copy, original)));
}

/** Whether a real path of the original is in the point. */
export function holds(copy: Copy, original: string): boolean {
  return copy.required.some(({ path }) => isBelow(original, path));
}

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/** Where an absolute path, as the original wrote it, lies now. What the point does not hold stays as it is. */
function pathIn(copy: Copy, written: string): string {
  const aliases: Readonly<Record<string, string>> = JSON.parse(copy.facts['aliases'] ?? '{}');
  const [alias, target] = Object.entries(aliases).find(([each]) => isBelow(written, each)) ?? [];
  const original = alias === undefined || target === undefined ? written : target + written.slice(alias.length);
  return holds(copy, original) ? copy.at(original) : written;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return false;
    throw cause;
  }
}

async function bendSymbolic(link: string, copy: Copy): Promise<void> {
  const seen = await lstat(link);
  if (!seen.isSymbolicLink()) return;
  const target = await readlink(link);
  const place = pathIn(copy, target);
  if (place === target || (await realOf(link)) === (await realOf(place))) return;
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

/** By a new file, which takes owner and mode of the old one: a copy that shares blocks or links with another stays apart from it. */
async function rewrite(path: string, change: (before: string) => string): Promise<void> {
  let before: string;
  try {
    before = await readFile(path, 'utf8');
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return;
    throw cause;
  }
  const after = change(before);
  if (after === before) return;
  const seen = await stat(path);
  const temporary = join(dirname(path), '.stillpoint-adopt');
  await writeFile(temporary, after);
  await chown(temporary, seen.uid, seen.gid);
  await chmod(temporary, seen.mode & 0o7777);
  await rename(temporary, path);
}
