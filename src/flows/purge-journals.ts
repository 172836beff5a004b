import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { StillpointError } from '../model/errors.ts';
import type { JournalFile, ShippedJournal } from '../model/journal.ts';
import { reasonsToKeep } from '../model/recovery.ts';
import { lockWorkload, runDirectory, type Environment, type Workload } from './environment.ts';
import { sha256OfFile } from '../platform/files.ts';
import { measure } from './ship-journals.ts';
import { journalsOf, keyOf } from './shipments.ts';
import { journalStatus, missingOf } from './survey-journals.ts';

export interface PurgeResult {
  readonly removed: readonly JournalFile[];
  readonly bytes: number;
  readonly kept: readonly { readonly file: JournalFile; readonly keep: readonly string[] }[];
}

/**
 * Deletes those files from the engine's disk that the repository has and nobody needs there: neither the engine nor a lagging member.
 * Each file's needs are looked at again right before it goes. `dryRun` only tells.
 */
export async function purgeJournals(
  workload: Workload,
  environment: Environment,
  request: { readonly dryRun: boolean; readonly signal: AbortSignal },
): Promise<PurgeResult> {
  const journals = journalsOf(workload);
  const lock = await lockWorkload(environment, `${workload.name}.journal`);
  try {
    const { identity } = await workload.application.locate(request.signal);
    const { files } = await journalStatus(workload, environment, request.signal);
    const shipped = (await environment.catalog()).journals(workload.name).filter((file) => file.identity === identity);
    const removed: JournalFile[] = [];
    const kept: { file: JournalFile; keep: readonly string[] }[] = [];
    for (const { keep, shipped: _shipped, ...file } of files) {
      const reasons = keep.length > 0 ? keep : await reasonsNow(file, shipped, workload, environment, request.signal);
      if (reasons.length > 0) {
        kept.push({ file, keep: reasons });
        continue;
      }
      if (!request.dryRun) await journals.remove(file);
      removed.push(file);
    }
    return { removed, bytes: removed.reduce((sum, file) => sum + file.bytes, 0), kept };
  } finally {
    lock.release();
  }
}

/** Right before a file goes: reading the ones before may have taken long, and the copy must be of this file and no other. */
async function reasonsNow(
  file: JournalFile,
  shipped: readonly ShippedJournal[],
  workload: Workload,
  environment: Environment,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const copy = shipped.find((each) => keyOf(each) === keyOf(file) && each.end === file.end);
  const fault = copy === undefined ? notWhole : await faultOf(copy, workload, environment, signal);
  if (copy === undefined || fault !== undefined) return [fault ?? notWhole];
  if ((await measure(file)).hash !== copy.sha256) return ['it differs from its copy in the repository'];
  return reasonsToKeep(file, shipped, await journalsOf(workload).needed(signal));
}

const notWhole = 'its copy in the repository is not whole';

/**
 * What is wrong with the copy that is about to be the only one: it is read back, for a look at the repository's structure sees no flipped
 * bit. The place is always the same, so that a killed purge leaves one file at most, which the next one removes.
 */
async function faultOf(
  copy: ShippedJournal,
  workload: Workload,
  environment: Environment,
  signal: AbortSignal,
): Promise<string | undefined> {
  const repository = await environment.repository();
  const directory = runDirectory(environment, `${workload.name}.purge`);
  const at = join(directory, 'copy');
  const place = (original: string): string | undefined => (original === copy.path ? at : undefined);
  try {
    if ((await missingOf(copy, repository)) !== undefined) return notWhole;
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await repository.restore({ snapshot: copy.snapshot, place, signal });
    return (await sha256OfFile(at)) === copy.sha256 ? undefined : notWhole;
  } catch (error) {
    if (signal.aborted || !(error instanceof StillpointError)) throw error;
    return `${notWhole}: ${error.message}`;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
