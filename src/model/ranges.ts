import type { ByteRange } from './storage.ts';

/**
 * Lists of byte ranges. All but `normalize` and `union` take lists in normal form: ascending, none empty, none overlapping or touching
 * another; all return lists in that form. Offsets and lengths are bytes, not negative, and their sums safe integers.
 */
export type Ranges = readonly ByteRange[];

const endOf = ({ offset, length }: ByteRange): number => offset + length;

/** Puts any list into normal form. */
export function normalize(ranges: Ranges): Ranges {
  const sorted = ranges.filter(({ length }) => length > 0).toSorted((a, b) => a.offset - b.offset);
  const merged: { offset: number; length: number }[] = [];
  let last: { offset: number; length: number } | undefined;
  for (const { offset, length } of sorted) {
    if (last !== undefined && offset <= endOf(last)) {
      last.length = Math.max(endOf(last), offset + length) - last.offset;
    } else {
      last = { offset, length };
      merged.push(last);
    }
  }
  return merged;
}

/** What lies in at least one of the lists, whatever their form. */
export function union(...lists: readonly Ranges[]): Ranges {
  return normalize(lists.flat());
}

/** What lies in both. */
export function intersect(a: Ranges, b: Ranges): Ranges {
  const both: ByteRange[] = [];
  let at = 0;
  for (const one of a) {
    for (let other = b[at]; other !== undefined && other.offset < endOf(one); other = b[at]) {
      const offset = Math.max(one.offset, other.offset);
      const end = Math.min(endOf(one), endOf(other));
      if (end > offset) both.push({ offset, length: end - offset });
      // The other one may reach into the next of `a`.
      if (endOf(other) > endOf(one)) break;
      at += 1;
    }
  }
  return both;
}

/** What lies in `a` and not in `b`. */
export function subtract(a: Ranges, b: Ranges): Ranges {
  const rest: ByteRange[] = [];
  let at = 0;
  for (const one of a) {
    let offset = one.offset;
    for (let other = b[at]; other !== undefined && other.offset < endOf(one); other = b[at]) {
      if (other.offset > offset) rest.push({ offset, length: other.offset - offset });
      offset = Math.max(offset, endOf(other));
      if (endOf(other) > endOf(one)) break;
      at += 1;
    }
    if (offset < endOf(one)) rest.push({ offset, length: endOf(one) - offset });
  }
  return rest;
}

/** Index of the first range that ends behind `offset`, by binary search; the list's length if there is none. */
function firstEndingBehind(ranges: Ranges, offset: number): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const range = ranges[middle];
    if (range !== undefined && endOf(range) <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Whether every byte from `offset` on, `length` bytes long, lies in the list. True for no bytes. */
export function covers(ranges: Ranges, offset: number, length: number): boolean {
  if (length <= 0) return true;
  const found = ranges[firstEndingBehind(ranges, offset)];
  return found !== undefined && found.offset <= offset && endOf(found) >= offset + length;
}

/** Whether at least one byte from `offset` on, `length` bytes long, lies in the list. False for no bytes. */
export function overlaps(ranges: Ranges, offset: number, length: number): boolean {
  if (length <= 0) return false;
  const found = ranges[firstEndingBehind(ranges, offset)];
  return found !== undefined && found.offset < offset + length;
}

/** The part of the list from `offset` on, `length` bytes long; quick however long the list is. Offsets stay as they are. */
export function part(ranges: Ranges, offset: number, length: number): Ranges {
  if (length <= 0) return [];
  const inside: ByteRange[] = [];
  let index = firstEndingBehind(ranges, offset);
  for (let one = ranges[index]; one !== undefined && one.offset < offset + length; one = ranges[index]) {
    const start = Math.max(offset, one.offset);
    inside.push({ offset: start, length: Math.min(offset + length, endOf(one)) - start });
    index += 1;
  }
  return inside;
}

export function totalBytes(ranges: Ranges): number {
  return ranges.reduce((sum, { length }) => sum + length, 0);
}

/** Only what lies below `size`. */
export function clip(ranges: Ranges, size: number): Ranges {
  return part(ranges, 0, size);
}

/** Every range made larger until it begins and ends at a multiple of `block`; the last may end behind the file. */
export function alignTo(ranges: Ranges, block: number): Ranges {
  return normalize(
    ranges.map((range) => {
      const offset = Math.floor(range.offset / block) * block;
      return { offset, length: Math.ceil(endOf(range) / block) * block - offset };
    }),
  );
}
