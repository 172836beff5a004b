import { StillpointError } from './errors.ts';
import type { JournalStart, RecoveryTarget, ShippedJournal } from './journal.ts';
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
 * reached is taken. Throws `no-point`, `point-incomplete`, `journal-gap`. Pure: touches nothing.
 */
export function planRecovery(input: RecoveryInput): RecoveryPlan {
  const { target } = input;
  if (target.kind === 'point') {
    const point = input.point ?? newest(input.points);
    if (point === undefined) throw noPoint(input.workload, 'has no restore point');
    return assemble(point, chainOf(point, input.points), [], target);
  }
  const candidates = candidatesFor(input);
  const obstacles: string[] = [];
  for (const point of candidates) {
    const chain = tryChain(point, input.points);
    if (typeof chain === 'string') {
      obstacles.push(chain);
      continue;
    }
    const found = journalsFrom(point, input);
    if (typeof found === 'string') obstacles.push(`from point ${point.id}: ${found}`);
    else return assemble(point, chain, found, target);
  }
  const first = obstacles[0];
  if (first === undefined) throw noPoint(input.workload, `has no point that was cut before ${describeTarget(target)}`);
  throw new StillpointError('journal-gap', `${describeTarget(target)} cannot be reached: ${first}`, {
    hint: `see \`stillpoint journal status ${input.workload}\`; \`stillpoint journal ship ${input.workload}\` ships what is still with the engine`,
    details: { obstacles },
  });
}

/** A point, with the points below it that it cannot be restored without, oldest first. Throws `point-incomplete`. */
export function chainOf(point: Point, points: readonly Point[]): readonly Point[] {
  const chain = tryChain(point, points);
  if (typeof chain !== 'string') return chain;
  throw new StillpointError('point-incomplete', chain, {
    hint: `choose another point with \`stillpoint points ${point.workload}\``,
  });
}

function tryChain(point: Point, points: readonly Point[]): readonly Point[] | string {
  const byId = new Map(points.map((each) => [each.id, each]));
  const chain: Point[] = [point];
  for (let at = point; standsOnAnother(at);) {
    const below = at.parent === null ? undefined : byId.get(at.parent);
    if (below === undefined)
      return `point ${point.id} goes on top of ${at.parent ?? 'a point that it does not name'}, which is not there any more`;
    if (chain.includes(below)) return `point ${point.id} goes on top of itself, by ${at.id}`;
    chain.unshift(below);
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
  chain: readonly Point[],
  journals: readonly ShippedJournal[],
  target: RecoveryTarget,
): RecoveryPlan {
  const reaches = lastOfParts(journals).map((file) => file.coversTo);
  return {
    base: chain[0] ?? point,
    levels: chain.slice(1),
    journals,
    target,
    point,
    reachesTo: reaches.toSorted()[0] ?? null,
  };
}

/** Newest first. A base must not be newer than what is asked for, and must say where its journal begins. */
function candidatesFor(input: RecoveryInput): readonly Point[] {
  const { target } = input;
  const wanted = input.point === undefined ? input.points : [input.point];
  const until = target.kind === 'time' ? Date.parse(target.at) : Number.POSITIVE_INFINITY;
  return wanted
    .filter((point) => Date.parse(point.cutAt) <= until)
    .toSorted((a, b) => Date.parse(b.cutAt) - Date.parse(a.cutAt));
}

/** The files from the point to the target, or why they do not reach it. */
function journalsFrom(point: Point, input: RecoveryInput): readonly ShippedJournal[] | string {
  if (point.starts.length === 0) return 'it does not say where its journal begins';
  const files = input.journals.filter((file) => file.identity === point.identity);
  const limit = input.target.kind === 'file' ? boundaryOf(input.target.name, files) : undefined;
  if (input.target.kind === 'file' && limit === undefined)
    return `journal file ${input.target.name} is not in the repository`;
  const found: ShippedJournal[] = [];
  for (const start of point.starts) {
    const chain = follow(start, files, input.target, limit);
    if (typeof chain === 'string') return chain;
    found.push(...chain);
  }
  if (input.target.kind === 'file' && !found.some((file) => file.name === limit?.name))
    return `journal file ${input.target.name} ends before the point was cut`;
  return found;
}

function boundaryOf(name: string, files: readonly ShippedJournal[]): ShippedJournal | undefined {
  return files.find((file) => file.name === name);
}

function follow(
  start: JournalStart,
  files: readonly ShippedJournal[],
  target: RecoveryTarget,
  limit: ShippedJournal | undefined,
): readonly ShippedJournal[] | string {
  const of = start.part === '' ? '' : ` of ${start.part}`;
  const mine = files.filter((file) => file.part === start.part);
  const chain: ShippedJournal[] = [];
  let next = mine.find((file) => file.begin === start.position || file.name === start.file);
  while (next !== undefined && !chain.includes(next)) {
    if (limit !== undefined && limit.part !== start.part && limit.coversTo < next.beganAt) break;
    chain.push(next);
    if (reached(next, target, limit)) return chain;
    const { end } = next;
    next = mine.find((file) => file.begin === end && !chain.includes(file));
  }
  const last = chain.at(-1);
  if (target.kind === 'latest' || (limit !== undefined && limit.part !== start.part)) return chain;
  if (last === undefined) return `the journal${of} from ${start.position} (${start.file}) is not in the repository`;
  return `the journal${of} reaches to ${last.coversTo} (${last.name}); the file that begins at ${last.end} is not in the repository`;
}

function reached(file: ShippedJournal, target: RecoveryTarget, limit: ShippedJournal | undefined): boolean {
  if (target.kind === 'time') return Date.parse(file.coversTo) >= Date.parse(target.at);
  return limit !== undefined && file.part === limit.part && file.name === limit.name;
}

function lastOfParts(journals: readonly ShippedJournal[]): readonly ShippedJournal[] {
  return [...new Map(journals.map((file) => [file.part, file])).values()];
}

function newest(points: readonly Point[]): Point | undefined {
  return points.toSorted((a, b) => Date.parse(b.cutAt) - Date.parse(a.cutAt))[0];
}

function noPoint(workload: string, said: string): StillpointError {
  return new StillpointError('no-point', `workload ${workload} ${said}`, {
    hint: `make one with \`stillpoint backup ${workload}\``,
  });
}

function describeTarget(target: RecoveryTarget): string {
  switch (target.kind) {
    case 'time':
      return target.at;
    case 'file':
      return `the end of journal file ${target.name}`;
    case 'latest':
      return 'the latest state';
    case 'point':
      return 'the point';
  }
}

/** A place in the journal of one part where a file is missing. */
export interface JournalBreak {
  readonly part: string;
  readonly after: string;
  readonly from: string;
  readonly before: string;
}

/** Where the chain of files is broken, by part, in the order of time. Files of different identities are different chains. Pure. */
export function journalBreaks(files: readonly ShippedJournal[]): readonly JournalBreak[] {
  const chains = Map.groupBy(files, (file) => `${file.identity}\n${file.part}`);
  return [...chains.values()].flatMap((chain) => {
    const ordered = chain.toSorted(
      (a, b) => Date.parse(a.beganAt) - Date.parse(b.beganAt) || compareText(a.begin, b.begin),
    );
    return ordered.flatMap((file, index) => {
      const next = ordered[index + 1];
      if (next === undefined || next.begin === file.end) return [];
      return [{ part: file.part, after: file.name, from: file.end, before: next.name }];
    });
  });
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Why a journal file must stay where the engine keeps it; empty = it may be purged. Pure. */
export function reasonsToKeep(
  file: { readonly part: string; readonly name: string; readonly begin: string; readonly end?: string },
  shipped: readonly Pick<ShippedJournal, 'part' | 'begin' | 'end'>[],
  needed: readonly { readonly part: string; readonly name: string; readonly why: string }[],
): readonly string[] {
  if (file.end === undefined) return ['the engine writes to it'];
  const reasons = needed.filter((need) => need.part === file.part && need.name === file.name).map((need) => need.why);
  const safe = shipped.some((each) => each.part === file.part && each.begin === file.begin && each.end === file.end);
  return safe ? reasons : ['it is not in the repository', ...reasons];
}

/** A point as it is, with the levels below it. Throws `point-incomplete`. */
export function restoreAsIs(point: Point, points: readonly Point[] = [point]): RecoveryPlan {
  return planRecovery({ workload: point.workload, target: { kind: 'point' }, point, points, journals: [] });
}
