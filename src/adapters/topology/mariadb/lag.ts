import type { Lag } from '../../../model/cluster.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { MariadbSession } from '../../../platform/mariadb-session.ts';
import { channelsSql } from './commands.ts';
import { bytesAfter, covers, isPast } from './gtid.ts';
import { type Binlog, type Channel, parseChannels } from './parse.ts';

/** What the primary had written when it was asked. */
export interface Target {
  readonly serverId: string;
  readonly binlogs: readonly Binlog[];
  readonly gtids: string;
  /** When the question for it went out. */
  readonly sinceMs: number;
}

/** How far a replica was behind the target, and how long it took at most to get there. Bytes of the primary's binary logs. */
export interface Behind {
  /** Absent: it reads from another one, whose places mean nothing on the primary. */
  readonly bytes?: number;
  /** Absent: it did not get there while we looked. */
  readonly ms?: number;
}

export interface Measured {
  /** `server_id` of whose position was the target: a second server that takes writes may have answered first. */
  readonly targetId: string;
  readonly transfer: Behind;
  readonly apply: Behind;
}

const watchMs = 1000;
const pollMs = 50;

/**
 * Measures lag instead of believing `Seconds_Behind_Master`, which is 0 for a replica that has applied the little that it received, and
 * goes on being that while the primary is not reachable. The primary had written up to the target at `sinceMs` at the earliest, so a
 * replica that has it now is behind by the time since then at most. Watches for one second.
 */
export async function measure(
  session: Pick<MariadbSession, 'query'>,
  first: Channel,
  target: Target,
  clock: Clock,
  signal: AbortSignal,
): Promise<Measured> {
  let transfer = received(first, target, 0);
  let apply = applied(first, target, 0);
  while ((transfer.ms === undefined || apply.ms === undefined) && clock.monoMs() < target.sinceMs + watchMs) {
    await clock.sleep(pollMs, signal);
    const now = parseChannels(await session.query(channelsSql)).find(({ name }) => name === first.name);
    // Taken away while we looked: nothing more is known of it.
    if (now === undefined) break;
    const elapsedMs = clock.monoMs() - target.sinceMs;
    if (transfer.ms === undefined) transfer = received(now, target, elapsedMs);
    if (apply.ms === undefined) apply = applied(now, target, elapsedMs);
  }
  return { targetId: target.serverId, transfer, apply };
}

function received(channel: Channel, target: Target, ms: number): Behind {
  const direct = channel.sourceId === target.serverId;
  const there = covers(channel.receivedGtids, target.gtids) || (direct && isPast(target.binlogs, channel.received));
  return there ? { bytes: 0, ms } : bytesOf(direct, target, channel.received);
}

function applied(channel: Channel, target: Target, ms: number): Behind {
  const direct = channel.sourceId === target.serverId;
  const there = covers(channel.appliedGtids, target.gtids) || (direct && isPast(target.binlogs, channel.applied));
  return there ? { bytes: 0, ms } : bytesOf(direct, target, channel.applied);
}

function bytesOf(direct: boolean, { binlogs }: Target, place: Channel['received']): Behind {
  const bytes = direct ? bytesAfter(binlogs, place) : undefined;
  return bytes === undefined ? {} : { bytes };
}

/** Lag of a replica whose channel runs and leads to the primary. */
export function lagsOf(
  channel: Channel,
  { transfer, apply }: Measured,
): { readonly transfer: Lag; readonly apply: Lag } {
  return {
    transfer: transfer.ms === undefined ? { ...transfer, caughtUp: false } : { ...transfer, caughtUp: true },
    apply: applyLag(channel, transfer, apply),
  };
}

/**
 * Where it did not catch up while we looked, the age of what is applied now bounds its lag from above, if all was received: the
 * engine counts whole seconds, and from the beginning of a statement.
 */
function applyLag(channel: Channel, transfer: Behind, apply: Behind): Lag {
  if (apply.ms !== undefined) return { ...apply, caughtUp: true };
  if (transfer.ms === undefined || channel.secondsBehind === null || channel.delayS > 0) {
    return { ...apply, caughtUp: false };
  }
  return { ...apply, ms: (channel.secondsBehind + 1) * 1000 + watchMs, caughtUp: undefined };
}
