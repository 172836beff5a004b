import { lstatSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { isWithin, pathExists } from '../../../platform/files.ts';
import type { Platform } from '../../../ports/module.ts';
import type { OpenSnapshot } from '../../../ports/snapshot-provider.ts';
import { addExport, queries, startNbd } from './commands.ts';
import { close, openCopies } from './opened.ts';
import { parseExports, parseJobs, parseNodes } from './parse.ts';
import { QmpRefusal, type Qmp } from './qmp.ts';
import { cutDisks, readShape, type Shape } from './volume.ts';

export type Connect = () => Promise<Qmp>;

export async function openSnapshot(
  ref: SnapshotRef,
  socket: string,
  connect: Connect,
  platform: Platform,
): Promise<OpenSnapshot> {
  const shape = await readShape(ref);
  const disks = cutDisks(ref, shape);
  const names = disks.map(({ name }) => name);
  {
    using qmp = await connect();
    await assertThere(qmp, ref, names);
    await exportAll(qmp, socket, names);
  }
  const opened = await openCopies(ref.at, socket, disks, shape, platform);
  return {
    at: (original) => copyOf(original, shape, opened.mounted),
    async proveWhole() {
      using qmp = await connect();
      await assertThere(qmp, ref, names).catch((cause: unknown) => {
        throw new StillpointError('cut-failed', messageOf(cause), { hint: 'make a new point', cause });
      });
    },
    [Symbol.asyncDispose]: () => close(opened.directory, platform),
  };
}

function copyOf(original: string, { fileSystems }: Shape, mounted: readonly string[]): string | undefined {
  // The longest mount point that holds it: one may be mounted inside another.
  const held = fileSystems
    .map(({ mountPoint }, index) => ({ mountPoint, at: mounted[index] }))
    .filter(({ mountPoint }) => isWithin(original, mountPoint))
    .toSorted((a, b) => b.mountPoint.length - a.mountPoint.length)[0];
  if (held?.at === undefined) return undefined;
  const copy = join(held.at, original.slice(held.mountPoint.length));
  return lstatSync(copy, { throwIfNoEntry: false }) === undefined ? undefined : copy;
}

/** Job and overlay live in the process alone: with another process of the same name in its place they are gone for good. */
async function assertThere(qmp: Qmp, ref: SnapshotRef, names: readonly string[]): Promise<void> {
  const nodes = new Set(parseNodes(await qmp.execute(queries.nodes)).map(({ name }) => name));
  const jobs = new Map(parseJobs(await qmp.execute(queries.jobs)).map(({ id, status }) => [id, status]));
  for (const name of names) {
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
