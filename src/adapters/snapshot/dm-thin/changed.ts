import { basename } from 'node:path';
import { messageOf } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { changedOnVolume } from '../../../platform/fiemap.ts';
import { thinDelta, type ThinDelta } from '../../../platform/thin-delta.ts';
import type { Platform } from '../../../ports/module.ts';
import type { ChangedBlocks } from '../../../ports/snapshot-provider.ts';
import { status } from './commands.ts';
import type { Entry } from './ledger.ts';
import type { OpenedThin } from './open.ts';
import { overlayUsed } from './parse.ts';

const askMs = 15_000;

export interface ChangedRequest {
  readonly platform: Platform;
  readonly base: SnapshotRef;
  /** Of the newer snapshot and of the base, as the ledger has them. */
  readonly entries: { readonly newer: Entry; readonly base: Entry | undefined };
  readonly newer: OpenedThin;
  openBase(): Promise<OpenedThin>;
  readonly signal: AbortSignal;
}

/**
 * The pool knows which blocks of the volume differ between two of its ids, and the file system which of them a file has in each: a byte
 * is the same if both lie at the same place of the volume, in a block that the pool calls the same.
 */
export async function changedSince(request: ChangedRequest): Promise<ChangedBlocks | undefined> {
  const { platform, base, newer, signal, entries } = request;
  let older: OpenedThin | undefined;
  try {
    const { exec, stateDirectory } = platform;
    if (entries.base === undefined) throw new Error('it is gone');
    const { pool, name } = entries.newer.thin;
    if (entries.base.thin.pool !== pool || entries.base.thin.name !== name) throw new Error('it is of another volume');
    older = await request.openBase();
    for (const each of [newer, older]) await assertNothingReplayed(platform, each);
    const [baseId, newerId] = [entries.base.id, entries.newer.id];
    const delta = await thinDelta({ exec, stateDirectory, pool, base: baseId, newer: newerId, signal });
    return blocksOf(platform, newer, older, delta.changed, signal);
  } catch (error) {
    await older?.[Symbol.asyncDispose]();
    signal.throwIfAborted();
    platform.log.warn(`what changed since ${base.at} cannot be told, so all is read: ${messageOf(error)}`);
    return undefined;
  }
}

/**
 * What the replay of a log wrote lies on the overlay and not on the volume. On xfs that is never a file's content; on ext4 it is with
 * `data=journal`. The file system was frozen for the cut, so that ext4 has nothing to replay: if it has, its blocks prove nothing.
 */
async function assertNothingReplayed({ exec }: Platform, { fileSystem, device }: OpenedThin): Promise<void> {
  if (fileSystem === 'xfs') return;
  const { stdout } = await exec.check({ argv: status(basename(device)), timeoutMs: askMs });
  if (overlayUsed(stdout) !== 0) throw new Error('the journal of its file system had to be replayed');
}

function blocksOf(
  platform: Platform,
  newer: OpenedThin,
  older: OpenedThin,
  changedPhysical: ThinDelta['changed'],
  signal: AbortSignal,
): ChangedBlocks {
  return {
    source: 'thin_delta and FIEMAP',
    async of(original) {
      const [basePath, nowPath] = [older.at(original), newer.at(original)];
      if (basePath === undefined || nowPath === undefined) return undefined;
      const pair = { base: basePath, now: nowPath, changedPhysical };
      const told = await changedOnVolume(platform.exec, pair, signal);
      if (!('said' in told)) return told;
      platform.log.warn(`the blocks of ${original} cannot be told, so it is read whole: ${told.said}`);
      return undefined;
    },
    [Symbol.asyncDispose]: () => older[Symbol.asyncDispose](),
  };
}
