import type { Clock } from './clock.ts';

/** Byte positions in the journal, as numbers that grow. Undefined: the member does not say. */
export interface Positions {
  readonly received: number | undefined;
  readonly replayed: number | undefined;
}

/** How far a standby was behind a position of the primary, and how long it took at most to get there. */
export interface Behind {
  /** Absent: the member does not say where it is. */
  readonly bytes?: number;
  /** Absent: it did not get there while we looked. */
  readonly ms?: number;
}

export interface Measured {
  readonly transfer: Behind;
  readonly apply: Behind;
}

/** How long a standby is watched at most. */
export const lagWatchMs = 1000;

/**
 * Measures lag instead of believing a clock: the primary had written up to `target` at `sinceMs` at the earliest, so a standby that has it
 * now is behind by the time since then at most. Neither an idle primary nor clocks that differ can make that wrong. `again` asks the member
 * once more, every `pollMs`; undefined ends the watch.
 */
export async function measureLag(
  first: Positions,
  again: () => Promise<Positions | undefined>,
  { target, sinceMs, pollMs }: { readonly target: number; readonly sinceMs: number; readonly pollMs: number },
  clock: Clock,
  signal: AbortSignal,
): Promise<Measured> {
  let transfer = behind(first.received, target, 0);
  let apply = behind(first.replayed, target, 0);
  while ((transfer.ms === undefined || apply.ms === undefined) && clock.monoMs() < sinceMs + lagWatchMs) {
    await clock.sleep(pollMs, signal);
    const now = await again();
    if (now === undefined) break;
    const elapsedMs = clock.monoMs() - sinceMs;
    if (transfer.ms === undefined) transfer = behind(now.received, target, elapsedMs);
    if (apply.ms === undefined) apply = behind(now.replayed, target, elapsedMs);
  }
  return { transfer, apply };
}

function behind(at: number | undefined, target: number, ms: number): Behind {
  if (at === undefined) return {};
  return at >= target ? { bytes: 0, ms } : { bytes: target - at };
}
