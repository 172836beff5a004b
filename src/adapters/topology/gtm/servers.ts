import type { Facts, Live, Refused } from './ask.ts';
import type { SourceServer } from './parse.ts';

export type Seen = Facts | Refused;

/** One whose memory answered, and that somebody has open. */
export interface Running extends Facts {
  readonly live: Live;
}

/** The engine goes on calling a server alive that was killed, so the process itself counts. */
export type Life = 'alive' | 'stopped' | 'gone';

export function lifeOf({ processes }: Facts, pid: number): Life {
  const state = processes.mupip.get(pid);
  if (state === undefined) return 'gone';
  return state.toUpperCase() === 'T' ? 'stopped' : 'alive';
}

/**
 * A memory that answers may outlive all its processes. The application of a primary goes on without a source server, and is seen by what it has
 * attached; without a server a replica is dead, whoever reads it.
 */
export function isRunning(seen: Seen): seen is Running {
  if ('said' in seen || typeof seen.live === 'string') return false;
  const { pool, receiver } = seen.live;
  const pids = [...pool.sources.map(({ pid }) => pid), receiver?.receiver ?? 0, receiver?.update ?? 0];
  if (pids.some((pid) => lifeOf(seen, pid) !== 'gone')) return true;
  return !pool.updatesDisabled && (seen.processes.attached?.get(seen.file.poolMemory ?? '') ?? 0) > 0;
}

/** Updates of users are taken here, and make the history of all. A supplementary instance makes one of its own. */
export function isRootPrimary(seen: Seen): seen is Running {
  return isRunning(seen) && !seen.live.pool.updatesDisabled && !seen.file.supplementary;
}

export function isReplica(seen: Seen): seen is Running {
  return isRunning(seen) && seen.live.pool.updatesDisabled && !seen.file.supplementary;
}

/** What is wrong with the servers that the instance should have, in words. */
export function serverTroubles(running: Running): readonly string[] {
  const { pool, receiver } = running.live;
  const trouble = (what: string, pid: number): string[] => {
    const life = lifeOf(running, pid);
    if (life === 'alive') return [];
    return [life === 'gone' ? `${what} (${pid}) is gone` : `${what} (${pid}) is stopped by a signal`];
  };
  const sources = pool.sources
    .filter(({ pid }) => pid !== 0)
    .flatMap(({ secondary, pid }) => trouble(`the source server for ${secondary}`, pid));
  if (!pool.updatesDisabled) return sources;
  if (receiver === undefined) return [...sources, 'no receiver server was started'];
  return [
    ...sources,
    ...trouble('the receiver server', receiver.receiver),
    ...trouble('the update process', receiver.update),
  ];
}

export interface Link {
  /** The instance that sends. */
  readonly by: Running;
  readonly source: SourceServer;
  /** Updates reach the receiver, or would if there were some. */
  readonly up: boolean;
}

/** WAITING_FOR_XON: the receiver has more than it can hold, and has said so. */
const connected = new Set(['SENDING_JNLRECS', 'WAITING_FOR_XON']);

/** Who sends to this instance: the root primary, or a replica that passes on. */
export function linkTo(instance: string, all: readonly Seen[]): Link | undefined {
  const links = all
    .filter(isRunning)
    .flatMap((by) =>
      by.live.pool.sources
        .filter(({ secondary, pid, mode }) => secondary === instance && pid !== 0 && mode.startsWith('ACTIVE'))
        .map((source) => ({ by, source, up: connected.has(source.state) && lifeOf(by, source.pid) === 'alive' })),
    );
  return links.find(({ up }) => up) ?? links[0];
}
