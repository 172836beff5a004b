import { StillpointError } from '../model/errors.ts';
import { whyKept } from '../model/forget-split.ts';
import type { ForgottenSplit } from '../model/mirror-split.ts';
import type { Point } from '../model/point.ts';
import { lockWorkload, newRunId, type Environment, type Workload } from './environment.ts';
import type { Step } from './flow.ts';
import { splitToolsOf, type SplitTools } from './mirror-split-drive.ts';
import { removeCut, unlist } from './mirror-split-recover.ts';
import { refuseLeftHold } from './recover.ts';
import { runJournaled } from './run.ts';

export interface SplitForgotten {
  readonly point: string;
  readonly snapshots: readonly string[];
}

export interface ForgetRequest {
  readonly point: Point;
  /** Points of the workload that stay. */
  readonly others: readonly Point[];
  /** Only looks. */
  readonly dryRun: boolean;
  readonly signal: AbortSignal;
}

interface Forget {
  readonly environment: Environment;
  readonly tools: SplitTools;
  readonly forgotten: ForgottenSplit;
}

const steps: readonly Step<Forget>[] = [
  {
    // First it is no point any more, then its data goes: never a point without data.
    name: 'unlist',
    traces: ({ forgotten }) => [{ kind: 'forgotten', forgotten }],
    run: ({ environment, forgotten }) => unlist(environment, forgotten),
    commits: true,
  },
  { name: 'delete', run: async ({ tools, forgotten }) => void (await removeCut(tools, forgotten.point)) },
];

/**
 * Forgets a point whose only data are snapshots of a disk, and deletes those. Throws `point-needed` for one that is the last good one or
 * at work, `method-unsupported` for a point of another method; changes nothing then.
 */
export async function forgetSplit(
  workload: Workload,
  environment: Environment,
  request: ForgetRequest,
): Promise<SplitForgotten> {
  const { point, dryRun, signal } = request;
  if (point.method !== 'mirror-split') {
    throw new StillpointError(
      'method-unsupported',
      `${point.id} has its data in the repository, and is not forgotten here`,
      {
        hint: `\`restic forget ${point.repositorySnapshot.slice(0, 8)}\` on the repository does it; \`stillpoint recover\` then takes it off the list`,
      },
    );
  }
  const tools = splitToolsOf(workload, environment);
  // Who makes or restores a point of this workload on this machine has it.
  const lock = await lockWorkload(environment, workload.name);
  try {
    if (!dryRun) await refuseLeftHold(workload, environment);
    const snapshots = await survey(tools, request);
    if (dryRun) return { point: point.id, snapshots };
    const forgotten = { point: point.id, repositorySnapshot: point.repositorySnapshot, snapshots };
    return await runJournaled(
      {
        ...{ runId: newRunId(environment.clock), flow: 'forget', workload: workload.name, steps, signal },
        state: { environment, tools, forgotten },
        result: () => ({ point: point.id, snapshots }),
        outcomeOf: () => 'complete',
      },
      environment,
    );
  } finally {
    lock.release();
  }
}

/** What of it is there. Throws when it is to be kept. */
async function survey({ machines }: SplitTools, { point, others }: ForgetRequest): Promise<readonly string[]> {
  const ids = point.volumes.flatMap(({ snapshot }) => snapshot ?? []);
  const tagged = await machines.snapshots(point.id);
  const snapshots: { id: string; state: string; ours: boolean }[] = [];
  const volumes: { id: string; state: string }[] = [];
  const fastIn: string[] = [];
  for (const id of ids) {
    const found = await machines.snapshotOf(id);
    if (found === undefined) continue;
    snapshots.push({ id, state: found.state, ours: tagged.some((each) => each.id === id) });
    volumes.push(...(await machines.volumesOf(id)));
    const states = (await machines.fast?.states(id)) ?? {};
    fastIn.push(...Object.entries(states).flatMap(([zone, state]) => (state === 'off' ? [] : [zone])));
  }
  // What else has the run's tag would go with it, and is nothing that the point knows.
  for (const { id, state } of tagged) if (!ids.includes(id)) snapshots.push({ id, state, ours: false });
  const kept = whyKept({ point, others, snapshots, volumes, fastIn });
  if (kept.length > 0)
    throw new StillpointError('point-needed', `${point.id} is kept: ${kept.join('; ')}`, {
      hint: `see \`stillpoint points ${point.workload}\`; make a newer point first, or wait for the restore`,
      details: { point: point.id, kept },
    });
  return snapshots.map(({ id }) => id);
}
