import { mkdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { StillpointError, codeOf } from '../model/errors.ts';
import { stopsWriters as stopsWritersOf, type FreezeStatus } from '../model/hold.ts';
import type { Moment } from '../model/time.ts';
import type { HoldReport } from '../guard/protocol.ts';
import { writeDurably } from '../platform/files.ts';
import { lockWorkload, newRunId, Slot, type Environment, type Workload } from './environment.ts';
import type { Step } from './flow.ts';
import { budgetOf } from './group.ts';
import { atMember, whereHeld, withinMargin, type ClusterAtWork } from './cluster.ts';
import { Hold, unproven } from './hold.ts';
import { continueJournal } from './journal.ts';
import { askGuard, leftResult, thawByGuard } from './ask-guard.ts';
import { openHolds } from './dead-runs.ts';
import { refuseLeftHold } from './recover.ts';
import { runJournaled } from './run.ts';

export interface Frozen {
  readonly runId: string;
  readonly frozenAt: Moment;
  readonly budgetMs: number;
  readonly said: string;
}

interface Freezing {
  readonly hold: Slot<Hold>;
  readonly frozen: Slot<Frozen>;
  readonly runId: string;
  readonly workload: Workload;
  readonly cluster?: ClusterAtWork;
  readonly environment: Environment;
}

const freezeSteps: readonly Step<Freezing>[] = [
  {
    name: 'locate',
    run: async (state, signal) => {
      const { holdKind } = await state.workload.application.locate(signal);
      if (holdKind === 'none') {
        throw new StillpointError(
          'freeze-failed',
          `workload ${state.workload.name} is configured to be cut without a hold`,
          { hint: 'there is nothing to freeze: see the application settings of the workload' },
        );
      }
      const wanted = budgetOf(holdKind, state.workload.budgetMs);
      const stopsWriters = stopsWritersOf(holdKind);
      // Nobody knows how long a person will take, so the margin ends the hold.
      const budgetMs =
        state.cluster === undefined
          ? wanted
          : withinMargin(state.cluster, { holdMs: 1, budgetMs: wanted, stopsWriters });
      state.hold.set(new Hold(state.workload, state.environment, state.runId, budgetMs));
    },
  },
  {
    name: 'prepare',
    run: (state, signal, note) => state.hold.get().prepare(note, signal),
    undo: async (state) => await state.hold.peek()?.release(),
  },
  {
    name: 'freeze',
    undoFirst: true,
    run: async (state) => {
      const hold = state.hold.get();
      const { answer } = await hold.freeze();
      if (!answer.frozen) {
        throw new StillpointError('freeze-failed', `the engine did not freeze: ${answer.said}`, {
          hint: 'look for long transactions or locks that keep it from freezing',
        });
      }
      state.frozen.set({ runId: state.runId, frozenAt: answer.at, budgetMs: hold.budgetMs, said: answer.said });
    },
    undo: async (state) => {
      await state.hold.peek()?.thaw();
    },
  },
  // From here the guard keeps the hold without us, and thaws at the budget.
  { name: 'leave', quiet: true, run: async (state) => await state.hold.get().leave() },
];

/** Freezes and leaves the guard behind: it thaws on `thawByHand` or when the budget is used up, whichever is first. */
export async function freezeByHand(workload: Workload, environment: Environment, signal: AbortSignal): Promise<Frozen> {
  const lock = await lockWorkload(environment, workload.name);
  try {
    await refuseLeftHold(workload, environment);
    const runId = newRunId(environment.clock);
    const at = await atMember(workload, environment, signal);
    const state: Freezing = { hold: new Slot('hold'), frozen: new Slot('frozen'), runId, ...at, environment };
    return await runJournaled(
      {
        runId,
        flow: 'freeze',
        workload: workload.name,
        steps: freezeSteps,
        state,
        signal,
        staysOpen: true,
        result: (done) => done.frozen.get(),
        outcomeOf: () => 'complete',
      },
      environment,
    );
  } finally {
    lock.release();
  }
}

export interface ThawedByHand {
  readonly runId: string | null;
  /** Null when no hold of ours was in force. */
  readonly report: HoldReport | null;
  /** True only if the freeze lasted until this very thaw. */
  readonly heldThroughout: boolean;
  /** Files that the engine handed out at the thaw, written here, and where each belongs in the copy that was cut by hand. */
  readonly handedOut: readonly { readonly file: string; readonly belongsAt: string }[];
}

/** A copy that was cut by hand under backup mode is worth nothing without its label, and the engine gives it only once. */
async function keepHandedOut(
  report: HoldReport,
  runId: string,
  environment: Environment,
): Promise<ThawedByHand['handedOut']> {
  const directory = join(environment.stateDirectory, 'by-hand', runId);
  const handedOut: { file: string; belongsAt: string }[] = [];
  for (const artifact of report.answer.artifacts) {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const file = join(directory, basename(artifact.path));
    await writeDurably(file, Buffer.from(artifact.base64, 'base64'), artifact.mode);
    handedOut.push({ file, belongsAt: artifact.path });
  }
  return handedOut;
}

/** Ends a hold left by `freezeByHand`. Nothing to thaw is success. Throws `thaw-unproven`. */
export async function thawByHand(workload: Workload, environment: Environment): Promise<ThawedByHand> {
  let result: ThawedByHand = { runId: null, report: null, heldThroughout: false, handedOut: [] };
  for (const left of (await openHolds(environment, workload.name)).holds) {
    if (left.flow !== 'freeze') continue;
    const report =
      (await thawByGuard(left.socket, environment, 5_000)) ??
      (await leftResult(left.resultFile)) ??
      (await thawFromOutside());
    if (!report.answer.thawed) throw unproven(left.token, report.answer.said);
    // At once: the engine does not say it again.
    const handedOut = await keepHandedOut(report, left.token.runId, environment);
    const { application } = whereHeld(workload, left.token.member);
    const status = await application.status(left.token);
    if (status.state !== 'thawed') throw unproven(left.token, status.said);
    const journal = await continueJournal(left.history, environment.stateDirectory);
    try {
      await journal.append({ type: 'end', outcome: 'complete', at: environment.clock.now().wall });
    } finally {
      await journal.close();
    }
    await rm(left.socket, { force: true });
    await rm(left.resultFile, { force: true });
    result = {
      runId: left.token.runId,
      report,
      heldThroughout: report.by === 'word' && report.answer.heldThroughout,
      handedOut,
    };

    async function thawFromOutside(): Promise<HoldReport> {
      const answer = await whereHeld(workload, left.token.member).application.thaw(left.token);
      return { answer: { ...answer, heldThroughout: false }, by: 'recover' };
    }
  }
  return result;
}

export interface HoldState {
  readonly state: FreezeStatus['state'];
  readonly said: string;
  readonly holds: readonly {
    readonly runId: string;
    readonly flow: string;
    readonly phase: string;
    readonly frozenAt: string | null;
    readonly leftMs: number | null;
  }[];
  /** Another run of this workload is at work on this machine. */
  readonly busy: boolean;
}

/** What the guards and the engine say, of every hold that may be in force, a running backup's too. Changes nothing. */
export async function statusOf(workload: Workload, environment: Environment): Promise<HoldState> {
  const holds: HoldState['holds'][number][] = [];
  const engine: FreezeStatus[] = [];
  const known = await openHolds(environment, workload.name);
  for (const open of known.holds) {
    const guard = await askGuard(open.socket, environment);
    const leftMs =
      guard?.deadlineMonoMs == null ? null : Math.max(0, guard.deadlineMonoMs - environment.clock.monoMs());
    holds.push({
      runId: open.token.runId,
      flow: open.flow,
      phase: guard?.phase ?? 'guard gone',
      frozenAt: guard?.frozenAt?.wall ?? null,
      leftMs,
    });
    engine.push(await whereHeld(workload, open.token.member).application.status(open.token));
  }
  // What a damaged journal told of cannot be asked for.
  for (const broken of known.damaged) engine.push({ state: 'unknown', said: broken.message });
  // The worst answer counts: one hold in force is a hold in force, and what cannot be told is an alarm.
  const worst = engine.find((each) => each.state === 'frozen') ??
    engine.find((each) => each.state === 'unknown') ??
    engine[0] ?? { state: 'thawed', said: 'no hold of ours is in force' };
  return { ...worst, holds, busy: await isBusy(workload, environment) };
}

async function isBusy(workload: Workload, environment: Environment): Promise<boolean> {
  try {
    (await lockWorkload(environment, workload.name)).release();
    return false;
  } catch (error) {
    if (codeOf(error) === 'workload-busy') return true;
    throw error;
  }
}
