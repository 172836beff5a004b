import { StillpointError } from '../model/errors.ts';
import type { SplitStep } from '../model/mirror-split.ts';
import type { Finding, Point } from '../model/point.ts';
import type { Environment, Workload } from './environment.ts';
import { splitBackupSteps } from './mirror-split.ts';
import { splitToolsOf, type SplitTools } from './mirror-split-drive.ts';
import { fastOf } from './mirror-split-fast.ts';
import { refuse, refuseElsewhere, surveySplit, type SplitChosen } from './mirror-split-survey.ts';

export interface SplitPlan {
  readonly workload: string;
  readonly method: 'mirror-split';
  readonly active: string;
  readonly standby: string;
  readonly volume: string;
  readonly steps: readonly { readonly name: SplitStep; readonly does: string }[];
  /** Why it would not begin now; empty = it would. */
  readonly refusals: readonly string[];
  /** In milliseconds. */
  readonly plannedOneCopyMs: number;
}

/** Asks the cluster and changes nothing. */
export async function planSplitBackup(
  workload: Workload,
  environment: Environment,
  signal: AbortSignal,
): Promise<SplitPlan> {
  const tools = splitToolsOf(workload, environment);
  const { chosen, refusals } = await surveySplit(tools, signal);
  const { active, standby } = chosen.before;
  return {
    workload: workload.name,
    method: 'mirror-split',
    ...{ active, standby, volume: chosen.volume, refusals, plannedOneCopyMs: tools.limits.oneCopy },
    steps: splitBackupSteps.map(({ name }) => ({ name, does: describe(name, tools, chosen) })),
  };
}

function describe(step: SplitStep, { split, machines }: SplitTools, { before, volume }: SplitChosen): string {
  const { active, standby } = before;
  switch (step) {
    case 'look':
      return 'the mirror is whole, the group online, no monitor suspended, both machines run';
    case 'quiesce':
      return `${active}: ${split.command('stop-group')}`;
    case 'hold-recovery':
      return `${split.command('suspend')}, for both servers`;
    case 'break':
      return `${standby}: ${split.command('break')}`;
    case 'go-on':
      return `${active}: ${split.command('start-group')}`;
    case 'leave':
      return `${standby}: ${split.command('backup-pre')}; ${machines.machineOf(standby)} goes off`;
    case 'cut':
      return machines.command('snapshot', volume);
    case 'power-on':
      return machines.command('start', standby);
    case 'come-back':
      return `${standby}: ${split.command('backup-post')}; it boots into the cluster`;
    case 'watch':
      return split.command('resume');
    case 'whole':
      return `wait for the recovery of the mirror; else ${active}: ${split.command('recover')}`;
    case 'record':
      return 'wait for the snapshot; judge; the point into the repository and the catalog';
  }
}

/** Whether a backup would begin now. The engine is not asked: its files are on servers that are reached by the cluster's commands only. */
export async function checkSplit(
  workload: Workload,
  environment: Environment,
  signal: AbortSignal,
): Promise<{ readonly passed: boolean; readonly findings: readonly Finding[] }> {
  const findings: Finding[] = [];
  const look = async (name: string, ask: () => Promise<string>): Promise<void> => {
    try {
      findings.push({ severity: 'info', check: name, said: await ask() });
    } catch (error) {
      if (!(error instanceof StillpointError)) throw error;
      const hint = error.hint === undefined ? '' : ` (HINT: ${error.hint})`;
      findings.push({ severity: 'error', check: name, said: `${error.message}${hint}` });
    }
  };
  await look('mirror-split', async () => {
    const { active, standby, volume, refusals } = await planSplitBackup(workload, environment, signal);
    refuse(refusals);
    await refuseElsewhere(splitToolsOf(workload, environment), [active, standby]);
    return `${active} is active; ${standby} would be taken out, and ${volume} cut`;
  });
  await look('repository', async () => {
    const repository = await environment.repository();
    return `${repository.location}, ${(await repository.snapshots()).length} snapshots`;
  });
  return { passed: findings.every(({ severity }) => severity !== 'error'), findings };
}

/** EBS and its like call a snapshot by a name of their own, which the record has with the volume. */
export function snapshotIn(point: Point): string {
  const found = point.volumes[0]?.snapshot;
  if (found !== undefined) return found;
  throw new StillpointError('point-incomplete', `the point ${point.id} names no snapshot of a volume`);
}

/** The steps, for people; reads the configuration and the point only. */
export function splitRestorePlan(workload: Workload, environment: Environment, point: Point): readonly string[] {
  const tools = splitToolsOf(workload, environment);
  const { split, machines } = tools;
  const fast = tools.fastRestore === true ? fastOf(tools) : undefined;
  return [
    `look       the cluster is well, ${snapshotIn(point)} is complete; initial mirror construction must be off in its configuration`,
    ...(fast === undefined
      ? []
      : [
          `fast-on    ${machines.command('enable-fast', snapshotIn(point))} in the zones of both servers: ${fast.price}; up to an hour for each TiB`,
        ]),
    `volumes    two of ${snapshotIn(point)}, one for each server (${machines.disks})`,
    ...(fast === undefined ? [] : ['fast-off   fast restore is switched off again, which ends its price']),
    `stop-group ${split.command('stop-group')}; users are locked out until the end`,
    `leave      ${split.command('restore-pre')} on both; both go off`,
    'swap       the old volumes out and the new ones in; both on; their partitions are compared with the configuration',
    `take       ${split.command('restore-post')} on both: from here on the new disks are the cluster`,
    'prove      the mirror is whole and the group is online; the old volumes are kept',
  ];
}
