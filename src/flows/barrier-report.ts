import type { Evidence } from '../model/evidence.ts';
import { commandSpans } from '../model/flight-record.ts';
import type { PartHold } from '../model/together.ts';
import { bootId } from '../platform/clock.ts';
import type { Backup } from './backup-state.ts';
import type { Barrier } from './barrier-gate.ts';

/** Before the freeze. */
export async function passFreeze(state: Backup, signal: AbortSignal): Promise<void> {
  const { barrier } = state.request;
  if (barrier === undefined) return;
  await barrier.pass('freeze', signal, {
    at: 'ready',
    host: state.environment.hostname,
    bootId: bootId(),
    identity: state.located.get().identity,
    holds: state.holds,
    stopsWriters: state.stopsWriters,
    budgetMs: state.forecast.get().budgetMs,
  });
}

/** Once the point is real. */
export function tellRecorded(state: Backup): void {
  const { barrier } = state.request;
  if (barrier === undefined) return;
  const { point, evidence } = state.saved.get();
  const { id, repositorySnapshot, verdict, identity, bytes } = point;
  barrier.tell({
    at: 'recorded',
    hold: holdOf(evidence, barrier, state.stopsWriters),
    point: { id, repositorySnapshot, verdict, identity, bytes },
  });
  // The coordinator may go now.
  barrier.close();
}

function holdOf(evidence: Evidence, barrier: Barrier, stopsWriters: boolean): PartHold | null {
  const { hold, cut } = evidence;
  const called = cut.cuts.map((each) => each.called).toSorted((a, b) => a.monoMs - b.monoMs)[0];
  const fixed = cut.cuts.map((each) => each.fixed).toSorted((a, b) => b.monoMs - a.monoMs)[0];
  if (hold === null || called === undefined || fixed === undefined) return null;
  return {
    stopsWriters,
    budgetMs: hold.budgetMs,
    toldToFreeze: barrier.heard('freeze'),
    frozen: hold.frozen.at,
    toldToCut: barrier.heard('cut'),
    cutCalled: called,
    cutFixed: fixed,
    thawed: hold.thawed.at,
    heldThroughout: hold.thawed.heldThroughout,
    endedBy: hold.thawed.by,
    spans: commandSpans(evidence),
  };
}
