import { join } from 'node:path';
import { StillpointError, type ErrorCode } from '../../../model/errors.ts';
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
  shutdown,
  startActive,
  startPassive,
  startReceiver,
  type Argv,
} from './commands.ts';
import type { MemberPlace } from './config.ts';
import { partsAt } from './history.ts';
import { complaintOf, type InstanceFile, parseInstance, parseRegions, type RegionReplication } from './parse.ts';
import { NoAnswer, Programs } from './programs.ts';

export interface SeedRequest {
  /** Of the new instance: 1 to 15 characters, unlike all others. */
  readonly name: string;
  /** Its global directory names the restored files. Its instance file is made here. */
  readonly place: MemberPlace;
  /** Instance file that was restored with the databases. It tells whose updates they have, and is read only. */
  readonly restored: string;
  readonly primary: { readonly name: string; readonly place: MemberPlace };
  readonly listenPort: number;
  /** For logs of the servers and, until the first connection, a copy of the primary's instance file. Open to the owners of both. */
  readonly directory: string;
}

export interface Seeded {
  /** First update that it will ask for. */
  readonly next: bigint;
  /** What is left to do at the primary. `ADDRESS` stands for how it reaches the new instance. */
  readonly command: Argv;
  /** Needed until the first connection; may be removed when a view shows the new instance healthy. */
  readonly history: string;
}

const startMs = 60_000;

/**
 * Makes a replica of databases that were restored from a backup and adopted (no freeze, replication or journal of the original in their
 * headers), on the machine of the primary. The primary is read, and its instance file is copied; it is not told to send.
 * Nothing is begun when the copy has updates that the primary does not know: the engine itself would take the primary's history for the
 * copy's, and the two would differ for ever. Throws `role-unsuitable`, `target-not-empty`, `database-file`, `database-unreachable`,
 * `command-failed`; whatever was started is ended again then, and `undo-failed` says that it was not.
 */
export async function seedReplica(request: SeedRequest, host: Host, signal: AbortSignal): Promise<Seeded> {
  try {
    const primary = await Programs.of(request.primary.place, host, signal);
    // Its own instance file is not there yet.
    const programs = await Programs.of(request.place, host, signal, request.restored);
    const next = await fitting(request, programs, primary);
    const history = join(request.directory, `${request.name}.history`);
    try {
      await begin(request, programs, primary, history);
    } catch (cause) {
      await undo(request, host, history);
      throw cause;
    }
    const log = join(request.directory, `source-${request.name}.log`);
    const command = startActive(request.primary.place, request.name, `ADDRESS:${request.listenPort}`, log);
    return { next, command, history };
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof NoAnswer) throw failed('database-unreachable', cause.message);
    throw cause;
  }
}

/** Number of the first update that the copy lacks. Throws when it cannot follow the primary. Changes nothing. */
async function fitting(request: SeedRequest, programs: Programs, primary: Programs): Promise<bigint> {
  const { place, name } = request;
  for (const file of [place.replicationInstance, join(request.directory, `${name}.history`)]) {
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

async function begin(request: SeedRequest, programs: Programs, primary: Programs, history: string): Promise<void> {
  const { name, place, directory } = request;
  const run = async (who: Programs, argv: Argv): Promise<void> => {
    const { text, exitedWell } = await who.run(argv, startMs);
    if (!exitedWell || /%[A-Z]+-[EF]-/.test(text))
      throw failed('command-failed', `${argv.slice(0, 4).join(' ')}: ${complaintOf(text)}`);
  };
  await run(programs, replicationOn(place));
  if ((await regionsOf(programs)).some(({ replication }) => replication !== 'ON'))
    throw failed('command-failed', 'replication of the restored regions could not be turned on');
  await run(primary, copyInstance(request.primary.place, history));
  await run(programs, createInstance(place, name));
  await run(programs, startPassive(place, request.primary.name, join(directory, `passive-${name}.log`)));
  await run(programs, startReceiver(place, request.listenPort, join(directory, `receiver-${name}.log`), history));
  const asker = new Asker(name, programs);
  const live = await asker.live();
  const { mupip } = await asker.processes(live);
  if (typeof live === 'string' || !live.pool.updatesDisabled)
    throw failed('command-failed', `${name} has no pool in which users may not update`);
  const { receiver, update } = live.receiver ?? { receiver: 0, update: 0 };
  if (!mupip.has(receiver) || !mupip.has(update))
    throw failed(
      'command-failed',
      `the receiver server of ${name} did not stay: see ${directory}/receiver-${name}.log`,
    );
}

async function regionsOf(programs: Programs): Promise<readonly RegionReplication[]> {
  const { text } = await programs.run(showRegions(programs.place), startMs);
  const regions = parseRegions(text);
  if (regions === undefined)
    throw failed('database-file', `not all restored regions can be opened: ${complaintOf(text)}`);
  return regions;
}

/** Takes no cancellation. The instance file is ours: there was none before. */
async function undo({ name, place }: SeedRequest, host: Host, history: string): Promise<void> {
  const unproved = (why: string): StillpointError =>
    new StillpointError('undo-failed', `what was begun for ${name} could not be undone: ${why}`, {
      hint: 'in its environment: `mupip replicate -receiver -shutdown`, `-source -shutdown`, then remove its instance file',
    });
  try {
    const programs = await Programs.of(place, host, new AbortController().signal);
    if ((await programs.run(exists(place.replicationInstance))).exitedWell) {
      for (const server of ['-receiver', '-source'] as const) await programs.run(shutdown(place, server), startMs);
      const look = await new Asker(name, programs).pool();
      if (look !== 'closed') throw unproved('its memory is still there');
      await programs.run(removeFile(place.replicationInstance));
    }
    await programs.run(replicationOff(place), startMs);
    await programs.run(removeFile(history));
  } catch (cause) {
    throw cause instanceof NoAnswer ? unproved(cause.message) : cause;
  }
}

const hints: Partial<Readonly<Record<ErrorCode, string>>> = {
  'role-unsuitable': 'take a newer point of a member that follows the primary',
  'target-not-empty': 'give another name or directory, or remove what an earlier attempt left',
};

function failed(code: ErrorCode, said: string): StillpointError {
  return new StillpointError(code, said, {
    hint: hints[code] ?? 'see the logs of the servers, and try the same by hand',
  });
}
