import { mkdir, open, readdir, readFile, realpath, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import { bootId, systemClock } from './clock.ts';
import type { Exec } from './exec.ts';
import { parseMountPoints } from './files.ts';
import { isAlive, self } from './process.ts';

/**
 * Opens a block device that must not be written (a snapshot, a copied disk) as a file system beside its original.
 *
 * A file system's log has to be replayed before its content can be trusted, which needs a device that can be written: mounting with
 * `norecovery` shows files as they were before the log, or none. So the device is put under a throw-away overlay (the
 * device-mapper target `snapshot` with a store that is lost at the end), and that is mounted read-only.
 */
export interface BlockCloneRequest {
  readonly exec: Exec;
  /** Holds mount points and stores, below `mounts`. Must not lie on the device. */
  readonly stateDirectory: string;
  /** Names everything that is made, so that `closeBlockClone` of another process finds it: letters, digits and `+ _ . -`, at most 90. */
  readonly name: string;
  /** Whole device with one file system; is never written. */
  readonly device: string;
  /** As findmnt calls it: xfs, ext4, ext3 or ext2. */
  readonly fileSystem: string;
  readonly signal?: AbortSignal;
  /** How much the replay may write at most; the store is sparse. Default 256 MiB. A full one makes reads fail, never wrong. */
  readonly storeBytes?: number;
}

export interface BlockClone extends AsyncDisposable {
  /** Read-only. */
  readonly mountPoint: string;
  /** The overlay, with the replayed log. */
  readonly device: string;
}

const commandMs = 30_000;
/** Replaying a full log of a slow disk takes its time. */
const mountMs = 5 * 60_000;
const defaultStoreBytes = 256 * 1024 * 1024;
const sectorBytes = 512;
/** Sectors. The smallest that the target takes: what a replay writes is scattered. */
const chunkSectors = 8;
const busyTries = 10;
const busyPauseMs = 200;
const nameForm = /^[A-Za-z0-9][A-Za-z0-9+_.-]{0,89}$/;
const storeSuffix = '.cow';

/**
 * `nouuid`: xfs refuses a second mount of the same UUID. Read-only mounts replay the log all the same as long as the device can be
 * written (xfs(5), ext4(5) `noload`).
 */
const mountOptions: Readonly<Record<string, string>> = {
  xfs: 'ro,nouuid,nosuid,nodev',
  ext4: 'ro,nosuid,nodev',
  ext3: 'ro,nosuid,nodev',
  ext2: 'ro,nosuid,nodev',
};

/** File systems that can be opened beside their original. Not btrfs: it mixes up devices of one UUID. */
export const cloneableFileSystems: ReadonlySet<string> = new Set(Object.keys(mountOptions));

/** One opening. It carries who opened it, so that several may be open at once and those of dead processes are told from living ones. */
interface Instance {
  readonly id: string;
  readonly mountPoint: string;
  readonly store: string;
}

let count = 0;

function instance(mounts: string, id: string): Instance {
  return { id, mountPoint: join(mounts, id), store: join(mounts, `${id}${storeSuffix}`) };
}

/** Throws `command-failed` with nothing left behind. Closing it twice is no error. */
export async function openBlockClone(request: BlockCloneRequest): Promise<BlockClone> {
  const { exec, name, fileSystem } = request;
  assertName(name);
  const options = mountOptions[fileSystem];
  if (options === undefined) {
    throw new StillpointError('command-failed', `a copy of a ${fileSystem} file system cannot be opened beside it`, {
      hint: `possible are ${[...cloneableFileSystems].join(', ')}`,
    });
  }
  await sweep(request, (owner) => !isAlive(owner));
  const mounts = await mountsOf(request.stateDirectory);
  count += 1;
  const { pid, startTicks } = self();
  const made = instance(mounts, `${name}+${pid}.${startTicks}.${count}`);
  try {
    await mkdir(made.mountPoint, { mode: 0o700 });
    const store = await open(made.store, 'wx', 0o600);
    try {
      await store.truncate(request.storeBytes ?? defaultStoreBytes);
    } finally {
      await store.close();
    }
    const device = await overlay(request, made);
    await step(request, ['mount', '-t', fileSystem, '-o', options, device, made.mountPoint], mountMs);
    return {
      mountPoint: made.mountPoint,
      device,
      [Symbol.asyncDispose]: () => closeInstance(exec, made),
    };
  } catch (error) {
    const left = await closeInstance(exec, made).then(
      () => '',
      (more: unknown) => `; and ${messageOf(more)}`,
    );
    throw new StillpointError('command-failed', `${request.device} cannot be opened: ${messageOf(error)}${left}`, {
      hint: 'the kernel needs loop devices and the device-mapper target snapshot (modprobe -a loop dm-snapshot)',
      cause: error,
    });
  }
}

/** Closes all openings of that name, by whatever process, dead or alive. None is no error; throws `undo-failed`. */
export async function closeBlockClone(
  request: Pick<BlockCloneRequest, 'exec' | 'stateDirectory' | 'name'>,
): Promise<void> {
  assertName(request.name);
  await sweep(request, () => true);
}

async function sweep(
  request: Pick<BlockCloneRequest, 'exec' | 'stateDirectory' | 'name'>,
  takes: (owner: Parameters<typeof isAlive>[0]) => boolean,
): Promise<void> {
  const mounts = await mountsOf(request.stateDirectory);
  const boot = bootId();
  const ids = new Set<string>();
  // The mount point is made first and removed last, so that whatever there is has an entry here.
  for (const entry of await readdir(mounts)) {
    const id = entry.endsWith(storeSuffix) ? entry.slice(0, -storeSuffix.length) : entry;
    const [, name, pid, startTicks = ''] = /^(.+)\+(\d+)\.(\d+)\.\d+$/.exec(id) ?? [];
    if (name === request.name && takes({ pid: Number(pid), startTicks, bootId: boot })) ids.add(id);
  }
  for (const id of ids) await closeInstance(request.exec, instance(mounts, id));
}

function assertName(name: string): void {
  if (!nameForm.test(name)) throw new Error(`${name} cannot name a mount`);
}

/** With no link in it, as the kernel tells mount points and backing files. */
async function mountsOf(stateDirectory: string): Promise<string> {
  const mounts = join(stateDirectory, 'mounts');
  await mkdir(mounts, { recursive: true, mode: 0o700 });
  return await realpath(mounts);
}

async function step(request: BlockCloneRequest, argv: readonly [string, ...string[]], timeoutMs: number) {
  const { exec, signal } = request;
  return (await exec.check({ argv, timeoutMs, ...(signal === undefined ? {} : { signal }) })).stdout.trim();
}

async function overlay(request: BlockCloneRequest, made: Instance): Promise<string> {
  const sectors = await step(request, ['blockdev', '--getsz', request.device], commandMs);
  const bytes = Number(sectors) * sectorBytes;
  if (!/^\d+$/.test(sectors) || bytes === 0) throw new Error(`it has no size (${sectors})`);
  const loop = await step(request, ['losetup', '--find', '--show', made.store], commandMs);
  // N: the store's index lives in memory only; nobody reads the store after this opening.
  const table = `0 ${sectors} snapshot ${request.device} ${loop} N ${chunkSectors}`;
  // Where udev runs, dmsetup waits for it; where it does not, the node may be missing without --verifyudev and mknodes.
  await step(request, ['dmsetup', 'create', '--verifyudev', made.id, '--table', table], commandMs);
  await step(request, ['dmsetup', 'mknodes', made.id], commandMs);
  return `/dev/mapper/${made.id}`;
}

/** Each step looks first whether there is anything to do: another process may have done it, or the opening may have stopped half-way. */
async function closeInstance(exec: Exec, made: Instance): Promise<void> {
  await until(exec, () => mounted(made), ['umount', made.mountPoint]);
  await until(exec, () => mapped(made.id), ['dmsetup', 'remove', '--retry', made.id]);
  for (const loop of await loopsOn(made.store)) {
    await until(exec, async () => (await loopsOn(made.store)).includes(loop), ['losetup', '--detach', loop]);
  }
  await rm(made.store, { force: true });
  // Never recursively: if something is mounted there after all, its files are not ours to delete.
  await rmdir(made.mountPoint).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT') throw undone(made.mountPoint, messageOf(error));
  });
}

/** Scanners that look at every new device and mount keep it busy for a moment. */
async function until(exec: Exec, there: () => Promise<boolean>, argv: readonly [string, ...string[]]): Promise<void> {
  let said = '';
  for (let tries = 0; tries < busyTries; tries += 1) {
    if (!(await there())) return;
    if (tries > 0) await systemClock.sleep(busyPauseMs);
    said = (await exec.run({ argv, timeoutMs: commandMs })).stderr.trim();
  }
  if (await there()) throw undone(argv.join(' '), said);
}

function undone(what: string, why: string): StillpointError {
  return new StillpointError('undo-failed', `an opened snapshot cannot be closed: ${what}: ${why}`, {
    hint: 'see with `fuser -vm` on the mount point who uses it, end that, and run `stillpoint recover`',
  });
}

async function mounted(made: Instance): Promise<boolean> {
  return parseMountPoints(await readFile('/proc/self/mountinfo', 'utf8')).includes(made.mountPoint);
}

async function mapped(id: string): Promise<boolean> {
  const names = await attributes(/^dm-\d+$/, 'dm/name');
  return names.some(({ value }) => value === id);
}

async function loopsOn(store: string): Promise<readonly string[]> {
  const files = await attributes(/^loop\d+$/, 'loop/backing_file');
  return files
    .filter(({ value }) => value === store || value === `${store} (deleted)`)
    .map(({ device }) => `/dev/${device}`);
}

async function attributes(
  devices: RegExp,
  attribute: string,
): Promise<readonly { readonly device: string; readonly value: string }[]> {
  const found: { readonly device: string; readonly value: string }[] = [];
  for (const device of (await readdir('/sys/block')).filter((one) => devices.test(one))) {
    try {
      // One newline is the kernel's; a name's own blanks stay.
      const value = (await readFile(`/sys/block/${device}/${attribute}`, 'utf8')).replace(/\n$/, '');
      found.push({ device, value });
    } catch (error) {
      // A loop device without a file has no such attribute, and one that goes away meanwhile has it no longer.
      if (codeOf(error) !== 'ENOENT' && codeOf(error) !== 'ENODEV' && codeOf(error) !== 'ENXIO') throw error;
    }
  }
  return found;
}
