import { StillpointError } from '../../../model/errors.ts';
import type { Marks } from '../../../model/journal.ts';
import type { Counters } from './parse-backup.ts';

/** A transaction number in the one form in which marks are compared: `0x` and 16 upper-case digits. */
export function mark(value: string | bigint): string {
  return `0x${BigInt(value).toString(16).toUpperCase().padStart(16, '0')}`;
}

/** From where the engine is told to collect changed blocks, and what that is in each region. */
export interface Since {
  /** Qualifier of `mupip backup`. */
  readonly qualifier: string;
  readonly from: Marks;
}

/**
 * The regions of a database count their transactions apart, but one `mupip backup` takes one `-transaction`, and only one command sees
 * all regions at one instant. The engine has three marks of its own in each region (last record, bytestream and database backup), any
 * of which may be the one that is wanted; other people's backups move them. So: of the ways that begin at or before `since` in every
 * region, the one that begins the least too early. Beginning too early is sound, and only larger: the blocks that it adds have not
 * changed since, or are in the level anyway, and all are as they were at the instant of this backup.
 * Throws `level-misfit` if there is no such way.
 */
export function chooseSince(counters: readonly Counters[], since: Marks): Since {
  const now = new Set(counters.map((each) => each.region));
  const strangers = Object.keys(since).filter((region) => !now.has(region));
  const missing = [...now].filter((region) => since[region] === undefined);
  if (strangers.length + missing.length > 0) {
    throw misfit(`the regions are not those of the level below: ${[...strangers, ...missing].join(', ')}`);
  }
  const ahead = counters.filter((each) => BigInt(since[each.region] ?? 0) > BigInt(each.current));
  if (ahead.length > 0) {
    const said = ahead.map(
      (each) => `${each.region} is at ${each.current}, the level below ends at ${since[each.region]}`,
    );
    throw misfit(`the database is older than the level below: ${said.join('; ')}`);
  }
  const lowest = lowestOf(since);
  const always: Since = {
    qualifier: `-transaction=${lowest}`,
    from: Object.fromEntries([...now].map((region) => [region, lowest])),
  };
  const marks: readonly Since[] = [
    { qualifier: '-since=bytestream', from: marksOf(counters, 'bytestream') },
    { qualifier: '-since=record', from: marksOf(counters, 'record') },
    { qualifier: '-since=database', from: marksOf(counters, 'database') },
  ];
  let best = always;
  for (const way of marks) {
    const extra = surplus(way.from, since);
    if (extra !== undefined && extra < (surplus(best.from, since) ?? 0n)) best = way;
  }
  return best;
}

export function marksOf(counters: readonly Counters[], which: 'current' | 'bytestream' | 'record' | 'database'): Marks {
  return Object.fromEntries(counters.map((each) => [each.region, mark(each[which])]));
}

function lowestOf(marks: Marks): string {
  const [first = 1n, ...others] = Object.values(marks).map(BigInt);
  return mark(others.reduce((low, each) => (each < low ? each : low), first));
}

/** Transactions that are collected although they are below already; undefined if some would be missing. */
function surplus(from: Marks, since: Marks): bigint | undefined {
  let sum = 0n;
  for (const [region, wanted] of Object.entries(since)) {
    const extra = BigInt(wanted) - BigInt(from[region] ?? 0);
    if (extra < 0n) return undefined;
    sum += extra;
  }
  return sum;
}

function misfit(said: string): StillpointError {
  return new StillpointError('level-misfit', said, { hint: 'make a full backup: stillpoint backup --level full' });
}
