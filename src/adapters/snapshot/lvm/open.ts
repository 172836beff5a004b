import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { openBlockClone, type BlockClone } from '../../../platform/block-clone.ts';
import { isWithin, mountPointsBelow } from '../../../platform/files.ts';
import type { Platform } from '../../../ports/module.ts';
import type { OpenSnapshot } from '../../../ports/snapshot-provider.ts';
import { changedSince } from './changed.ts';
import { activate, deviceName, deviceStatus } from './commands.ts';
import { listed, lvmEnvironment, snapshotIn } from './lvs.ts';
import { isHalfMade, readTags, type Carried } from './names.ts';
import { parseSnapshotStatus, type LogicalVolume } from './parse.ts';
import type { Way } from './way.ts';

const activateMs = 60_000;
const askMs = 15_000;

/** A snapshot's file system, opened, and where its original paths lie in it. */
export interface OpenedFiles extends AsyncDisposable {
  readonly volume: LogicalVolume;
  readonly fileSystem: string;
  /** The overlay on the snapshot. */
  readonly device: string;
  at(original: string): string | undefined;
}

export async function openSnapshot(platform: Platform, way: Way, ref: SnapshotRef): Promise<OpenSnapshot> {
  const files = await openFiles(platform, way, ref);
  return {
    at: (original) => files.at(original),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
    ...(way.runsOver
      ? { proveWhole: () => proveWhole(platform, ref) }
      : {
          changedSince: (base, signal) =>
            changedSince({ platform, ref, base, files, open: (other) => openFiles(platform, way, other), signal }),
        }),
  };
}

async function openFiles(platform: Platform, way: Way, ref: SnapshotRef): Promise<OpenedFiles> {
  const { exec, stateDirectory } = platform;
  const volume = snapshotIn((await listed(exec)).volumes, ref);
  const tags = volume === undefined ? undefined : readTags(volume.tags);
  if (volume === undefined || tags === undefined || isHalfMade(volume)) {
    throw new StillpointError('io', `the snapshot ${ref.at} is gone`, { hint: 'make a new point' });
  }
  if (way.runsOver && (volume.invalid || volume.mergeFailed)) throw ranOver(ref, 'LVM calls it invalid');
  if (!volume.active) {
    // After a boot, if volumes are not activated by themselves.
    await exec.check({ argv: activate(volume.vg, volume.name), env: lvmEnvironment, timeoutMs: activateMs });
  }
  const clone = await openBlockClone({
    exec,
    stateDirectory,
    name: volume.name,
    device: volume.device,
    fileSystem: tags.fileSystem,
  });
  try {
    return await filesOf(volume, clone, tags);
  } catch (error) {
    await clone[Symbol.asyncDispose]();
    throw error;
  }
}

async function filesOf(
  volume: LogicalVolume,
  clone: BlockClone,
  { fileSystem, mounts }: Carried,
): Promise<OpenedFiles> {
  const hidden = new Map<string, readonly string[]>();
  for (const { at } of mounts) hidden.set(at, await mountPointsBelow(at));
  return {
    volume,
    fileSystem,
    device: clone.device,
    at(original) {
      const [mount] = mounts.filter(({ at }) => isWithin(original, at)).toSorted((a, b) => b.at.length - a.at.length);
      if (mount === undefined) return undefined;
      // Below another mount point lies another file system; what this one has there is an empty directory, or old files.
      if (hidden.get(mount.at)?.some((other) => isWithin(original, other)) === true) return undefined;
      const copy = join(clone.mountPoint, mount.root, original.slice(mount.at === '/' ? 0 : mount.at.length));
      return lstatSync(copy, { throwIfNoEntry: false }) === undefined ? undefined : copy;
    },
    [Symbol.asyncDispose]: () => clone[Symbol.asyncDispose](),
  };
}

/**
 * A snapshot that ran over answers reads with errors, but some may have been served from memory before; so the kernel is asked once
 * more when all is read, and LVM too, whose metadata would show a merge.
 */
async function proveWhole({ exec }: Platform, ref: SnapshotRef): Promise<void> {
  const volume = snapshotIn((await listed(exec)).volumes, ref);
  if (volume === undefined) throw ranOver(ref, 'it is gone');
  if (volume.invalid || volume.mergeFailed || volume.merging) throw ranOver(ref, 'LVM calls it invalid');
  const argv = deviceStatus(deviceName(volume.vg, volume.name));
  const status = parseSnapshotStatus((await exec.check({ argv, timeoutMs: askMs })).stdout);
  if ('broken' in status) throw ranOver(ref, `its device says ${status.broken}`);
  if (volume.snapshotPercent === undefined || volume.snapshotPercent >= 100 || status.used >= status.total) {
    throw ranOver(ref, 'its space is used up');
  }
}

function ranOver(ref: SnapshotRef, why: string): StillpointError {
  return new StillpointError('cut-failed', `the snapshot ${ref.at} does not show the cut any more: ${why}`, {
    hint: 'more was written meanwhile than it has space for: raise `snapshotSize` of `lvm-thick`, or give the volume group more space',
  });
}
