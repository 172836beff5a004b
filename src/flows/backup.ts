import { Backup, note, refuseWeak, type BackupRequest, type BackupResult } from './backup-state.ts';
import { cut, freeze, letGo, prepare, removeSnapshots, thaw, thawAgain } from './backup-hold.ts';
import { copy, forgetCopy } from './backup-copy.ts';
import { tellRecorded } from './barrier-report.ts';
import { rm } from 'node:fs/promises';
import type { Located } from '../ports/application.ts';
import { removeOldBases } from './changed-blocks.ts';
import { atMember, noteChoice, watchMember, withinMargin } from './cluster.ts';
import { chooseOnline, copyOnline, estimateOnline, locateOnline, prepareOnline, unsupported } from './backup-online.ts';
import { StillpointError, messageOf } from '../model/errors.ts';
import type { Method } from '../model/point.ts';
import { budgetOf, locateGroup, refsOf } from './group.ts';
import { examineLayers } from './layers.ts';
import { lockWorkload, runDirectory, type Environment, type Workload } from './environment.ts';
import type { Step } from './flow.ts';
import { splitBackup } from './mirror-split.ts';
import { chooseParent, predict } from './predict.ts';
import { refuseLeftHold } from './recover.ts';
import { runJournaled } from './run.ts';

export type { BackupRequest, BackupResult } from './backup-state.ts';

/** The steps of a backup, in order. `plan` prints their names. */
export const backupSteps: readonly Step<Backup>[] = [
  { name: 'locate', run: locate },
  { name: 'choose', run: choose },
  { name: 'predict', run: predictStep },
  {
    name: 'prepare',
    traces: (state) => [{ kind: 'directory', path: runDirectory(state.environment, state.runId) }],
    run: prepare,
    undo: letGo,
  },
  {
    name: 'freeze',
    run: freeze,
    undo: thawAgain,
    undoFirst: true,
  },
  {
    name: 'cut',
    quiet: true,
    traces: (state) => refsOf(state.group.get(), state.label).map((ref) => ({ kind: 'snapshot', ref })),
    run: cut,
    undo: removeSnapshots,
  },
  { name: 'thaw', quiet: true, run: thaw },
  { name: 'judge', run: judgeStep },
  { name: 'copy', run: copyWhenTold, undo: forgetCopy },
  { name: 'record', run: recordWhenTold, undo: unrecord, commits: true },
  { name: 'expire', run: expire },
];

/** The engine backs itself up, without a hold of ours. */
export const onlineSteps: readonly Step<Backup>[] = [
  { name: 'locate', run: locateOnline },
  { name: 'choose', run: chooseOnline },
  { name: 'predict', run: estimateOnline },
  {
    name: 'prepare',
    traces: (state) => [{ kind: 'directory', path: runDirectory(state.environment, state.runId) }],
    run: prepareOnline,
    undo: letGo,
  },
  { name: 'copy', run: copyOnline, undo: forgetCopy },
  { name: 'record', run: record, undo: unrecord, commits: true },
  { name: 'expire', run: expire },
];

/** Which steps a method takes. */
export function stepsOf(method: Method): readonly Step<Backup>[] {
  return method === 'online' || method === 'concurrent' ? onlineSteps : backupSteps;
}

/** Makes one restore point, or throws and leaves nothing behind. */
export async function backup(
  workload: Workload,
  environment: Environment,
  request: BackupRequest,
): Promise<BackupResult> {
  if (request.method === 'mirror-split') return await splitBackup(workload, environment, request);
  const lock = await lockWorkload(environment, workload.name);
  try {
    await refuseLeftHold(workload, environment);
    // Before the run begins, for it changes nothing, and the run is at the member that was chosen.
    const at = await atMember(workload, environment, request.signal);
    const state = new Backup(at.workload, environment, request, at.cluster);
    const { runId } = state;
    const run = {
      runId,
      flow: 'backup',
      workload: workload.name,
      steps: stepsOf(state.method),
      state,
      signal: request.signal,
    };
    return await runJournaled({ ...run, result: resultOf, outcomeOf: (result) => result.outcome }, environment);
  } finally {
    lock.release();
  }
}

function resultOf(state: Backup): BackupResult {
  const { point, evidence } = state.saved.get();
  const { online } = evidence;
  const weaker =
    point.verdict !== state.accepted ||
    state.parent.get().degraded !== undefined ||
    (online !== undefined && online.made !== online.asked);
  return { outcome: weaker ? 'degraded' : 'complete', point, evidence, findings: state.findings };
}

async function locate(state: Backup, signal: AbortSignal): Promise<void> {
  const { application } = state.workload;
  if (state.method === 'cold' && application.openStop === undefined) throw unsupported(state.workload, 'cold');
  const found = await application.locate(signal);
  // Whatever its own freeze is like: an engine without users writes nothing.
  const located: Located = state.method === 'cold' ? { ...found, holdKind: 'writes-stopped' } : found;
  state.located.set(located);
  const group = await locateGroup(located, state.workload, signal);
  state.group.set(group);
  const layers = await examineLayers(group, located, state.workload, state.environment, signal);
  for (const finding of layers.findings) note(state, finding);
  state.layers.set(layers);
}

async function choose(state: Backup): Promise<void> {
  state.members.push({ when: 'chosen', seen: state.located.get().member });
  noteChoice(state);
  const catalog = await state.environment.catalog();
  const repository = await state.environment.repository();
  const choice = chooseParent({
    asked: state.request.level,
    identity: state.located.get().identity,
    points: catalog.points(state.workload.name),
    snapshots: new Set((await repository.snapshots()).map((each) => each.id)),
    nowMs: state.environment.clock.wallMs(),
  });
  if (choice.degraded !== undefined) note(state, { severity: 'warning', check: 'level', said: choice.degraded });
  state.parent.set(choice);
}

async function predictStep(state: Backup, signal: AbortSignal): Promise<void> {
  const located = state.located.get();
  const catalog = await state.environment.catalog();
  const forecast = await predict({
    workload: state.workload,
    host: state.environment.host,
    located,
    group: state.group.get(),
    history: catalog.holds(state.workload.name, 10),
    budgetMs: budgetOf(
      state.method === 'cold' ? 'stopped' : located.holdKind,
      state.request.barrier?.budgetMs ?? state.workload.budgetMs,
    ),
    signal,
  });
  for (const finding of forecast.findings) note(state, finding);
  const { cluster } = state;
  const budgetMs =
    cluster === undefined
      ? forecast.budgetMs
      : withinMargin(cluster, { ...forecast, stopsWriters: state.stopsWriters });
  state.forecast.set({ ...forecast, budgetMs });
}

/** Before anything is copied, with the role at the cut standing in for the role at the record, which is judged again then. */
async function judgeStep(state: Backup, signal: AbortSignal): Promise<void> {
  await watchMember(state, 'cut', signal);
  const evidence = state.evidence();
  const atCut = evidence.members.find((each) => each.when === 'cut');
  const members = atCut === undefined ? evidence.members : [...evidence.members, { ...atCut, when: 'record' as const }];
  const cluster =
    evidence.cluster === undefined
      ? {}
      : {
          cluster: {
            ...evidence.cluster,
            seen: evidence.cluster.seen.flatMap((each) => [each, { ...each, when: 'record' as const }]),
          },
        };
  state.verdict.set(refuseWeak(state, { ...evidence, members, ...cluster }).verdict);
}

async function copyWhenTold(state: Backup, signal: AbortSignal): Promise<void> {
  await state.request.barrier?.pass('copy', signal);
  await copy(state, signal);
}

async function recordWhenTold(state: Backup, signal: AbortSignal): Promise<void> {
  await state.request.barrier?.pass('record', signal);
  await record(state);
}

export async function record(state: Backup): Promise<void> {
  const { point } = state.saved.get();
  const catalog = await state.environment.catalog();
  catalog.addPoint(point);
  if (point.hold === null) return;
  const { heldMs, overheadMs } = point.hold;
  catalog.addHold(point.workload, point.cutAt, {
    heldMs,
    overheadMs,
    bytesRead: point.bytes.read,
    copyMs: state.copyMs,
  });
}

async function unrecord(state: Backup): Promise<void> {
  const saved = state.saved.peek();
  if (saved !== undefined) (await state.environment.catalog()).removePoint(saved.point.id);
}

/** The repository has it all now: snapshots and staging go, but for the base of the next run. What cannot be removed is said, and `recover` removes it later. */
async function expire(state: Backup): Promise<void> {
  tellRecorded(state);
  try {
    if (state.group.peek() !== undefined) await removeOldBases(state);
    if (!state.keepsBase) await removeSnapshots(state);
    await rm(runDirectory(state.environment, state.runId), { recursive: true, force: true });
  } catch (error) {
    throw new StillpointError(
      'undo-failed',
      `the point is recorded, but its snapshots could not be removed: ${messageOf(error)}`,
      {
        hint: 'run `stillpoint recover`',
        cause: error,
      },
    );
  }
}
