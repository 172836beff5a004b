import type { StillpointError } from '../model/errors.ts';
import type { HoldToken } from '../model/hold.ts';
import { isAlive, type ProcessIdentity } from '../platform/process.ts';
import { type Environment } from './environment.ts';
import { isOver, readJournals, type RunHistory, type Trace } from './journal.ts';

export interface RunHead {
  readonly runId: string;
  readonly workload: string;
  readonly flow: string;
  readonly process: ProcessIdentity;
}

export function headOf(history: RunHistory): RunHead | undefined {
  const first = history.records[0];
  return first?.type === 'run' ? first : undefined;
}

export function tracesOf(history: RunHistory): readonly Trace[] {
  return history.records.flatMap((record) => (record.type === 'intent' ? record.traces : []));
}

/** Runs whose process is gone and that nobody ended; holds left on purpose, with their guard alive, are not among them. */
export async function deadRuns(environment: Environment): Promise<{
  readonly dead: readonly RunHistory[];
  readonly left: readonly RunHistory[];
  readonly damaged: readonly StillpointError[];
}> {
  const { runs, damaged } = await readJournals(environment.stateDirectory);
  const dead: RunHistory[] = [];
  const left: RunHistory[] = [];
  for (const history of runs) {
    const head = headOf(history);
    if (head === undefined || isOver(history) || isAlive(head.process)) continue;
    const guards = tracesOf(history).flatMap((trace) => (trace.kind === 'guard' ? [trace.process] : []));
    if (head.flow === 'freeze' && guards.some((guard) => isAlive(guard))) left.push(history);
    else dead.push(history);
  }
  return { dead, left, damaged };
}

/** A hold that the journal of a run which has not ended tells of. */
export interface OpenHold {
  readonly token: HoldToken;
  readonly socket: string;
  readonly resultFile: string;
  /** The flow that made it; `freeze` is left by hand on purpose. */
  readonly flow: string;
  readonly history: RunHistory;
}

/** Holds of a workload that may be in force, whoever made them, oldest first; and journals that may tell of more but cannot be read. */
export async function openHolds(
  environment: Environment,
  workload: string,
): Promise<{ readonly holds: readonly OpenHold[]; readonly damaged: readonly StillpointError[] }> {
  const { runs, damaged } = await readJournals(environment.stateDirectory);
  const holds = runs.flatMap((history) => {
    const head = headOf(history);
    if (head === undefined || head.workload !== workload || isOver(history)) return [];
    return tracesOf(history).flatMap((trace) =>
      trace.kind === 'hold' ? [{ ...trace, flow: head.flow, history }] : [],
    );
  });
  return { holds, damaged };
}
