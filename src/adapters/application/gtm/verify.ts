import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import type { Copy } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import { integArguments } from './commands.ts';
import type { GtmConfig } from './config.ts';
import {
  cleanFile,
  type CopyFiles,
  filesOf,
  isolatedGtm,
  makeGlobalDirectory,
  unfreezeCopy,
  whyNotIsolated,
} from './copy.ts';
import { complaintOf, type Gtm, has, wentWell } from './engine.ts';

const integMs = 24 * 3_600_000;
const routineMs = 3_600_000;
const mostLines = 20;

function finding(severity: Finding['severity'], check: string, said: string): Finding {
  return { severity, check, said };
}

/**
 * Opens the copy where nothing of the original exists, takes the original's marks out of its headers, and checks it. What is wrong
 * with the copy is a finding, and so is a system on which it cannot be opened safely: then nothing is opened.
 */
export async function* verify(
  copy: Copy,
  signal: AbortSignal,
  config: GtmConfig,
  platform: Platform,
): AsyncGenerator<Finding> {
  const files = filesOf(copy);
  const globalDirectory = join(copy.scratch, 'drill.gld');
  const gtm = isolatedGtm(copy, config, platform, globalDirectory);
  const why = await whyNotIsolated(gtm, signal);
  if (why !== undefined) {
    yield finding('error', 'isolation', why);
    return;
  }
  try {
    await makeGlobalDirectory(gtm, files, files.globalDirectory, globalDirectory);
  } catch (cause) {
    yield finding('error', 'global-directory', messageOf(cause));
    return;
  }
  const started = yield* start(gtm, files, signal);
  for (const region of files.regions) yield* integ(gtm, region.name, region.file, config, signal);
  if (!started) return;
  yield* invariant(copy, config, platform, globalDirectory, signal);
}

async function* start(gtm: Gtm, files: CopyFiles, signal: AbortSignal): AsyncGenerator<Finding, boolean> {
  let clean = true;
  for (const region of files.regions) {
    const done = await cleanFile(gtm, region, signal);
    signal.throwIfAborted();
    if ('failed' in done) {
      clean = false;
      yield finding('error', 'start', `${region.name}: ${done.failed}`);
      continue;
    }
    const frozen = done.header.frozen
      ? `the copy carries the freeze of mupip ${done.header.freezer}`
      : 'the copy carries no freeze';
    yield finding('info', 'start', `${region.name}: run down; ${frozen}`);
  }
  if (!clean) return false;
  const thawed = await unfreezeCopy(gtm, files, signal);
  signal.throwIfAborted();
  if (wentWell(thawed)) return true;
  yield finding('error', 'start', `the copy cannot be thawed: ${complaintOf(thawed)}`);
  return false;
}

async function* integ(
  gtm: Gtm,
  region: string,
  file: string,
  config: GtmConfig,
  signal: AbortSignal,
): AsyncGenerator<Finding> {
  const how = config.verify.integ;
  const answer = await gtm.mupip(integArguments(file, how), { limitMs: integMs, signal });
  signal.throwIfAborted();
  if (wentWell(answer) && /No errors detected by (fast )?integ/.test(answer.text)) {
    yield finding('info', 'integ', `${region}: no errors detected by ${how} integ`);
    return;
  }
  const alone = has(answer, 'MUSTANDALONE') ? ' (the file is in use, which says nothing about its state)' : '';
  const lines = answer.messages.map((each) => `%GTM-${each.severity}-${each.mnemonic}, ${each.said}`);
  for (const line of lines.slice(0, mostLines)) yield finding('error', 'integ', `${region}: ${line}${alone}`);
  if (lines.length > mostLines) yield finding('error', 'integ', `${region}: and ${lines.length - mostLines} more`);
  if (lines.length === 0) yield finding('error', 'integ', `${region}: ${complaintOf(answer)}`);
}

/** The application's own question, as the owner of the files: its routines have no business with more rights. */
async function* invariant(
  copy: Copy,
  config: GtmConfig,
  platform: Platform,
  globalDirectory: string,
  signal: AbortSignal,
): AsyncGenerator<Finding> {
  const { routine, expect } = config.verify;
  if (routine === undefined) return;
  const uid = Number(copy.facts['ownerUid'] ?? 0);
  const owner = process.getuid?.() === 0 && uid !== 0 ? { uid, gid: Number(copy.facts['ownerGid'] ?? uid) } : undefined;
  if (owner !== undefined) await chmod(copy.scratch, 0o711);
  const gtm = isolatedGtm(copy, config, platform, globalDirectory, owner);
  const answer = await gtm.routine(routine, { limitMs: routineMs, signal });
  signal.throwIfAborted();
  const said = answer.stdout.trim();
  if (!wentWell(answer)) {
    yield finding('error', 'invariant', `${routine} failed: ${complaintOf(answer)}`);
  } else if (expect !== undefined && !said.includes(expect)) {
    yield finding('error', 'invariant', `${routine} did not print "${expect}" but: ${said.slice(0, 500)}`);
  } else {
    yield finding('info', 'invariant', `${routine}: ${said.slice(0, 500)}`);
  }
}
