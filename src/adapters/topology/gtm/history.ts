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

/** Whose newest record was made last. Records are copied with their times, so clocks matter only between two primaries. */
export function newest(all: readonly Facts[]): Facts | undefined {
  const rank = ({ file }: Facts): string => file.history.at(-1)?.created ?? '';
  return all.toSorted((one, other) => compare(rank(other), rank(one)) || compare(termOf(one), termOf(other)))[0];
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

/**
 * The first update that a replica may have from another history than the primary's; undefined when there is none. `next` is the number
 * of the replica's next update, from before its history was read.
 */
export function partsAt(
  primary: readonly HistoryRecord[],
  replica: readonly HistoryRecord[],
  next: bigint,
): bigint | undefined {
  const count = Math.max(primary.length, replica.length);
  for (let index = 0; index < count; index += 1) {
    const [one, other] = [primary[index], replica[index]];
    if (one !== undefined && other !== undefined && isSame(one, other)) continue;
    const starts = [one, other].flatMap((record) => (record === undefined ? [] : [record.start]));
    const from = starts.reduce((least, start) => (start < least ? start : least));
    return next > from ? from : undefined;
  }
  return undefined;
}

function isSame(one: HistoryRecord, other: HistoryRecord): boolean {
  return (
    one.primary === other.primary &&
    one.start === other.start &&
    one.created === other.created &&
    one.creator === other.creator
  );
}
