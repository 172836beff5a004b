import type { Lag } from '../../../model/cluster.ts';
import type { Behind, Told } from './members.ts';
import { compareOpTimes, type OpTime, type Seat, type Status } from './parse.ts';

/** What the primary had when it was asked. */
export interface Target {
  readonly applied: OpTime;
  readonly appliedAtMs: number;
  /** When the question for it went out. */
  readonly sinceMs: number;
}

export interface Measured {
  readonly transfer: Behind;
  readonly apply: Behind;
}

/**
 * The primary had the target at `sinceMs` at the earliest, so whoever has it now is behind by the time since then at most. An answer that
 * is as old as the target's own counts as no time: both were asked together.
 */
export function measure(status: Status, target: Target, elapsedMs: number): Measured {
  const behind = (at: OpTime, wallMs: number): Behind =>
    compareOpTimes(at, target.applied) >= 0 ? { ms: elapsedMs } : ageOf(target.appliedAtMs - wallMs);
  return {
    transfer: behind(status.received, status.receivedAtMs),
    apply: behind(status.applied, status.appliedAtMs),
  };
}

/** An entry without a time is of 1970: nothing was replicated yet. Below zero: the primary's clock was set back. */
function ageOf(ms: number): Behind {
  return ms >= 0 && ms < yearMs ? { ageMs: ms } : {};
}

const yearMs = 366 * 86_400_000;

export function isThere({ transfer, apply }: Measured): boolean {
  return transfer.ms !== undefined && apply.ms !== undefined;
}

/** What was reached once stays reached: a later answer only adds. */
export function later(before: Measured, now: Measured): Measured {
  return {
    transfer: before.transfer.ms === undefined ? now.transfer : before.transfer,
    apply: before.apply.ms === undefined ? now.apply : before.apply,
  };
}

/** A member that stays behind on purpose is never caught up, whatever lag somebody allows. */
export function lagsOf({ transfer, apply }: Told, seat: Seat): { readonly transfer?: Lag; readonly apply?: Lag } {
  if (transfer === undefined || apply === undefined) return {};
  return { transfer: lagOf(transfer, seat), apply: lagOf(apply, seat) };
}

function lagOf({ ms, ageMs }: Behind, { delayMs }: Seat): Lag {
  if (delayMs > 0) return { ms: Math.max(delayMs, ageMs ?? 0), caughtUp: false };
  if (ms !== undefined) return { ms, caughtUp: true };
  // Behind by a known time: whether that is too much is for others to say.
  return ageMs === undefined ? { caughtUp: false } : { ms: ageMs, caughtUp: undefined };
}
