import { rm } from 'node:fs/promises';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import type { Clock } from '../../../platform/clock.ts';
import { isWithin, pathExists } from '../../../platform/files.ts';
import { openFilesOfOthers } from '../../../platform/process.ts';
import { assertOwn } from '../../../platform/snapshot-place.ts';
import type { Platform } from '../../../ports/module.ts';
import { cancelJob, queries, removeBitmap, removeExport, removeNode, stopNbd } from './commands.ts';
import { dropReady } from './cut.ts';
import { closeAll } from './opened.ts';
import { exportIds, jobIds, untilNone } from './monitor.ts';
import { parseExports, parseNodes } from './parse.ts';
import { Qmp, QmpRefusal } from './qmp.ts';
import { toolsEnded } from './tools.ts';
import { nameOf, nbdSocket } from './volume.ts';

/** Missing = success. Refuses what is not ours. */
export async function deleteSnapshot(ref: SnapshotRef, platform: Platform, qmpPath: string | undefined): Promise<void> {
  assertOwn(ref);
  try {
    await dropReady(ref, platform);
    // The directory is the first that a cut makes and the last that goes.
    if (!(await pathExists(ref.at))) return;
    await toolsEnded(ref.at, platform);
    await closeAll(ref.at, platform);
    await leaveProcess(ref, platform, qmpPath);
    await rm(ref.at, { recursive: true, force: true });
  } catch (error) {
    throw new StillpointError('undo-failed', `the snapshot ${ref.at} could not be deleted: ${messageOf(error)}`, {
      hint: 'run `stillpoint recover` when the process behind the QMP monitor answers again, or has ended',
      cause: error,
    });
  }
}

async function leaveProcess(ref: SnapshotRef, platform: Platform, path: string | undefined): Promise<void> {
  const name = nameOf(ref);
  if (path !== undefined) {
    const qmp = await connectIfAlive(path, platform.clock);
    const socket = nbdSocket(ref, path);
    if (qmp === undefined) await rm(socket, { force: true });
    else {
      using connection = qmp;
      await removeParts(connection, name, socket, platform.clock);
    }
  }
  // Another process may have come to that socket, or the socket may be gone while its process still writes into the overlays.
  const user = [...openFilesOfOthers()].find(({ files }) => files.some((file) => isWithin(file, ref.at)));
  if (user !== undefined) throw new Error(`process ${user.pid} still has its overlays open`);
}

/** Undefined when nobody listens: what the process held has gone with it. Throws when somebody does and does not answer. */
async function connectIfAlive(path: string, clock: Clock): Promise<Qmp | undefined> {
  try {
    return await Qmp.connect(path, clock);
  } catch (error) {
    const errno = error instanceof StillpointError ? error.details['errno'] : codeOf(error);
    if (errno === 'ENOENT' || errno === 'ECONNREFUSED') return undefined;
    throw error;
  }
}

/** Everything in the process whose name begins so: exports, jobs, nodes, bitmaps. */
async function removeParts(qmp: Qmp, name: string, socket: string, clock: Clock): Promise<void> {
  const mine = (id: string): boolean => id.startsWith(name);
  const [exports, jobs] = [exportIds(qmp), jobIds(qmp)];

  const exported = (await exports()).filter(mine);
  for (const id of exported) await unlessGone(qmp.execute(removeExport(id)));
  await untilNone(exports, mine, clock);
  await stopUnusedNbd(qmp, exported.length > 0, socket);

  for (const id of (await jobs()).filter(mine)) await unlessGone(qmp.execute(cancelJob(id)));
  await untilNone(jobs, mine, clock);

  const nodes = parseNodes(await qmp.execute(queries.nodes));
  // The overlay before the file below it: a node in use cannot go.
  const names = nodes.map((node) => node.name).filter((one) => mine(one) && !one.endsWith('f'));
  for (const one of names) await qmp.execute(removeNode(one));
  const left = parseNodes(await qmp.execute(queries.nodes));
  for (const one of left.map((node) => node.name).filter(mine)) await qmp.execute(removeNode(one));
  for (const node of left) {
    for (const bitmap of node.bitmaps.filter((one) => mine(one.name))) {
      await qmp.execute(removeBitmap(node.name, bitmap.name));
    }
  }
}

/** A server of somebody else has none of our exports and is left alone. One that a dead process left is only a file. */
async function stopUnusedNbd(qmp: Qmp, ours: boolean, socket: string): Promise<void> {
  const left = parseExports(await qmp.execute(queries.exports)).filter(({ type }) => type === 'nbd');
  if (left.length > 0) return;
  if (ours) await unlessGone(qmp.execute(stopNbd));
  await rm(socket, { force: true });
}

async function unlessGone(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    // It ended by itself in between; whether it is really gone is looked at afterwards.
    if (!(error instanceof QmpRefusal)) throw error;
  }
}
