import { StillpointError } from '../model/errors.ts';
import type { Outcome } from '../model/point.ts';
import { self } from '../platform/process.ts';
import type { Environment } from './environment.ts';
import { runFlow, type Step } from './flow.ts';
import { openJournal, pruneJournals } from './journal.ts';

/** Ended runs whose journals stay as a diary. */
const keptJournals = 50;

export interface Run<S, R> {
  readonly runId: string;
  readonly flow: string;
  readonly workload: string;
  readonly steps: readonly Step<S>[];
  readonly state: S;
  readonly signal: AbortSignal;
  readonly result: (state: S) => R;
  readonly outcomeOf: (result: R) => Outcome;
  /** Leaves the run open in the journal after success: a hold by hand, which `thaw` or `recover` ends. */
  readonly staysOpen?: boolean;
}

/** Runs a flow under an intent journal of its own: the record that begins it, its steps, the record that ends it. */
export async function runJournaled<S, R>(run: Run<S, R>, environment: Environment): Promise<R> {
  const journal = await openJournal(environment.stateDirectory, run.runId);
  const now = (): string => environment.clock.now().wall;
  try {
    await journal.append({
      type: 'run',
      runId: run.runId,
      flow: run.flow,
      workload: run.workload,
      process: self(),
      at: now(),
    });
    await runFlow(run.steps, run.state, {
      journal,
      clock: environment.clock,
      signal: run.signal,
      onStep: (name, phase) => environment.reporter.step(name, phase),
      ...(environment.fault === undefined ? {} : { fault: environment.fault }),
    });
    const result = run.result(run.state);
    if (run.staysOpen !== true) {
      // All is done by now. A disk that is full at this very line leaves it to `recover` to write the end.
      await journal.append({ type: 'end', outcome: run.outcomeOf(result), at: now() }).catch(() => undefined);
    }
    return result;
  } catch (error) {
    // All was undone unless the error says otherwise; only then must `recover` look at this run again.
    const open = error instanceof StillpointError && error.exitCode === 6;
    const outcome = error instanceof StillpointError && error.code === 'cancelled' ? 'cancelled' : 'failed';
    // On a full disk the record is lost and `recover` undoes what is undone already, without harm.
    if (!open) await journal.append({ type: 'end', outcome, at: now() }).catch(() => undefined);
    throw error;
  } finally {
    await journal.close();
    await pruneJournals(environment.stateDirectory, keptJournals);
  }
}
