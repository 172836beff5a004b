import { createInterface } from 'node:readline/promises';
import { resolve } from 'node:path';
import { prepareRecovery } from '../flows/materialize.ts';
import { restore, type RestoreResult, type RestoreTarget } from '../flows/restore.ts';
import type { Workload } from '../flows/environment.ts';
import { splitRestorePlan } from '../flows/mirror-split-plan.ts';
import { splitRestore } from '../flows/mirror-split-restore.ts';
import { StillpointError } from '../model/errors.ts';
import type { Point } from '../model/point.ts';
import type { Answer, Context } from './command.ts';
import { bytes, duration, localTime, pairs } from './format.ts';
import type { RecoveryPlan } from '../model/recovery.ts';
import { chooseRecovery } from './select.ts';
import { groupPointOf, restoreGroupCommand } from './group.ts';
import { findingLines } from './point-text.ts';

export interface RestoreOptions {
  readonly to?: string;
  readonly target?: string;
  readonly yes?: boolean;
  readonly plan?: boolean;
  readonly clusterStopped?: boolean;
}

export async function restoreCommand(context: Context, what: string, options: RestoreOptions): Promise<Answer> {
  const session = await context.session();
  const whole = await groupPointOf(session, what, options.to);
  if (whole !== undefined) return await restoreGroupCommand(context, whole, options);
  const { plan, workload } = await chooseRecovery(session, what, options.to);
  const { point } = plan;
  if (plan.base.method === 'mirror-split') return await restoreSides(context, workload, plan, options);
  if (options.plan === true) return await planOnly(context, plan);
  for (const line of planLines(plan)) context.reporter.say(line);
  const target = targetOf(point, options.target);
  if (target.kind === 'in-place' && options.yes !== true) await confirm(context, point);
  const result = await restore(workload, session.environment, {
    ...{ plan, target, signal: context.signal },
    clusterStopped: options.clusterStopped === true,
  });
  return {
    document: { outcome: 'complete', point, plan: planDocument(plan), restore: { target: target.kind, ...result } },
    lines: resultLines(context, point, result),
  };
}

/** Both servers get a disk from the point's snapshot: there is no other place for it. */
async function restoreSides(
  context: Context,
  workload: Workload,
  plan: RecoveryPlan,
  options: RestoreOptions,
): Promise<Answer> {
  const session = await context.session();
  const { point } = plan;
  if (options.target !== 'in-place' || point !== plan.base || plan.journals.length > 0) {
    throw new StillpointError(
      'usage',
      `${point.id} is a snapshot of a disk: it is restored as it is, to both servers`,
      {
        hint: `\`stillpoint restore ${point.id} --target in-place\`, or make a volume of ${point.volumes[0]?.snapshot ?? 'it'} by hand`,
      },
    );
  }
  const steps = splitRestorePlan(workload, session.environment, point);
  if (options.plan === true) return { document: { outcome: 'complete', point, plan: { steps } }, lines: steps };
  for (const line of steps) context.reporter.say(line);
  if (options.yes !== true)
    await confirm(context, point, `the disks of both servers of ${workload.name}? The old volumes are kept.`);
  const restored = await splitRestore(workload, session.environment, { point, signal: context.signal });
  return {
    document: { outcome: 'complete', point, restore: { target: 'in-place', ...restored } },
    lines: [
      `${context.paint('green', 'restored')} ${point.id} of ${localTime(point.cutAt)} to both servers, ${duration(restored.tookMs)}`,
      ...pairs(restored.volumes.map(({ server, volume, kept }) => [server, `${volume}; ${kept} is kept`] as const)),
      ...findingLines(restored.findings, context.paint),
    ],
  };
}

/** Base, levels and journals in order, with all that is missing named; nothing is touched. */
async function planOnly(context: Context, plan: RecoveryPlan): Promise<Answer> {
  const session = await context.session();
  const { bytes: size } = await prepareRecovery(plan, (original) => original, session.environment);
  return {
    document: { outcome: 'complete', point: plan.point, plan: { ...planDocument(plan), bytes: size } },
    lines: [...planLines(plan), `${bytes(size)} would be written; everything is there`],
  };
}

function planDocument(plan: RecoveryPlan): Readonly<Record<string, unknown>> {
  return {
    base: plan.base.id,
    levels: plan.levels.map((point) => point.id),
    journals: plan.journals.map(({ part, name, begin, end, coversTo }) => ({ part, name, begin, end, coversTo })),
    target: plan.target,
    reachesTo: plan.reachesTo,
  };
}

function planLines(plan: RecoveryPlan): readonly string[] {
  if (plan.levels.length === 0 && plan.journals.length === 0) return [];
  const what = (point: Point): string => `${point.level} ${point.id} of ${localTime(point.cutAt)}`;
  const { target, journals } = plan;
  const first = journals[0];
  const until = target.kind === 'time' ? localTime(target.at) : target.kind === 'file' ? target.name : 'their end';
  return [
    `base     ${what(plan.base)}`,
    ...plan.levels.map((point) => `level    ${what(point)}`),
    ...(first === undefined
      ? []
      : [
          `journals ${journals.length} files from ${first.name} (${localTime(first.beganAt)}), rolled forward to ${until}`,
        ]),
  ];
}

/** Beside the original unless it is said otherwise. */
function targetOf(point: Point, target: string | undefined): RestoreTarget {
  if (target === 'in-place') return { kind: 'in-place' };
  if (target === 'clone') {
    throw new StillpointError(
      'usage',
      'a clone needs a snapshot that was kept, and points live in the repository only so far',
      {
        hint: 'restore to a directory: --target DIR',
      },
    );
  }
  return { kind: 'directory', path: resolve(target ?? `${point.workload}-${point.id}`) };
}

async function confirm(
  context: Context,
  point: Point,
  over = `the files of ${point.workload}? The files of now are kept aside.`,
): Promise<void> {
  const question = `restore ${point.id} of ${localTime(point.cutAt)} over ${over}`;
  const refusal = new StillpointError('usage', 'a restore in place is not begun without a yes', {
    hint:
      point.method === 'mirror-split'
        ? 'give --yes; --plan shows what would be done'
        : `give --yes, or restore beside: \`stillpoint restore ${point.id} --target DIR\``,
  });
  if (context.json || !process.stdin.isTTY || !process.stderr.isTTY) throw refusal;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const said = await terminal.question(`${question} (yes/no) `, { signal: context.signal });
    if (said.trim().toLowerCase() !== 'yes') throw refusal;
  } finally {
    terminal.close();
  }
}

function resultLines(context: Context, point: Point, result: RestoreResult): readonly string[] {
  return [
    `${context.paint('green', 'restored')} ${point.id} of ${localTime(point.cutAt)}: ${bytes(result.bytes)} in ${result.files} files, ${duration(result.tookMs)}`,
    ...pairs(result.paths.map((path) => [path.name, path.at] as const)),
    ...findingLines(result.findings, context.paint),
    ...(result.movedAside.length === 0
      ? []
      : [
          '',
          'the former files are kept aside. To undo the restore, stop the engine and run:',
          ...result.movedAside.flatMap(({ from, to }) => [
            `  mv -T ${quoted(from)} ${quoted(`${from}.restored-${point.id}`)}`,
            `  mv -T ${quoted(to)} ${quoted(from)}`,
          ]),
        ]),
  ];
}

function quoted(path: string): string {
  return /^[\w./:@%+=-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}
