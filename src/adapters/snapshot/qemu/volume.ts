import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf, StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef, StorageStack, Volume } from '../../../model/storage.ts';
import { isWithin } from '../../../platform/files.ts';
import { detailOf, refIn } from '../../../platform/snapshot-place.ts';
import type { CutDisk } from './commands.ts';

export const kind = 'qemu';

/** A disk as the monitor knows it. */
export interface Disk {
  /** What both sides call it: its serial number, or the key of the configuration. */
  readonly key: string;
  readonly node: string;
  readonly bytes: number;
}

/** A file system on one disk of its volume, or on a partition of it. Bytes. */
export interface DirectPlace {
  readonly mountPoint: string;
  readonly fileSystem: string;
  /** Index into the volume's disks. */
  readonly disk: number;
  readonly offset: number;
  readonly bytes: number;
}

/** A file system with arrays or volume groups between it and the disks: they are put together again from the copies. */
export interface StackedPlace {
  readonly mountPoint: string;
  readonly fileSystem: string;
  readonly stack: StorageStack;
  /** Which layer of the stack is which of the volume's disks. */
  readonly members: readonly { readonly original: string; readonly disk: number }[];
}

export type FileSystemPlace = DirectPlace | StackedPlace;

/** What a volume is made of; in its details, and beside its overlays from the cut on. */
export interface Shape {
  readonly disks: readonly Disk[];
  readonly fileSystems: readonly FileSystemPlace[];
}

export function qemuVolume(qmp: string, directory: string, holds: readonly string[], shape: Shape): Volume {
  const keys = shape.disks.map(({ key }) => key).join('+');
  return {
    id: `${kind}:${qmp}:${keys}`,
    provider: kind,
    holds,
    details: { overlayDirectory: directory, shape: JSON.stringify(shape) },
  };
}

/** What `qemuVolume` put into the volume, also when it went through a journal in between. */
export function shapeOf(volume: Volume): Shape {
  return JSON.parse(detailOf(volume, 'shape')) as Shape;
}

/** Which of the file systems holds a path: one may be mounted inside another. */
export function placeOf(original: string, { fileSystems }: Shape): FileSystemPlace | undefined {
  return fileSystems
    .filter(({ mountPoint }) => isWithin(original, mountPoint))
    .toSorted((a, b) => b.mountPoint.length - a.mountPoint.length)[0];
}

export function refOf(volume: Volume, label: string): SnapshotRef {
  return refIn(detailOf(volume, 'overlayDirectory'), kind, volume.id, label);
}

/** Begins the name of everything that a snapshot has in the process. Follows from the reference, so that another process finds it. */
export function nameOf({ label, volume }: Pick<SnapshotRef, 'label' | 'volume'>): string {
  const hash = createHash('sha256').update(`${label}\n${volume}`).digest('hex').slice(0, 12);
  return `stillpoint-${hash}-`;
}

export function cutDisks(ref: SnapshotRef, { disks }: Shape): readonly CutDisk[] {
  const name = nameOf(ref);
  return disks.map(({ node }, index) => ({
    node,
    overlay: join(ref.at, `disk-${index}.qcow2`),
    name: `${name}${index}`,
  }));
}

/** Where the process behind this monitor listens for readers of its snapshots. */
export function nbdSocket(ref: SnapshotRef, qmp: string): string {
  const hash = createHash('sha256').update(qmp).digest('hex').slice(0, 10);
  return join(dirname(ref.at), `nbd-${hash}.sock`);
}

export function shapeFile(ref: SnapshotRef): string {
  return join(ref.at, 'shape.json');
}

/** Throws `io` when the snapshot is gone, or was never cut to the end. */
export async function readShape(ref: SnapshotRef): Promise<Shape> {
  try {
    return JSON.parse(await readFile(shapeFile(ref), 'utf8')) as Shape;
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' && !(error instanceof SyntaxError)) throw error;
    throw new StillpointError('io', `the snapshot ${ref.at} is gone`, { hint: 'make a new point', cause: error });
  }
}
