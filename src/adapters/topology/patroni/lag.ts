import type { Lag } from '../../../model/cluster.ts';
import type { Clock } from '../../../platform/clock.ts';
import { type Behind, lagWatchMs, type Measured, measureLag, type Positions } from '../../../platform/measure-lag.ts';
import type { MemberAnswer } from './ask.ts';
import { type Status, timeOf } from './parse.ts';

const pollMs = 100;

/** Behind what the primary had written at `sinceMs`. The list of the cluster tells bytes that are as old as the last loop, and no time at all. */
export async function measure(
  first: MemberAnswer,
  again: () => Promise<MemberAnswer>,
  target: number,
  sinceMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<Measured> {
  const next = async (): Promise<Positions | undefined> => {
    const { status } = await again();
    return status?.xlog === undefined ? undefined : positionsOf(status);
  };
  return await measureLag(positionsOf(first.status), next, { target, sinceMs, pollMs }, clock, signal);
}

/** What is received restarts at the beginning of a segment when a server does, and may be less than what is replayed then. */
function positionsOf(status: Status | undefined): Positions {
  const replayed = status?.xlog?.replayed_location;
  const known = [status?.xlog?.received_location, replayed].filter((at) => at !== undefined);
  return { received: known.length === 0 ? undefined : Math.max(...known), replayed };
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
    replayedAt === undefined || dateMs === undefined ? undefined : Math.max(0, dateMs - replayedAt) + 1000 + lagWatchMs;
  return {
    ...(bytes === undefined ? {} : { bytes }),
    ...(atMost === undefined ? {} : { ms: atMost }),
    caughtUp: otherwise,
  };
}
