import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import { tryLock } from '../../../platform/process-lock.ts';
import type { Platform } from '../../../ports/module.ts';
import { createEmpty, deleteThin, listIds, loadThin, removeDevice, status, table } from './commands.ts';
import { mapperName, mapperNumber } from './devices.ts';
import { isOurRange } from './ledger.ts';
import { parseIds, parsePoolMetadata, parsePoolState, saysMissing, type PoolState } from './parse.ts';

const lookMs = 15_000;
/** Reading the ids of a pool with terabytes takes a while; it happens before the hold. */
const idsMs = 120_000;

export async function poolState(pool: string, { exec }: Platform, signal: AbortSignal): Promise<PoolState> {
  return parsePoolState((await exec.check({ argv: status(pool), timeoutMs: lookMs, signal })).stdout);
}

/** Why no snapshot must be tried in this pool; undefined if nothing speaks against it. */
export function whyUnsound({ mode, needsCheck }: PoolState): string | undefined {
  if (mode !== 'rw') return `the pool is in mode ${mode}`;
  return needsCheck ? 'the metadata of the pool must be checked (needs_check)' : undefined;
}

/** Whether the pool has this id. Loads it into a device that never becomes active. */
export async function hasId(pool: string, id: number, platform: Platform): Promise<boolean> {
  const { exec } = platform;
  if ((await mapperNumber(pool)) === undefined) return false;
  const probe = `stillpoint-probe-${id}`;
  // Of a dead process; nothing can be read from it.
  if ((await mapperNumber(probe)) !== undefined) await exec.run({ argv: removeDevice(probe), timeoutMs: lookMs });
  await exec.check({ argv: createEmpty(probe), timeoutMs: lookMs });
  try {
    const loaded = await exec.run({ argv: loadThin(probe, pool, id, 8), timeoutMs: lookMs });
    if (loaded.exitCode === 0) return true;
    if (saysMissing(loaded.stderr)) return false;
    throw new StillpointError('command-failed', `pool ${pool} cannot be asked for id ${id}: ${loaded.stderr.trim()}`);
  } finally {
    await exec.run({ argv: removeDevice(probe), timeoutMs: lookMs });
  }
}

/** A missing id is a success. */
export async function deleteId(pool: string, id: number, { exec }: Platform): Promise<void> {
  const argv = deleteThin(pool, id);
  const deleted = await exec.run({ argv, timeoutMs: lookMs });
  if (deleted.exitCode === 0 || saysMissing(deleted.stderr)) return;
  throw new StillpointError('undo-failed', `id ${id} of pool ${pool} could not be deleted: ${deleted.stderr.trim()}`, {
    hint: `see that the pool is active and that nothing uses the id (\`dmsetup table\`), then: dmsetup message ${pool} 0 "delete ${id}"`,
  });
}

/** Ids of the pool in the range of ours. Undefined if it cannot be told now: no program, or somebody else reads the metadata. */
export async function idsOf(
  pool: string,
  platform: Platform,
  signal: AbortSignal,
): Promise<readonly number[] | undefined> {
  const { exec, log, stateDirectory } = platform;
  if ((await exec.which('thin_ls')) === undefined) return undefined;
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
  // The same that changed blocks are found under: a pool's metadata has one reader at a time.
  const lock = tryLock(join(stateDirectory, `thin-pool-${pool.replaceAll(/[^\w.-]/g, '_')}.lock`));
  if (lock === undefined) return undefined;
  try {
    const made = await exec.check({ argv: table(pool), timeoutMs: lookMs, signal });
    const metadata = await mapperName(parsePoolMetadata(made.stdout));
    if (metadata === undefined) return undefined;
    const listed = await exec.run({ argv: listIds(pool, `/dev/mapper/${metadata}`), timeoutMs: idsMs });
    if (listed.exitCode === 0) return parseIds(listed.stdout).filter((id) => isOurRange(id));
    log.info(`the ids of pool ${pool} cannot be listed: ${listed.stderr.trim()}`);
    return undefined;
  } finally {
    lock.release();
  }
}
