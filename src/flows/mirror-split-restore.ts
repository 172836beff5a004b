import { messageOf, StillpointError } from '../model/errors.ts';
import { isWhole, type SplitBefore, type SplitWork } from '../model/mirror-split.ts';
import type { Finding, Point } from '../model/point.ts';
import type { MadeVolume } from '../ports/machines.ts';
import { lockWorkload, newRunId, Slot, type Environment, type Workload } from './environment.ts';
import type { Step } from './flow.ts';
import type { Trace } from './journal.ts';
import { drive, failureOf, lookAround, prove, splitToolsOf, type SplitTools } from './mirror-split-drive.ts';
import { fastIsOffIn, fastOf, switchFastOff, switchFastOn } from './mirror-split-fast.ts';
import { snapshotIn } from './mirror-split-plan.ts';
import { goTo, restoreBack } from './mirror-split-swap.ts';
import { refuse, refuseElsewhere, surveySplit } from './mirror-split-survey.ts';
import { refuseLeftHold } from './recover.ts';
import { runJournaled } from './run.ts';

type Disks = Readonly<Record<string, string>>;

export interface SplitRestored {
  readonly runId: string;
  readonly point: string;
  readonly active: string;
  /** The new volume of each server, and the one that it had, which is kept. */
  readonly volumes: readonly { readonly server: string; readonly volume: string; readonly kept: string }[];
  readonly findings: readonly Finding[];
  readonly tookMs: number;
}

class SplitRestore {
  readonly runId: string;
  readonly environment: Environment;
  readonly tools: SplitTools;
  readonly point: Point;
  readonly old = new Slot<Disks>('old');
  readonly chosen = new Slot<SplitBefore>('chosen');
  readonly zones = new Slot<Disks>('zones');
  readonly fresh = new Slot<Disks>('fresh');
  readonly beganMs: number;
  readonly findings: Finding[] = [];
  /** Where this run has it on, or is about to. */
  fast: SplitWork['fast'];
  isTaken = false;

  constructor(workload: Workload, environment: Environment, point: Point) {
    this.runId = newRunId(environment.clock);
    this.environment = environment;
    this.tools = splitToolsOf(workload, environment);
    this.point = point;
    this.beganMs = environment.clock.monoMs();
  }

  get before(): SplitBefore {
    return this.chosen.get();
  }

  get servers(): readonly string[] {
    return [this.before.active, this.before.standby];
  }

  get work(): SplitWork {
    const fresh = this.fresh.peek();
    const { runId, before } = this;
    const known = {
      ...(fresh === undefined ? {} : { fresh }),
      ...(this.fast === undefined ? {} : { fast: this.fast }),
    };
    return { runId, before, old: this.old.get(), ...known, taken: this.isTaken };
  }

  /** Of the servers, each once. */
  get allZones(): readonly string[] {
    return [...new Set(Object.values(this.zones.get()))];
  }

  get snapshot(): string {
    return snapshotIn(this.point);
  }
}

export const restoreSteps: readonly Step<SplitRestore>[] = [
  { name: 'look', run: look },
  { name: 'fast-on', run: fastOn, undo: fastOff },
  {
    name: 'volumes',
    traces: ({ work }) => [{ kind: 'split', work }],
    run: makeVolumes,
    undo: giveUp,
  },
  // Its price ends here: the volumes are what it makes them from the moment that they are there.
  { name: 'fast-off', run: endFast },
  { name: 'stop-group', run: stopGroup },
  { name: 'leave', run: leave },
  { name: 'swap', run: swap },
  { name: 'take', run: take },
  // `quiet`, so that nobody is told of a cancellation when both sides have the new disks: there is no way back from there.
  { name: 'prove', run: proveRestored, commits: true, quiet: true },
];

/** Gives both servers a disk from the point's snapshot; the old ones are kept. On failure they have the old ones again. */
export async function splitRestore(
  workload: Workload,
  environment: Environment,
  request: { readonly point: Point; readonly signal: AbortSignal },
): Promise<SplitRestored> {
  const lock = await lockWorkload(environment, workload.name);
  try {
    const state = new SplitRestore(workload, environment, request.point);
    await refuseLeftHold(workload, environment);
    return await runJournaled(
      {
        runId: state.runId,
        flow: 'restore',
        workload: workload.name,
        steps: restoreSteps,
        state,
        signal: request.signal,
        result: resultOf,
        outcomeOf: () => 'complete',
      },
      environment,
    );
  } finally {
    lock.release();
  }
}

function resultOf(state: SplitRestore): SplitRestored {
  const [old, fresh] = [state.old.get(), state.fresh.get()];
  return {
    runId: state.runId,
    point: state.point.id,
    active: state.before.active,
    volumes: state.servers.map((server) => ({ server, volume: fresh[server] ?? '', kept: old[server] ?? '' })),
    findings: state.findings,
    tookMs: state.environment.clock.monoMs() - state.beganMs,
  };
}

async function look(state: SplitRestore, signal: AbortSignal): Promise<void> {
  const { tools, point } = state;
  const found = await tools.machines.snapshotOf(state.snapshot);
  if (found?.state !== 'completed') {
    throw new StillpointError(
      'point-incomplete',
      `the snapshot ${state.snapshot} of ${point.id} is ${found?.state ?? 'gone'}`,
      {
        hint: `choose another point: \`stillpoint points ${point.workload}\``,
      },
    );
  }
  if (tools.fastRestore === true) fastOf(tools);
  const { chosen, seen, refusals } = await surveySplit(tools, signal);
  // A broken mirror's old disks differ, and there would be no way back that is known to be safe.
  refuse(refusals);
  state.chosen.set(chosen.before);
  await refuseElsewhere(tools, state.servers);
  const zones: Record<string, string> = {};
  const old: Record<string, string> = {};
  for (const server of state.servers) {
    zones[server] = (await tools.machines.look(server, signal)).zone;
    old[server] = seen.servers[server]?.attached?.volume ?? '';
  }
  state.zones.set(zones);
  state.old.set(old);
}

async function fastOn(state: SplitRestore, signal: AbortSignal, note: (trace: Trace) => Promise<void>): Promise<void> {
  const { tools, snapshot, allZones } = state;
  if (tools.fastRestore !== true) return;
  const wanted = { snapshot, zones: allZones };
  const ours = await fastIsOffIn(tools, wanted);
  state.fast = { snapshot, zones: ours };
  await note({ kind: 'split', work: state.work });
  await switchFastOn(tools, wanted, ours, signal);
}

async function fastOff(state: SplitRestore): Promise<void> {
  if (state.fast === undefined) return;
  await switchFastOff(state.tools, state.fast);
  state.fast = undefined;
}

async function endFast(
  state: SplitRestore,
  _signal: AbortSignal,
  note: (trace: Trace) => Promise<void>,
): Promise<void> {
  if (state.fast === undefined) return;
  await fastOff(state);
  await note({ kind: 'split', work: state.work });
}

async function makeVolumes(
  state: SplitRestore,
  signal: AbortSignal,
  note: (trace: Trace) => Promise<void>,
): Promise<void> {
  const { tools, runId } = state;
  const { machines, limits } = tools;
  const { clock } = state.environment;
  const fresh: Record<string, string> = {};
  for (const server of state.servers) {
    const failure = await failureOf(
      machines.volumeFrom(state.snapshot, state.zones.get()[server] ?? '', runId, server),
    );
    const untilMs = clock.monoMs() + limits.attach;
    for (;;) {
      const all: readonly MadeVolume[] = await machines.volumes(runId, server).catch(() => []);
      const [made] = all;
      if (made?.state === 'available' && made.snapshot === state.snapshot) {
        fresh[server] = made.id;
        if (tools.fastRestore === true && made.madeFast === false) state.findings.push(notFast(made.id, server));
        break;
      }
      if (clock.monoMs() >= untilMs) {
        throw new StillpointError(
          'command-failed',
          `no volume for ${server} was made of ${state.snapshot}${failure === undefined ? '' : `: ${messageOf(failure)}`}`,
          { hint: 'see by hand whether volumes may be made, and the quota for them', cause: failure },
        );
      }
      await clock.sleep(limits.poll, signal);
    }
  }
  state.fresh.set(fresh);
  await note({ kind: 'split', work: state.work });
}

function notFast(volume: string, server: string): Finding {
  const said = `${volume} for ${server} was made without fast restore, although it was on: its first reads are slow`;
  return { severity: 'warning', check: 'fast-restore', said };
}

async function stopGroup(state: SplitRestore): Promise<void> {
  const { tools, servers, before } = state;
  const seen = await prove(
    tools,
    servers,
    `the stop of the group on ${before.active}`,
    () => tools.split.stopGroup(before.active),
    ({ group }) => group.status === 'offline',
  );
  if (isWhole(seen, before)) return;
  throw new StillpointError('role-unsuitable', `the mirror is ${seen.mirror} after the group was stopped`, {
    hint: 'the old disks must be equal, or there is no way back; mend the mirror first',
  });
}

async function leave(state: SplitRestore, signal: AbortSignal): Promise<void> {
  const { tools, before, servers } = state;
  for (const server of [before.standby, before.active]) {
    await prove(
      tools,
      servers,
      `the leave of ${server}`,
      () => tools.split.phase('restore-pre', server),
      (seen) => {
        const its = seen.servers[server];
        return its !== undefined && (its.machine !== 'running' || !its.answers || its.startup === 'manual');
      },
    );
  }
  await drive({
    tools,
    servers,
    signal,
    decide: (seen) => {
      const on = servers.find((server) => seen.servers[server]?.machine !== 'stopped');
      return on === undefined ? { do: 'done' } : { do: 'wait', for: 'off', said: `${on} goes off`, server: on };
    },
    act: () => Promise.resolve(),
  });
}

/** Up to the moment before the first of them is taken in: both are on, with the new disks at their names. */
async function swap(state: SplitRestore, signal: AbortSignal): Promise<void> {
  const way = { before: state.before, disks: state.fresh.get(), others: Object.values(state.old.get()) };
  await goTo(state.tools, way, { until: (act) => act.do === 'post', signal });
}

async function take(state: SplitRestore, _signal: AbortSignal, note: (trace: Trace) => Promise<void>): Promise<void> {
  state.isTaken = true;
  await note({ kind: 'split', work: state.work });
  await goTo(state.tools, { before: state.before, disks: state.fresh.get(), others: Object.values(state.old.get()) });
}

async function proveRestored(state: SplitRestore): Promise<void> {
  const { tools, servers, before } = state;
  const seen = await lookAround(tools, servers);
  if (!isWhole(seen, before) || seen.group.status !== 'online')
    throw new StillpointError('undo-failed', `the group is ${seen.group.status} and the mirror ${seen.mirror}`, {
      hint: 'run `stillpoint recover`',
    });
}

async function giveUp(state: SplitRestore): Promise<void> {
  await restoreBack(state.tools, state.work);
}
