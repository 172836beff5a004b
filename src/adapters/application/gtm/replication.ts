import { identify } from '../../../platform/process.ts';
import { type Gtm, type Limits, unreachable } from './engine.ts';
import { parseBacklog, parseReplicationFile, type ReplicationFile, type SourceServer } from './parse-journal.ts';

/** The replication instance file; undefined where the settings name none. Throws `database-unreachable` if it cannot be read. */
export async function replicationOf(gtm: Gtm, limits: Limits): Promise<ReplicationFile | undefined> {
  const { replicationInstance } = gtm.place;
  if (replicationInstance === undefined) return undefined;
  const shown = await gtm.mupip(['replicate', '-editinstance', '-show', replicationInstance], limits);
  const file = parseReplicationFile(shown.text);
  if (file === undefined || shown.unfinished) throw unreachable('the replication instance file cannot be read', shown);
  return file;
}

/** Source servers that run. The engine goes on answering for one that was killed. */
export async function sourceServers(gtm: Gtm, limits: Limits): Promise<readonly SourceServer[]> {
  const backlog = await gtm.mupip(['replicate', '-source', '-showbacklog'], limits);
  return parseBacklog(backlog.text).filter((server) => identify(server.pid) !== undefined);
}

/** What has to be kept for another instance. */
export interface Wanted {
  /** Number of the first update that it may not have. */
  readonly from: bigint;
  readonly why: string;
  /** Why what lies before `from` is kept while it is young. Absent: it need not be. */
  readonly young?: string;
}

/**
 * What is acknowledged was processed, in memory: after a crash the other instance goes back, after a power cut to its last epoch at most.
 * In step with this one and with the same interval between its epochs, it has a file on its disk one interval after that ended; twice that
 * leaves it as much again to be behind. It cannot be asked for more.
 */
export function isYoung(endedMs: number, epochSeconds: number, nowMs: number): boolean {
  const ageMs = nowMs - endedMs;
  // Also for a time that cannot be read, and for one after now.
  return !(ageMs >= 2_000 * epochSeconds);
}

/**
 * Only a running source server knows what the other instance has processed; what stands in the instance file does not tell. Nothing known
 * means everything is kept. An instance that only receives keeps nothing for the one that it receives from: that one's source server here
 * is passive, and runs.
 */
export function wantedByOthers(file: ReplicationFile, running: readonly SourceServer[]): readonly Wanted[] {
  if (file.secondaries.length === 0) {
    return [{ from: 1n, why: `no source server was ever started on instance ${file.instance}: nobody has it yet` }];
  }
  return file.secondaries.flatMap((secondary) => {
    const server = running.find((each) => each.secondary === secondary);
    if (server === undefined)
      return [{ from: 1n, why: `what instance ${secondary} has is unknown: no source server for it runs` }];
    if (server.passive) {
      const why = `what instance ${secondary} has is unknown: the source server for it is passive`;
      return file.rootPrimary ? [{ from: 1n, why }] : [];
    }
    const why =
      server.acknowledged === 0n
        ? `instance ${secondary} has acknowledged nothing since its source server was started`
        : `instance ${secondary} has acknowledged up to ${server.acknowledged}`;
    const young = `instance ${secondary} has processed it, but perhaps not on its disk yet`;
    return [{ from: server.acknowledged + 1n, why, young }];
  });
}
