import { chmod, lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { tmpdir } from 'node:os';
import { StillpointError, codeOf, messageOf } from '../model/errors.ts';
import type { Finding, PointRecord } from '../model/point.ts';
import type { RecoveryPlan } from '../model/recovery.ts';
import type { RequiredPath } from '../model/storage.ts';
import type { Copy } from '../ports/application.ts';
import { lockWorkload, newRunId, runDirectory, Slot, type Environment, type Workload } from './environment.ts';
import type { Step } from './flow.ts';
import { refuseClusterAtWork, whereHeld } from './cluster.ts';
import { copyOf, materialize, prepareRecovery, type Materialized, type PreparedRecovery } from './materialize.ts';
import { runJournaled } from './run.ts';

export type RestoreTarget = { readonly kind: 'directory'; readonly path: string } | { readonly kind: 'in-place' };

export interface RestoreRequest {
  readonly plan: RecoveryPlan;
  readonly target: RestoreTarget;
  /** In place: somebody vouches that no other member of the workload's cluster runs. */
  readonly clusterStopped?: boolean;
  /** Makes something more of the copy, before the restore counts: what fails here is undone with it. */
  readonly become?: (copy: Copy, record: PointRecord, signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

export interface RestoreResult {
  readonly runId: string;
  readonly point: string;
  /** Levels of the engine's own backup, and journal files, that were put on top of the base. */
  readonly levels: number;
  readonly journals: number;
  readonly findings: readonly Finding[];
  readonly files: number;
  readonly bytes: number;
  readonly tookMs: number;
  /** Every required path and where it lies now. */
  readonly paths: readonly { readonly name: string; readonly original: string; readonly at: string }[];
  /** In place: where the former files were moved. Moving them back undoes the restore. */
  readonly movedAside: readonly { readonly from: string; readonly to: string }[];
}

/** As the cluster's manager calls it; undefined for a point of an engine that stood alone. */
export function memberOf({ base }: PreparedRecovery): string | undefined {
  return base.record.evidence.cluster?.chosen.member;
}

export function placeUnder(directory: string): (original: string) => string {
  return (original) => (original === '/' ? directory : directory + original);
}

/** Short, for Unix sockets have paths of at most 107 bytes. Open to the engine's own user, who must get in. */
export function scratchOf(runId: string): string {
  return join(tmpdir(), `sp-${runId}`);
}

export async function makeScratch(runId: string): Promise<string> {
  const directory = scratchOf(runId);
  await mkdir(directory);
  // Whatever the umask says: the engine's own user must get in.
  await chmod(directory, 0o711);
  return directory;
}

class Restore {
  readonly runId: string;
  readonly prepared = new Slot<PreparedRecovery>('prepared');
  readonly written = new Slot<Materialized>('written');
  readonly movedAside: { readonly from: string; readonly to: string }[] = [];
  readonly into: (original: string) => string;
  readonly beganMs: number;
  readonly workload: Workload;
  readonly environment: Environment;
  readonly request: RestoreRequest;
  tookMs = 0;

  constructor(workload: Workload, environment: Environment, request: RestoreRequest) {
    this.runId = newRunId(environment.clock);
    this.workload = workload;
    this.environment = environment;
    this.request = request;
    this.beganMs = environment.clock.monoMs();
    this.into = request.target.kind === 'directory' ? placeUnder(resolve(request.target.path)) : (original) => original;
  }

  /** At the member that the point is of: its engine is asked, and its settings count. */
  get at(): Workload {
    return whereHeld(this.workload, memberOf(this.prepared.get()));
  }

  get required(): readonly RequiredPath[] {
    return this.prepared.get().required;
  }
}

export const restoreSteps: readonly Step<Restore>[] = [
  { name: 'plan', run: plan },
  { name: 'make-room', run: makeRoom, undo: putBack },
  {
    name: 'write',
    traces: (state) => [
      { kind: 'directory', path: scratchOf(state.runId) },
      { kind: 'directory', path: stagingOf(state) },
    ],
    run: write,
  },
  {
    name: 'adopt',
    traces: (state) => [{ kind: 'directory', path: scratchOf(state.runId) }],
    run: adopt,
    commits: true,
  },
];

/** Restores a point beside the original, or in its place with the former files kept aside. On failure nothing is left and all is back. */
export async function restore(
  workload: Workload,
  environment: Environment,
  request: RestoreRequest,
): Promise<RestoreResult> {
  const lock = await lockWorkload(environment, workload.name);
  try {
    const state = new Restore(workload, environment, request);
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

function resultOf(state: Restore): RestoreResult {
  return {
    runId: state.runId,
    point: state.request.plan.point.id,
    levels: state.request.plan.levels.length,
    journals: state.request.plan.journals.length,
    ...state.written.get(),
    tookMs: state.tookMs,
    paths: state.required.map((path) => ({ name: path.name, original: path.path, at: state.into(path.path) })),
    movedAside: state.movedAside,
  };
}

async function plan(state: Restore, signal: AbortSignal): Promise<void> {
  const { environment, request } = state;
  if (request.target.kind === 'directory') await refuseNotEmpty(resolve(request.target.path));
  state.prepared.set(await prepareRecovery(request.plan, state.into, environment));
  const { bytes } = state.prepared.get();
  const where =
    request.target.kind === 'directory' ? resolve(request.target.path) : dirname(state.required[0]?.path ?? '/');
  const free = await environment.host.freeBytes(where);
  if (free < bytes) {
    throw new StillpointError('space-short', `the restore needs ${bytes} bytes in ${where}, which has ${free} free`, {
      hint: 'choose another --target, or free space',
    });
  }
  const { application } = state.at;
  if (request.target.kind === 'in-place' && (await application.running?.(signal)) === true) {
    throw new StillpointError(
      'engine-running',
      `${application.engine} still runs on the files that would be replaced`,
      {
        hint: 'stop it first, or restore to a directory beside it with --target DIR',
      },
    );
  }
  if (request.target.kind === 'in-place') {
    const at = { member: memberOf(state.prepared.get()), vouched: request.clusterStopped === true };
    await refuseClusterAtWork(state.workload, environment, at, signal);
  }
}

export async function refuseNotEmpty(directory: string): Promise<void> {
  try {
    if ((await readdir(directory)).length === 0) return;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw new StillpointError('io', `the target ${directory} cannot be read: ${messageOf(error)}`, {
      hint: 'give a directory with --target',
      cause: error,
    });
  }
  throw new StillpointError('target-not-empty', `the target ${directory} holds files already`, {
    hint: 'give an empty or new directory with --target',
  });
}

async function makeRoom(
  state: Restore,
  _signal: AbortSignal,
  note: Parameters<Step<Restore>['run']>[2],
): Promise<void> {
  if (state.request.target.kind === 'directory') {
    const target = resolve(state.request.target.path);
    // Absent or empty when the run began: on failure all of it goes.
    await note({ kind: 'target', path: target });
    // Open for the engine's own user, who must reach its files below.
    await mkdir(target, { recursive: true, mode: 0o711 });
    return;
  }
  for (const path of state.required) {
    for (const from of [path.path, ...path.companions]) {
      if (!(await exists(from))) continue;
      const to = `${from}.before-${state.runId}`;
      const { member } = state.at;
      await note({ kind: 'renamed', from, to, ...(member === undefined ? {} : { member }) });
      try {
        await rename(from, to);
      } catch (error) {
        throw new StillpointError('io', `${from} cannot be moved aside: ${messageOf(error)}`, {
          hint: 'a mount point cannot be replaced in place: restore with --target DIR and swap by hand',
          cause: error,
        });
      }
      state.movedAside.push({ from, to });
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}

/** A half-written restore goes; what was moved aside comes back. */
async function putBack(state: Restore): Promise<void> {
  if (state.request.target.kind === 'directory') {
    const target = resolve(state.request.target.path);
    if (state.prepared.peek() === undefined) return;
    // The target was empty or absent when the run began, so all of it is ours.
    await rm(target, { recursive: true, force: true });
    return;
  }
  for (const { from, to } of state.movedAside.toReversed()) {
    await rm(from, { recursive: true, force: true });
    await rename(to, from);
  }
}

/** Beside the target, where the room is; in place, where nothing of ours may lie among the data, below the state directory. */
function stagingOf(state: Restore): string {
  const { target } = state.request;
  return target.kind === 'directory'
    ? join(resolve(target.path), `.restore-${state.runId}`)
    : runDirectory(state.environment, state.runId);
}

async function write(state: Restore, signal: AbortSignal): Promise<void> {
  const scratch = await makeScratch(state.runId);
  try {
    state.written.set(
      await materialize(state.prepared.get(), state.at, state.environment, {
        into: state.into,
        scratch,
        staging: stagingOf(state),
        signal,
      }),
    );
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function adopt(state: Restore, signal: AbortSignal): Promise<void> {
  const scratch = await makeScratch(state.runId);
  try {
    const { record } = state.prepared.get().base;
    const copy = copyOf(record, state.into, scratch);
    await state.at.application.adopt?.(copy);
    await state.request.become?.(copy, record, signal);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  state.tookMs = state.environment.clock.monoMs() - state.beganMs;
}
