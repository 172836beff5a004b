import { createHash } from 'node:crypto';
import { mkdir, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { isWithin, mountPointsBelow } from '../../../platform/files.ts';
import type { Platform } from '../../../ports/module.ts';
import { mount, unmount } from './commands.ts';

const mountMs = 60_000;

export interface OpenedSnapshot extends AsyncDisposable {
  readonly directory: string;
}

/**
 * Where a snapshot can be read: below the dataset's own `.zfs/snapshot`, which works by name also when it is hidden, and is mounted and
 * unmounted by ZFS itself; else by a mount of our own, for datasets that have `snapdir=disabled` or are mounted twice.
 */
export async function openSnapshot(platform: Platform, ref: SnapshotRef, mountPoint: string): Promise<OpenedSnapshot> {
  const own = join(mountPoint, '.zfs', 'snapshot', ref.label);
  try {
    await readdir(own);
    return { directory: own, [Symbol.asyncDispose]: () => Promise.resolve() };
  } catch (error) {
    platform.log.info(`${own} cannot be read (${codeOf(error) ?? messageOf(error)}); ${ref.at} is mounted elsewhere`);
  }
  const directory = placeFor(platform, ref);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (!(await isMounted(platform, directory))) {
    const result = await platform.exec.run({ argv: mount(ref.at, directory), timeoutMs: mountMs });
    if (result.exitCode !== 0) {
      await rmdir(directory).catch(() => undefined);
      throw new StillpointError('io', `the snapshot ${ref.at} cannot be opened: ${result.stderr.trim()}`, {
        hint: `neither ${own} nor a mount of its own works; an encrypted dataset needs its key (zfs load-key)`,
      });
    }
  }
  return { directory, [Symbol.asyncDispose]: () => closeSnapshot(platform, ref) };
}

/** Ends the mount of our own that any process of ours made for this snapshot. */
export async function closeSnapshot(platform: Platform, ref: SnapshotRef): Promise<void> {
  const directory = placeFor(platform, ref);
  if (await isMounted(platform, directory)) {
    await platform.exec.check({ argv: unmount(directory), timeoutMs: mountMs });
  }
  await rmdir(directory).catch(() => undefined);
}

function parentFor(platform: Platform): string {
  return join(platform.stateDirectory, 'zfs');
}

function placeFor(platform: Platform, ref: SnapshotRef): string {
  return join(parentFor(platform), createHash('sha256').update(ref.at).digest('hex').slice(0, 16));
}

async function isMounted(platform: Platform, directory: string): Promise<boolean> {
  return (await mountPointsBelow(parentFor(platform))).includes(directory);
}

/** Mount points below a directory but those that ZFS makes itself when somebody looks into a snapshot. */
export async function mountsInside(directory: string, mountPoint: string): Promise<readonly string[]> {
  return (await mountPointsBelow(directory)).filter((other) => !isWithin(other, join(mountPoint, '.zfs')));
}
