import { dirname } from 'node:path';
import type { RequiredPath, StorageLayer, StorageStack, Volume } from '../../../model/storage.ts';
import { cloneableFileSystems } from '../../../platform/block-clone.ts';
import { isWithin, mountPointsBelow } from '../../../platform/files.ts';
import type { Platform } from '../../../ports/module.ts';
import { listed } from './lvs.ts';
import { tagOf, volumeId, type MountedAt } from './names.ts';
import type { LogicalVolume } from './parse.ts';
import type { Way } from './way.ts';

const programs = ['lvs', 'lvcreate', 'lvremove', 'dmsetup', 'losetup'] as const;

interface Placed {
  readonly required: RequiredPath;
  readonly origin: LogicalVolume;
  readonly mount: MountedAt;
  readonly fileSystem: string;
}

/** Claims what lies on file systems that fill a logical volume of this way. */
export async function locate(
  platform: Platform,
  way: Way,
  paths: readonly RequiredPath[],
  signal: AbortSignal,
): Promise<readonly Volume[]> {
  const stacks: { readonly required: RequiredPath; readonly stack: StorageStack; readonly lv: StorageLayer }[] = [];
  for (const required of paths) {
    const stack = await platform.host.stackOf(required.path, signal);
    const lv = volumeBelow(stack);
    if (lv !== undefined && cloneableFileSystems.has(stack.fileSystem)) stacks.push({ required, stack, lv });
  }
  if (stacks.length === 0) return [];
  const lacking = await whyNotHere(platform);
  if (lacking !== undefined) {
    platform.log.info(`${way.kind} takes nothing: ${lacking}`);
    return [];
  }
  const { volumes } = await listed(platform.exec, signal);
  const placed: Placed[] = [];
  for (const { required, stack, lv } of stacks) {
    const origin = volumeOf(volumes, stack, lv);
    const mount = { at: stack.mountPoint, root: stack.top.details['root'] ?? '/' };
    const why =
      origin === undefined
        ? `LVM does not know its device ${stack.device}`
        : (way.whyNot(origin) ?? (await whyNotWhole(platform, required, stack, mount, signal)));
    if (origin !== undefined && why === undefined) {
      placed.push({ required, origin, mount, fileSystem: stack.fileSystem });
    } else platform.log.info(`${way.kind} does not take ${required.path}: ${why}`);
  }
  return [...Map.groupBy(placed, ({ origin }) => volumeId(way.kind, origin))].map(([id, ones]) =>
    volumeFrom(way, id, ones),
  );
}

/** A file system over several devices, or on a part of one, is none that a snapshot of one volume holds whole. */
function volumeBelow(stack: StorageStack): StorageLayer | undefined {
  const [fileSystem, ...others] = stack.top.below;
  if (fileSystem === undefined || others.length > 0 || fileSystem.type !== 'filesystem') return undefined;
  const [device, ...more] = fileSystem.below;
  return device !== undefined && more.length === 0 && device.type === 'lv' ? device : undefined;
}

async function whyNotHere({ exec }: Platform): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return 'only root may make snapshots';
  for (const program of programs) {
    if ((await exec.which(program)) === undefined)
      return `the program ${program} is missing (packages lvm2, util-linux)`;
  }
  return undefined;
}

function volumeOf(
  volumes: readonly LogicalVolume[],
  stack: StorageStack,
  layer: StorageLayer,
): LogicalVolume | undefined {
  const { uuid } = layer.details;
  if (uuid !== undefined) return volumes.find((one) => one.uuid === uuid);
  return volumes.find((one) => one.device === stack.device || `/dev/${one.vg}/${one.name}` === stack.device);
}

async function whyNotWhole(
  { host }: Platform,
  required: RequiredPath,
  stack: StorageStack,
  mount: MountedAt,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (/(?:^|,)(?:logdev|rtdev)=/.test(stack.top.details['options'] ?? '')) {
    return 'its file system keeps its log or data on another device too';
  }
  if (tagOf(mount) === undefined) return `the path of its mount point ${mount.at} is too long for a tag of LVM`;
  if (required.kind === 'directory') {
    const mounts = await mountPointsBelow(required.path);
    if (mounts.length > 0) return `another file system is mounted below it at ${mounts.join(', ')}`;
  }
  for (const companion of required.companions) {
    const other = isWithin(companion, mount.at) ? await host.stackOf(dirname(companion), signal) : undefined;
    if (other?.mountPoint !== mount.at) return `its companion ${companion} lies on another file system`;
  }
  return undefined;
}

function volumeFrom(way: Way, id: string, ones: readonly Placed[]): Volume {
  const [first] = ones;
  if (first === undefined) throw new Error(`${id} holds nothing`);
  const mounts = new Map(ones.map(({ mount }) => [mount.at, mount]));
  return {
    id,
    provider: way.kind,
    holds: ones.map(({ required }) => required.name),
    details: {
      vg: first.origin.vg,
      lv: first.origin.name,
      fileSystem: first.fileSystem,
      mounts: JSON.stringify([...mounts.values()]),
      ...way.details(first.origin),
    },
  };
}
