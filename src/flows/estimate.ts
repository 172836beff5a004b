import { StillpointError } from '../model/errors.ts';
import type { Marks } from '../model/journal.ts';
import type { Level, Point } from '../model/point.ts';
import type { Environment, Workload } from './environment.ts';
import { chooseLevel } from './backup-online.ts';

export interface LevelEstimate {
  readonly level: Level;
  /** Null when there is nothing that the level could go on top of. */
  readonly bytes: number | null;
  readonly said: string;
  /** The last real one of that level. */
  readonly last: { readonly point: string; readonly bytes: number; readonly at: string } | null;
}

/** Sizes of the next full, cumulative and incremental from the engine's counters. Throws `method-unsupported`. Changes nothing. */
export async function estimateLevels(
  workload: Workload,
  environment: Environment,
  points: readonly Point[],
  signal: AbortSignal,
): Promise<{ readonly workload: string; readonly levels: readonly LevelEstimate[] }> {
  const { application } = workload;
  if (application.estimate === undefined) {
    throw new StillpointError('method-unsupported', `${application.engine} keeps no counters to estimate sizes from`, {
      hint: `see what a backup would do with \`stillpoint plan ${workload.name}\``,
    });
  }
  const { identity } = await application.locate(signal);
  const snapshots = new Set((await (await environment.repository()).snapshots()).map((each) => each.id));
  const since: Partial<Record<Level, Marks>> = {};
  const levels = ['full', 'cumulative', 'incremental'] as const;
  for (const asked of levels) {
    const marks = chooseLevel({ asked, identity, points, snapshots }).point?.marks;
    if (marks !== undefined && marks !== null) since[asked] = marks;
  }
  const sizes = await application.estimate(since, signal);
  return {
    workload: workload.name,
    levels: levels.map((level) => {
      const size = sizes.find((each) => each.level === level);
      const last = points.find((point) => point.method === 'online' && point.level === level);
      return {
        level,
        bytes: size?.bytes ?? null,
        said: size?.said ?? 'there is no level below to go on top of',
        last: last === undefined ? null : { point: last.id, bytes: last.bytes.logical, at: last.cutAt },
      };
    }),
  };
}
