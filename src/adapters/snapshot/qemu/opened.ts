import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from '../../../model/errors.ts';
import { closeArrayClone, openArrayClone } from '../../../platform/array-clone.ts';
import { isWithin, mountPointsBelow, pathExists } from '../../../platform/files.ts';
import { killExactly, processesMarked } from '../../../platform/process.ts';
import type { Platform } from '../../../ports/module.ts';
import {
  attachLoop,
  createOverlay,
  detachLoop,
  mountCopy,
  showCopies,
  unmount,
  unmountLazily,
  type CopyDisk,
  type CutDisk,
} from './commands.ts';
import { toolFor, toolsAtWork, toolsEnded } from './tools.ts';
import type { DirectPlace, Shape, StackedPlace } from './volume.ts';

/** Marks the process that shows the disks; the value is the directory of what was opened. */
const mark = 'STILLPOINT_QEMU_OPENED';
const prefix = 'open-';
const arrayPrefix = 'array-';
const toolMs = 60_000;
const endMs = 5000;
const pollMs = 20;

/** Disks of a snapshot as files, and file systems on them as directories. Everything lies in, or is marked with, one directory. */
export interface Opened {
  readonly directory: string;
  readonly copies: readonly CopyDisk[];
  /** For each file system of the shape, where its copy is mounted. */
  readonly mounted: readonly string[];
}

/** Leaves nothing behind when it fails. */
export async function openCopies(
  at: string,
  socket: string,
  disks: readonly CutDisk[],
  shape: Shape,
  platform: Platform,
): Promise<Opened> {
  const { exec } = platform;
  const directory = await mkdtemp(join(at, prefix));
  try {
    const copies = disks.map(({ name }, index) => ({
      nbd: name,
      overlay: join(directory, `top-${index}.qcow2`),
      file: join(directory, `disk-${index}`),
    }));
    for (const [index, { overlay, file }] of copies.entries()) {
      await exec.check({ ...toolFor(directory), argv: createOverlay(overlay, shape.disks[index]?.bytes ?? 0) });
      await writeFile(file, '', { mode: 0o600 });
    }
    await exec.check({ argv: showCopies(socket, copies), env: { [mark]: directory }, timeoutMs: toolMs });
    const mounted: string[] = [];
    for (const [index, place] of shape.fileSystems.entries()) {
      mounted.push(
        'stack' in place
          ? await mountStacked(place, index, copies, directory, platform)
          : await mountDirect(place, index, copies, directory, platform),
      );
    }
    return { directory, copies, mounted };
  } catch (error) {
    await close(directory, platform);
    throw error;
  }
}

async function mountDirect(
  place: DirectPlace,
  index: number,
  copies: readonly CopyDisk[],
  directory: string,
  { exec }: Platform,
): Promise<string> {
  const mountPoint = join(directory, `fs-${index}`);
  await mkdir(mountPoint, { mode: 0o700 });
  const attach = attachLoop(fileOf(copies, place.disk), place.offset, place.bytes);
  const device = (await exec.check({ ...toolFor(directory), argv: attach })).stdout.trim();
  await exec.check({ ...toolFor(directory), argv: mountCopy(device, place.fileSystem, mountPoint) });
  await exec.check({ argv: detachLoop(device), timeoutMs: toolMs });
  return mountPoint;
}

/** Arrays and volume groups have names on the whole machine: they follow from the directory, so that `close` knows them. */
async function mountStacked(
  place: StackedPlace,
  index: number,
  copies: readonly CopyDisk[],
  directory: string,
  { exec }: Platform,
): Promise<string> {
  // Says that there is something to close.
  await writeFile(join(directory, `${arrayPrefix}${index}`), '');
  const { stack } = place;
  const members = place.members.map(({ original, disk }) => ({ original, device: fileOf(copies, disk) }));
  const name = arrayName(directory, String(index));
  return (await openArrayClone({ exec, stateDirectory: directory, name, members, stack })).mountPoint;
}

function arrayName(directory: string, index: string): string {
  return `stillpoint-${createHash('sha256').update(directory).digest('hex').slice(0, 12)}-${index}`;
}

function fileOf(copies: readonly CopyDisk[], disk: number): string {
  const copy = copies[disk];
  if (copy === undefined) throw new Error(`there is no disk ${disk}`);
  return copy.file;
}

/** What any process opened of this snapshot. */
export async function closeAll(at: string, platform: Platform): Promise<void> {
  for (const name of await readdir(at)) {
    if (name.startsWith(prefix)) await close(join(at, name), platform);
  }
}

/** Can be repeated. Never looks at a file that is shown: with its server dead, that would fail or wait. */
export async function close(directory: string, platform: Platform): Promise<void> {
  const { exec } = platform;
  // The deletion of the snapshot may have been quicker.
  if (!(await pathExists(directory))) return;
  // One that waits for a dead server ends with that, below.
  await until(platform, () => toolsAtWork(directory).length === 0, endMs);
  for (const name of await readdir(directory)) {
    if (!name.startsWith(arrayPrefix)) continue;
    const array = arrayName(directory, name.slice(arrayPrefix.length));
    await closeArrayClone({ exec, stateDirectory: directory, name: array });
  }
  for (const mountPoint of (await mountPointsBelow(directory)).filter((one) => isFileSystem(one))) {
    const quiet = await exec.run({ argv: unmount(mountPoint), timeoutMs: toolMs });
    if (quiet.exitCode !== 0) await exec.run({ argv: unmountLazily(mountPoint), timeoutMs: toolMs });
  }
  for (const device of await loopsOn(directory)) await exec.run({ argv: detachLoop(device), timeoutMs: toolMs });
  // It goes with its last user; before that, its server cannot let go of the file.
  await until(platform, async () => (await loopsOn(directory)).length === 0, endMs);
  const servers = processesMarked(mark, directory);
  for (const server of servers) killExactly(server, 'SIGTERM');
  if (!(await until(platform, () => processesMarked(mark, directory).length === 0, endMs))) {
    for (const server of servers) killExactly(server, 'SIGKILL');
    await until(platform, () => processesMarked(mark, directory).length === 0, endMs);
  }
  await toolsEnded(directory, platform);
  // Of a server that was killed, the file is still in the list of mounts.
  for (const left of await mountPointsBelow(directory)) {
    await exec.check({ argv: unmountLazily(left), timeoutMs: toolMs });
  }
  await rm(directory, { recursive: true, force: true });
}

function isFileSystem(mountPoint: string): boolean {
  return /\/fs-\d+$/.test(mountPoint);
}

async function loopsOn(directory: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of await readdir('/sys/block')) {
    if (!name.startsWith('loop')) continue;
    try {
      const file = (await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8')).trimEnd();
      if (isWithin(file, directory)) found.push(`/dev/${name}`);
    } catch (error) {
      // Not in use, or no longer since its file was opened.
      if (!['ENOENT', 'ENXIO', 'ENODEV'].includes(codeOf(error) ?? '')) throw error;
    }
  }
  return found;
}

async function until(platform: Platform, done: () => boolean | Promise<boolean>, ms: number): Promise<boolean> {
  const end = platform.clock.monoMs() + ms;
  while (!(await done())) {
    if (platform.clock.monoMs() > end) return false;
    await platform.clock.sleep(pollMs);
  }
  return true;
}
