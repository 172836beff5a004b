import { randomInt } from 'node:crypto';
import { overlaps } from '../model/ranges.ts';
import type { FileChanges } from '../ports/snapshot-provider.ts';
import type { FileStat } from '../ports/snapshot-provider.ts';
import type { TreeNode } from './tree.ts';

/** One sample for this many chunks that are read as changed: what is read more than changed stays small. */
const samplesPerChanged = 20;
const mostSamples = 1024;

/**
 * Whether the parent's node holds the content of the very file that the changes count from: what a point has under a path may have come
 * from elsewhere (a journal that was collected apart).
 */
export function isBase(node: TreeNode, base: FileStat): boolean {
  return (
    BigInt(node.size) === base.size &&
    node.inode === base.inode &&
    node.mtimeNs === base.mtimeNs &&
    node.ctimeNs === base.ctimeNs
  );
}

/**
 * Which chunks of a file are to be read: those that hold a changed byte, and those that the parent cut elsewhere (at its end). Indices
 * in ascending order. Pure.
 */
export function chunksToRead(
  size: number,
  chunk: number,
  { base, ranges }: Pick<FileChanges, 'base' | 'ranges'>,
): readonly number[] {
  const baseSize = Number(base.size);
  const read: number[] = [];
  for (let index = 0; index * chunk < size; index++) {
    const offset = index * chunk;
    const end = Math.min(offset + chunk, size);
    const same = Math.min(offset + chunk, baseSize) === end;
    if (!same || overlaps(ranges, offset, end - offset)) read.push(index);
  }
  return read;
}

/**
 * Which of the chunks that are called unchanged are read all the same, to find a map that lies: at least one, and one for twenty that are
 * read anyway. At random, for a fault of a map is seldom spread evenly.
 */
export function samplesOf(chunks: number, toRead: readonly number[], random = randomInt): ReadonlySet<number> {
  const unchanged = chunks - toRead.length;
  const wanted = Math.min(unchanged, mostSamples, Math.max(1, Math.ceil(toRead.length / samplesPerChanged)));
  const read = new Set(toRead);
  const samples = new Set<number>();
  // More tries than samples, for some fall on chunks that are read anyway or were drawn before.
  for (let tries = 0; samples.size < wanted && tries < 64 * wanted; tries++) {
    const index = random(chunks);
    if (!read.has(index)) samples.add(index);
  }
  for (let index = 0; samples.size < wanted && index < chunks; index++) if (!read.has(index)) samples.add(index);
  return samples;
}
