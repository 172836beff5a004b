/** What is done to a group by asking each of its hosts: look, plan, restore, drill. */
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import type { DrillResult, Finding, GroupPart as PartOfPoint, Point } from '../model/point.ts';
import { nameOf, type GroupPart, type HostGroup } from './barrier-group.ts';
import { askPart } from './barrier-recover.ts';
import type { Environment } from './environment.ts';

const lookMs = 120_000;
/** A restore of a large part may take days; somebody watches it. */
const restoreMs = 14 * 24 * 3_600_000;

export interface PartPlan {
  readonly name: string;
  readonly host: string | null;
  readonly workload: string;
  /** The plan of its host as it stands; null when it could not be asked for. */
  readonly plan: Readonly<Record<string, unknown>> | null;
  readonly holdMs: number | null;
}

export interface GroupPlan {
  readonly workload: string;
  readonly budgetMs: number;
  readonly parts: readonly PartPlan[];
  readonly refusals: readonly { readonly code: string; readonly said: string; readonly hint: string | null }[];
}

type Refusal = GroupPlan['refusals'][number];

/** What each host would do now. Touches nothing. */
export async function planGroup(group: HostGroup, signal: AbortSignal): Promise<GroupPlan> {
  const refusals: Refusal[] = [];
  const parts = await Promise.all(
    group.parts.map(async (part): Promise<PartPlan> => {
      const { name, host, workload } = part;
      try {
        const { plan } = (await askPart(part, ['plan', workload], lookMs, signal)) as { plan?: PlanOfPart };
        if (plan === undefined) throw new StillpointError('command-failed', `${nameOf(part)} gave no plan`);
        const holdMs = plan.forecast?.holdMs ?? null;
        refusals.push(...refusalsOf(part, plan, group));
        return { name, host, workload, plan: { ...plan }, holdMs };
      } catch (error) {
        if (!(error instanceof StillpointError)) throw error;
        refusals.push({ code: error.code, said: error.message, hint: error.hint ?? null });
        return { name, host, workload, plan: null, holdMs: null };
      }
    }),
  );
  return { workload: group.name, budgetMs: group.budgetMs, parts, refusals };
}

interface PlanOfPart {
  readonly holdKind?: string;
  readonly forecast?: { readonly holdMs: number } | null;
  readonly refusals?: readonly Refusal[];
}

function refusalsOf(part: GroupPart, plan: PlanOfPart, group: HostGroup): readonly Refusal[] {
  // The budget of its workload is not the one that counts.
  const own = (plan.refusals ?? []).filter(({ code }) => code !== 'hold-over-budget');
  const found: Refusal[] = own.map((each) => ({ ...each, said: `${nameOf(part)}: ${each.said}` }));
  if (plan.holdKind === 'none') {
    found.push({
      code: 'parts-unsuitable',
      said: `${nameOf(part)} is configured to be cut without a hold`,
      hint: 'let its workload be held',
    });
  }
  const holdMs = plan.forecast?.holdMs ?? 0;
  if (holdMs > group.budgetMs) {
    found.push({
      code: 'hold-over-budget',
      said: `${nameOf(part)} is predicted to be held ${Math.round(holdMs)} ms, and the barrier's budget is ${group.budgetMs} ms`,
      hint: 'raise barrier.budget of the group, or put its data on a provider that cuts faster',
    });
  }
  return found;
}

/** The findings of every host's own check, and of the repository that takes the group's point. */
export async function checkGroup(
  group: HostGroup,
  environment: Environment,
  signal: AbortSignal,
): Promise<{ readonly findings: readonly Finding[]; readonly passed: boolean }> {
  const repository = environment.repository().then(
    (found): Finding => ({ severity: 'info', check: 'repository', said: found.location }),
    (error: unknown): Finding => ({ severity: 'error', check: 'repository', said: messageOf(error) }),
  );
  const answers = await Promise.all(
    group.parts.map(async (part): Promise<readonly Finding[]> => {
      try {
        const document = (await askPart(part, ['check', part.workload], lookMs, signal)) as {
          readonly workloads?: readonly { readonly findings: readonly Finding[] }[];
        };
        const findings = document.workloads?.flatMap((each) => each.findings) ?? [];
        return findings.map((finding) => ({ ...finding, said: `${nameOf(part)}: ${finding.said}` }));
      } catch (error) {
        return [{ severity: 'error', check: 'part', said: messageOf(error) }];
      }
    }),
  );
  const findings = [await repository, ...answers.flat()];
  return { findings, passed: !findings.some((finding) => finding.severity === 'error') };
}

export interface PartAnswer {
  readonly name: string;
  readonly host: string;
  readonly point: string;
  /** What the host's own command said; null when it failed. */
  readonly document: Readonly<Record<string, unknown>> | null;
  readonly error: StillpointError | null;
}

/** Every part of the point, by the host that the configuration names for it. Throws `point-incomplete` when one of them is not there. */
function partsOf(point: Point, group: HostGroup): readonly { readonly part: GroupPart; readonly of: PartOfPoint }[] {
  return (point.parts ?? []).map((of) => {
    const part = group.parts.find(({ name }) => name === of.name);
    if (part !== undefined) return { part, of };
    throw new StillpointError(
      'point-incomplete',
      `point ${point.id} has a part ${of.name}, which ${group.name} has no more`,
      {
        hint: `put it back into the configuration, or restore \`${of.point}\` on ${of.host} by hand`,
      },
    );
  });
}

async function onAll(
  point: Point,
  group: HostGroup,
  args: (of: PartOfPoint) => readonly string[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<readonly PartAnswer[]> {
  return await Promise.all(
    partsOf(point, group).map(async ({ part, of }) => {
      const { name, host } = of;
      try {
        const document = await askPart(part, args(of), timeoutMs, signal);
        return { name, host, point: of.point, document, error: null };
      } catch (error) {
        if (!(error instanceof StillpointError)) throw error;
        return { name, host, point: of.point, document: null, error };
      }
    }),
  );
}

/** Throws the first failure, with the names of all that failed. */
function refuseFailed(answers: readonly PartAnswer[], what: string, hint: string): void {
  const failed = answers.filter(({ error }) => error !== null);
  const [first] = failed;
  if (first?.error == null) return;
  throw new StillpointError(
    'command-failed',
    `${failed.length} of ${answers.length} parts ${what}: ${failed.map(({ error }) => messageOf(error)).join('; ')}`,
    {
      hint,
      details: {
        failed: failed.map(({ name }) => name),
        done: answers.flatMap(({ name, error }) => (error === null ? [name] : [])),
      },
    },
  );
}

/** Whether every host has all that its part needs. Touches nothing. */
export async function planGroupRestore(
  point: Point,
  group: HostGroup,
  signal: AbortSignal,
): Promise<readonly PartAnswer[]> {
  const answers = await onAll(point, group, (of) => ['restore', of.point, '--plan'], lookMs, signal);
  refuseFailed(answers, 'cannot be restored', 'nothing was touched; mend what is missing, or choose an older point');
  return answers;
}

/** To a directory below `target` on each host, by the name of the part; or in place. */
export async function restoreGroup(
  point: Point,
  group: HostGroup,
  target: string,
  signal: AbortSignal,
): Promise<readonly PartAnswer[]> {
  const where = (of: PartOfPoint): readonly string[] =>
    target === 'in-place' ? ['in-place', '--yes'] : [`${target}/${of.name}`];
  const answers = await onAll(point, group, (of) => ['restore', of.point, '--target', ...where(of)], restoreMs, signal);
  refuseFailed(
    answers,
    'were not restored',
    'the others are; restore the failed ones by their own points on their hosts, so that all show one instant',
  );
  return answers;
}

/** Each part by itself; what the parts say about each other is not asked. The result is kept with the group's point. */
export async function drillGroup(
  point: Point,
  group: HostGroup,
  environment: Environment,
  signal: AbortSignal,
): Promise<DrillResult> {
  const answers = await Promise.all(
    partsOf(point, group).map(async ({ part, of }) => ({ of, drill: await drillPart(part, of, signal) })),
  );
  const findings = answers.flatMap(({ of, drill }) =>
    drill.findings.map((finding) => ({ ...finding, said: `${of.name}: ${finding.said}` })),
  );
  const times = answers.map(({ drill }) => drill.rtoMs);
  const result: DrillResult = {
    at: environment.clock.now().wall,
    rtoMs: times.some((time) => time === null) ? null : Math.max(...times.map(Number)),
    outcome: answers.every(({ drill }) => drill.outcome === 'passed') ? 'passed' : 'failed',
    findings,
  };
  (await environment.catalog()).addDrill(point.id, result);
  return result;
}

async function drillPart(part: GroupPart, of: PartOfPoint, signal: AbortSignal): Promise<DrillResult> {
  try {
    const { drill } = (await askPart(part, ['drill', of.point], restoreMs, signal)) as { drill?: DrillResult };
    if (drill !== undefined) return drill;
    throw new StillpointError('command-failed', `${nameOf(part)} gave no drill`);
  } catch (error) {
    if (codeOf(error) === 'cancelled' || signal.aborted) throw error;
    const said = messageOf(error);
    return { at: null, rtoMs: null, outcome: 'failed', findings: [{ severity: 'error', check: 'drill', said }] };
  }
}
