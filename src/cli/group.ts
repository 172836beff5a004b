import { isAbsolute, resolve } from 'node:path';
import { drillGroup, planGroup, planGroupRestore, restoreGroup, type GroupPlan } from '../flows/barrier-ask.ts';
import { barrierSteps } from '../flows/barrier.ts';
import type { HostGroup } from '../flows/barrier-group.ts';
import { ExitCode, StillpointError } from '../model/errors.ts';
import type { Point } from '../model/point.ts';
import type { Answer, Context, Session } from './command.ts';
import { drillFailure } from './drill-failure.ts';
import { duration, localTime, pairs, type Paint } from './format.ts';
import { exitOf } from './plan-exit.ts';
import { drillLines } from './point-text.ts';
import { among, pointOf, pointsOf } from './select.ts';

/** A group that `what` names, or whose point it is, and that point. Undefined: it is about one workload. */
export async function groupPointOf(
  session: Session,
  what: string,
  to?: string,
): Promise<{ readonly group: HostGroup; readonly point: Point } | undefined> {
  const named = session.groups.get(what);
  if (named !== undefined) return { group: named, point: among(what, await pointsOf(session, what), to) };
  if (session.workloads.has(what) || !/^\d/.test(what)) return undefined;
  const point = await pointOf(session, what);
  if (point.parts === undefined) return undefined;
  const group = session.groups.get(point.workload);
  if (group === undefined) {
    throw new StillpointError(
      'workload-unknown',
      `point ${point.id} is of the group ${point.workload}, which ${session.configFile} does not have`,
      {
        hint: `restore its parts on their hosts: ${point.parts.map((part) => `${part.point} on ${part.host}`).join(', ')}`,
      },
    );
  }
  if (to !== undefined) {
    throw new StillpointError('method-unsupported', 'parts of a group are not rolled forward together', {
      hint: `restore ${point.id} as it is; or roll each part forward on its host`,
    });
  }
  return { group, point };
}

const does: Readonly<Record<string, string>> = {
  start: 'start a backup of every part; each locates, predicts, connects, checkpoints, syncs, and waits',
  freeze: 'tell all to freeze; wait until all have said that they are frozen',
  cut: 'tell all to cut; each cuts, and thaws at once',
  thaw: 'wait until all have said that they are thawed',
  copy: 'tell all to copy into their repositories',
  confirm: 'tell all to record their points',
  record: 'judge, and record the point of the group, in the repository and the catalog of this host',
  end: 'wait until all have removed their snapshots',
};

export async function planGroupCommand(context: Context, group: HostGroup): Promise<Answer> {
  const plan = await planGroup(group, context.signal);
  const steps = barrierSteps.map(({ name }) => ({ name, does: does[name] ?? '' }));
  const [first] = plan.refusals;
  return {
    document: { outcome: 'complete', plan: { ...plan, steps } },
    lines: planLines(plan, steps, context.paint),
    exit: first === undefined ? ExitCode.done : exitOf(first.code),
  };
}

function planLines(plan: GroupPlan, steps: readonly { name: string; does: string }[], paint: Paint): readonly string[] {
  const held = (holdMs: number | null): string => (holdMs === null ? 'not predicted' : `${duration(holdMs)} predicted`);
  return [
    `plan of a backup of ${paint('bold', plan.workload)}, ${plan.parts.length} parts; nothing was touched`,
    ...pairs([
      [
        'parts',
        plan.parts.map(
          ({ name, host, workload, holdMs }) =>
            `${name}: ${workload} ${host === null ? 'here' : `on ${host}`}, hold ${held(holdMs)}`,
        ),
      ],
      ['budget', duration(plan.budgetMs)],
    ]),
    '',
    ...steps.map((step, index) => `  ${String(index + 1).padStart(2)}  ${step.name.padEnd(8)}  ${step.does}`),
    ...plan.refusals.flatMap((refusal) => [
      '',
      paint('red', `refused (${refusal.code}): ${refusal.said}`),
      ...(refusal.hint === null ? [] : [`HINT: ${refusal.hint}`]),
    ]),
  ];
}

interface RestoreOptions {
  readonly target?: string;
  readonly yes?: boolean;
  readonly plan?: boolean;
}

export async function restoreGroupCommand(
  context: Context,
  { group, point }: { readonly group: HostGroup; readonly point: Point },
  options: RestoreOptions,
): Promise<Answer> {
  const target = targetOf(group, point, options);
  const plans = await planGroupRestore(point, group, context.signal);
  const planned = plans.map(({ name, host, point: id, document }) => ({
    name,
    host,
    point: id,
    plan: document?.['plan'] ?? null,
  }));
  const listed = plans.map(({ name, host, point: id }) => `${name}: ${id} on ${host}`);
  if (options.plan === true) {
    return {
      document: { outcome: 'complete', point, plan: { parts: planned } },
      lines: [...pairs([['parts', listed]]), 'every host has all that its part needs; nothing was touched'],
    };
  }
  for (const line of listed) context.reporter.say(line);
  const restored = await restoreGroup(point, group, target, context.signal);
  return {
    document: {
      outcome: 'complete',
      point,
      plan: { parts: planned },
      restore: {
        target: target === 'in-place' ? target : 'directory',
        parts: restored.map(({ name, host, point: id, document }) => ({
          name,
          host,
          point: id,
          restore: document?.['restore'] ?? null,
        })),
      },
    },
    lines: [
      `${context.paint('green', 'restored')} ${point.id} of ${localTime(point.cutAt)}, all ${restored.length} parts`,
      ...pairs(
        restored.map(
          ({ name, host }) => [name, `${host}: ${target === 'in-place' ? target : `${target}/${name}`}`] as const,
        ),
      ),
    ],
  };
}

function targetOf(group: HostGroup, point: Point, { target, yes, plan }: RestoreOptions): string {
  if (target === 'in-place') {
    if (yes === true || plan === true) return target;
    throw new StillpointError(
      'usage',
      'a restore in place of a group replaces the files on all of its hosts, and was not confirmed',
      {
        hint: 'look at it with --plan, then say --yes',
      },
    );
  }
  if (target !== undefined && isAbsolute(target)) return target;
  if (group.parts.every((part) => part.host === null)) return resolve(target ?? `${point.workload}-${point.id}`);
  if (plan === true) return '/';
  throw new StillpointError(
    'usage',
    'a group is restored on its hosts, so the target must be a path that is the same everywhere',
    {
      hint: 'give an absolute one: --target /srv/restore; each part gets a directory below it',
    },
  );
}

export async function drillGroupCommand(
  context: Context,
  { group, point }: { readonly group: HostGroup; readonly point: Point },
): Promise<Answer> {
  const session = await context.session();
  const result = await drillGroup(point, group, session.environment, context.signal);
  const failure = drillFailure(point, result);
  return {
    document: {
      outcome: failure === undefined ? 'complete' : 'failed',
      point: { ...point, drill: result },
      drill: result,
    },
    lines: drillLines(point, result, context.paint),
    ...(failure === undefined ? {} : { error: failure }),
  };
}
