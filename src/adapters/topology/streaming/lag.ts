import type { Lag } from '../../../model/cluster.ts';
import type { Clock } from '../../../platform/clock.ts';
import { positionsSql } from './commands.ts';
import { type Facts, parsePositions, type Positions } from './parse.ts';
import type { Session } from './session.ts';

/** How far a standby was behind a position of the primary, and how long it took at most to get there. */
export interface Behind {
  readonly bytes: number;
  /** Absent: it did not get there while we looked. */
  readonly ms?: number;
}

export interface Measured {
  readonly transfer: Behind;
  readonly apply: Behind;
}

const watchMs = 1000;
const pollMs = 50;

/**
 * Measures lag instead of believing a clock: the primary had written up to `target` at `sinceMs` at the earliest, so a standby that has it
 * now is behind by the time since then at most. Neither an idle primary nor clocks that differ can make that wrong. Watches for one second.
 */
export async function measure(
  session: Session,
  first: Positions,
  target: number,
  sinceMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<Measured> {
  let transfer = behind(first.received, target, 0);
  let apply = behind(first.replayed, target, 0);
  while ((transfer.ms === undefined || apply.ms === undefined) && clock.monoMs() < sinceMs + watchMs) {
    await clock.sleep(pollMs, signal);
    const [row] = await session.query(positionsSql);
    const now = parsePositions(row?.['facts']);
    const elapsedMs = clock.monoMs() - sinceMs;
    if (transfer.ms === undefined) transfer = behind(now.received, target, elapsedMs);
    if (apply.ms === undefined) apply = behind(now.replayed, target, elapsedMs);
  }
  return { transfer, apply };
}

function behind(at: number | null, target: number, ms: number): Behind {
  const bytes = Math.max(0, target - (at ?? 0));
  return at !== null && bytes === 0 ? { bytes, ms } : { bytes };
}

/** Lag of a standby that streams on the primary's timeline. */
export function lagsOf(facts: Facts, { transfer, apply }: Measured): { readonly transfer: Lag; readonly apply: Lag } {
  return {
    transfer: lagOf(transfer, facts, undefined),
    apply: lagOf(apply, facts, facts.replayPause === 'not paused' ? undefined : false),
  };
}

/**
 * Where it did not catch up while we looked, the age of the last commit that it replayed bounds its lag from above. That age also grows
 * while a primary is idle, so it is never used for a standby that has everything.
 */
function lagOf({ bytes, ms }: Behind, facts: Facts, otherwise: false | undefined): Lag {
  if (ms !== undefined) return { bytes, ms, caughtUp: true };
  const atMost = facts.replayedAgoMs;
  return { bytes, ...(atMost === null ? {} : { ms: atMost + watchMs }), caughtUp: otherwise };
}
