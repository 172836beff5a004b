import { StillpointError } from '../model/errors.ts';
import type { JournalFile, ShippedJournal } from '../model/journal.ts';
import type { Finding, Point } from '../model/point.ts';
import { planRecovery, reasonsToKeep } from '../model/recovery.ts';
import type { Repository } from '../repository/api.ts';
import type { Environment, Workload } from './environment.ts';
import { coveredTo, gapFindings, journalsOf, keyOf } from './shipments.ts';

export interface JournalStatus {
  readonly files: readonly (JournalFile & {
    readonly shipped: boolean;
    /** Why it must stay with the engine; empty = it may be purged. */
    readonly keep: readonly string[];
  })[];
  readonly shippedFiles: number;
  readonly shippedBytes: number;
  readonly coversTo: string | null;
  /** Changes since then are with the engine only: what would be lost with its disk. Null if nothing was shipped. */
  readonly lagMs: number | null;
  readonly unshippedBytes: number;
  readonly findings: readonly Finding[];
}

/** What is where, how far behind the repository is, and what may be purged. Changes nothing. */
export async function journalStatus(
  workload: Workload,
  environment: Environment,
  signal: AbortSignal,
): Promise<JournalStatus> {
  const journals = journalsOf(workload);
  const { identity } = await workload.application.locate(signal);
  const shipped = (await environment.catalog()).journals(workload.name).filter((file) => file.identity === identity);
  const there = await journals.list(signal);
  const needed = await journals.needed(signal);
  const inRepository = new Set(shipped.map(keyOf));
  const files = there.map((file) => ({
    ...file,
    shipped: file.end !== undefined && inRepository.has(keyOf(file)),
    keep: reasonsToKeep(file, shipped, needed),
  }));
  const coversTo = coveredTo(shipped);
  return {
    files,
    shippedFiles: shipped.length,
    shippedBytes: shipped.reduce((sum, file) => sum + file.bytes, 0),
    coversTo,
    lagMs: coversTo === null ? null : Math.max(0, environment.clock.wallMs() - Date.parse(coversTo)),
    unshippedBytes: files.filter((file) => !file.shipped).reduce((sum, file) => sum + file.bytes, 0),
    findings: gapFindings(shipped, 'warning'),
  };
}

export interface JournalVerification {
  readonly files: number;
  readonly findings: readonly Finding[];
  /** For each point that can be rolled forward: up to when. */
  readonly points: readonly { readonly point: string; readonly reachesTo: string | null; readonly said: string }[];
}

/** Proves the chain, and that the repository really has every file whole by its structure. Reads no file's content. */
export async function verifyJournals(workload: Workload, environment: Environment): Promise<JournalVerification> {
  journalsOf(workload);
  const catalog = await environment.catalog();
  const repository = await environment.repository();
  const journals = catalog.journals(workload.name);
  const points = catalog.points(workload.name);
  const findings = [...gapFindings(journals, 'error')];
  for (const file of journals) {
    const fault = await missingOf(file, repository);
    if (fault !== undefined) findings.push({ severity: 'error', check: 'journal', said: `${file.name}: ${fault}` });
  }
  return {
    files: journals.length,
    findings,
    points: points.map((point) => ({ point: point.id, ...reachOf(point, points, journals) })),
  };
}

/** What the repository lacks of a file, by its structure; undefined if nothing. */
export async function missingOf(file: ShippedJournal, repository: Repository): Promise<string | undefined> {
  try {
    const seen = await repository.plan(file.snapshot, (original) => (original === file.path ? '/j' : undefined));
    return seen.files === 1 ? seen.missing[0] : `it is not in snapshot ${file.snapshot}`;
  } catch (error) {
    if (error instanceof StillpointError) return error.message;
    throw error;
  }
}

function reachOf(
  point: Point,
  points: readonly Point[],
  journals: readonly ShippedJournal[],
): { readonly reachesTo: string | null; readonly said: string } {
  try {
    const plan = planRecovery({ workload: point.workload, target: { kind: 'latest' }, point, points, journals });
    return { reachesTo: plan.reachesTo, said: `${plan.journals.length} files` };
  } catch (error) {
    if (error instanceof StillpointError) return { reachesTo: null, said: error.message };
    throw error;
  }
}
