import { StillpointError } from '../model/errors.ts';
import type { Finding, Level, Point } from '../model/point.ts';
import type { HoldHistory } from '../catalog/catalog.ts';
import type { Located } from '../ports/application.ts';
import type { Host } from '../ports/host.ts';
import type { Workload } from './environment.ts';
import type { Group } from './group.ts';

export interface ParentChoice {
  readonly level: Level;
  readonly point: Point | null;
  /** Why the level is not the one that was asked for (docs/design/rules.md, 14). */
  readonly degraded?: string;
}

/**
 * Chooses the parent by identity: the same data set, and its snapshot still in the repository. Throws `clock-jumped` when the newest
 * point lies in the future, for then neither order nor age of points means anything. Pure.
 */
export function chooseParent(input: {
  readonly asked: Level | undefined;
  readonly identity: string;
  /** Newest first. */
  readonly points: readonly Point[];
  readonly snapshots: ReadonlySet<string>;
  readonly nowMs: number;
}): ParentChoice {
  const newest = input.points[0];
  if (newest !== undefined && Date.parse(newest.cutAt) > input.nowMs) {
    throw new StillpointError(
      'clock-jumped',
      `point ${newest.id} was cut at ${newest.cutAt}, which this machine's clock has not reached yet`,
      {
        hint: 'set the clock right (timedatectl, chronyc tracking) and run again',
      },
    );
  }
  if (input.asked === 'full') return { level: 'full', point: null };
  const usable = input.points.filter(
    (point) =>
      (point.method === 'snapshot' || point.method === 'cold') &&
      point.identity === input.identity &&
      input.snapshots.has(point.repositorySnapshot),
  );
  const parent = input.asked === 'cumulative' ? usable.find((point) => point.level === 'full') : usable[0];
  if (parent !== undefined) return { level: input.asked ?? 'incremental', point: parent };
  if (input.asked === undefined) return { level: 'full', point: null };
  const why =
    input.points.length === 0
      ? 'there is no earlier point'
      : 'no earlier point is of this data set and still in the repository';
  return { level: 'full', point: null, degraded: `${input.asked} was asked for and a full was made: ${why}` };
}

export interface Forecast {
  readonly holdMs: number;
  readonly budgetMs: number;
  readonly basis: 'history' | 'estimate';
  /** How long copying from the snapshots took at most of late; absent if nothing is known. */
  readonly keepMs?: number;
  readonly findings: readonly Finding[];
}

/** A hold that history says takes longer than this part of the budget is a warning: the next one may not fit. */
const closeToBudget = 0.5;

/**
 * Predicts the hold from this workload's own past, else from the providers' estimates, and the space that the cut needs. Refuses
 * (`hold-over-budget`, `space-short`, `volume-unsafe`) before anything is frozen.
 */
export async function predict(input: {
  readonly workload: Workload;
  readonly host: Host;
  readonly located: Located;
  readonly group: Group;
  readonly history: readonly HoldHistory[];
  readonly budgetMs: number;
  readonly signal: AbortSignal;
}): Promise<Forecast> {
  const findings: Finding[] = [];
  let estimate = 0;
  for (const part of input.group.parts) {
    const prediction = await part.provider.predict(part.volumes, input.located.holdKind, input.signal);
    estimate = Math.max(estimate, prediction.cutMs);
    findings.push(...prediction.findings);
    for (const need of prediction.spaceBytes) await refuseShort(input.host, need.directory, need.bytes);
  }
  const blocking = findings.find((finding) => finding.severity === 'error');
  if (blocking !== undefined) {
    throw new StillpointError('volume-unsafe', `${blocking.check}: ${blocking.said}`, {
      hint: 'run `stillpoint check` for all findings',
    });
  }
  const past = input.history.map((each) => each.heldMs);
  // The estimate still counts beside the past: the data may have grown since, or the provider changed.
  const holdMs = past.length === 0 ? estimate : Math.max(Math.min(estimate, 2 * Math.max(...past)), ...past);
  const basis = past.length === 0 ? 'estimate' : 'history';
  if (input.located.holdKind !== 'none' && holdMs > input.budgetMs) {
    throw new StillpointError(
      'hold-over-budget',
      `the hold is predicted to last ${Math.round(holdMs)} ms (${basis}), over its budget of ${input.budgetMs} ms`,
      {
        hint: 'put the data on btrfs or a reflink file system for a faster cut, or raise hold.budget of the workload',
        details: { holdMs, budgetMs: input.budgetMs, basis },
      },
    );
  }
  if (holdMs > input.budgetMs * closeToBudget) {
    findings.push({
      severity: 'warning',
      check: 'hold',
      said: `the predicted hold of ${Math.round(holdMs)} ms is over half of its budget of ${input.budgetMs} ms`,
    });
  }
  const copies = input.history.map((each) => each.copyMs);
  const keepMs = copies.length === 0 ? {} : { keepMs: Math.max(...copies) };
  return { holdMs, budgetMs: input.budgetMs, basis, ...keepMs, findings };
}

async function refuseShort(host: Host, directory: string, bytes: number): Promise<void> {
  const free = await host.freeBytes(directory);
  if (free >= bytes) return;
  throw new StillpointError('space-short', `the cut needs ${bytes} bytes in ${directory}, which has ${free} free`, {
    hint: 'free space there, or give the provider another directory',
    details: { directory, bytes, free },
  });
}
