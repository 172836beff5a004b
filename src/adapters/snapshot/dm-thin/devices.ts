/** Which block devices lie below a path or a device, from /sys alone. Device numbers as `253:5`. */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf } from '../../../model/errors.ts';
import { isWithin } from '../../../platform/files.ts';
import { parseMounts, type MountLine } from './parse.ts';

export async function mounts(): Promise<readonly MountLine[]> {
  return parseMounts(await readFile('/proc/self/mountinfo', 'utf8'));
}

/** Of a device's number as stat(2) packs it (makedev(3)). */
function numberOf(packed: bigint): string {
  const major = ((packed >> 8n) & 0xfffn) | ((packed >> 32n) & 0xfffff000n);
  const minor = (packed & 0xffn) | ((packed >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

/** Of the block device that a path names; undefined for anything else. */
export async function blockNumber(path: string): Promise<string | undefined> {
  try {
    const stats = await stat(path, { bigint: true });
    return stats.isBlockDevice() ? numberOf(stats.rdev) : undefined;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Of the file system that a path lies on, as stat(2) says it. */
export async function fileSystemNumber(path: string): Promise<string> {
  return numberOf((await stat(path, { bigint: true })).dev);
}

/** All devices that a read of the path may wait for. A file system that has no device of its own is looked up by its mount's source. */
export async function devicesUnder(path: string, table: readonly MountLine[]): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  await collectPath(path, table, found);
  return found;
}

async function collectPath(path: string, table: readonly MountLine[], found: Set<string>): Promise<void> {
  const own = await fileSystemNumber(path);
  if (found.has(own)) return;
  found.add(own);
  if (await attribute(own, 'dev')) return await collectDevice(own, table, found);
  // A btrfs gives each subvolume a number of its own, which no mount has.
  const named = table.filter(({ number }) => number === own);
  for (const { source } of named.length > 0 ? named : mountsAbove(await realpath(path).catch(() => path), table)) {
    const device = source.startsWith('/') ? await blockNumber(source) : undefined;
    if (device !== undefined) await collectDevice(device, table, found);
  }
}

function mountsAbove(path: string, table: readonly MountLine[]): readonly MountLine[] {
  const longest = Math.max(
    0,
    ...table.filter(({ mountPoint }) => isWithin(path, mountPoint)).map(({ mountPoint }) => mountPoint.length),
  );
  return table.filter(({ mountPoint }) => mountPoint.length === longest && isWithin(path, mountPoint));
}

/** The device itself and all below it. */
export async function devicesOf(number: string, table: readonly MountLine[]): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  await collectDevice(number, table, found);
  return found;
}

async function collectDevice(number: string, table: readonly MountLine[], found: Set<string>): Promise<void> {
  found.add(number);
  const below: string[] = [];
  for (const slave of await entries(`/sys/dev/block/${number}/slaves`)) {
    below.push(((await text(`/sys/dev/block/${number}/slaves/${slave}/dev`)) ?? '').trim());
  }
  if ((await attribute(number, 'partition')) !== undefined) {
    const whole = dirname(await realpath(`/sys/dev/block/${number}`));
    below.push(((await text(join(whole, 'dev'))) ?? '').trim());
  }
  for (const device of below) {
    if (device !== '' && !found.has(device)) await collectDevice(device, table, found);
  }
  const backing = (await attribute(number, 'loop/backing_file'))?.replace(/\n$/, '');
  if (backing !== undefined) {
    await collectPath(backing, table, found).catch((error: unknown) => {
      // Deleted, or of another mount namespace: not to be told from here.
      if (codeOf(error) !== 'ENOENT') throw error;
    });
  }
}

/** Device-mapper's name; undefined for another device and for one that is not there. */
export async function mapperName(number: string): Promise<string | undefined> {
  return (await attribute(number, 'dm/name'))?.replace(/\n$/, '');
}

/** The number of the device that device-mapper calls so now. */
export async function mapperNumber(name: string): Promise<string | undefined> {
  for (const device of (await entries('/sys/block')).filter((each) => each.startsWith('dm-'))) {
    if ((await text(`/sys/block/${device}/dm/name`))?.replace(/\n$/, '') === name) {
      return (await text(`/sys/block/${device}/dev`))?.trim();
    }
  }
  return undefined;
}

/** Undefined: there is no such device, so nothing waits for it. */
export async function isSuspended(number: string): Promise<boolean | undefined> {
  const value = await attribute(number, 'dm/suspended');
  return value === undefined ? undefined : value.trim() === '1';
}

async function attribute(number: string, name: string): Promise<string | undefined> {
  return await text(`/sys/dev/block/${number}/${name}`);
}

async function text(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ENXIO', 'ENODEV'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

async function entries(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}
