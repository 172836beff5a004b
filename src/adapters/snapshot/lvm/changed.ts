import { basename } from 'node:path';
import { messageOf } from '../../../model/errors.ts';
import type { Ranges } from '../../../model/ranges.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { changedOnVolume } from '../../../platform/fiemap.ts';
import { thinDelta } from '../../../platform/thin-delta.ts';
import type { Platform } from '../../../ports/module.ts';
import type { ChangedBlocks } from '../../../ports/snapshot-provider.ts';
import { deviceStates, deviceStatus } from './commands.ts';
import { listed, snapshotIn } from './lvs.ts';
import type { OpenedFiles } from './open.ts';
import { parseDeviceStates, parseSnapshotStatus, type LogicalVolume } from './parse.ts';

const askMs = 15_000;

export interface ChangedRequest {
  readonly platform: Platform;
  readonly ref: SnapshotRef;
  readonly base: SnapshotRef;
  /** Of `ref`. */
  readonly files: OpenedFiles;
  readonly open: (ref: SnapshotRef) => Promise<OpenedFiles>;
  readonly signal: AbortSignal;
}

/**
 * The pool knows which blocks of the volume differ between two snapshots, and the file system which of them a file has in each: a byte
 * is the same if both lie at the same place of the volume, in a block that the pool calls the same.
 */
export async function changedSince(request: ChangedRequest): Promise<ChangedBlocks | undefined> {
  const { platform, base, files, open, signal } = request;
  let older: OpenedFiles | undefined;
  try {
    const changed = await changedBlocks(request);
    older = await open(base);
    await assertNoDataReplayed(platform, [files, older]);
    return blocksOf(platform, { files, older, changed, signal });
  } catch (error) {
    await older?.[Symbol.asyncDispose]();
    signal.throwIfAborted();
    platform.log.warn(`what changed since ${base.at} cannot be told, so all is read: ${messageOf(error)}`);
    return undefined;
  }
}

async function changedBlocks({ platform, ref, base, files, signal }: ChangedRequest): Promise<Ranges> {
  const { exec, stateDirectory } = platform;
  if (base.provider !== ref.provider || base.volume !== ref.volume)
    throw new Error('it is a snapshot of another volume');
  const before = pairIn(await volumesOf(platform, signal), ref, base);
  if (before.newer.uuid !== files.volume.uuid) throw new Error('the newer snapshot is not the one that is open');
  const states = await exec.check({ argv: deviceStates(), timeoutMs: askMs, signal });
  const pool = poolDevice(before, parseDeviceStates(states.stdout));
  const delta = await thinDelta({ exec, stateDirectory, pool, base: before.baseId, newer: before.newerId, signal });
  const after = pairIn(await volumesOf(platform, signal), ref, base);
  // An id can be given to a new volume once the old one is gone.
  const ids = (pair: Pair): string => [pair.base.uuid, pair.baseId, pair.newer.uuid, pair.newerId].join();
  if (ids(before) !== ids(after)) throw new Error('the snapshots were exchanged while they were compared');
  return delta.changed;
}

async function volumesOf({ exec }: Platform, signal: AbortSignal): Promise<readonly LogicalVolume[]> {
  return (await listed(exec, signal)).volumes;
}

interface Pair {
  readonly base: LogicalVolume;
  readonly newer: LogicalVolume;
  readonly baseId: number;
  readonly newerId: number;
}

/** Both read-only, so that neither changes while it is compared and read. */
function pairIn(volumes: readonly LogicalVolume[], ref: SnapshotRef, baseRef: SnapshotRef): Pair {
  const [newer, base] = [snapshotIn(volumes, ref), snapshotIn(volumes, baseRef)];
  if (newer?.thinId === undefined || base?.thinId === undefined) throw new Error('one of the snapshots is gone');
  if (newer.poolUuid !== base.poolUuid) throw new Error('the snapshots lie in different pools');
  if (newer.attr[1] !== 'r' || base.attr[1] !== 'r') throw new Error('one of the snapshots can be written');
  return { base, newer, baseId: base.thinId, newerId: newer.thinId };
}

/** LVM's name for the device that takes messages, by the UUIDs that it puts into the device's own. */
function poolDevice({ newer }: Pair, states: ReturnType<typeof parseDeviceStates>): string {
  const uuid = `LVM-${`${newer.vgUuid}${newer.poolUuid}`.replaceAll('-', '')}-tpool`;
  const found = states.find((state) => state.uuid === uuid);
  if (found === undefined) throw new Error('the device of the pool is not there');
  return found.name;
}

/**
 * What the replay of a log wrote lies on the overlay and not on the volume. On xfs that is never a file's content; on ext4 it is with
 * `data=journal`. LVM freezes the file system for a cut, so that ext4 has nothing to replay: if it has, its blocks prove nothing.
 */
async function assertNoDataReplayed({ exec }: Platform, opened: readonly OpenedFiles[]): Promise<void> {
  for (const { fileSystem, device } of opened) {
    if (fileSystem === 'xfs') continue;
    const { stdout } = await exec.check({ argv: deviceStatus(basename(device)), timeoutMs: askMs });
    const status = parseSnapshotStatus(stdout);
    if ('broken' in status || status.used > 0) throw new Error('the journal of its file system had to be replayed');
  }
}

function blocksOf(
  platform: Platform,
  {
    files,
    older,
    changed,
    signal,
  }: {
    readonly files: OpenedFiles;
    readonly older: OpenedFiles;
    readonly changed: Ranges;
    readonly signal: AbortSignal;
  },
): ChangedBlocks {
  return {
    source: 'thin_delta and FIEMAP',
    of: async (original) => {
      const [basePath, nowPath] = [older.at(original), files.at(original)];
      if (basePath === undefined || nowPath === undefined) return undefined;
      const pair = { base: basePath, now: nowPath, changedPhysical: changed };
      const told = await changedOnVolume(platform.exec, pair, signal);
      if (!('said' in told)) return told;
      platform.log.warn(`the blocks of ${original} cannot be told, so it is read whole: ${told.said}`);
      return undefined;
    },
    [Symbol.asyncDispose]: () => older[Symbol.asyncDispose](),
  };
}
