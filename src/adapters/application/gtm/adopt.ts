import { chown } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { Copy } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import type { GtmConfig } from './config.ts';
import { cleanFile, filesOf, isolatedGtm, makeGlobalDirectory, unfreezeCopy, whyNotIsolated } from './copy.ts';
import { complaintOf, type Gtm, has, wentWell } from './engine.ts';

const limitMs = 60_000;
const never = new AbortController().signal;

/**
 * Makes a restored copy a database of its own: nothing of the original's shared memory, freeze, replication or journal is left in its
 * headers, its global directory names its own files, and what was journaled is journaled again, into a new file beside the copy (in
 * place: where it was). Throws `command-failed` where the system gives no namespaces: opening it without them could harm the original.
 */
export async function adopt(copy: Copy, config: GtmConfig, platform: Platform): Promise<void> {
  const files = filesOf(copy);
  const engine = isolatedGtm(copy, config, platform, files.globalDirectory);
  const why = await whyNotIsolated(engine, never);
  if (why !== undefined) throw failed('*', why);
  const inPlace = files.regions.every((region) => region.file === files.originals.get(region.name));
  if (!inPlace) await makeGlobalDirectory(engine, files, files.globalDirectory, files.globalDirectory);
  for (const region of files.regions) {
    const cleaned = await cleanFile(engine, region, never);
    if ('failed' in cleaned) throw failed(region.name, cleaned.failed);
  }
  const thawed = await unfreezeCopy(engine, files, never);
  if (!wentWell(thawed)) throw failed(files.regions.map((region) => region.name).join(','), complaintOf(thawed));
  const journals: Record<string, string> = JSON.parse(copy.facts['journals'] ?? '{}');
  for (const region of files.regions) {
    const journal = journals[region.name];
    if (journal === undefined) continue;
    const at = inPlace ? journal : join(dirname(region.file), basename(journal));
    await startJournal(engine, region.name, region.file, at);
    if (process.getuid?.() === 0) await chown(at, Number(copy.facts['ownerUid']), Number(copy.facts['ownerGid']));
  }
}

async function startJournal(gtm: Gtm, region: string, file: string, journal: string): Promise<void> {
  const set = ['set', '-file', file, `-journal=enable,on,before,file=${journal}`];
  const answer = await gtm.mupip(set, { limitMs });
  if (!wentWell(answer) || !has(answer, 'JNLSTATE')) throw failed(region, complaintOf(answer));
}

function failed(region: string, why: string): StillpointError {
  return new StillpointError('command-failed', `region ${region} of the copy cannot be made ready: ${why}`, {
    hint: 'nothing of the original was touched; as root, or where `unshare --user` is allowed, try again',
  });
}
