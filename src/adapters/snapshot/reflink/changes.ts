import { lstat } from 'node:fs/promises';
import { messageOf } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { openTree } from '../../../platform/copy-tree.ts';
import { changedByFiemap } from '../../../platform/fiemap.ts';
import type { Platform } from '../../../ports/module.ts';
import type { ChangedBlocks, FileChanges } from '../../../ports/snapshot-provider.ts';

type Tree = Awaited<ReturnType<typeof openTree>>;

/** What differs between two sets of copies on one file system; undefined, with the reason logged, if that cannot be told. */
export async function changesOf(
  platform: Platform,
  now: { readonly ref: SnapshotRef; readonly tree: Tree },
  base: SnapshotRef,
  signal: AbortSignal,
): Promise<ChangedBlocks | undefined> {
  const { exec, log } = platform;
  const unknown = (what: string, why: string): undefined => {
    log.info(`what changed in ${what} since ${base.label} is not known: ${why}`);
    return undefined;
  };
  const why = await whyNot(platform, now.ref, base, signal);
  if (why !== undefined) return unknown(now.ref.at, why);
  let older: Tree;
  try {
    older = await openTree(base.at);
  } catch (error) {
    return unknown(now.ref.at, messageOf(error));
  }
  return {
    source: 'FIEMAP of two reflink copies',
    async of(original): Promise<FileChanges | undefined> {
      const was = older.statOf(original);
      const is = now.tree.statOf(original);
      const [from, to] = [older.at(original), now.tree.at(original)];
      if (was?.type !== 'file' || is?.type !== 'file' || from === undefined || to === undefined) return undefined;
      const differs = (await whyUnlike(from, was.size)) ?? (await whyUnlike(to, is.size));
      if (differs !== undefined) return unknown(original, differs);
      const pair = { base: { path: from, size: Number(was.size) }, now: { path: to, size: Number(is.size) } };
      const { changed, said } = await changedByFiemap(exec, [pair], signal);
      const [ranges] = changed;
      return ranges === undefined ? unknown(original, `filefrag showed no map: ${said}`) : { base: was, ranges };
    },
    async [Symbol.asyncDispose]() {
      // Nothing was opened.
    },
  };
}

async function whyNot(
  { exec, host }: Platform,
  now: SnapshotRef,
  base: SnapshotRef,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (base.provider !== now.provider || base.volume !== now.volume) return `${base.at} shows another volume`;
  if ((await exec.which('filefrag')) === undefined) return 'the program filefrag is missing (package e2fsprogs)';
  try {
    // Addresses of two file systems have nothing to do with each other.
    const [one, two] = [await lstat(base.at), await lstat(now.at)];
    if (one.dev !== two.dev) return `${base.at} lies on another file system`;
  } catch (error) {
    return messageOf(error);
  }
  const { top } = await host.stackOf(now.at, signal);
  // The two devices of such an xfs have addresses of their own, and the map does not say of which it speaks.
  return /\brtdev=/.test(top.details['options'] ?? '') ? 'the xfs has a realtime device' : undefined;
}

/** The copies are believed only as long as they look as they were left. */
async function whyUnlike(copy: string, size: bigint): Promise<string | undefined> {
  try {
    const stats = await lstat(copy, { bigint: true });
    return stats.isFile() && stats.size === size ? undefined : `${copy} is not as it was made`;
  } catch (error) {
    return messageOf(error);
  }
}
