import type { Facts } from './ask.ts';
import type { HistoryRecord } from './parse.ts';

/**
 * Who makes the history, and since which update: `A.21@...`. Starts of one instance that follow each other are one term, so that a mere
 * restart changes nothing. All instances know it alike. Behind it whose instances they are, for a new cluster begins to count anew.
 */
export function termOf({ file: { history, group } }: Facts): string {
  const last = history.at(-1);
  const first = history[history.findLastIndex(({ primary }) => primary !== last?.primary) + 1];
  return `${first === undefined ? 'none' : `${first.primary}.${first.start}`}@${group ?? 'nobody'}`;
}

/** Whose newest record was made last, and then who knows the most. Clocks matter only between two primaries: records are copied as they are. */
export function newest(all: readonly Facts[]): Facts | undefined {
  const made = ({ file }: Facts): string => file.history.at(-1)?.created ?? '';
  const since = ({ file }: Facts): bigint => file.history[0]?.start ?? 0n;
  return all.toSorted((one, other) => compare(made(other), made(one)) || compare(since(one), since(other)))[0];
}

function compare<T extends string | bigint>(one: T, other: T): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

/**
 * The first update that a replica may have from another history than the primary's; undefined when there is none. `next` is the number
 * of the replica's next update, from before its history was read. An instance that was made from a copy knows no older history.
 */
export function partsAt(
  primary: readonly HistoryRecord[],
  replica: readonly HistoryRecord[],
  next: bigint,
): bigint | undefined {
  const [one, other] = [primary[0], replica[0]];
  if (one === undefined || other === undefined) return undefined;
  const known = one.start > other.start ? one.start : other.start;
  return [known, ...[...primary, ...replica].map(({ start }) => start).toSorted(compare)].find(
    (start) => start >= known && start < next && madeBy(primary, start) !== madeBy(replica, start),
  );
}

/** Which start of which root primary made an update. */
function madeBy(history: readonly HistoryRecord[], update: bigint): string {
  const record = history.findLast(({ start }) => start <= update);
  return JSON.stringify([record?.primary, record?.created, record?.creator]);
}
