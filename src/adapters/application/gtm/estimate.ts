import { open } from 'node:fs/promises';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Marks } from '../../../model/journal.ts';
import type { Level } from '../../../model/point.ts';
import type { Platform } from '../../../ports/module.ts';
import type { GtmConfig } from './config.ts';
import { chooseSince, mark } from './marks.ts';
import { seeLive } from './online.ts';
import { type Counters, parseBlockTransaction } from './parse-backup.ts';

const askMs = 15_000;
/** Reads at random places: a second on a disk without moving parts, half a minute on one with. */
const mostReads = 4_000;
const blockHeaderBytes = 16;
/** Of each block in a bytestream file, and of what stands around them beside a copy of header and bit map. */
const recordHeaderBytes = 40;
const frameBytes = 22 * 1024;

export interface Estimate {
  readonly level: Level;
  readonly bytes: number;
  readonly said: string;
}

/**
 * Sizes of the next levels. The engine counts transactions but not the blocks that they changed; each block bears the number of the last
 * one that did. A sample of them, read from the files beside the engine, says how many are new enough. What is still in buffers only is
 * missed. Levels for which nothing is known are left out.
 */
export async function estimate(
  config: GtmConfig,
  platform: Platform,
  since: Readonly<Partial<Record<Level, Marks>>>,
  signal: AbortSignal,
): Promise<readonly Estimate[]> {
  const { counters } = await seeLive(config, platform, { limitMs: askMs, signal });
  const samples = new Map<string, readonly bigint[]>();
  for (const each of counters) samples.set(each.region, await sampleOf(each, signal));
  const found: Estimate[] = [];
  for (const level of ['full', 'cumulative', 'incremental'] as const) {
    const from = fromOf(level, counters, since[level]);
    if (from === undefined) continue;
    let bytes = 0;
    const said: string[] = [];
    for (const each of counters) {
      if (BigInt(from[each.region] ?? 1) >= BigInt(each.current)) {
        said.push(`${each.region}: unchanged`);
        continue;
      }
      const sample = samples.get(each.region) ?? [];
      const fresh = sample.filter((number) => number >= BigInt(from[each.region] ?? 1)).length;
      const blocks = Math.ceil((each.totalBlocks * fresh) / Math.max(1, sample.length));
      bytes += (each.startingSector - 1) * 512 + frameBytes + blocks * (each.blockBytes + recordHeaderBytes);
      const how = sample.length < each.totalBlocks ? `, from ${sample.length} of them` : '';
      said.push(`${each.region}: about ${blocks} of ${each.totalBlocks} blocks${how}`);
    }
    found.push({ level, bytes, said: said.join('; ') });
  }
  return found;
}

/** From where the level would really begin, which may be earlier than what it goes on top of. */
function fromOf(level: Level, counters: readonly Counters[], since: Marks | undefined): Marks | undefined {
  if (level === 'full') return Object.fromEntries(counters.map((each) => [each.region, mark(1n)]));
  if (since === undefined) return undefined;
  try {
    return chooseSince(counters, since).from;
  } catch (cause) {
    if (cause instanceof StillpointError) return undefined;
    throw cause;
  }
}

/** One block out of each of as many equal parts of the file: evenly spread, and in step with no pattern in it. */
async function sampleOf(region: Counters, signal: AbortSignal): Promise<readonly bigint[]> {
  const reads = Math.min(mostReads, region.totalBlocks);
  const part = region.totalBlocks / Math.max(1, reads);
  const first = (region.startingSector - 1) * 512;
  const numbers: bigint[] = [];
  try {
    await using file = await open(region.file, 'r');
    const buffer = Buffer.alloc(blockHeaderBytes);
    for (let index = 0; index < reads; index += 1) {
      signal.throwIfAborted();
      const block = Math.floor((index + (part > 1 ? Math.random() : 0)) * part);
      const { bytesRead } = await file.read(buffer, 0, blockHeaderBytes, first + block * region.blockBytes);
      numbers.push(parseBlockTransaction(buffer.subarray(0, bytesRead)));
    }
  } catch (cause) {
    signal.throwIfAborted();
    throw new StillpointError('database-file', `${region.file} cannot be read: ${messageOf(cause)}`, {
      hint: 'run this program as the owner of the database files or as root',
      cause,
    });
  }
  return numbers;
}
