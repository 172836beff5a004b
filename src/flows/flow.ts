import { StillpointError, codeOf, messageOf } from '../model/errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { RunJournal, Trace } from './journal.ts';

export interface Step<S> {
  readonly name: string;
  /** What the step will leave outside this process, for the journal: known and durable before `run` begins. */
  traces?(state: S): readonly Trace[];
  /** `note` makes one more trace durable, for what is known only on the way. Not for quiet steps. */
  run(state: S, signal: AbortSignal, note: (trace: Trace) => Promise<void>): Promise<void>;
  /**
   * Takes back what `run` did or half did. Called for every step that was begun, in reverse order, when a later one fails. Takes no
   * cancellation, is idempotent, and is called although `run` failed.
   */
  undo?(state: S): Promise<void>;
  /**
   * True inside the hold: no journal line is written around it, for a log must not be waited for while a database is frozen. Its
   * traces are journaled with the last step before that is not quiet.
   */
  readonly quiet?: boolean;
  /** Its undo comes before all others: a thaw must not wait for a snapshot to be deleted. */
  readonly undoFirst?: boolean;
  /** Once it has run, what came before is real: a later failure undoes only what began after it. */
  readonly commits?: boolean;
}

/** Called at each transition, `before:freeze`, `after:cut`...; tests stop or kill the process there. */
export type FaultPoint = (transition: string) => Promise<void>;

export interface FlowContext {
  readonly journal: RunJournal;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onStep?: (name: string, phase: 'begin' | 'done' | 'undo') => void;
  readonly fault?: FaultPoint;
}

/**
 * Runs steps in order; on the first failure undoes the begun ones in reverse and throws the failure, or `undo-failed` when something
 * could not be taken back.
 */
export async function runFlow<S>(steps: readonly Step<S>[], state: S, context: FlowContext): Promise<void> {
  const begun: Step<S>[] = [];
  /** Done, but not yet written down because a quiet step follows. */
  const unwritten: string[] = [];
  try {
    for (const [index, step] of steps.entries()) {
      if (!isQuiet(step)) {
        if (context.signal.aborted) throw cancelled(context.signal);
        const traces = [step, ...quietAfter(steps, index)].flatMap((each) => each.traces?.(state) ?? []);
        await context.journal.append({ type: 'intent', step: step.name, traces, at: context.clock.now().wall });
      }
      begun.push(step);
      context.onStep?.(step.name, 'begin');
      await context.fault?.(`before:${step.name}`);
      await step.run(state, context.signal, async (trace) => {
        await context.journal.append({
          type: 'intent',
          step: step.name,
          traces: [trace],
          at: context.clock.now().wall,
        });
      });
      if (step.commits === true) {
        // Durable before it counts: if this cannot be written, all is undone and nothing was promised.
        await context.journal.append({ type: 'committed', step: step.name, at: context.clock.now().wall });
        begun.length = 0;
      }
      await context.fault?.(`after:${step.name}`);
      context.onStep?.(step.name, 'done');
      unwritten.push(step.name);
      if (quietAfter(steps, index).length > 0) continue;
      for (const name of unwritten.splice(0))
        await context.journal.append({ type: 'done', step: name, at: context.clock.now().wall });
    }
  } catch (error) {
    const failure = context.signal.aborted && codeOf(error) !== 'thaw-unproven' ? cancelled(context.signal) : error;
    await undoAll(begun, state, context, failure);
    throw failure;
  }
}

function cancelled(signal: AbortSignal): StillpointError {
  if (signal.reason instanceof StillpointError) return signal.reason;
  return new StillpointError('cancelled', 'cancelled; everything begun was undone');
}

function isQuiet<S>(step: Step<S>): boolean {
  return step.quiet === true;
}

/** The quiet steps that directly follow; their traces must be durable before the first of them begins. */
function quietAfter<S>(steps: readonly Step<S>[], index: number): readonly Step<S>[] {
  const rest = steps.slice(index + 1);
  const end = rest.findIndex((step) => !isQuiet(step));
  return end < 0 ? rest : rest.slice(0, end);
}

async function undoAll<S>(begun: readonly Step<S>[], state: S, context: FlowContext, failure: unknown): Promise<void> {
  const failures: unknown[] = [];
  const reversed = begun.toReversed();
  const urgent = reversed.filter((step) => step.undoFirst === true);
  for (const step of [...urgent, ...reversed.filter((each) => each.undoFirst !== true)]) {
    if (step.undo === undefined) continue;
    context.onStep?.(step.name, 'undo');
    try {
      await step.undo(state);
      await journalUndone(context, step.name);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length === 0) return;
  const first = failures[0];
  const worst = failures.find((each) => codeOf(each) === 'thaw-unproven');
  if (worst instanceof StillpointError) throw worst;
  throw new StillpointError(
    'undo-failed',
    `${messageOf(failure)}; and it could not all be undone: ${failures.map(messageOf).join('; ')}`,
    {
      // What a person must do first outweighs what can be tried again.
      hint:
        first instanceof StillpointError && first.code === 'undo-failed' && first.hint !== undefined
          ? first.hint
          : 'run `stillpoint recover`',
      cause: first,
    },
  );
}

/** The undo is done whether or not it can be written down: a full disk is often why we are here. `recover` undoes twice without harm. */
async function journalUndone(context: FlowContext, step: string): Promise<void> {
  try {
    await context.journal.append({ type: 'undone', step, at: context.clock.now().wall });
  } catch (error) {
    if (codeOf(error) !== 'io') throw error;
  }
}
