import { StillpointError } from './errors.ts';
import type { JournalFile, JournalStart, RecoveryTarget, ShippedJournal } from './journal.ts';
import type { Point } from './point.ts';

/** Everything that a restore needs, in the order in which it is used. */
export interface RecoveryPlan {
  /** What stands alone: a snapshot, or a full of the engine's own backup. */
  readonly base: Point;
  /** Levels of the engine's own backup on top of it, oldest first. */
  readonly levels: readonly Point[];
  /** Rolled forward after that: part by part, each part's files in the order of its chain. */
  readonly journals: readonly ShippedJournal[];
  readonly target: RecoveryTarget;
  /** The last of base and levels: what would be restored without journals. */
  readonly point: Point;
  /** RFC 3339: up to when the journals reach at least; null without journals. */
  readonly reachesTo: string | null;
}

export interface RecoveryInput {
  readonly workload: string;
  readonly target: RecoveryTarget;
  /** Restored as it is, or as the base of rolling forward, instead of the one that suits best. */
  readonly point?: Point;
  /** All points of the workload, in any order. */
  readonly points: readonly Point[];
  readonly journals: readonly ShippedJournal[];
}

/**
 * Which base, which levels, which journals, in order; or a refusal that names what is missing. The newest base from which the target can be
 * reached is taken; for `latest` the one that gets farthest. Throws `no-point`, `point-incomplete`, `journal-gap`. Pure: touches nothing.
 */
export function planRecovery(input: RecoveryInput): RecoveryPlan {
  const { target } = input;
  if (target.kind === 'point') {
    const point = input.point ?? newestFirst(input.points)[0];
    if (point === undefined) throw noPoint(input.workload, 'has no restore point');
    return assemble(point, chainOf(point, input.points), [], target);
  }
  const obstacles: string[] = [];
  let farthest: RecoveryPlan | undefined;
  for (const point of candidatesFor(input)) {
    const chain = tryChain(point, input.points);
    if (typeof chain === 'string') {
      obstacles.push(chain);
      continue;
    }
    const found = journalsFrom(point, input);
    if (typeof found === 'string') {
      obstacles.push(`from point ${point.id}: ${found}`);
      continue;
    }
    const plan = assemble(point, chain, found, target);
    if (target.kind !== 'latest') return plan;
    // A gap behind the newest point must not cost what lies before it, nor journals of an old one what only a newer point holds.
    if (farthest === undefined || reachMs(plan) > reachMs(farthest)) farthest = plan;
  }
  if (farthest !== undefined) return farthest;
  const first = obstacles[0];
  if (first === undefined) throw noPoint(input.workload, `has no point that was cut before ${describeTarget(target)}`);
  throw new StillpointError('journal-gap', `${describeTarget(target)} cannot be reached: ${first}`, {
    hint: `see \`stillpoint journal status ${input.workload}\`; \`stillpoint journal ship ${input.workload}\` ships what is still with the engine`,
    details: { obstacles },
  });
}

/** Oldest first: what stands alone, then the levels on top of it. */
type Chain = readonly [Point, ...Point[]];

/** A point, with the points below it that it cannot be restored without, oldest first. Throws `point-incomplete`. */
export function chainOf(point: Point, points: readonly Point[]): Chain {
  const chain = tryChain(point, points);
  if (typeof chain !== 'string') return chain;
  throw new StillpointError('point-incomplete', chain, {
    hint: `choose another point with \`stillpoint points ${point.workload}\``,
  });
}

function tryChain(point: Point, points: readonly Point[]): Chain | string {
  const byId = new Map(points.map((each) => [each.id, each]));
  let chain: Chain = [point];
  for (let at = point; standsOnAnother(at);) {
    const below = at.parent === null ? undefined : byId.get(at.parent);
    if (below === undefined)
      return `point ${point.id} goes on top of ${at.parent ?? 'a point that it does not name'}, which is not there any more`;
    if (chain.includes(below)) return `point ${point.id} goes on top of itself, by ${at.id}`;
    if (below.identity !== at.identity || below.marks === null)
      return `point ${at.id} goes on top of ${below.id}, which is no backup by the engine of the same data`;
    chain = [below, ...chain];
    at = below;
  }
  return chain;
}

/** Only levels of the engine's own backup do; other points are whole, whatever they were compared with. */
export function standsOnAnother(point: Pick<Point, 'method' | 'level'>): boolean {
  return point.method === 'online' && point.level !== 'full';
}

function assemble(
  point: Point,
  [base, ...levels]: Chain,
  journals: readonly ShippedJournal[],
  target: RecoveryTarget,
): RecoveryPlan {
  return {
    base,
    levels,
    journals,
    target,
    point,
    reachesTo: journals.length === 0 ? null : new Date(coveredMs(point, journals)).toISOString(),
  };
}

/** The part that is farthest behind counts; what has no files stays as the point has it, and nothing goes back behind that. */
function coveredMs(point: Point, journals: readonly ShippedJournal[]): number {
  const cutMs = Date.parse(point.cutAt);
  const last = new Map(journals.map((file) => [file.part, Date.parse(file.coversTo)]));
  return Math.max(cutMs, Math.min(...point.starts.map((start) => last.get(start.part) ?? cutMs)));
}

function reachMs(plan: RecoveryPlan): number {
  return Date.parse(plan.reachesTo ?? plan.point.cutAt);
}

/** Newest first. A base must not be newer than what is asked for. */
function candidatesFor(input: RecoveryInput): readonly Point[] {
  const { target } = input;
  const wanted = input.point === undefined ? input.points : [input.point];
  const until = target.kind === 'time' ? Date.parse(target.at) : Number.POSITIVE_INFINITY;
  return newestFirst(wanted).filter((point) => Date.parse(point.cutAt) <= until);
}

function newestFirst(points: readonly Point[]): readonly Point[] {
  return points.toSorted((a, b) => Date.parse(b.cutAt) - Date.parse(a.cutAt));
}

/** Where a part's files end: with that file, at that time (ms since 1970), or with the last one that there is. */
type Until =
  | { readonly kind: 'file'; readonly file: ShippedJournal }
  | { readonly kind: 'time'; readonly ms: number }
  | { readonly kind: 'end' };

/** The files from the point to the target, or why they do not reach it. */
function journalsFrom(point: Point, input: RecoveryInput): readonly ShippedJournal[] | string {
  const { target } = input;
  if (point.starts.length === 0) {
    // The newest state may be that of a point from which nothing can be rolled forward.
    return target.kind === 'latest' && input.point === undefined ? [] : 'it does not say where its journal begins';
  }
  const files = input.journals.filter((file) => file.identity === point.identity);
  const limits = target.kind === 'file' ? files.filter((file) => file.name === target.name) : [];
  if (target.kind === 'file' && limits.length === 0) return `journal file ${target.name} is not in the repository`;
  const found: ShippedJournal[] = [];
  for (const start of point.starts) {
    const chain = follow(start, files, untilOf(start, target, limits));
    if (typeof chain !== 'string') found.push(...chain);
    else if (target.kind === 'file' && lastChangeMs(limits) < Date.parse(point.cutAt)) return endsBefore(target.name);
    else return chain;
  }
  return target.kind === 'file' && !found.some((file) => limits.includes(file)) ? endsBefore(target.name) : found;
}

const endsBefore = (name: string): string => `journal file ${name} ends before the point was cut`;

/** Two parts may have files of one name: each ends with its own. A part that has none goes on until the last change in those. */
function untilOf(start: JournalStart, target: RecoveryTarget, limits: readonly ShippedJournal[]): Until {
  if (target.kind === 'time') return { kind: 'time', ms: Date.parse(target.at) };
  if (limits.length === 0) return { kind: 'end' };
  const file = limits.find((each) => each.part === start.part);
  return file === undefined ? { kind: 'time', ms: lastChangeMs(limits) } : { kind: 'file', file };
}

const lastChangeMs = (limits: readonly ShippedJournal[]): number =>
  Math.max(...limits.map((file) => Date.parse(file.endedAt)));

function follow(
  start: JournalStart,
  files: readonly ShippedJournal[],
  until: Until,
): readonly ShippedJournal[] | string {
  const of = start.part === '' ? '' : ` of ${start.part}`;
  const mine = files.filter((file) => file.part === start.part);
  const byBegin = Map.groupBy(mine, (file) => file.begin);
  const named = mine.find((file) => file.name === start.file);
  const chain = new Set<ShippedJournal>();
  for (let at = named === undefined ? start.position : named.begin; ;) {
    const last = [...chain].at(-1);
    const here = (byBegin.get(at) ?? []).filter((file) => !chain.has(file) && !isBehind(file, last));
    const next = chain.size === 0 && named !== undefined ? named : nextOf(here);
    if (typeof next === 'string') return `the journal${of} goes on in two files from ${at}: ${next}`;
    if (next === undefined) break;
    chain.add(next);
    if (reached(next, until)) return [...chain];
    at = next.end;
  }
  if (until.kind === 'end') return [...chain];
  const end = [...chain].at(-1);
  if (end === undefined) return `the journal${of} from ${start.position} (${start.file}) is not in the repository`;
  return `the journal${of} reaches to ${end.coversTo} (${end.name}); the file that begins at ${end.end} is not in the repository`;
}

/** A file without any change that lies before the one that the chain has reached: the base may begin in the second of two such. */
function isBehind(file: ShippedJournal, last: ShippedJournal | undefined): boolean {
  return last !== undefined && file.begin === file.end && Date.parse(file.coversTo) < Date.parse(last.coversTo);
}

/** Files without any change come first: they end where they begin. More than one way on is no way: names, if it is so. */
function nextOf(here: readonly ShippedJournal[]): ShippedJournal | string | undefined {
  const unchanged = here.filter((file) => file.begin === file.end).toSorted(byTime);
  if (unchanged.length > 0) return unchanged[0];
  return here.length > 1 ? here.map((file) => file.name).join(' and ') : here[0];
}

function reached(file: ShippedJournal, until: Until): boolean {
  if (until.kind === 'time') return Date.parse(file.coversTo) >= until.ms;
  return until.kind === 'file' && file === until.file;
}

function byTime(a: JournalFile, b: JournalFile): number {
  return Date.parse(a.beganAt) - Date.parse(b.beganAt) || Number(a.name > b.name) - Number(a.name < b.name);
}

function noPoint(workload: string, said: string): StillpointError {
  return new StillpointError('no-point', `workload ${workload} ${said}`, {
    hint: `make one with \`stillpoint backup ${workload}\``,
  });
}

function describeTarget(target: Exclude<RecoveryTarget, { kind: 'point' }>): string {
  switch (target.kind) {
    case 'time':
      return target.at;
    case 'file':
      return `the end of journal file ${target.name}`;
    case 'latest':
      return 'the latest state';
  }
}

/** A place in the journal of one part where a file is missing. */
export interface JournalBreak {
  readonly part: string;
  readonly after: string;
  readonly from: string;
  readonly before: string;
}

/**
 * Where the chain of files is broken, by part, in the order of time. Files of different identities are different chains. Judged by what
 * ends where, since engines' times may be exact only to the second. Pure.
 */
export function journalBreaks(files: readonly ShippedJournal[]): readonly JournalBreak[] {
  const chains = Map.groupBy(files, (file) => `${file.identity}\n${file.part}`);
  return [...chains.values()].flatMap((chain) => {
    const stretches = stretchesOf(chain);
    return stretches.flatMap(({ tail }, index) => {
      const next = stretches[index + 1];
      if (next === undefined) return [];
      return [{ part: tail.part, after: tail.name, from: tail.end, before: next.head.name }];
    });
  });
}

/** First and last file of each unbroken stretch of one chain, oldest first. */
function stretchesOf(
  chain: readonly ShippedJournal[],
): readonly { readonly head: ShippedJournal; readonly tail: ShippedJournal }[] {
  const changed = chain.filter((file) => file.begin !== file.end);
  const touched = new Set(changed.flatMap((file) => [file.begin, file.end]));
  // A file without a change bridges nothing; it matters only where no other file comes to.
  const lone = new Map(chain.filter((file) => !touched.has(file.begin)).map((file) => [file.begin, file]));
  const next = new Map(changed.map((file) => [file.begin, file]));
  const ends = new Set(changed.map((file) => file.end));
  const heads = [...changed.filter((file) => !ends.has(file.begin)), ...lone.values()].toSorted(byTime);
  return heads.map((head) => {
    const seen = new Set<ShippedJournal>();
    let tail = head;
    for (let at: ShippedJournal | undefined = head; at !== undefined && !seen.has(at); at = next.get(at.end)) {
      seen.add(at);
      tail = at;
    }
    return { head, tail };
  });
}

/** Why a journal file must stay where the engine keeps it; empty = it may be purged. Pure. */
export function reasonsToKeep(
  file: { readonly part: string; readonly name: string; readonly begin: string; readonly end?: string },
  shipped: readonly Pick<ShippedJournal, 'part' | 'name' | 'begin' | 'end'>[],
  needed: readonly { readonly part: string; readonly name: string; readonly why: string }[],
): readonly string[] {
  if (file.end === undefined) return ['the engine writes to it'];
  const reasons = needed.filter((need) => need.part === file.part && need.name === file.name).map((need) => need.why);
  const same = (each: Pick<ShippedJournal, 'part' | 'name'>): boolean =>
    each.part === file.part && each.name === file.name;
  const safe = shipped.some((each) => same(each) && each.begin === file.begin && each.end === file.end);
  return safe ? reasons : ['it is not in the repository', ...reasons];
}

/** A point as it is, with the levels below it. Throws `point-incomplete`. */
export function restoreAsIs(point: Point, points: readonly Point[] = [point]): RecoveryPlan {
  return planRecovery({ workload: point.workload, target: { kind: 'point' }, point, points, journals: [] });
}
