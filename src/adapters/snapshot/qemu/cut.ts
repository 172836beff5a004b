import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createHash } from 'node:crypto';
import { codeOf, StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef, Volume } from '../../../model/storage.ts';
import { detailOf } from '../../../platform/snapshot-place.ts';
import type { Platform } from '../../../ports/module.ts';
import { createOverlay, reserveSpace, type CutDisk } from './commands.ts';
import { toolFor, toolsEnded } from './tools.ts';
import { cutDisks, shapeFile, shapeOf, type Disk } from './volume.ts';

/** What qcow2 needs besides the data: tables and counts, below 1/4000 of the data, and a header. */
const headerBytes = 1024 * 1024;

/** Space that an overlay of this disk may take. */
export function overlayBytes({ bytes }: Disk, reserve: number): number {
  return Math.ceil(bytes * reserve * (1 + 1 / 4000)) + headerBytes;
}

function readyPrefix(volume: string): string {
  return `ready-${createHash('sha256').update(volume).digest('hex').slice(0, 10)}-`;
}

/** An overlay that waits for the next cut of this volume. Of no label: which one that will be is not known when it is made. */
function readyFile(volume: Volume, index: number): string {
  return `${readyPath(volume)}${index}.qcow2`;
}

function readyPath(volume: Volume): string {
  return join(detailOf(volume, 'overlayDirectory'), readyPrefix(volume.id));
}

/** Reserving a terabyte takes seconds on some file systems: before the hold. Safe to repeat. */
export async function makeReady(
  volume: Volume,
  reserve: number,
  platform: Platform,
  signal: AbortSignal,
): Promise<void> {
  await mkdir(detailOf(volume, 'overlayDirectory'), { recursive: true, mode: 0o700 });
  for (const [index, disk] of shapeOf(volume).disks.entries()) {
    await makeOverlay(readyFile(volume, index), disk, { reserve, worksFor: readyPath(volume) }, platform, signal);
  }
}

async function makeOverlay(
  file: string,
  disk: Disk,
  { reserve, worksFor }: { readonly reserve: number; readonly worksFor: string },
  { exec }: Platform,
  signal: AbortSignal,
): Promise<void> {
  // Made new each time: nothing tells whether what a dead run left is whole, or of today's size.
  await rm(file, { force: true });
  await exec.check({ ...toolFor(worksFor), argv: createOverlay(file, disk.bytes), signal });
  if (reserve === 0) return;
  const bytes = overlayBytes(disk, reserve);
  const result = await exec.run({ ...toolFor(worksFor), argv: reserveSpace(file, bytes), signal });
  if (result.exitCode === 0) return;
  await rm(file, { force: true });
  throw new StillpointError(
    'space-short',
    `${bytes} bytes cannot be reserved for the overlay of ${disk.key} in ${dirname(file)}: ${result.stderr.trim()}`,
    { hint: 'free some space, set `overlayDirectory` to a larger disk, or take the risk of a smaller `reserve`' },
  );
}

/** Also those that a dead run made and never used: they may hold much space. */
export async function dropReady(ref: SnapshotRef, platform: Platform): Promise<void> {
  const directory = dirname(ref.at);
  await toolsEnded(join(directory, readyPrefix(ref.volume)), platform);
  for (const name of await readdirIfThere(directory)) {
    if (name.startsWith(readyPrefix(ref.volume))) await rm(join(directory, name), { force: true });
  }
}

async function readdirIfThere(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Fills the snapshot's directory with its overlays. */
export async function fillPlace(
  volume: Volume,
  ref: SnapshotRef,
  reserve: number,
  platform: Platform,
  signal: AbortSignal,
): Promise<readonly CutDisk[]> {
  const shape = shapeOf(volume);
  const disks = cutDisks(ref, shape);
  for (const [index, { overlay }] of disks.entries()) {
    const disk = shape.disks[index];
    if (disk === undefined) throw new Error(`volume ${volume.id} has no disk ${index}`);
    try {
      await rename(readyFile(volume, index), overlay);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
      // Cut without a `prepare` just before: possible, but the hold pays for it.
      await makeOverlay(overlay, disk, { reserve, worksFor: ref.at }, platform, signal);
    }
  }
  await writeFile(shapeFile(ref), JSON.stringify(shape), { mode: 0o600 });
  return disks;
}
