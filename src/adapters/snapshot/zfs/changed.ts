import { lstat } from 'node:fs/promises';
import { codeOf } from '../../../model/errors.ts';
import { fileStatOf, isWithin } from '../../../platform/files.ts';
import type { ChangedBlocks, FileChanges, FileStat } from '../../../ports/snapshot-provider.ts';
import type { DiffEntry } from './parse.ts';

/**
 * Which files differ between two snapshots. ZFS tells changed objects, not blocks, and the names that it finds for them are wrong at times
 * (hard links that were removed, renames above). So a file counts as unchanged only if two witnesses say so: the list does not name it,
 * and inode, size, links, mtime and ctime are the same in both snapshots; every write changes ctime. Undefined if the list cannot be used.
 */
export function changedFiles(
  entries: readonly DiffEntry[],
  mountPoint: string,
  at: { readonly newer: (original: string) => string | undefined; readonly older: string },
): ChangedBlocks | undefined {
  const listed = new Map<string, DiffEntry['change']>();
  for (const { change, paths } of entries) {
    for (const path of paths) {
      // Named by another mount of the dataset: nothing can be said by our paths.
      if (!isWithin(path, mountPoint)) return undefined;
      listed.set(path, listed.has(path) ? 'R' : change);
    }
  }
  return {
    source: 'zfs diff',
    async of(original): Promise<FileChanges | undefined> {
      const newer = at.newer(original);
      if (newer === undefined) return undefined;
      const [now, base] = await Promise.all([statOf(newer), statOf(`${at.older}${original.slice(mountPoint.length)}`)]);
      // Another name of the same file may be the one that the list has.
      if (now?.type !== 'file' || base?.type !== 'file' || now.links > 1n || base.links > 1n) return undefined;
      if (now.inode !== base.inode) return undefined;
      const change = listed.get(original);
      if (change === 'M') return { base, ranges: now.size === 0n ? [] : [{ offset: 0, length: Number(now.size) }] };
      const same = now.size === base.size && now.mtimeNs === base.mtimeNs && now.ctimeNs === base.ctimeNs;
      return change === undefined && same ? { base, ranges: [] } : undefined;
    },
    async [Symbol.asyncDispose]() {
      // Nothing is open.
    },
  };
}

async function statOf(path: string): Promise<FileStat | undefined> {
  try {
    return fileStatOf(await lstat(path, { bigint: true }));
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}
