import type { Lag } from '../../../model/cluster.ts';
import type { Clock } from '../../../platform/clock.ts';
import {
  type Behind,
  lagWatchMs,
  type Measured,
  measureLag,
  type Positions as KnownPositions,
} from '../../../platform/measure-lag.ts';
import { positionsSql } from './commands.ts';
import { type Facts, parsePositions, type Positions } from './parse.ts';
import type { Session } from './session.ts';

const pollMs = 50;

/** How far the standby is behind what the primary had written at `sinceMs`. */
export async function measure(
  session: Session,
  first: Positions,
  target: number,
  sinceMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<Measured> {
  const again = async (): Promise<KnownPositions> => {
    const [row] = await session.query(positionsSql);
    return known(parsePositions(row?.['facts']));
  };
  return await measureLag(known(first), again, { target, sinceMs, pollMs }, clock, signal);
}

/** What was never received or replayed is behind by all of it. */
function known({ received, replayed }: Positions): KnownPositions {
  return { received: received ?? 0, replayed: replayed ?? 0 };
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
function lagOf({ bytes = 0, ms }: Behind, facts: Facts, otherwise: false | undefined): Lag {
  if (ms !== undefined) return { bytes, ms, caughtUp: true };
  const atMost = facts.replayedAgoMs;
  return { bytes, ...(atMost === null ? {} : { ms: atMost + lagWatchMs }), caughtUp: otherwise };
}
