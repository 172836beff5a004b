import { lstatSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { pathExists } from '../../../platform/files.ts';
import type { Platform } from '../../../ports/module.ts';
import { addExport, queries, startNbd, type CutDisk } from './commands.ts';
import { close, openCopies, type Opened } from './opened.ts';
import { parseExports, parseJobs, parseNodes } from './parse.ts';
import { QmpRefusal, type Qmp } from './qmp.ts';
import { cutDisks, placeOf, readShape, type Shape } from './volume.ts';

export type Connect = () => Promise<Qmp>;

/** What opening needs besides the reference. */
export interface OpenContext {
  /** Where the process listens for readers. */
  readonly socket: string;
  readonly connect: Connect;
  readonly platform: Platform;
}

/** The file systems of a snapshot, mounted, and the disks below them. */
export interface OpenedSnapshot extends AsyncDisposable {
  readonly shape: Shape;
  readonly disks: readonly CutDisk[];
  readonly opened: Opened;
  at(original: string): string | undefined;
}

export async function openFiles(ref: SnapshotRef, { socket, connect, platform }: OpenContext): Promise<OpenedSnapshot> {
  const shape = await readShape(ref);
  const disks = cutDisks(ref, shape);
  {
    using qmp = await connect();
    await assertThere(qmp, ref, disks);
    await exportAll(
      qmp,
      socket,
      disks.map(({ name }) => name),
    );
  }
  const opened = await openCopies(ref.at, socket, disks, shape, platform);
  return {
    shape,
    disks,
    opened,
    at: (original) => copyOf(original, shape, opened.mounted),
    [Symbol.asyncDispose]: () => close(opened.directory, platform),
  };
}

function copyOf(original: string, shape: Shape, mounted: readonly string[]): string | undefined {
  const place = placeOf(original, shape);
  const at = place === undefined ? undefined : mounted[shape.fileSystems.indexOf(place)];
  if (place === undefined || at === undefined) return undefined;
  const copy = join(at, original.slice(place.mountPoint.length));
  return lstatSync(copy, { throwIfNoEntry: false }) === undefined ? undefined : copy;
}

/** Job and overlay live in the process alone: with another process of the same name in its place they are gone for good. */
export async function assertThere(qmp: Qmp, ref: SnapshotRef, disks: readonly CutDisk[]): Promise<void> {
  const nodes = new Set(parseNodes(await qmp.execute(queries.nodes)).map(({ name }) => name));
  const jobs = new Map(parseJobs(await qmp.execute(queries.jobs)).map(({ id, status }) => [id, status]));
  for (const { name } of disks) {
    if (nodes.has(name) && jobs.get(name) === 'running') continue;
    throw new StillpointError(
      'io',
      `the snapshot ${ref.at} is gone: the process that held it has lost its part ${name}`,
      {
        hint: 'it ends with the virtual machine, and when its overlay cannot be written; make a new point',
      },
    );
  }
}

/** Starts the server if need be. Left running until the snapshot is deleted: others may have it open too. */
async function exportAll(qmp: Qmp, socket: string, names: readonly string[]): Promise<void> {
  const exports = parseExports(await qmp.execute(queries.exports));
  if (!exports.some(({ type, id }) => type === 'nbd' && id.startsWith('stillpoint-'))) {
    await rm(socket, { force: true });
    try {
      await qmp.execute(startNbd(socket));
    } catch (error) {
      if (!(error instanceof QmpRefusal) || !(await pathExists(socket))) throw notOurs(error);
    }
  }
  const there = new Set(exports.map(({ id }) => id));
  for (const name of names) if (!there.has(name)) await qmp.execute(addExport(name, name));
}

function notOurs(cause: unknown): StillpointError {
  return new StillpointError('io', `the process cannot serve snapshots: ${messageOf(cause)}`, {
    hint: 'it has one NBD server; if another backup program runs it, wait until that has ended',
    cause,
  });
}
