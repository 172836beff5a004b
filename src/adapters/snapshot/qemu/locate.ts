import { dirname } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { RequiredPath, StorageStack, Volume } from '../../../model/storage.ts';
import { cloneableFileSystems } from '../../../platform/block-clone.ts';
import { isWithin, mountPointsBelow, pathExists } from '../../../platform/files.ts';
import type { Platform } from '../../../ports/module.ts';
import { askDisks, disksBelow, leavesBelow, type KnownDisks, type Leaf } from './disks.ts';
import { Qmp } from './qmp.ts';
import { qemuVolume, type FileSystemPlace } from './volume.ts';

const programs = ['qemu-img', 'qemu-storage-daemon', 'fallocate', 'losetup'];

export interface LocateRequest {
  readonly paths: readonly RequiredPath[];
  readonly qmp: string;
  readonly directory: string;
  readonly disks: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

interface Placed {
  readonly required: RequiredPath;
  readonly stack: StorageStack;
  readonly leaves: readonly Leaf[];
  readonly direct?: { readonly offset: number; readonly bytes: number };
}

/** Paths on disks that the monitor knows; those that share a disk make one volume. */
export async function locateVolumes(request: LocateRequest, platform: Platform): Promise<readonly Volume[]> {
  const passAll = (why: string): readonly Volume[] => {
    platform.log.info(`qemu takes no path: ${why}`);
    return [];
  };
  if (process.geteuid?.() !== 0) return passAll('only root may mount copies of disks');
  for (const program of programs) {
    if ((await platform.exec.which(program)) === undefined) return passAll(`the program ${program} is missing`);
  }
  using qmp = await Qmp.connect(request.qmp, platform.clock);
  const known = await askDisks(qmp);
  const placed: Placed[] = [];
  for (const required of request.paths) {
    const one = await placeOf(required, known, request, platform);
    if ('why' in one) platform.log.info(`qemu does not take ${required.path}: ${one.why}`);
    else placed.push(one);
  }
  const volumes = joined(placed).map((ones) => volumeOf(ones, request));
  if (volumes.length > 0) await refuseOwnDisk(placed, known, request, platform);
  return volumes;
}

async function placeOf(
  required: RequiredPath,
  known: KnownDisks,
  request: LocateRequest,
  { host }: Platform,
): Promise<Placed | { readonly why: string }> {
  const stack = await host.stackOf(required.path, request.signal);
  if (!cloneableFileSystems.has(stack.fileSystem)) return { why: `it cannot open copies of ${stack.fileSystem}` };
  const found = await disksBelow(stack, known, request.disks);
  if ('why' in found) return found;
  if ((stack.top.details['root'] ?? '/') !== '/') return { why: 'its mount shows only a part of the file system' };
  if (!required.companions.every((companion) => isWithin(companion, stack.mountPoint))) {
    return { why: 'a companion file lies on another file system' };
  }
  const mounts = required.kind === 'directory' ? await mountPointsBelow(required.path) : [];
  if (mounts.length > 0) return { why: `another file system is mounted below it at ${mounts.join(', ')}` };
  return { required, stack, ...found };
}

/** Those that share disks, also by way of a third. */
function joined(placed: readonly Placed[]): readonly (readonly Placed[])[] {
  let groups: (readonly Placed[])[] = [];
  for (const one of placed) {
    const nodes = new Set(one.leaves.map(({ disk }) => disk.node));
    const shares = (group: readonly Placed[]): boolean =>
      group.some(({ leaves }) => leaves.some(({ disk }) => nodes.has(disk.node)));
    groups = [...groups.filter((group) => !shares(group)), [...groups.filter(shares).flat(), one]];
  }
  return groups;
}

function volumeOf(ones: readonly Placed[], { qmp, directory }: LocateRequest): Volume {
  const byKey = new Map(ones.flatMap(({ leaves }) => leaves.map(({ disk }) => [disk.key, disk])));
  const disks = [...byKey.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const places = new Map<string, FileSystemPlace>();
  const indexOf = ({ disk }: Leaf): number => disks.findIndex(({ node }) => node === disk.node);
  for (const { stack, leaves, direct } of ones) {
    const { mountPoint, fileSystem } = stack;
    const [leaf] = leaves;
    const place =
      direct === undefined || leaf === undefined
        ? { stack, members: leaves.map((one) => ({ original: one.layer, disk: indexOf(one) })) }
        : { disk: indexOf(leaf), ...direct };
    places.set(mountPoint, { mountPoint, fileSystem, ...place });
  }
  return qemuVolume(
    qmp,
    directory,
    ones.map(({ required }) => required.name),
    { disks, fileSystems: [...places.values()] },
  );
}

/** A write to the disk would have to wait for its own overlay. */
async function refuseOwnDisk(
  placed: readonly Placed[],
  known: KnownDisks,
  { directory, disks, signal }: LocateRequest,
  { host }: Platform,
): Promise<void> {
  let existing = directory;
  while (!(await pathExists(existing)) && existing !== dirname(existing)) existing = dirname(existing);
  const own = await leavesBelow((await host.stackOf(existing, signal)).top, known, disks);
  const shared = placed.find((one) => one.leaves.some(({ disk }) => own.leaves.has(disk.node)));
  if (shared === undefined) return;
  throw new StillpointError(
    'volume-unsafe',
    `the overlays in ${directory} would lie on the disk of ${shared.required.path} itself`,
    { hint: 'set `overlayDirectory` of the provider `qemu` to a directory on another disk' },
  );
}
