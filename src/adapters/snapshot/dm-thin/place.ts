import { readFile, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import { layerOf } from '../../../model/stack.ts';
import type { RequiredPath, Volume } from '../../../model/storage.ts';
import { cloneableFileSystems } from '../../../platform/block-clone.ts';
import { isWithin, mountPointsBelow, pathExists } from '../../../platform/files.ts';
import { detailOf } from '../../../platform/snapshot-place.ts';
import type { Platform } from '../../../ports/module.ts';
import { table as tableOf } from './commands.ts';
import { blockNumber, devicesOf, devicesUnder, mapperName, mapperNumber, mounts } from './devices.ts';
import { programsHere } from './executor.ts';
import { parseSwaps, parseThin, type MountLine } from './parse.ts';

/** A mounted file system right on a thin volume. */
export interface MountedThin {
  /** Device-mapper's name of the volume. */
  readonly name: string;
  readonly pool: string;
  readonly origin: number;
  readonly sectors: number;
  readonly mountPoint: string;
  /** Which directory of the file system is mounted there. */
  readonly root: string;
  readonly fileSystem: string;
}

const lookMs = 15_000;
const kind = 'dm-thin';
/** What stands in the id of a volume and in a reference, and in commands of the executor. */
const plainName = /^[A-Za-z0-9][A-Za-z0-9+_.#=@-]*$/;

/** Mount point and name stand in the id, so that a reference alone tells what to thaw and to resume. */
function volumeId({ name, mountPoint }: MountedThin): string {
  return `${kind}:${name}:${mountPoint}`;
}

export function originOf(volume: string): Pick<MountedThin, 'name' | 'mountPoint'> {
  const [, name, mountPoint] = /^dm-thin:([^:]+):(\/.*)$/.exec(volume) ?? [];
  if (name === undefined || mountPoint === undefined) throw new Error(`${volume} is no volume of ${kind}`);
  return { name, mountPoint };
}

export function thinOf(volume: Volume): MountedThin {
  return {
    name: detailOf(volume, 'name'),
    pool: detailOf(volume, 'pool'),
    origin: Number(detailOf(volume, 'origin')),
    sectors: Number(detailOf(volume, 'sectors')),
    mountPoint: detailOf(volume, 'mountPoint'),
    root: detailOf(volume, 'root'),
    fileSystem: detailOf(volume, 'fileSystem'),
  };
}

export function volumeOf(thin: MountedThin, holds: readonly string[]): Volume {
  const { origin, sectors, ...words } = thin;
  return {
    id: volumeId(thin),
    provider: kind,
    holds,
    details: { ...words, origin: String(origin), sectors: String(sectors) },
  };
}

/** The thin volume below a path, or undefined with the reason in the log where it is one that cannot be cut. */
export async function placeOf(
  required: RequiredPath,
  platform: Platform,
  signal: AbortSignal,
): Promise<MountedThin | undefined> {
  const stack = await platform.host.stackOf(required.path, signal);
  const number = stack.device.startsWith('/') ? await blockNumber(stack.device) : undefined;
  const name = number === undefined ? undefined : await mapperName(number);
  if (number === undefined || name === undefined) return undefined;
  if (process.geteuid?.() !== 0 || (await platform.exec.which('dmsetup')) === undefined) return undefined;
  const asked = await platform.exec.run({ argv: tableOf(name), timeoutMs: lookMs, signal });
  if (!/^0 \d+ thin /.test(asked.stdout)) return undefined;
  const passed = (why: string): undefined => {
    platform.log.info(`${kind} does not take ${required.path}: ${why}`);
    return undefined;
  };
  const thin = parseThin(asked.stdout);
  if (thin === undefined) return passed(`${name} has an origin outside of its pool`);
  const programs = await programsHere(platform);
  if ('missing' in programs) return passed(`the program ${programs.missing} is missing`);
  const pool = await mapperName(thin.pool);
  if (pool === undefined || !plainName.test(pool) || !plainName.test(name)) return passed(`of the name of ${name}`);
  if (!cloneableFileSystems.has(stack.fileSystem)) {
    return passed(`a ${stack.fileSystem} cannot be opened beside its original`);
  }
  if (!required.companions.every((companion) => isWithin(companion, stack.mountPoint))) {
    return passed('a companion file lies on another file system');
  }
  const below = required.kind === 'directory' ? await mountPointsBelow(required.path) : [];
  if (below.length > 0) return passed(`another file system is mounted below it at ${below.join(', ')}`);
  const root = layerOf(stack, 'mount')?.details['root'] ?? '/';
  const { mountPoint, fileSystem } = stack;
  return { name, pool, origin: thin.id, sectors: thin.sectors, mountPoint, root, fileSystem };
}

/**
 * Refuses a volume without which this program, its watchdogs or the machine cannot go on while it is suspended: then nobody could
 * resume it.
 */
export async function refuseVital(thins: readonly MountedThin[], platform: Platform): Promise<void> {
  const table = await mounts();
  const numbers = new Map<string, MountedThin>();
  for (const thin of thins) {
    const number = await mapperNumber(thin.name);
    if (number !== undefined) numbers.set(number, thin);
  }
  for (const { what, devices } of await vital(platform, table)) {
    const hit = [...devices].map((device) => numbers.get(device)).find((thin) => thin !== undefined);
    if (hit !== undefined) throw unsafe(hit, `${what} lies on it`);
  }
  for (const [number, thin] of numbers) {
    const below = await devicesOf(number, table);
    const other = [...numbers].find(([each]) => each !== number && below.has(each));
    if (other !== undefined) throw unsafe(other[1], `${thin.mountPoint} lies on it, which is cut with it`);
  }
}

function unsafe(thin: MountedThin, why: string): StillpointError {
  return new StillpointError('volume-unsafe', `the thin volume ${thin.name} must not be suspended: ${why}`, {
    hint: 'name other providers under `storage` of the workload (`lvm-thin`, `lvm-thick`), or move what lies there',
    details: { volume: thin.name, mountPoint: thin.mountPoint },
  });
}

async function vital(
  platform: Platform,
  table: readonly MountLine[],
): Promise<readonly { readonly what: string; readonly devices: ReadonlySet<string> }[]> {
  const programs = await programsHere(platform);
  const paths = [
    ...['/', '/usr', '/etc', '/run', '/var/log', '/var/tmp', '/tmp', '/dev/shm', tmpdir(), process.cwd()],
    ...[platform.stateDirectory, process.execPath, import.meta.dirname, '/proc/self/fd/1', '/proc/self/fd/2'],
    ...('missing' in programs ? [] : Object.values(programs)),
  ];
  const found: { readonly what: string; readonly devices: ReadonlySet<string> }[] = [];
  for (const path of paths) {
    const existing = await nearest(path);
    found.push({ what: path, devices: await devicesUnder(existing, table) });
  }
  for (const swap of parseSwaps(await readFile('/proc/swaps', 'utf8').catch(() => ''))) {
    const number = await blockNumber(swap);
    const devices =
      number === undefined ? await devicesUnder(await nearest(swap), table) : await devicesOf(number, table);
    found.push({ what: `the swap space ${swap}`, devices });
  }
  return found;
}

/** With no link in it; the nearest parent of what is not there yet. */
async function nearest(path: string): Promise<string> {
  // A pipe or a terminal has no path; stat follows it all the same.
  if (path.startsWith('/proc/')) return (await pathExists(path)) ? path : '/';
  let existing = path;
  while (!(await pathExists(existing)) && existing !== dirname(existing)) existing = dirname(existing);
  return await realpath(existing);
}
