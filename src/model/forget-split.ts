import type { Point } from './point.ts';

/** What is seen of a point whose only data are snapshots of a disk, before it is forgotten. */
export interface ForgetSeen {
  readonly point: Pick<Point, 'id' | 'workload' | 'volumes'>;
  /** Points of the workload that stay, this one apart. */
  readonly others: readonly Pick<Point, 'id' | 'verdict'>[];
  /** Snapshots of it that are there. `ours`: tagged with the run that made the point. */
  readonly snapshots: readonly { readonly id: string; readonly state: string; readonly ours: boolean }[];
  /** Volumes that were made of them, whoever made them. */
  readonly volumes: readonly { readonly id: string; readonly state: string }[];
  /** Zones in which fast restore of one of them is on, or about to be. */
  readonly fastIn: readonly string[];
}

/** Why it is not forgotten; empty = it may be. Pure. */
export function whyKept({ point, others, snapshots, volumes, fastIn }: ForgetSeen): readonly string[] {
  const kept: string[] = [];
  if (!others.some(({ verdict }) => verdict === 'application-consistent'))
    kept.push(`no other application-consistent point of ${point.workload} would be left`);
  for (const { id, state, ours } of snapshots) {
    if (!ours) kept.push(`${id} has not the tag of the run that made ${point.id}`);
    if (state === 'pending') kept.push(`${id} is still being copied`);
  }
  for (const { id, state } of volumes)
    if (state === 'creating') kept.push(`${id} is being made of it: a restore is under way`);
  if (fastIn.length > 0)
    kept.push(
      `fast restore of it is on in ${fastIn.join(', ')}: a restore is under way, or it is forgotten and billed`,
    );
  return kept;
}
