/** Copies of members under throw-away overlays, and how everything on top of them is found and taken away again. */
import { mkdir, open, readdir, readFile, realpath, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, StillpointError } from '../model/errors.ts';
import { systemClock } from './clock.ts';
import type { Exec } from './exec.ts';
import { parseMountPoints } from './files.ts';

export interface Place {
  readonly name: string;
  readonly directory: string;
  readonly mountPoint: string;
}

type Argv = readonly [string, ...string[]];

const commandMs = 30_000;
const copyMs = 60 * 60_000;
const tries = 10;
const pauseMs = 300;
/** Sectors: the smallest that the target takes. */
const chunkSectors = 8;

/** With no link in it, as the kernel tells mount points and backing files. */
export async function placeOf(stateDirectory: string, name: string): Promise<Place> {
  const parent = join(stateDirectory, 'arrays');
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const directory = join(await realpath(parent), name);
  return { name, directory, mountPoint: join(directory, 'mnt') };
}

export interface MemberOptions {
  readonly exec: Exec;
  readonly place: Place;
  readonly storeBytes: number;
  readonly signal: AbortSignal | undefined;
}

/** A device with the member's bytes that may be written. `index` is unique in the clone. */
export async function openMember(copy: string, index: number, options: MemberOptions): Promise<string> {
  const { exec, place } = options;
  const isFile = (await stat(copy)).isFile();
  const mapper = await exec.run({ argv: ['dmsetup', 'targets'], timeoutMs: commandMs }).catch(() => undefined);
  if (!/^snapshot\s/m.test(mapper?.stdout ?? '')) {
    if (isFile) return await copied(copy, index, options);
    throw new StillpointError('command-failed', `${copy} needs the device-mapper target snapshot for its overlay`, {
      hint: 'load it (modprobe dm-snapshot), or give image files, which are copied instead',
    });
  }
  const source = isFile ? await readOnlyLoop(copy, index, options) : copy;
  const sectors = (await step(options, ['blockdev', '--getsz', source])).trim();
  const store = join(place.directory, `m${index}.cow`);
  await makeSparse(store, options.storeBytes);
  const loop = (await step(options, ['losetup', '--find', '--show', store])).trim();
  return await mapped(options, `${place.name}-m${index}`, `0 ${sectors} snapshot ${source} ${loop} N ${chunkSectors}`);
}

/** A device of ours for device-mapper; its name begins with that of the clone. */
export async function mapped(options: MemberOptions, name: string, table: string): Promise<string> {
  await step(options, ['dmsetup', 'create', '--verifyudev', name, '--table', table]);
  await step(options, ['dmsetup', 'mknodes', name]);
  return `/dev/mapper/${name}`;
}

/**
 * The image is bound to a name in our directory first: the kernel tells a loop device by that path, so that it is known for ours by
 * whoever closes it, and not mixed up with somebody else's on the same image.
 */
async function readOnlyLoop(image: string, index: number, options: MemberOptions): Promise<string> {
  const bound = join(options.place.directory, `m${index}.img`);
  await writeFile(bound, '', { mode: 0o600 });
  await step(options, ['mount', '--bind', image, bound]);
  return (await step(options, ['losetup', '--find', '--show', '--read-only', bound])).trim();
}

async function copied(image: string, index: number, options: MemberOptions): Promise<string> {
  const copy = join(options.place.directory, `m${index}.copy`);
  await step(options, ['cp', '--reflink=auto', '--sparse=always', '--', image, copy], copyMs);
  return (await step(options, ['losetup', '--find', '--show', copy])).trim();
}

async function makeSparse(file: string, bytes: number): Promise<void> {
  const store = await open(file, 'wx', 0o600);
  try {
    await store.truncate(bytes);
  } finally {
    await store.close();
  }
}

export async function step({ exec, signal }: MemberOptions, argv: Argv, timeoutMs = commandMs): Promise<string> {
  return (await exec.check({ argv, timeoutMs, ...(signal === undefined ? {} : { signal }) })).stdout;
}

/**
 * From the top down, by what the kernel shows: holders of our members, whoever made them. LVM is not asked, because it would look at
 * every disk of the machine.
 */
export async function closeAll(exec: Exec, place: Place): Promise<void> {
  await repeat(exec, async () =>
    (await mountsIn(place)).includes(place.mountPoint) ? ['umount', place.mountPoint] : undefined,
  );
  await repeat(exec, async () => removal(await topmost(place)));
  await repeat(exec, async () => {
    const [bound] = (await mountsIn(place)).filter((mount) => mount !== place.mountPoint);
    return bound === undefined ? undefined : ['umount', bound];
  });
  // Never recursively: if something is mounted there after all, its files are not ours to delete.
  for (const entry of await listed(place.directory)) {
    const path = join(place.directory, entry);
    if (path === place.mountPoint) await rmdir(path);
    else await rm(path);
  }
  await rmdir(place.directory).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT') throw error;
  });
  await removeLinks(place);
}

/** Does what `next` asks for until it asks for nothing; gives up when the same is asked for too often. */
async function repeat(exec: Exec, next: () => Promise<Argv | undefined>): Promise<void> {
  const asked = new Map<string, number>();
  let said = '';
  for (;;) {
    const argv = await next();
    if (argv === undefined) return;
    const what = argv.join(' ');
    const times = (asked.get(what) ?? 0) + 1;
    asked.set(what, times);
    if (times > tries) {
      throw new StillpointError('undo-failed', `an opened copy cannot be closed: ${what}: ${said}`, {
        hint: 'see with `lsblk` and `fuser -vm` who uses it, end that, and run `stillpoint recover`',
      });
    }
    // Scanners that look at every new device keep it busy for a moment.
    if (times > 1) await systemClock.sleep(pauseMs);
    said = (await exec.run({ argv, timeoutMs: commandMs })).stderr.trim();
  }
}

interface Block {
  readonly kernelName: string;
  readonly mapperName: string | undefined;
}

function removal(block: Block | undefined): Argv | undefined {
  if (block === undefined) return undefined;
  const { kernelName, mapperName } = block;
  if (mapperName !== undefined) return ['dmsetup', 'remove', '--retry', mapperName];
  if (kernelName.startsWith('md')) return ['mdadm', '--stop', `/dev/${kernelName}`];
  return ['losetup', '--detach', `/dev/${kernelName}`];
}

/** A device on top of our members, or one of them, that nothing else lies on. */
async function topmost(place: Place): Promise<Block | undefined> {
  for (const name of (await readdir('/sys/block')).filter((each) => /^(dm-|loop)\d+$/.test(each))) {
    const mapper = (await attribute(name, 'dm/name'))?.replace(/\n$/, '');
    const file = (await attribute(name, 'loop/backing_file'))?.replace(/\n$/, '');
    const ours =
      (mapper !== undefined && isMemberName(mapper, place)) || file?.startsWith(`${place.directory}/`) === true;
    if (ours) return await climb(name);
  }
  return undefined;
}

function isMemberName(mapper: string, { name }: Place): boolean {
  return mapper.startsWith(`${name}-m`) && /^\d+(-p\d+)?$/.test(mapper.slice(name.length + 2));
}

async function climb(kernelName: string): Promise<Block> {
  const [holder] = await listed(`/sys/block/${kernelName}/holders`);
  if (holder !== undefined) return await climb(holder);
  const mapperName = (await attribute(kernelName, 'dm/name'))?.replace(/\n$/, '');
  return { kernelName, mapperName };
}

async function mountsIn({ directory }: Place): Promise<readonly string[]> {
  const all = parseMountPoints(await readFile('/proc/self/mountinfo', 'utf8'));
  return all.filter((mount) => mount.startsWith(`${directory}/`));
}

/** LVM's links to volumes, where no udev takes them away. */
async function removeLinks({ name }: Place): Promise<void> {
  const directory = join('/dev', groupName(name));
  for (const link of await listed(directory)) {
    if ((await stat(join(directory, link)).catch(() => undefined)) === undefined) await rm(join(directory, link));
  }
  await rmdir(directory).catch(() => undefined);
}

/** Of the volume group in the clone. */
export function groupName(name: string): string {
  return `stillpoint_${name}`;
}

async function attribute(device: string, name: string): Promise<string | undefined> {
  try {
    return await readFile(`/sys/block/${device}/${name}`, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENODEV', 'ENXIO'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

async function listed(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}
