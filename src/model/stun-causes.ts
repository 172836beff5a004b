import type { Stun, StunCause } from './stun.ts';

/** A line of a log that has to do with stuns. `atMs`: milliseconds since 1970. */
export type StunEvent =
  | {
      readonly kind: 'stun';
      /** Newer versions tell a stun twice: as `vm stopped`, and a moment later, until all its parts ran, as `vm was stunned`. */
      readonly said: 'stopped' | 'stunned';
      readonly us: number;
      /** When it was over. */
      readonly atMs: number;
      readonly line: number;
    }
  | {
      readonly kind: 'begin';
      readonly of: Work;
      readonly cause: StunCause;
      readonly snapshot: string;
      readonly atMs: number;
    }
  /** Shows that the work is under way, also where its beginning was not seen. */
  | { readonly kind: 'sign'; readonly of: Work; readonly cause: StunCause; readonly atMs: number }
  | { readonly kind: 'end'; readonly of: Work; readonly atMs: number }
  /** A new process of the machine. */
  | { readonly kind: 'start'; readonly atMs: number };

type Work = 'snapshot' | 'consolidation' | 'migration';
type Told = Extract<StunEvent, { kind: 'stun' }>;

interface Operation {
  readonly of: Work;
  readonly cause: StunCause;
  readonly snapshot?: string;
  readonly beganMs: number;
  seenMs: number;
  endMs?: number;
}

/** How long after its last sign of life work whose end was not seen still counts as under way. Consolidation can be silent for hours. */
const longestSilenceMs: Readonly<Record<Work, number>> = {
  snapshot: 3_600_000,
  consolidation: 86_400_000,
  migration: 3_600_000,
};

/** Stamps are in whole milliseconds. */
const roundingMs = 2;
/** Both accounts of one stun begin at the same instant, but for rounding and the time that writing a line takes. */
const sameBeginMs = 100;

export interface LogEvents {
  readonly file: string;
  readonly events: readonly StunEvent[];
}

/**
 * The stuns of one machine with what it was at, from its log files, the oldest first. A stun that is told twice, in two words or in two
 * copies of a file, counts once, with its longer figure. Pure.
 */
export function stunsOf(logs: readonly LogEvents[]): readonly Stun[] {
  const stuns: Stun[] = [];
  const operations = new Operations();
  const known = new Set<string>();
  let before: Counted | undefined;
  for (const { file, events } of logs) {
    for (const event of events) {
      if (event.kind !== 'stun') {
        operations.see(event);
        continue;
      }
      const key = `${event.said} ${event.atMs} ${event.us}`;
      if (known.has(key)) continue;
      known.add(key);
      const again = before !== undefined && sameStun(before, event);
      if (again) stuns.pop();
      if (!again || before === undefined || before.us <= event.us) before = { ...event, file };
      stuns.push(stunOf(before, operations));
    }
  }
  return stuns;
}

type Counted = Told & { readonly file: string };

function stunOf(told: Counted, operations: Operations): Stun {
  const { atMs, us, file, line } = told;
  return { atMs, durationMs: us / 1000, ...operations.during(told), file, line };
}

function beganMs({ atMs, us }: Told): number {
  return atMs - us / 1000;
}

function sameStun(one: Told, other: Told): boolean {
  return one.said === 'stopped' && other.said === 'stunned' && Math.abs(beganMs(one) - beganMs(other)) <= sameBeginMs;
}

/** What the machine was at, so far as the lines up to now tell. */
class Operations {
  #known: Operation[] = [];

  see(event: Exclude<StunEvent, Told>): void {
    if (event.kind === 'start') {
      this.#known = [];
      return;
    }
    const open = this.#known.find(({ of, endMs }) => of === event.of && endMs === undefined);
    if (event.kind === 'sign' && open !== undefined) {
      open.seenMs = event.atMs;
      return;
    }
    // A second beginning ends the first, whose own end was lost.
    if (open !== undefined) open.endMs = event.kind === 'end' ? event.atMs : open.seenMs;
    if (event.kind === 'end') return;
    const snapshot = event.kind === 'begin' ? { snapshot: event.snapshot } : {};
    this.#known.push({ of: event.of, cause: event.cause, ...snapshot, beganMs: event.atMs, seenMs: event.atMs });
  }

  /**
   * The work begun last among all that was under way during the stun: a helper snapshot is part of a consolidation. Whether the line
   * that ends a work stands before or after the line of its stun differs between versions, so the times decide.
   */
  during(stun: Told): { readonly cause: StunCause; readonly snapshot?: string } {
    const from = beganMs(stun) - roundingMs;
    this.#known = this.#known.filter(({ of, endMs, seenMs }) => (endMs ?? seenMs + longestSilenceMs[of]) >= from);
    const [last] = this.#known.toSorted((a, b) => b.beganMs - a.beganMs);
    if (last === undefined) return { cause: 'other' };
    return { cause: last.cause, ...(last.snapshot === undefined ? {} : { snapshot: last.snapshot }) };
  }
}
