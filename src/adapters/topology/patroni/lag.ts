import type { Lag } from '../../../model/cluster.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { MemberAnswer } from './ask.ts';
import { type Status, timeOf } from './parse.ts';

/** How far a replica was behind a position of the primary, and how long it took at most to get there. */
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

const watchMs = 1000;
const pollMs = 100;

/**
 * The primary had written up to `target` at `sinceMs` at the earliest, so a replica that has it now is behind by the time since then at
 * most. The list of the cluster tells bytes that are as old as the last loop, and no time at all. Watches for one second.
 */
export async function measure(
  first: MemberAnswer,
  again: () => Promise<MemberAnswer>,
  target: number,
  sinceMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<Measured> {
  let [transfer, apply] = [behind(received(first.status), target, 0), behind(replayed(first.status), target, 0)];
  while ((transfer.ms === undefined || apply.ms === undefined) && clock.monoMs() < sinceMs + watchMs) {
    await clock.sleep(pollMs, signal);
    const { status } = await again();
    if (status?.xlog === undefined) break;
    const elapsedMs = clock.monoMs() - sinceMs;
    if (transfer.ms === undefined) transfer = behind(received(status), target, elapsedMs);
    if (apply.ms === undefined) apply = behind(replayed(status), target, elapsedMs);
  }
  return { transfer, apply };
}

/** What is received restarts at the beginning of a segment when a server does, and may be less than what is replayed then. */
function received(status: Status | undefined): number | undefined {
  const known = [status?.xlog?.received_location, status?.xlog?.replayed_location].filter((at) => at !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}

function replayed(status: Status | undefined): number | undefined {
  return status?.xlog?.replayed_location;
}

function behind(at: number | undefined, target: number, ms: number): Behind {
  if (at === undefined) return {};
  return at >= target ? { bytes: 0, ms } : { bytes: target - at };
}

/** Lag of a replica that streams on the primary's timeline. */
export function lagsOf(
  member: MemberAnswer,
  { transfer, apply }: Measured,
): { readonly transfer: Lag; readonly apply: Lag } {
  const paused = member.status?.xlog?.paused;
  return {
    transfer: lagOf(transfer, member, undefined),
    apply: lagOf(apply, member, paused === false ? undefined : false),
  };
}

/** Where it did not catch up, the age of the last commit that it replayed bounds its lag from above; that is a figure for nothing else. */
function lagOf({ bytes, ms }: Behind, { status, dateMs }: MemberAnswer, otherwise: false | undefined): Lag {
  if (ms !== undefined) return { bytes: 0, ms, caughtUp: true };
  const replayedAt = timeOf(status?.xlog?.replayed_timestamp);
  // Its clock is told in whole seconds, and it was watched for one more.
  const atMost =
    replayedAt === undefined || dateMs === undefined ? undefined : Math.max(0, dateMs - replayedAt) + 1000 + watchMs;
  return {
    ...(bytes === undefined ? {} : { bytes }),
    ...(atMost === undefined ? {} : { ms: atMost }),
    caughtUp: otherwise,
  };
}
