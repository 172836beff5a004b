import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError } from '../model/errors.ts';
import type { Evidence } from '../model/evidence.ts';
import type { DrillResult, Finding } from '../model/point.ts';
import type { RecoveryPlan } from '../model/recovery.ts';
import { lockWorkload, newRunId, Slot, type Environment, type Workload } from './environment.ts';
import type { Step } from './flow.ts';
import { copyOf, materialize, prepareRecovery, type PreparedRecovery } from './materialize.ts';
import { whereHeld } from './cluster.ts';
import { memberOf, makeScratch, placeUnder, scratchOf } from './restore.ts';
import { runJournaled } from './run.ts';

export interface DrillRequest {
  readonly plan: RecoveryPlan;
  /** Where the copy is made; undefined: below the state directory. */
  readonly directory: string | undefined;
  readonly signal: AbortSignal;
}

class Drill {
  readonly runId: string;
  readonly workload: Workload;
  readonly environment: Environment;
  readonly request: DrillRequest;
  readonly directory: string;
  readonly prepared = new Slot<PreparedRecovery>('prepared');
  readonly scratch = new Slot<string>('scratch');
  readonly findings: Finding[] = [];
  readonly beganMs: number;
  rtoMs: number | null = null;

  constructor(workload: Workload, environment: Environment, request: DrillRequest) {
    this.runId = newRunId(environment.clock);
    this.workload = workload;
    this.environment = environment;
    this.request = request;
    this.directory = join(request.directory ?? join(environment.stateDirectory, 'drill'), this.runId);
    this.beganMs = environment.clock.monoMs();
  }

  /** With the settings of the member that the point is of. */
  get at(): Workload {
    return whereHeld(this.workload, memberOf(this.prepared.get()));
  }
}

export const drillSteps: readonly Step<Drill>[] = [
  { name: 'plan', run: plan },
  {
    name: 'restore',
    traces: (state) => [
      { kind: 'directory', path: state.directory },
      { kind: 'directory', path: scratchOf(state.runId) },
    ],
    run: restoreCopy,
    undo: removeCopy,
  },
  { name: 'verify', run: verify },
  { name: 'record', run: record, commits: true },
  { name: 'clean-up', run: removeCopy },
];

/**
 * Restores a point into a directory of its own, starts the engine on it, asks it questions, and throws the copy away. A failed drill is
 * a result, recorded with the point; only a drill that could not be held throws.
 */
export async function drill(workload: Workload, environment: Environment, request: DrillRequest): Promise<DrillResult> {
  const lock = await lockWorkload(environment, `${workload.name}.drill`);
  try {
    const state = new Drill(workload, environment, request);
    return await runJournaled(
      {
        runId: state.runId,
        flow: 'drill',
        workload: workload.name,
        steps: drillSteps,
        state,
        signal: request.signal,
        result: resultOf,
        outcomeOf: (result) => (result.outcome === 'passed' ? 'complete' : 'degraded'),
      },
      environment,
    );
  } finally {
    lock.release();
  }
}

function resultOf(state: Drill): DrillResult {
  const failed = state.findings.some((finding) => finding.severity === 'error');
  return {
    at: state.environment.clock.now().wall,
    rtoMs: state.rtoMs,
    outcome: failed ? 'failed' : 'passed',
    findings: state.findings,
  };
}

async function plan(state: Drill): Promise<void> {
  const { environment, request } = state;
  state.prepared.set(await prepareRecovery(request.plan, placeUnder(state.directory), environment));
  const { bytes } = state.prepared.get();
  const free = await environment.host.freeBytes(state.directory);
  if (free < bytes) {
    throw new StillpointError(
      'space-short',
      `the drill needs ${bytes} bytes in ${state.directory}, which has ${free} free`,
      {
        hint: 'set drill.directory of the workload to a place with more room',
      },
    );
  }
}

async function restoreCopy(state: Drill, signal: AbortSignal): Promise<void> {
  await mkdir(state.directory, { recursive: true, mode: 0o711 });
  state.scratch.set(await makeScratch(state.runId));
  const { findings } = await materialize(state.prepared.get(), state.at, state.environment, {
    into: placeUnder(state.directory),
    scratch: state.scratch.get(),
    staging: join(state.directory, '.restore'),
    signal,
  });
  for (const finding of findings) keep(state, finding);
  const copy = copyOf(state.prepared.get().base.record, placeUnder(state.directory), state.scratch.get());
  await state.at.application.adopt?.(copy);
}

function keep(state: Drill, finding: Finding): void {
  state.findings.push(finding);
  state.environment.reporter.finding(finding);
}

async function verify(state: Drill, signal: AbortSignal): Promise<void> {
  const { record: made } = state.prepared.get().base;
  const copy = copyOf(made, placeUnder(state.directory), state.scratch.get());
  for await (const finding of state.at.application.verify(copy, signal)) {
    // The engine answers: from here on the restored data can be used.
    if (finding.check === 'start') state.rtoMs = Math.round(state.environment.clock.monoMs() - state.beganMs);
    keep(state, finding);
  }
  state.rtoMs ??= Math.round(state.environment.clock.monoMs() - state.beganMs);
  const lost = lostCanary(made.evidence, state.findings);
  if (lost !== undefined) state.findings.push(lost);
}

/** What the engine had acknowledged before the cut must be in the copy, unbroken. Pure. */
export function lostCanary(evidence: Pick<Evidence, 'canary'>, findings: readonly Finding[]): Finding | undefined {
  const expected = evidence.canary?.acknowledged;
  if (expected === undefined || expected === 0) return undefined;
  const seen = findings.find((finding) => finding.check === 'canary')?.value ?? 0;
  if (seen >= expected) return undefined;
  return {
    severity: 'error',
    check: 'canary',
    said: `number ${expected} was acknowledged before the cut, and the copy ends at ${seen}`,
    value: seen,
  };
}

async function record(state: Drill): Promise<void> {
  const { point } = state.request.plan;
  // Only a copy that was proved may count for the engine's own purge of journals. Not told, the engine keeps them longer: no harm.
  if (resultOf(state).outcome === 'passed') {
    try {
      await state.at.application.confirm?.(point);
    } catch (error) {
      keep(state, { severity: 'warning', check: 'confirm', said: messageOf(error) });
    }
  }
  (await state.environment.catalog()).addDrill(point.id, resultOf(state));
}

async function removeCopy(state: Drill): Promise<void> {
  const scratch = state.scratch.peek();
  if (scratch !== undefined) await rm(scratch, { recursive: true, force: true });
  await rm(state.directory, { recursive: true, force: true });
}
