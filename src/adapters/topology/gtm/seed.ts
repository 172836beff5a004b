import { chmod, chown, lstat, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError, type ErrorCode } from '../../../model/errors.ts';
import type { Host } from '../../../ports/host.ts';
import { Asker } from './ask.ts';
import {
  copyInstance,
  createInstance,
  exists,
  removeFile,
  replicationOff,
  replicationOn,
  showInstance,
  showRegions,
  startScript,
  type Argv,
} from './commands.ts';
import type { MemberPlace } from './config.ts';
import { partsAt } from './history.ts';
import { proveJournals } from './journals.ts';
import { complaintOf, type InstanceFile, parseInstance, parseRegions, type RegionReplication } from './parse.ts';
import { NoAnswer, Programs } from './programs.ts';

export interface ReplicaRequest {
  /** Of the new instance: 1 to 15 characters, unlike all others. */
  readonly name: string;
  /** Its global directory names the restored files. Its instance file is made here. */
  readonly place: MemberPlace;
  /** Instance file that was restored with the databases. It tells whose updates they have, and is read only. */
  readonly restored: string;
  readonly primary: { readonly name: string; readonly place: MemberPlace };
  readonly listenPort: number;
  /** Is made here, for logs of the servers, the script that starts them and a copy of the primary's instance file. */
  readonly directory: string;
}

export interface Replica {
  /** First update that it will ask for. */
  readonly next: bigint;
  /** Starts its servers, once. */
  readonly script: string;
}

const startMs = 60_000;

/**
 * Makes a replica of databases that were restored from a backup and adopted (no freeze, replication or journal of the original in their
 * headers), on the machine of the primary. The primary is read, and its instance file is copied; it is not told to send, and no server
 * is started: whoever dies meanwhile leaves files only. The script is the last one, so that half a replica has none.
 * Nothing is begun when the copy has updates that the primary does not know: the engine itself would take the primary's history for the
 * copy's, and the two would differ for ever. Throws `role-unsuitable`, `journal-gap`, `target-not-empty`, `database-file`,
 * `database-unreachable`, `command-failed`; what was made is gone then, and `undo-failed` says that it is not.
 */
export async function makeReplica(request: ReplicaRequest, host: Host, signal: AbortSignal): Promise<Replica> {
  try {
    const primary = await Programs.of(request.primary.place, host, signal);
    // Its own instance file is not there yet.
    const programs = await Programs.of(request.place, host, signal, request.restored);
    const next = await fitting(request, programs, primary);
    await proveJournals(request.primary.name, primary, next);
    try {
      await makeDirectory(request);
      return { next, script: await begin(request, programs, primary, signal) };
    } catch (cause) {
      await undo(request, host);
      throw cause;
    }
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof NoAnswer) throw failed('database-unreachable', cause.message);
    throw cause;
  }
}

/** Number of the first update that the copy lacks. Throws when it cannot follow the primary. Changes nothing. */
async function fitting(request: ReplicaRequest, programs: Programs, primary: Programs): Promise<bigint> {
  const { place, directory } = request;
  for (const file of [place.replicationInstance, directory]) {
    if ((await programs.run(exists(file))).exitedWell) throw failed('target-not-empty', `${file} exists already`);
  }
  const regions = await regionsOf(programs);
  if (regions.some(({ replication }) => replication !== 'OFF'))
    throw failed('database-file', 'the restored files still carry the replication of their original: adopt them first');
  const next = regions.reduce((most, region) => (region.next > most ? region.next : most), 0n);
  const asker = new Asker(request.primary.name, primary);
  const look = await asker.pool();
  const theirs = await asker.file();
  const ours = parseInstance(await programs.text(showInstance(place, request.restored)));
  if (ours === undefined) throw failed('database-file', `${request.restored} is not a replication instance file`);
  if (typeof look === 'string' || look.pool.updatesDisabled || theirs.instance !== request.primary.name)
    throw failed('role-unsuitable', `${request.primary.name} is not a root primary that runs`);
  const why = whyNot(ours, theirs, next, look.pool.posted);
  if (why !== undefined) throw failed('role-unsuitable', `the copy cannot follow ${request.primary.name}: ${why}`);
  return next;
}

function whyNot(ours: InstanceFile, theirs: InstanceFile, next: bigint, posted: bigint): string | undefined {
  if (ours.supplementary || theirs.supplementary) return 'supplementary instances are not supported';
  if (ours.group === undefined || ours.group !== theirs.group) return 'it was never an instance of the same database';
  if (ours.history.length === 0) return 'its instance file has no history';
  if (next > posted + 1n) return `it has updates up to ${next - 1n}, and the primary up to ${posted}`;
  const from = partsAt(theirs.history, ours.history, next);
  return from === undefined ? undefined : `its updates from ${from} on are not the primary's`;
}

/** Of the primary's owner, whose programs write the copy of its instance file there; its own owner is the same, for the files are copies. */
async function makeDirectory({ directory, primary }: ReplicaRequest): Promise<void> {
  try {
    const { uid, gid } = await lstat(primary.place.replicationInstance);
    await mkdir(directory, { mode: 0o755 });
    if (process.getuid?.() === 0) await chown(directory, uid, gid);
  } catch (cause) {
    throw new StillpointError('io', `${directory} cannot be made: ${messageOf(cause)}`, {
      hint: 'run as root or as the owner of the database',
      cause,
    });
  }
}

async function begin(
  request: ReplicaRequest,
  programs: Programs,
  primary: Programs,
  signal: AbortSignal,
): Promise<string> {
  const { name, place, directory } = request;
  const run = async (who: Programs, argv: Argv): Promise<void> => {
    const { text, exitedWell } = await who.run(argv, startMs);
    if (!exitedWell || /%[A-Z]+-[EF]-/.test(text))
      throw failed('command-failed', `${argv.slice(0, 4).join(' ')}: ${complaintOf(text)}`);
  };
  await run(programs, replicationOn(place));
  if ((await regionsOf(programs)).some(({ replication }) => replication !== 'ON'))
    throw failed('command-failed', 'replication of the restored regions could not be turned on');
  const history = join(directory, `${name}.history`);
  await run(primary, copyInstance(request.primary.place, history));
  await run(programs, createInstance(place, name));
  const script = join(directory, 'start.sh');
  const logs = { passiveLog: join(directory, 'passive.log'), receiverLog: join(directory, 'receiver.log') };
  const text = startScript(place, request.primary.name, { name, port: request.listenPort, history, ...logs });
  signal.throwIfAborted();
  await writeFile(`${script}.new`, text, { mode: 0o755 });
  await chmod(`${script}.new`, 0o755);
  await rename(`${script}.new`, script);
  return script;
}

async function regionsOf(programs: Programs): Promise<readonly RegionReplication[]> {
  const { text } = await programs.run(showRegions(programs.place), startMs);
  const regions = parseRegions(text);
  if (regions === undefined)
    throw failed('database-file', `not all restored regions can be opened: ${complaintOf(text)}`);
  return regions;
}

/** Takes no cancellation. The files are ours: there were none before. */
async function undo({ name, place, directory }: ReplicaRequest, host: Host): Promise<void> {
  try {
    const programs = await Programs.of(place, host, new AbortController().signal, place.globalDirectory);
    await programs.run(removeFile(place.replicationInstance));
    await programs.run(replicationOff(place), startMs);
    await rm(directory, { recursive: true, force: true });
  } catch (cause) {
    throw new StillpointError('undo-failed', `what was begun for ${name} could not be undone: ${messageOf(cause)}`, {
      hint: `remove ${place.replicationInstance} and ${directory}`,
      cause,
    });
  }
}

const hints: Partial<Readonly<Record<ErrorCode, string>>> = {
  'role-unsuitable': 'take a newer point of a member that follows the primary',
  'target-not-empty': 'give another name or directory, or remove what an earlier attempt left',
};

function failed(code: ErrorCode, said: string): StillpointError {
  return new StillpointError(code, said, {
    hint: hints[code] ?? 'try the same by hand, and see what the engine says',
  });
}
