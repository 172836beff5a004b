import type { Clock } from '../../../platform/clock.ts';
import type { Asker, Live } from './ask.ts';

/** How far a replica was behind what the primary had, when the primary was asked. */
export interface Behind {
  readonly updates: bigint;
  /** How long it took at most to have it all. Absent: it had not while we looked. */
  readonly ms?: number;
}

export interface Measured {
  readonly transfer: Behind;
  readonly apply: Behind;
}

const watchMs = 1000;
const pollMs = 50;

/**
 * Measures lag, for the engine tells no times: the primary had posted up to its number when it was asked, so a replica that has it now is
 * behind by the time since then at most. What the source server says of its backlog is as old as the last heartbeat, and is not used.
 * Watches for one second, so that a replica of a busy primary, always a few updates behind, is known as one that follows. Throws NoAnswer.
 */
export async function measure(asker: Asker, first: Live, primary: Live, clock: Clock): Promise<Measured> {
  const target = primary.pool.posted;
  const elapsed = (atMs: number): number => Math.max(0, atMs - primary.askedMs);
  let apply = behind(first.pool.posted, target, elapsed(first.answeredMs));
  let transfer = atLeast(apply, behind(first.received.last ?? 0n, target, elapsed(first.received.answeredMs)));
  while (apply.ms === undefined && clock.monoMs() < primary.askedMs + watchMs) {
    await clock.sleep(pollMs);
    const look = await asker.pool();
    if (typeof look === 'string') break;
    apply = behind(look.pool.posted, target, elapsed(look.answeredMs));
    if (transfer.ms !== undefined) continue;
    const { last = 0n, answeredMs } = await asker.received();
    transfer = atLeast(apply, behind(last, target, elapsed(answeredMs)));
  }
  return { transfer, apply };
}

function behind(at: bigint, target: bigint, ms: number): Behind {
  return at >= target ? { updates: 0n, ms } : { updates: target - at };
}

/** What it has applied it has received, also where no receiver server runs that could tell. */
function atLeast(apply: Behind, transfer: Behind): Behind {
  return apply.updates < transfer.updates ? apply : transfer;
}
