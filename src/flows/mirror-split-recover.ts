import { messageOf, StillpointError } from '../model/errors.ts';
import {
  nextAct,
  type ForgottenSplit,
  type SplitAct,
  type SplitBefore,
  type SplitSeen,
  type SplitWork,
} from '../model/mirror-split.ts';
import type { Environment, Workload } from './environment.ts';
import type { RunHistory, Trace } from './journal.ts';
import { alarm, drive, perform, splitToolsOf, tell, type DriveMemory, type SplitTools } from './mirror-split-drive.ts';
import { restoreBack } from './mirror-split-swap.ts';
import { pointTag } from './record.ts';

export interface Decisions {
  readonly before: SplitBefore;
  cut: 'wanted' | 'no';
  groupIsOurs: boolean;
}

/** `nextAct` with what has to be remembered from look to look. */
export function deciding(tools: SplitTools, state: Decisions): (seen: SplitSeen, memory: DriveMemory) => SplitAct {
  const { clock } = tools.environment;
  let idleSince: number | undefined;
  let recoveryRefused = false;
  let groupRefused = false;
  return (seen, { act: last, failure, waitedMs }) => {
    if (last?.do === 'recover-mirror') recoveryRefused = failure !== undefined && seen.mirror === 'Abnormal';
    // It may have come off and on again by now.
    else if (last?.do === 'stop-machine') recoveryRefused = false;
    if (last?.do === 'start-group' && waitedMs > tools.limits.act) groupRefused = true;
    const decide = (idleMs: number): SplitAct =>
      nextAct(seen, {
        ...state.before,
        ...{ cut: state.cut, groupIsOurs: state.groupIsOurs, groupRefused, recoveryRefused, idleMs },
        autoRecoveryMs: tools.limits.autoRecovery,
      });
    const act = decide(0);
    const isIdle = act.do === 'wait' && act.for === 'whole' && seen.mirror !== 'Recovering';
    if (!isIdle) idleSince = undefined;
    else idleSince ??= clock.monoMs();
    return idleSince === undefined ? act : decide(clock.monoMs() - idleSince);
  };
}

/**
 * The way back to a whole cluster from any step. Takes no cancellation. Throws `undo-failed` with what a person must do when it cannot go
 * on.
 */
export async function makeWhole(tools: SplitTools, state: Decisions): Promise<void> {
  const { active, standby } = state.before;
  state.cut = 'no';
  const seen = await drive({
    tools,
    servers: [active, standby],
    decide: deciding(tools, state),
    act: (act) => perform(tools, act, active, 'backup'),
  });
  const { group } = seen;
  if (group.status === 'online' && group.on !== active)
    tell(tools, `the group is online on ${group.on ?? 'another server'} by now and is left there`);
  if (group.status === 'offline') tell(tools, 'the group was stopped by somebody else and is left so');
}

/** A snapshot of a run without a point is nobody's. Its deletion is proved. */
export async function removeCut(tools: SplitTools, runId: string): Promise<number> {
  const { machines, environment, limits } = tools;
  const untilMs = environment.clock.monoMs() + limits.act;
  let failure: unknown;
  let removed = 0;
  for (;;) {
    try {
      const left = await machines.snapshots(runId);
      if (left.length === 0) return removed;
      for (const { id } of left) await machines.deleteSnapshot(id);
      removed = left.length;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    if (environment.clock.monoMs() >= untilMs)
      throw await alarm(
        tools,
        `a snapshot of the run ${runId} could not be removed${failure === undefined ? '' : `: ${messageOf(failure)}`}`,
        'see that the machines can be asked, then `stillpoint recover`',
        failure,
      );
    await environment.clock.sleep(limits.poll);
  }
}

/** Finishes or undoes what a dead run left of a cluster. */
export async function recoverSplit(
  work: SplitWork,
  history: RunHistory,
  workload: Workload | undefined,
  environment: Environment,
): Promise<{ readonly said: string; readonly finished: boolean }> {
  if (workload === undefined) {
    throw new StillpointError(
      'undo-failed',
      `the dead run ${work.runId} took a mirror apart of a workload that is gone`,
      {
        hint: 'put the workload back into the configuration and run `stillpoint recover` again',
      },
    );
  }
  const tools = splitToolsOf(workload, environment);
  if (work.old !== undefined) return { said: await restoreBack(tools, work), finished: work.taken === true };
  const isDone = (step: string): boolean =>
    history.records.some((record) => record.type === 'done' && record.step === step);
  await makeWhole(tools, { before: work.before, cut: 'no', groupIsOurs: !isDone('go-on') });
  const repository = await environment.repository();
  const recorded = (await repository.snapshots()).some(
    ({ tags }) => tags.includes(pointTag) && tags.includes(`point:${work.runId}`),
  );
  const removed = recorded ? 0 : await removeCut(tools, work.runId);
  const said = `the mirror of ${work.before.active} and ${work.before.standby} is whole`;
  const rest = recorded
    ? `; the point ${work.runId} is good`
    : removed === 0
      ? ''
      : '; the snapshot without a point is gone';
  return { said: `${said}${rest}`, finished: recorded };
}

/** The newest word of a run on what it takes apart. */
export function newestSplit(traces: readonly Trace[]): SplitWork | undefined {
  return traces.findLast((trace) => trace.kind === 'split')?.work;
}

/** Takes a point off the list, here and in the repository. */
export async function unlist(environment: Environment, { point, repositorySnapshot }: ForgottenSplit): Promise<void> {
  await (await environment.repository()).removeSnapshot(repositorySnapshot);
  (await environment.catalog()).removePoint(point);
}

/** What a dead run had begun to forget: forward, for the point may be gone already. Throws `undo-failed`. */
export async function finishForgetting(
  forgotten: ForgottenSplit,
  workload: Workload | undefined,
  environment: Environment,
): Promise<string> {
  if (workload === undefined) {
    throw new StillpointError(
      'undo-failed',
      `the snapshots of the forgotten point ${forgotten.point} are of a workload that is gone`,
      {
        hint: 'put the workload back into the configuration and run `stillpoint recover` again',
      },
    );
  }
  await unlist(environment, forgotten);
  await removeCut(splitToolsOf(workload, environment), forgotten.point);
  return `the point ${forgotten.point} and its snapshots are gone`;
}
