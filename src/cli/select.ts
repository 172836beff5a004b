import type { Workload } from '../flows/environment.ts';
import { syncCatalog } from '../flows/sync-catalog.ts';
import { StillpointError } from '../model/errors.ts';
import type { RecoveryTarget, ShippedJournal } from '../model/journal.ts';
import type { Point } from '../model/point.ts';
import { planRecovery, restoreAsIs, type RecoveryPlan } from '../model/recovery.ts';
import type { Session } from './command.ts';
import { localTime, nearest } from './format.ts';

/** Throws `workload-unknown` with the nearest name. */
export function workloadOf(session: Session, name: string): Workload {
  const workload = session.workloads.get(name);
  if (workload !== undefined) return workload;
  const group = session.groups.get(name);
  if (group !== undefined) {
    throw new StillpointError(
      'method-unsupported',
      `${name} is a group of ${group.parts.length} parts, and this is done to one workload`,
      {
        hint: `run it on the hosts: ${group.parts.map((part) => `workload ${part.workload} ${part.host === null ? 'here' : `on ${part.host}`}`).join(', ')}`,
      },
    );
  }
  const near = nearest(name, [...session.workloads.keys(), ...session.groups.keys()]);
  const known = [...session.workloads.keys()].join(', ');
  throw new StillpointError('workload-unknown', `there is no workload ${name} in ${session.configFile}`, {
    hint:
      near === undefined
        ? `the workloads are ${known || 'none so far: run `stillpoint init`'}`
        : `did you mean ${near}?`,
    details: { workload: name, known: [...session.workloads.keys()] },
  });
}

/** Newest first. A catalog without any point is filled from the repository before: it may be new, or of another machine. */
export async function pointsOf(session: Session, workload?: string): Promise<readonly Point[]> {
  const catalog = await session.environment.catalog();
  if (catalog.points().length === 0) await syncCatalog(await session.environment.repository(), catalog);
  return catalog.points(workload);
}

/** By id or by an unambiguous beginning of it. Throws `point-unknown`. */
export async function pointOf(session: Session, id: string): Promise<Point> {
  const points = await pointsOf(session);
  const exact = points.find((point) => point.id === id);
  if (exact !== undefined) return exact;
  const matching = points.filter((point) => point.id.startsWith(id));
  const [only] = matching;
  if (only !== undefined && matching.length === 1) return only;
  throw new StillpointError(
    'point-unknown',
    matching.length === 0 ? `no point has the id ${id}` : `${matching.length} points begin with ${id}`,
    {
      hint:
        matching.length === 0
          ? 'see `stillpoint points`'
          : `give more of the id: ${matching
              .slice(0, 3)
              .map((point) => point.id)
              .join(', ')}`,
    },
  );
}

/**
 * What is to be restored, in order. `what` is the name of a workload, else the beginning of a point's id. `to` is a time, the name of a
 * shipped journal file, or `latest`; with a point it is reached from that point. Without `to` the point is taken as it is.
 */
export async function chooseRecovery(
  session: Session,
  what: string,
  to?: string,
): Promise<{ readonly plan: RecoveryPlan; readonly workload: Workload }> {
  const named = session.workloads.has(what);
  // Ids begin with the date of their run; anything else is a mistyped workload.
  if (!named && !/^\d/.test(what)) workloadOf(session, what);
  const point = named ? undefined : await pointOf(session, what);
  const name = point?.workload ?? what;
  const points = await pointsOf(session, name);
  const journals = (await session.environment.catalog()).journals(name);
  return { plan: recoveryOf({ workload: name, point, points, journals, to }), workload: workloadOf(session, name) };
}

/** Pure. Without shipped journals only whole points can be reached, as `among` says. */
export function recoveryOf(input: {
  readonly workload: string;
  readonly point: Point | undefined;
  readonly points: readonly Point[];
  readonly journals: readonly ShippedJournal[];
  readonly to: string | undefined;
}): RecoveryPlan {
  const { workload, point, points, journals, to } = input;
  if (to === undefined || to === point?.cutAt) return restoreAsIs(point ?? among(workload, points, undefined), points);
  const target = journals.length === 0 ? undefined : targetOf(to, journals, point === undefined ? points : []);
  if (target === undefined) {
    if (point === undefined) return restoreAsIs(among(workload, points, to), points);
    if (journals.length === 0 && to === 'latest') return restoreAsIs(point, points);
    const why =
      journals.length === 0
        ? `no journal of ${workload} is in the repository`
        : `${to} is no journal file that is there`;
    throw new StillpointError('journal-gap', `${why}, so ${point.id} cannot be rolled forward to it`, {
      hint: `ship it with \`stillpoint journal ship ${workload}\`, or leave --to out`,
    });
  }
  return planRecovery({ workload, target, points, journals, ...(point === undefined ? {} : { point }) });
}

/** A written second means its end, so that everything of that second is in. Undefined: a whole point is meant. */
function targetOf(
  to: string,
  journals: readonly ShippedJournal[],
  points: readonly Point[],
): RecoveryTarget | undefined {
  if (to === 'latest') return { kind: 'latest' };
  if (journals.some((file) => file.name === to)) return { kind: 'file', name: to };
  const span = parseTime(to);
  if (span === undefined || points.some((point) => point.cutAt === to)) return undefined;
  const endMs = span.toMs - span.fromMs > 1_000 ? span.fromMs + 999 : span.toMs - 1;
  return { kind: 'time', at: new Date(endMs).toISOString() };
}

/**
 * The point that `--to` asks for where no journal was shipped: a time between two points is refused, with the two points around it. A time is as exact as it is written: one without fractions of a second means that whole second. Pure.
 */
export function among(workload: string, points: readonly Point[], to: string | undefined): Point {
  const newest = points[0];
  if (newest === undefined) {
    throw new StillpointError('no-point', `workload ${workload} has no restore point`, {
      hint: `make one with \`stillpoint backup ${workload}\``,
    });
  }
  if (to === undefined || to === 'latest') return newest;
  const span = parseTime(to);
  if (span === undefined) {
    throw new StillpointError(
      'no-point',
      `position ${to} of ${workload} cannot be reached: only whole points can be restored so far`,
      {
        hint: `choose one with \`stillpoint points ${workload}\``,
      },
    );
  }
  const cutMs = (point: Point): number => Date.parse(point.cutAt);
  const exact = points.filter((point) => cutMs(point) >= span.fromMs && cutMs(point) < span.toMs);
  const [only] = exact;
  if (only !== undefined && exact.length === 1) return only;
  const before = only ?? points.find((point) => cutMs(point) < span.fromMs);
  const after = exact[1] ?? points.findLast((point) => cutMs(point) >= span.toMs);
  const name = (point: Point): string => `${point.id} of ${localTime(point.cutAt)}`;
  const around =
    exact.length > 1
      ? `${exact.length} points were cut in that time: ${exact.map(name).join(', ')}`
      : [
          before === undefined ? 'no point is older' : `the one before is ${name(before)}`,
          after === undefined ? 'no point is newer' : `the one after is ${name(after)}`,
        ].join(', ');
  const choice = before ?? after;
  throw new StillpointError('no-point', `no point of ${workload} was cut at ${to}; ${around}`, {
    hint: `restore one of them: \`stillpoint restore ${choice?.id ?? 'POINT'}\``,
    details: { before: before?.id ?? null, after: after?.id ?? null },
  });
}

/** Milliseconds since 1970 of the span that a written time means. Undefined for a journal position. Throws `usage`. */
function parseTime(text: string): { readonly fromMs: number; readonly toMs: number } | undefined {
  const fromMs = /^\d{4}-\d\d-\d\d([T ]|$)/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(fromMs)) {
    const exactness = /:\d\d\.\d+/.test(text) ? 1 : /\d\d:\d\d:\d\d/.test(text) ? 1_000 : 60_000;
    return { fromMs, toMs: fromMs + exactness };
  }
  if (/^[\dA-F]+[/:][\dA-F]+$/i.test(text)) return undefined;
  throw new StillpointError('usage', `--to ${text} is neither a time nor a position nor latest`, {
    hint: 'write a time as 2026-01-31T18:30:00Z, or "2026-01-31 18:30:00" for local time',
  });
}
