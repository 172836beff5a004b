import type { SplitStep } from '../model/mirror-split.ts';
import type { Environment, Workload } from './environment.ts';
import { splitBackupSteps } from './mirror-split.ts';
import { splitToolsOf, type SplitTools } from './mirror-split-drive.ts';
import { surveySplit, type SplitChosen } from './mirror-split-survey.ts';

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
