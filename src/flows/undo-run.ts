import { thawByGuard } from './ask-guard.ts';
import { headOf, tracesOf } from './dead-runs.ts';
import { isCommitted } from './journal.ts';
import { rename, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { StillpointError, messageOf } from '../model/errors.ts';
import { killExactly, processesIn } from '../platform/process.ts';
import { type Environment, type Workload } from './environment.ts';
import { continueJournal, type RunHistory, type Trace } from './journal.ts';
import { whereHeld } from './cluster.ts';
import { unproven } from './hold.ts';
import { finishForgetting, newestSplit, recoverSplit } from './mirror-split-recover.ts';

interface Done {
  readonly said: string;
  /** It was brought to the end that it was begun for. */
  readonly finished?: boolean;
}

/** What was done about one dead run. */
export interface UndoneRun {
  readonly how: 'finished' | 'undone' | 'open';
  readonly said: readonly string[];
  readonly failures: readonly StillpointError[];
}

/** Takes away everything that one dead run left, the hold first, or finishes what can only go forward. Idempotent. */
export async function undoRun(
  history: RunHistory,
  workload: Workload | undefined,
  environment: Environment,
): Promise<UndoneRun> {
  const said: string[] = [];
  // What it was begun for was real before it died.
  let isFinished = isCommitted(history);
  const failures: StillpointError[] = [];
  // What a committed run made for its user is real, and may be in use by now.
  const traces = tracesOf(history)
    .filter((trace) => !isCommitted(history) || (trace.kind !== 'target' && trace.kind !== 'renamed'))
    .toReversed();
  const ordered = [
    ...traces.filter((trace) => trace.kind === 'hold'),
    ...traces.filter((trace) => trace.kind !== 'hold'),
  ];
  await releaseAll(traces, workload, failures);
  for (const trace of ordered) {
    try {
      const found = await undoTrace(trace, history, workload, environment);
      const done = typeof found === 'string' ? { said: found } : found;
      isFinished ||= done?.finished === true;
      if (done !== undefined && !said.includes(done.said)) said.push(done.said);
    } catch (error) {
      failures.push(
        error instanceof StillpointError
          ? error
          : new StillpointError('undo-failed', messageOf(error), {
              hint: 'mend the cause and run `stillpoint recover` again',
              cause: error,
            }),
      );
    }
  }
  if (failures.length === 0) {
    const journal = await continueJournal(history, environment.stateDirectory);
    try {
      await journal.append({ type: 'end', outcome: 'recovered', at: environment.clock.now().wall });
    } finally {
      await journal.close();
    }
  }
  return { how: failures.length > 0 ? 'open' : isFinished ? 'finished' : 'undone', said, failures };
}

/** Before any thaw: an engine may have to write to become thawed, and cannot on a device that a dead cut left suspended. */
async function releaseAll(
  traces: readonly Trace[],
  workload: Workload | undefined,
  failures: StillpointError[],
): Promise<void> {
  const refs = traces.flatMap((trace) => (trace.kind === 'snapshot' ? [trace.ref] : []));
  for (const provider of workload?.providers ?? []) {
    const own = refs.filter((ref) => ref.provider === provider.kind);
    if (own.length === 0) continue;
    try {
      await provider.release?.(own);
    } catch (error) {
      if (!(error instanceof StillpointError)) throw error;
      failures.push(error);
    }
  }
}

async function undoTrace(
  trace: Trace,
  history: RunHistory,
  workload: Workload | undefined,
  environment: Environment,
): Promise<string | Done | undefined> {
  switch (trace.kind) {
    case 'hold':
      return await undoHold(trace, history, workload, environment);
    case 'failover': {
      const { manager, cluster } = trace.token;
      const letGo = workload?.cluster?.topology.letGo?.bind(workload.cluster.topology);
      if (letGo === undefined || workload?.cluster?.topology.manager !== manager) {
        throw new StillpointError(
          'undo-failed',
          `failover of ${cluster} was held off, and its ${manager} is not configured`,
          {
            hint: 'put the topology back into the configuration and run `stillpoint recover` again, or let failover go by hand',
          },
        );
      }
      await letGo(trace.token);
      return `failover of ${cluster} is not held off any more`;
    }
    case 'split':
      // What a run that has committed left is whole, and somebody may have suspended a monitor for reasons of their own since.
      return !isCommitted(history) && trace.work === newestSplit(tracesOf(history))
        ? await recoverSplit(trace.work, history, workload, environment)
        : undefined;
    case 'forgotten':
      return { said: await finishForgetting(trace.forgotten, workload, environment), finished: true };
    case 'guard':
      // Its hold is thawed by now; what is left of it only holds a session.
      return killExactly(trace.process, 'SIGKILL') ? `guard ${trace.process.pid} ended` : undefined;
    case 'snapshot': {
      const provider = workload?.providers.find((each) => each.kind === trace.ref.provider);
      if (provider === undefined) {
        throw new StillpointError(
          'undo-failed',
          `snapshot ${trace.ref.at} of provider ${trace.ref.provider} belongs to no configured workload`,
          {
            hint: 'put the workload back into the configuration, or remove the snapshot by hand',
          },
        );
      }
      await provider.delete(trace.ref);
      return `snapshot ${trace.ref.at} is gone`;
    }
    case 'directory':
      return await removeDirectory(trace.path, history);
    case 'target':
      return await removeTarget(trace.path, history);
    case 'renamed':
      return await undoRename(trace, history, workload);
  }
}

/** A dead drill may have left its engine running on the copy; whatever works inside that directory is the drill's own. */
async function removeDirectory(path: string, history: RunHistory): Promise<string | undefined> {
  const running = headOf(history)?.flow === 'drill' ? processesIn(path) : [];
  for (const each of running) killExactly(each, 'SIGKILL');
  await rm(path, { recursive: true, force: true });
  return running.length === 0 ? undefined : `${running.length} processes of the drill were ended`;
}

async function undoHold(
  trace: Extract<Trace, { kind: 'hold' }>,
  history: RunHistory,
  workload: Workload | undefined,
  environment: Environment,
): Promise<string> {
  if (workload === undefined) {
    throw new StillpointError(
      'thaw-unproven',
      `the dead run ${trace.token.runId} held ${trace.token.workload}, which the configuration does not know`,
      {
        hint: 'put the workload back into the configuration and run `stillpoint recover` again',
      },
    );
  }
  const { application } = whereHeld(workload, trace.token.member);
  // A guard that is starting a database's users again must not be cut off in that.
  const waitMs = trace.token.way === 'stop' ? 150_000 : 3_000;
  const byGuard = await thawByGuard(trace.socket, environment, waitMs);
  if (byGuard?.answer.thawed !== true) {
    // Nobody listens, or a stopped guard: end its processes, then ask the engine.
    for (const each of tracesOf(history)) if (each.kind === 'guard') killExactly(each.process, 'SIGKILL');
    const answer = await application.thaw(trace.token);
    if (!answer.thawed) throw unproven(trace.token, answer.said);
  }
  const status = await application.status(trace.token);
  if (status.state !== 'thawed') throw unproven(trace.token, status.said);
  await rm(trace.socket, { force: true });
  await rm(trace.resultFile, { force: true });
  return `the hold on ${trace.token.workload} is over: ${status.said}`;
}

/** A restore that did not finish, unless somebody uses it all the same. */
async function removeTarget(path: string, history: RunHistory): Promise<string | undefined> {
  if (!existsSync(path)) return undefined;
  if (processesIn(path).length > 0) throw inUse(path, history);
  await rm(path, { recursive: true, force: true });
  return `the unfinished restore in ${path} is gone`;
}

function inUse(path: string, history: RunHistory): StillpointError {
  return new StillpointError('undo-failed', `a restore to ${path} did not finish, and the engine runs on its files`, {
    hint: `stop the engine and run \`stillpoint recover\` to undo the restore, or keep it as it is with \`stillpoint recover --discard ${history.file}\``,
  });
}

/** Puts back what an unfinished in-place restore had moved aside. */
async function undoRename(
  trace: Extract<Trace, { kind: 'renamed' }>,
  history: RunHistory,
  workload: Workload | undefined,
): Promise<string | undefined> {
  if (!existsSync(trace.to)) return undefined;
  const at = workload === undefined ? undefined : whereHeld(workload, trace.member);
  if (existsSync(trace.from) && (await at?.application.running?.(new AbortController().signal)) === true) {
    throw inUse(trace.from, history);
  }
  if (existsSync(trace.from)) await rm(trace.from, { recursive: true, force: true });
  await rename(trace.to, trace.from);
  return `${trace.from} is back in its place`;
}
