import type { Workload } from '../flows/environment.ts';
import { planSplitBackup } from '../flows/mirror-split-plan.ts';
import { planBackup, type Plan } from '../flows/survey.ts';
import { ExitCode } from '../model/errors.ts';
import type { Level } from '../model/point.ts';
import type { Answer, Context } from './command.ts';
import { bytes, duration, pairs, type Paint } from './format.ts';
import { findingLines } from './point-text.ts';
import { methodOf } from './backup.ts';
import { planGroupCommand } from './group.ts';
import { exitOf } from './plan-exit.ts';
import { workloadOf } from './select.ts';

/** Refusals are the answer that was asked for; the exit code is the one that the backup would have. */
export async function planCommand(
  context: Context,
  name: string,
  options: { readonly level?: Level; readonly method?: string },
): Promise<Answer> {
  const session = await context.session();
  const group = session.groups.get(name);
  if (group !== undefined) return await planGroupCommand(context, group);
  const workload = workloadOf(session, name);
  const method = methodOf(options.method) ?? workload.method ?? 'snapshot';
  if (method === 'mirror-split') return await planSplit(context, workload);
  const plan = await planBackup(workload, session.environment, { level: options.level, method }, context.signal);
  const first = plan.refusals[0];
  return {
    document: { outcome: 'complete', plan },
    lines: planLines(plan, context.paint),
    exit: first === undefined ? ExitCode.done : exitOf(first.code),
  };
}

/** The steps with their commands, and why it would not begin now. */
async function planSplit(context: Context, workload: Workload): Promise<Answer> {
  const session = await context.session();
  const plan = await planSplitBackup(workload, session.environment, context.signal);
  const [first] = plan.refusals;
  return {
    document: { outcome: 'complete', plan },
    lines: [
      `plan of a backup of ${context.paint('bold', workload.name)} by mirror-split; nothing was touched`,
      ...plan.steps.map(({ name, does }, index) => `  ${String(index + 1).padStart(2)}  ${name.padEnd(13)}  ${does}`),
      '',
      `from break until whole there is one copy and no failover (planned: at most ${duration(plan.plannedOneCopyMs)}); from quiesce until go-on users are locked out`,
      ...plan.refusals.map((refusal) => context.paint('red', `refused: ${refusal}`)),
    ],
    exit: first === undefined ? ExitCode.done : ExitCode.refused,
  };
}

function planLines(plan: Plan, paint: Paint): readonly string[] {
  const { forecast } = plan;
  return [
    `plan of a backup of ${paint('bold', plan.workload)}; nothing was touched`,
    ...pairs([
      [
        'engine',
        `${plan.engine.name} ${plan.engine.version}, ${plan.member.role} ${plan.member.member}, epoch ${plan.member.epoch}`,
      ],
      ['method', plan.method],
      ['level', `${plan.level}${plan.parent === null ? '' : ` on ${plan.parent}`}`],
      ['volumes', plan.volumes.map((volume) => `${volume.provider} ${volume.id}: ${volume.paths.join(', ')}`)],
      ['cut', `${plan.atomicity}: ${plan.how}`],
      [
        'hold',
        plan.holdKind === 'none'
          ? 'none'
          : forecast === null
            ? `${plan.holdKind}; it could not be predicted`
            : `${plan.holdKind}; ${duration(forecast.holdMs)} predicted (${forecast.basis}), budget ${duration(forecast.budgetMs)}`,
      ],
      ['size', bytes(plan.bytes)],
    ]),
    '',
    ...plan.steps.map((step, index) => `  ${String(index + 1).padStart(2)}  ${step.name.padEnd(8)}  ${step.does}`),
    ...(plan.findings.length === 0 ? [] : ['', ...findingLines(plan.findings, paint)]),
    ...plan.refusals.flatMap((refusal) => [
      '',
      paint('red', `refused (${refusal.code}): ${refusal.said}`),
      ...(refusal.hint === null ? [] : [`HINT: ${refusal.hint}`]),
    ]),
  ];
}
