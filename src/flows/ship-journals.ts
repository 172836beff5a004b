import { stat } from 'node:fs/promises';
import { StillpointError, codeOf, messageOf } from '../model/errors.ts';
import type { JournalFile, ShippedJournal } from '../model/journal.ts';
import type { Finding, Outcome } from '../model/point.ts';
import { sha256OfFile } from '../platform/files.ts';
import type { Journals } from '../ports/journals.ts';
import type { TreeEntry } from '../repository/api.ts';
import { lockWorkload, newRunId, type Environment, type Workload } from './environment.ts';
import { coveredTo, encodeShipment, gapFindings, journalsOf, journalTag, keyOf, shipmentPath } from './shipments.ts';

export interface ShipResult {
  readonly outcome: Outcome;
  readonly shipped: readonly ShippedJournal[];
  readonly bytes: number;
  /** Up to when the journal is in the repository now, in the part that is farthest behind; null if nothing is. */
  readonly coversTo: string | null;
  readonly findings: readonly Finding[];
}

/**
 * Ends the engine's current journal files and copies everything that is not in the repository yet. `switch: 'no'` ships only what the
 * engine has ended by itself. Safe beside a backup; a second shipment of the same workload is refused with `workload-busy`.
 */
export async function shipJournals(
  workload: Workload,
  environment: Environment,
  request: { readonly switch: 'yes' | 'no'; readonly signal: AbortSignal },
): Promise<ShipResult> {
  const journals = journalsOf(workload);
  const lock = await lockWorkload(environment, `${workload.name}.journal`);
  try {
    const { identity } = await workload.application.locate(request.signal);
    const catalog = await environment.catalog();
    const known = catalog.journals(workload.name).filter((file) => file.identity === identity);
    // Before the switch: what was written until now is in a file that the switch ends.
    const askedAt = environment.clock.now().wall;
    if (request.switch === 'yes') await journals.switch(request.signal);
    const there = await journals.list(request.signal);
    const already = new Set(known.map(keyOf));
    const closed = there.filter((file) => file.end !== undefined && !already.has(keyOf(file)));
    const coverage = coverageOf(there, request.switch === 'yes' ? askedAt : undefined);
    const shipped = await save(workload, environment, identity, closed, coverage, request.signal);
    catalog.addJournals(shipped);
    const all = [...known, ...shipped];
    const findings = gapFindings(all, 'warning');
    for (const finding of findings) environment.reporter.finding(finding);
    return {
      outcome: findings.length === 0 ? 'complete' : 'degraded',
      shipped,
      bytes: shipped.reduce((sum, file) => sum + file.bytes, 0),
      coversTo: coveredTo(all),
      findings,
    };
  } finally {
    lock.release();
  }
}

/**
 * Up to when each closed file's part is complete with it: the beginning of its successor, or the time before the switch that ended it.
 * Exported for its unit test.
 */
export function coverageOf(
  there: readonly JournalFile[],
  switchedAt: string | undefined,
): (file: JournalFile) => string {
  return (file) => {
    // Of one position there may be several files without a change; the engine lists the oldest first.
    const next = there
      .slice(there.indexOf(file) + 1)
      .find((each) => each.part === file.part && each.begin === file.end);
    if (next === undefined) return file.endedAt ?? file.beganAt;
    // Nothing that came before our switch is missing, if it was our switch that began the open successor: an engine may leave a part as it is.
    if (next.end === undefined && switchedAt !== undefined && beganBy(next, switchedAt))
      return later(switchedAt, file.endedAt ?? file.beganAt);
    return next.beganAt;
  };
}

/** Engines' own times may be exact to the second only. */
function beganBy(file: JournalFile, switchedAt: string): boolean {
  return Date.parse(file.beganAt) >= Math.floor(Date.parse(switchedAt) / 1_000) * 1_000;
}

function later(a: string, b: string): string {
  return Date.parse(a) >= Date.parse(b) ? a : b;
}

async function save(
  workload: Workload,
  environment: Environment,
  identity: string,
  files: readonly JournalFile[],
  coverage: (file: JournalFile) => string,
  signal: AbortSignal,
): Promise<readonly ShippedJournal[]> {
  if (files.length === 0) return [];
  const repository = await environment.repository();
  const listed: Omit<ShippedJournal, 'snapshot'>[] = [];
  for (const file of files) {
    const { end } = file;
    if (end === undefined) continue;
    const endedAt = file.endedAt ?? coverage(file);
    const { bytes, hash } = await measure(file);
    listed.push({
      ...file,
      end,
      endedAt,
      bytes,
      workload: workload.name,
      identity,
      sha256: hash,
      coversTo: coverage(file),
    });
  }
  const entries: TreeEntry[] = listed.map((file) => ({ kind: 'path', at: file.path, from: file.path }));
  entries.push({
    kind: 'bytes',
    at: shipmentPath,
    data: encodeShipment(listed, repository),
    mode: 0o600,
    mtimeNs: BigInt(environment.clock.wallMs()) * 1_000_000n,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
  });
  const report = await repository.save({
    entries,
    paths: listed.map((file) => file.path),
    tags: [journalTag, `workload:${workload.name}`, `shipment:${newRunId(environment.clock)}`],
    hostname: environment.hostname,
    time: environment.clock.now().wall,
    signal,
  });
  return listed.map((file) => ({ ...file, snapshot: report.snapshot }));
}

export async function measure(file: JournalFile): Promise<{ readonly bytes: number; readonly hash: string }> {
  try {
    return { bytes: (await stat(file.path)).size, hash: await sha256OfFile(file.path) };
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    throw new StillpointError('journal-missing', `journal file ${file.path} cannot be read: ${messageOf(error)}`, {
      hint: 'give this user the right to read it; if the engine purged it meanwhile, ship again and more often',
      cause: error,
    });
  }
}

/**
 * Ships again and again until `signal` ends it: at the latest every `everyMs`, and as soon as the files that the engine still writes have
 * grown to `bytes`. A shipment that fails is reported and tried again; it never ends the loop.
 */
export async function watchJournals(
  workload: Workload,
  environment: Environment,
  request: {
    readonly everyMs: number;
    readonly bytes: number;
    readonly signal: AbortSignal;
    readonly onShipped: (result: ShipResult) => void;
  },
): Promise<void> {
  const journals = journalsOf(workload);
  const { clock } = environment;
  while (!request.signal.aborted) {
    const beganMs = clock.monoMs();
    try {
      request.onShipped(await shipJournals(workload, environment, { switch: 'yes', signal: request.signal }));
    } catch (error) {
      if (request.signal.aborted) return;
      environment.reporter.finding({ severity: 'error', check: 'journal', said: `not shipped: ${messageOf(error)}` });
    }
    while (!request.signal.aborted && clock.monoMs() - beganMs < request.everyMs) {
      await clock.sleep(Math.min(pollMs, request.everyMs), request.signal).catch(() => undefined);
      if (await hasGrown(journals, request.bytes, request.signal)) break;
    }
  }
}

const pollMs = 5_000;

async function hasGrown(journals: Journals, bytes: number, signal: AbortSignal): Promise<boolean> {
  try {
    const open = (await journals.list(signal)).filter((file) => file.end === undefined);
    return open.reduce((sum, file) => sum + file.bytes, 0) >= bytes;
  } catch (error) {
    // The next shipment tells what is wrong; not being able to look is no reason to ship.
    if (error instanceof StillpointError || codeOf(error) !== undefined) return false;
    throw error;
  }
}
