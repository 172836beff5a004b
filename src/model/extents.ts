import { clip, normalize, part, type Ranges } from './ranges.ts';
import type { ByteRange } from './storage.ts';

/** Where a part of a file lies on its device, all in bytes. Flags by the names that filefrag(8) prints for FIEMAP's. */
export interface Extent {
  readonly logical: number;
  readonly physical: number;
  readonly length: number;
  readonly flags: ReadonlySet<string>;
}

/** A file's extents in ascending order of `logical`; what none of them holds is a hole. */
export type ExtentMap = readonly Extent[];

/** Flags that leave the physical address meaning what it says. Of any other, known or to come, nothing is taken for granted. */
const plainFlags: ReadonlySet<string> = new Set(['last', 'eof', 'shared', 'unwritten']);

interface Question {
  readonly base: ExtentMap;
  readonly now: ExtentMap;
  readonly baseSize: number;
  readonly nowSize: number;
  /**
   * Absent: both maps are of one file system, where a block of two living files is never written in place. Given: they are of two
   * snapshots of one block device, and these parts of it, in normal form, differ between them.
   */
  readonly changedPhysical?: Ranges;
}

/**
 * Which bytes of the newer file may differ from those of the older one at the same place, by where they lie. Bytes behind the end of
 * the older one count as changed. Both files must exist, and neither may have been written to, from before the first map was taken
 * (and synced) until after the second: a block that is freed in between may hold something else by the time it is found at the same place.
 */
export function changedByExtents(question: Question): Ranges {
  const { base, now, baseSize, nowSize } = question;
  if (!isAscending(base) || !isAscending(now)) return normalize([{ offset: 0, length: nowSize }]);
  const found: ByteRange[] = [{ offset: baseSize, length: Math.max(0, nowSize - baseSize) }];
  let [inBase, inNow, start] = [0, 0, 0];
  for (const end of edgesOf(base, now)) {
    if (end === start) continue;
    inBase = skipTo(base, inBase, start);
    inNow = skipTo(now, inNow, start);
    const older = holding(base, inBase, start);
    const newer = holding(now, inNow, start);
    const at = { offset: start, length: end - start };
    // Not spread into the call: there may be more of them than a call takes arguments.
    for (const range of differing(older, newer, at, question.changedPhysical)) found.push(range);
    start = end;
  }
  return clip(normalize(found), nowSize);
}

function isAscending(map: ExtentMap): boolean {
  return map.every(({ logical }, index) => {
    const before = map[index - 1];
    return before === undefined || before.logical + before.length <= logical;
  });
}

/** Every offset at which an extent of either map begins or ends: between two of them each map says one thing. */
function edgesOf(base: ExtentMap, now: ExtentMap): Float64Array {
  const edges = new Float64Array(2 * (base.length + now.length));
  let count = 0;
  for (const map of [base, now]) {
    for (const { logical, length } of map) {
      edges[count++] = logical;
      edges[count++] = logical + length;
    }
  }
  return edges.sort();
}

function skipTo(map: ExtentMap, from: number, offset: number): number {
  let index = from;
  for (let one = map[index]; one !== undefined && one.logical + one.length <= offset; one = map[index]) index += 1;
  return index;
}

function holding(map: ExtentMap, index: number, offset: number): Extent | undefined {
  const one = map[index];
  return one !== undefined && one.logical <= offset ? one : undefined;
}

/** What differs in a part of the file in which each side has one extent at the most. */
function differing(
  older: Extent | undefined,
  newer: Extent | undefined,
  at: ByteRange,
  changedPhysical: Ranges | undefined,
): Ranges {
  if (older === undefined && newer === undefined) return [];
  if (older === undefined || newer === undefined || !isPlain(older) || !isPlain(newer)) return [at];
  const distance = newer.physical - newer.logical;
  if (older.physical - older.logical !== distance) return [at];
  if (older.flags.has('unwritten') !== newer.flags.has('unwritten')) return [at];
  if (changedPhysical !== undefined) {
    const inside = part(changedPhysical, at.offset + distance, at.length);
    return inside.map(({ offset, length }) => ({ offset: offset - distance, length }));
  }
  // Two living files on one block must share it. If the file system does not say so, one of the maps is no longer true.
  return older.flags.has('shared') && newer.flags.has('shared') ? [] : [at];
}

/** A part of a compressed extent (`encoded`) is shown at the extent's start, whichever part it is: such an address proves nothing. */
function isPlain({ flags }: Extent): boolean {
  for (const flag of flags) if (!plainFlags.has(flag)) return false;
  return true;
}
