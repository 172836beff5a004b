import { mkdir, rm } from 'node:fs/promises';
import type { VolumeCut } from '../model/evidence.ts';
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import type { CommandSpan } from '../model/hold.ts';
import type { RequiredPath, SnapshotRef, Volume } from '../model/storage.ts';
import type { Clock } from './clock.ts';
import { copyTree, type FileCopier } from './copy-tree.ts';
import { assertOwn, detailOf } from './snapshot-place.ts';

/** A volume that is one required path, cut by copying its files one after the other into a directory. */
export function treeVolume(provider: string, id: string, required: RequiredPath, directory: string): Volume {
  return {
    id,
    provider,
    holds: [required.name],
    details: { required: JSON.stringify(required), snapshotDirectory: directory },
  };
}

/** The path that `treeVolume` put into the volume. */
export function requiredOf(volume: Volume): RequiredPath {
  // Written by treeVolume, also when it went through a journal in between.
  return JSON.parse(detailOf(volume, 'required')) as RequiredPath;
}

/**
 * Copies the volumes one after the other. Throws `cut-failed` after removing what it had made, with `hintFor` telling what to do about
 * an error of the operating system.
 */
export async function cutTrees(request: {
  readonly group: readonly Volume[];
  readonly refFor: (volume: Volume) => SnapshotRef;
  readonly copyFile: FileCopier;
  /** How many files of a directory at a time. */
  readonly width: number;
  readonly clock: Clock;
  readonly hintFor: (code: string | undefined) => string;
  readonly signal: AbortSignal;
}): Promise<{ readonly cuts: readonly VolumeCut[]; readonly spans: readonly CommandSpan[] }> {
  const { group, refFor, copyFile, width, clock, signal } = request;
  const cuts: VolumeCut[] = [];
  const spans: CommandSpan[] = [];
  const made: SnapshotRef[] = [];
  try {
    for (const volume of group) {
      signal.throwIfAborted();
      const required = requiredOf(volume);
      const snapshot = refFor(volume);
      const called = clock.now();
      await mkdir(snapshot.at, { mode: 0o700 });
      made.push(snapshot);
      const without = [detailOf(volume, 'snapshotDirectory')];
      await copyTree({ required, at: snapshot.at, without, copyFile, width, signal });
      const fixed = clock.now();
      cuts.push({ volume: volume.id, snapshot, called, fixed });
      const what = `copy ${required.path}`;
      spans.push({ party: 'provider', what, startMs: called.monoMs, endMs: fixed.monoMs });
    }
  } catch (error) {
    const left: string[] = [];
    for (const snapshot of made) await deleteTree(snapshot).catch((other: unknown) => left.push(messageOf(other)));
    throw new StillpointError('cut-failed', [messageOf(error), ...left].join('; and '), {
      hint: request.hintFor(codeOf(error)),
      cause: error,
    });
  }
  return { cuts, spans };
}

/** Missing = success. Refuses what is not ours. */
export async function deleteTree(ref: SnapshotRef): Promise<void> {
  assertOwn(ref);
  try {
    await rm(ref.at, { recursive: true, force: true });
  } catch (error) {
    throw new StillpointError('undo-failed', `the copy ${ref.at} could not be deleted: ${messageOf(error)}`, {
      hint: `delete it by hand: rm -r ${ref.at}`,
      cause: error,
    });
  }
}
