import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import type { SplitAct, SplitLimits, SplitSeen, ServerSeen } from '../model/mirror-split.ts';
import type { Machines } from '../ports/machines.ts';
import type { Split } from '../ports/mirror-split.ts';
import type { Cluster } from './cluster.ts';
import type { Environment, Workload } from './environment.ts';

/** What the method `mirror-split` works with. */
export interface SplitTools {
  readonly split: Split;
  readonly machines: Machines;
  readonly limits: SplitLimits;
  readonly fastRestore?: boolean;
  readonly cluster: Cluster;
  readonly environment: Environment;
}

/** Throws `method-unsupported`. */
export function splitToolsOf(workload: Workload, environment: Environment): SplitTools {
  const { cluster, mirrorSplit } = workload;
  const split = cluster?.topology.split;
  if (cluster === undefined || split === undefined) {
    throw new StillpointError('method-unsupported', `the cluster of ${workload.name} has no mirror to split`, {
      hint: 'mirror-split needs the topology clusterpro with `servers`',
    });
  }
  if (mirrorSplit === undefined) {
    throw new StillpointError('method-unsupported', `${workload.name} does not say what its machines are`, {
      hint: 'name the instances of both servers under `machines` of the workload',
    });
  }
  return { split, cluster, environment, ...mirrorSplit };
}

/** Everything that can be seen of these servers. Throws nothing for what nobody tells. */
export async function lookAround(
  { split, machines }: SplitTools,
  servers: readonly string[],
  signal?: AbortSignal,
): Promise<SplitSeen> {
  const [told, seen] = await Promise.all([
    split.look(signal),
    Promise.all(servers.map(async (name) => [name, await machineSeen(machines, name, signal)] as const)),
  ]);
  return {
    servers: Object.fromEntries(
      seen.map(([name, machine]): [string, ServerSeen] => [name, { ...(told.servers[name] ?? silent), ...machine }]),
    ),
    group: told.group,
    mirror: told.mirror,
  };
}

const silent: Omit<ServerSeen, 'machine' | 'attached'> = {
  answers: false,
  bootId: undefined,
  services: 'unknown',
  startup: 'unknown',
  word: 'unknown',
  colour: 'unknown',
  suspended: [],
};

async function machineSeen(
  machines: Machines,
  server: string,
  signal: AbortSignal | undefined,
): Promise<Pick<ServerSeen, 'machine' | 'attached'>> {
  try {
    const { state, attached } = await machines.look(server, signal);
    return { machine: state, attached };
  } catch (error) {
    if (codeOf(error) !== 'command-failed') throw error;
    return { machine: 'unknown', attached: undefined };
  }
}

/** What it failed with; undefined when it said that it was done. */
export async function failureOf(act: Promise<void>): Promise<Error | undefined> {
  try {
    await act;
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(messageOf(error));
  }
}

const quickMs = 1_000;

/**
 * Does it unless it is so already, and asks until it is so. What the act said is only told when it is not: it may have failed and be
 * done, or have said that it is done and not be.
 */
export async function prove(
  tools: SplitTools,
  servers: readonly string[],
  what: string,
  act: () => Promise<void>,
  isSo: (seen: SplitSeen) => boolean,
): Promise<SplitSeen> {
  const { clock } = tools.environment;
  const before = await lookAround(tools, servers);
  if (isSo(before)) return before;
  const failure = await failureOf(act());
  const untilMs = clock.monoMs() + tools.limits.act;
  for (;;) {
    const seen = await lookAround(tools, servers);
    if (isSo(seen)) return seen;
    if (clock.monoMs() >= untilMs) break;
    await clock.sleep(quickMs);
  }
  if (failure !== undefined) throw failure;
  throw new StillpointError('command-failed', `${what} was said to be done, and is not`, {
    hint: 'see the state of the cluster with `stillpoint mirror status`',
  });
}

export interface Drive {
  readonly tools: SplitTools;
  readonly servers: readonly string[];
  /** May change what it remembers: it is asked once a look. */
  readonly decide: (seen: SplitSeen, memory: DriveMemory) => SplitAct | Promise<SplitAct>;
  readonly act: (act: SplitAct) => Promise<void>;
  /** Ends the drive before it is done. */
  readonly until?: (act: SplitAct, seen: SplitSeen) => boolean;
  /** Throws when it is no use to wait on. */
  readonly check?: (act: SplitAct, seen: SplitSeen, waitedMs: number) => void;
  /** Absent: it goes on whatever comes. */
  readonly signal?: AbortSignal;
}

/** What a drive remembers from look to look. */
export interface DriveMemory {
  readonly waitedMs: number;
  readonly failure: unknown;
  readonly act: SplitAct | undefined;
}

/** How often the same thing is begun again before a person is called. */
const mostTimes = 4;

/** Looks, does the one thing that follows, and looks again, until it is done. Throws `undo-failed` at an alarm or a limit. */
export async function drive({ tools, servers, decide, act: doIt, until, check, signal }: Drive): Promise<SplitSeen> {
  const { clock } = tools.environment;
  const begun = new Map<string, number>();
  let since = clock.monoMs();
  let failure: Error | undefined;
  let last: SplitAct | undefined;
  let toldMs = since;
  for (;;) {
    signal?.throwIfAborted();
    const seen = await lookAround(tools, servers, signal);
    const memory = { waitedMs: clock.monoMs() - since, failure, act: last };
    const act = await decide(seen, memory);
    if (act.do === 'done' || until?.(act, seen) === true) return seen;
    if (act.do === 'alarm') throw await alarm(tools, act.said, act.hint);
    const key = keyOf(act);
    if (last === undefined || keyOf(last) !== key) {
      [since, toldMs, failure] = [clock.monoMs(), clock.monoMs(), undefined];
      begun.set(key, (begun.get(key) ?? 0) + 1);
      tell(tools, describe(act));
    }
    last = act;
    const waitedMs = clock.monoMs() - since;
    check?.(act, seen, waitedMs);
    const limitMs = act.do === 'wait' ? tools.limits[act.for] : tools.limits.act;
    if (waitedMs > limitMs || (act.do !== 'wait' && (begun.get(key) ?? 0) > mostTimes))
      throw await tooLong(tools, act, waitedMs, failure);
    if (clock.monoMs() - toldMs >= tellMs) {
      toldMs = clock.monoMs();
      tell(tools, `${describe(act)}, for ${Math.round(waitedMs / 1000)} s of at most ${Math.round(limitMs / 1000)} s`);
    }
    if (act.do !== 'wait') failure = (await failureOf(doIt(act))) ?? failure;
    await clock.sleep(tools.limits.poll, signal);
  }
}

const tellMs = 60_000;

function keyOf(act: SplitAct): string {
  const { do: what, ...rest } = act;
  if (act.do === 'wait') return `wait ${act.for} ${act.server ?? ''}`;
  return `${what} ${JSON.stringify(rest)}`;
}

function describe(act: SplitAct): string {
  switch (act.do) {
    case 'wait':
      return `waiting: ${act.said}`;
    case 'resume':
      return `resume ${act.monitor} on ${act.server}`;
    case 'detach':
      return `detach ${act.volume} from ${act.server}`;
    case 'attach':
      return `attach ${act.volume} to ${act.server}`;
    case 'start-machine':
      return `start the machine of ${act.server}`;
    case 'stop-machine':
      return `stop the machine of ${act.server}`;
    case 'post':
      return `take ${act.server} in again (--post)`;
    case 'start-group':
      return `start the group on ${act.server}`;
    case 'recover-mirror':
      return 'tell the mirror to recover';
    case 'cut':
    case 'alarm':
    case 'done':
      return act.do;
  }
}

/** `kind` says by which command a server comes back. */
export async function perform(
  { split, machines }: SplitTools,
  act: SplitAct,
  active: string,
  kind: 'backup' | 'restore',
): Promise<void> {
  switch (act.do) {
    case 'start-machine':
      return await machines.start(act.server);
    case 'stop-machine':
      return await machines.stop(act.server);
    case 'post':
      return await split.phase(`${kind}-post`, act.server);
    case 'start-group':
      return await split.startGroup(act.server);
    case 'resume':
      return await split.resume(act.monitor, act.server);
    case 'recover-mirror':
      return await split.recover(active);
    case 'detach':
      return await machines.detach(act.volume, act.server);
    case 'attach':
      return await machines.attach(act.volume, act.server);
    case 'wait':
    case 'cut':
    case 'alarm':
    case 'done':
      throw new Error(`nobody can ${act.do} here`);
  }
}

/** While it lasts, which may be hours. */
export function tell({ environment }: SplitTools, said: string): void {
  environment.reporter.note?.(said);
}

/** Told to somebody outside too: the cluster has one copy meanwhile. */
export async function alarm(
  { environment }: SplitTools,
  said: string,
  hint: string,
  cause?: unknown,
): Promise<StillpointError> {
  await environment.notify?.({ schema: 'stillpoint/1', alarm: 'mirror-split', said, hint });
  return new StillpointError('undo-failed', said, { hint, cause });
}

async function tooLong(tools: SplitTools, act: SplitAct, waitedMs: number, failure: unknown): Promise<StillpointError> {
  const seconds = Math.round(waitedMs / 1000);
  const why = failure === undefined ? '' : `: ${messageOf(failure)}`;
  const console = act.do === 'wait' && act.for === 'boot' ? await consoleOf(tools, act.server) : '';
  return await alarm(
    tools,
    `the cluster is not whole: \`${describe(act)}\` has taken ${seconds} s${why}${console}`,
    'there may be one copy and no failover: look at the servers now, mend the cause, then `stillpoint recover`',
    failure,
  );
}

async function consoleOf({ machines }: SplitTools, server: string | undefined): Promise<string> {
  if (server === undefined) return '';
  try {
    const text = await machines.console(server);
    return text === '' ? '' : `; its console ends with: ${text.split('\n').join('; ')}`;
  } catch (error) {
    return `; its console cannot be read: ${messageOf(error)}`;
  }
}
