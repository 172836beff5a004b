import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, StillpointError } from '../model/errors.ts';
import { systemClock } from './clock.ts';
import type { Exec } from './exec.ts';
import { writeDurably } from './files.ts';
import { parseMetadataNumber, parsePoolStatus, parseThinDelta, type ThinDelta } from './parse-thin-delta.ts';
import { tryLock, type ProcessLock } from './process-lock.ts';

export type { ThinDelta } from './parse-thin-delta.ts';

export interface ThinDeltaRequest {
  readonly exec: Exec;
  readonly stateDirectory: string;
  /** Name of the pool's device for device-mapper: `vg0-pool-tpool` for a pool of LVM. */
  readonly pool: string;
  /** Ids of two volumes of the pool, both there and neither written to while this runs. */
  readonly base: number;
  readonly newer: number;
  readonly signal: AbortSignal;
  /** How long to wait for somebody else's reader of the metadata. Default 5 s: most take a fraction of one. */
  readonly patienceMs?: number;
}

type Pool = Pick<ThinDeltaRequest, 'exec' | 'pool'>;

const askMs = 15_000;
/** A pool of many terabytes has gigabytes of metadata to compare. */
const deltaMs = 10 * 60_000;
const deltaBytes = 512 * 1024 * 1024;
const waitMs = 60_000;
const pauseMs = 200;
const defaultPatienceMs = 5_000;

/**
 * Where two volumes of a thin pool differ, from the pool's metadata: no data is read. A pool can hold its metadata for one reader at a
 * time only; another process of ours is waited for, up to a minute. Throws `command-failed` if it cannot be told for certain, and when
 * somebody else's reader is at work.
 */
export async function thinDelta(request: ThinDeltaRequest): Promise<ThinDelta> {
  const { stateDirectory, pool, base, newer, signal } = request;
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
  const lock = await lockPool(fileOf(stateDirectory, pool, 'lock'), pool, signal);
  try {
    const metadata = await metadataOf(request);
    return await holding(request, fileOf(stateDirectory, pool, 'held'), async () => {
      const argv = ['thin_delta', '-m', '--snap1', String(base), '--snap2', String(newer), metadata] as const;
      const output = await request.exec.check({ argv, timeoutMs: deltaMs, maxOutputBytes: deltaBytes, signal });
      return parseThinDelta(output.stdout, base, newer);
    });
  } finally {
    lock.release();
  }
}

/**
 * Lets go what dead runs of ours still hold, of any pool: their notes say so. What a living process of ours holds stays. Throws what
 * dmsetup says.
 */
export async function releaseDeadHolds(request: Pick<ThinDeltaRequest, 'exec' | 'stateDirectory'>): Promise<void> {
  const { exec, stateDirectory } = request;
  for (const entry of await entriesOf(stateDirectory)) {
    const [, encoded] = /^thin-pool-(.+)\.held$/.exec(entry) ?? [];
    if (encoded === undefined) continue;
    const pool = decodeURIComponent(encoded);
    const lock = tryLock(fileOf(stateDirectory, pool, 'lock'));
    if (lock === undefined) continue;
    try {
      const note = join(stateDirectory, entry);
      const held = await heldRoot({ exec, pool });
      if (held !== undefined && (await isNoted(note, held))) await release({ exec, pool });
      await rm(note, { force: true });
    } finally {
      lock.release();
    }
  }
}

async function entriesOf(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function fileOf(stateDirectory: string, pool: string, what: 'lock' | 'held'): string {
  return join(stateDirectory, `thin-pool-${encodeURIComponent(pool)}.${what}`);
}

async function lockPool(file: string, pool: string, signal: AbortSignal): Promise<ProcessLock> {
  for (let waited = 0; waited <= waitMs; waited += pauseMs) {
    const lock = tryLock(file);
    if (lock !== undefined) return lock;
    await systemClock.sleep(pauseMs, signal);
  }
  throw inUse(pool);
}

function inUse(pool: string): StillpointError {
  return new StillpointError('command-failed', `the metadata of thin pool ${pool} is held by another reader`, {
    hint: `if none is at work, a dead one left it: dmsetup message ${pool} 0 release_metadata_snap`,
  });
}

/** Runs `work` while the pool's metadata is held. A note says so before, for whoever comes after a crash. */
async function holding<T>(request: ThinDeltaRequest, note: string, work: () => Promise<T>): Promise<T> {
  await waitUntilFree(request, note);
  await writeDurably(note, '');
  await reserve(request, note);
  try {
    await writeDurably(note, (await heldRoot(request)) ?? '');
    return await work();
  } finally {
    // Takes no cancellation: what stays held makes the pool's metadata grow with every write.
    await release(request);
    await rm(note, { force: true });
  }
}

/** Only what we noted is ours to release: a backup tool of somebody else may be reading. */
async function waitUntilFree(request: ThinDeltaRequest, note: string): Promise<void> {
  const patienceMs = request.patienceMs ?? defaultPatienceMs;
  for (let waited = 0; ; waited += pauseMs) {
    const held = await heldRoot(request);
    if (held === undefined) return;
    if (await isNoted(note, held)) return await release(request);
    if (waited >= patienceMs) throw inUse(request.pool);
    await systemClock.sleep(pauseMs, request.signal);
  }
}

/** Where it was refused, somebody else was quicker and the note goes. Where nobody knows, it stays, for the next one to look. */
async function reserve({ exec, pool, signal }: ThinDeltaRequest, note: string): Promise<void> {
  const argv = ['dmsetup', 'message', pool, '0', 'reserve_metadata_snap'] as const;
  const result = await exec.run({ argv, timeoutMs: askMs, signal });
  if (result.exitCode === 0) return;
  if (result.exitCode !== null) await rm(note, { force: true });
  throw new StillpointError('command-failed', `the metadata of thin pool ${pool} cannot be held: ${result.stderr}`, {
    hint: `dmsetup status ${pool}`,
  });
}

/** An empty note: its writer died before it knew which block is held. */
async function isNoted(note: string, held: string): Promise<boolean> {
  try {
    const noted = await readFile(note, 'utf8');
    return noted === '' || noted === held;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function heldRoot({ exec, pool }: Pool): Promise<string | undefined> {
  const status = await exec.check({ argv: ['dmsetup', 'status', pool], timeoutMs: askMs });
  return parsePoolStatus(status.stdout).heldRoot;
}

async function release({ exec, pool }: Pool): Promise<void> {
  await exec.check({ argv: ['dmsetup', 'message', pool, '0', 'release_metadata_snap'], timeoutMs: askMs });
}

/** As the pool itself says: the volume that LVM shows as its metadata has another name after a repair. */
async function metadataOf({ exec, pool, signal }: ThinDeltaRequest): Promise<string> {
  const table = await exec.check({ argv: ['dmsetup', 'table', pool], timeoutMs: askMs, signal });
  const [major = '', minor = ''] = parseMetadataNumber(table.stdout).split(':');
  const argv = ['dmsetup', 'info', '-c', '--noheadings', '-o', 'name', '-j', major, '-m', minor] as const;
  return `/dev/mapper/${(await exec.check({ argv, timeoutMs: askMs, signal })).stdout.trim()}`;
}
