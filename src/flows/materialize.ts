import { chown, mkdir, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StillpointError } from '../model/errors.ts';
import type { ShippedJournal } from '../model/journal.ts';
import type { Finding, Point, PointRecord } from '../model/point.ts';
import type { RecoveryPlan } from '../model/recovery.ts';
import type { RequiredPath } from '../model/storage.ts';
import type { Copy } from '../ports/application.ts';
import type { PlacedJournal } from '../ports/journals.ts';
import type { Progress } from '../repository/api.ts';
import { sha256OfFile } from '../platform/files.ts';
import type { Environment, Workload } from './environment.ts';
import { levelsPath, readRecord, recordPath } from './record.ts';
import { journalsOf } from './shipments.ts';

type Place = (original: string) => string | undefined;

/** A point of the plan, with its record proved and its data seen to be there. */
interface PreparedPoint {
  readonly point: Point;
  readonly record: PointRecord;
}

/** A recovery of which everything is known to be there. Nothing is touched yet. */
export interface PreparedRecovery {
  readonly plan: RecoveryPlan;
  readonly base: PreparedPoint;
  readonly levels: readonly PreparedPoint[];
  /** Bytes that will be written, staging included. */
  readonly bytes: number;
  readonly required: readonly RequiredPath[];
}

/** Everything under the required paths; our own record stays in the repository. */
function placer(required: readonly RequiredPath[], into: (original: string) => string): Place {
  const roots = required.flatMap((path) => [path.path, ...path.companions]);
  return (original) => {
    if (original === dirname(recordPath) || original.startsWith(`${dirname(recordPath)}/`)) return undefined;
    const wanted = roots.some(
      (root) =>
        original === root || original.startsWith(`${root}/`) || root.startsWith(`${original === '/' ? '' : original}/`),
    );
    return wanted ? into(original) : undefined;
  };
}

function streamPlacer(directory: string): Place {
  return (original) =>
    original.startsWith(`${levelsPath}/`) ? join(directory, original.slice(levelsPath.length + 1)) : undefined;
}

/** Plans first: every record, level and journal file that is missing is named before anything is touched. Throws `point-incomplete`. */
export async function prepareRecovery(
  plan: RecoveryPlan,
  into: (original: string) => string,
  environment: Environment,
): Promise<PreparedRecovery> {
  if (plan.base.method === 'mirror-split') {
    throw new StillpointError(
      'method-unsupported',
      `${plan.base.id} is a snapshot of a disk, and no files are in the repository`,
      {
        hint: `\`stillpoint restore ${plan.base.id} --target in-place\` gives both servers a disk of it`,
      },
    );
  }
  const repository = await environment.repository();
  const missing: string[] = [];
  let bytes = 0;
  const look = async (what: string, snapshot: string, place: Place, fewest: number): Promise<void> => {
    try {
      const seen = await repository.plan(snapshot, place);
      bytes += seen.bytes;
      missing.push(...seen.missing.map((each) => `${what}: ${each}`));
      if (seen.files < fewest) missing.push(`${what} is not in repository snapshot ${snapshot}`);
    } catch (error) {
      if (!(error instanceof StillpointError)) throw error;
      missing.push(`${what}: ${error.message}`);
    }
  };
  const base = { point: plan.base, record: await readRecord(repository, plan.base.repositorySnapshot) };
  const { required } = base.record.evidence;
  await look(`point ${plan.base.id}`, plan.base.repositorySnapshot, placer(required, into), 0);
  const levels: PreparedPoint[] = [];
  for (const point of plan.levels) {
    levels.push({ point, record: await readRecord(repository, point.repositorySnapshot) });
  }
  refuseMisfits([base, ...levels]);
  for (const { point, record } of [base, ...levels]) {
    const streams = record.evidence.online?.streams.length ?? 0;
    if (streams > 0) await look(`level ${point.id}`, point.repositorySnapshot, streamPlacer('/staging'), streams);
  }
  for (const file of plan.journals) {
    await look(
      `journal file ${file.name}`,
      file.snapshot,
      (original) => (original === file.path ? '/j' : undefined),
      1,
    );
  }
  if (missing.length > 0) throw incomplete(plan, missing);
  return { plan, base, levels, bytes, required };
}

/** Held against each other once more: the records are signed, and what the catalog says of a point's parent is not. */
function refuseMisfits(chain: readonly PreparedPoint[]): void {
  for (const [index, { point, record }] of chain.slice(1).entries()) {
    const from = record.evidence.online?.from ?? {};
    const below = chain[index]?.record.evidence.online?.to ?? {};
    const parts = new Set([...Object.keys(from), ...Object.keys(below)]);
    const broken = [...parts].find((part) => from[part] !== below[part]);
    if (parts.size > 0 && broken === undefined) continue;
    throw new StillpointError(
      'level-misfit',
      `point ${point.id} does not fit on point ${chain[index]?.point.id ?? ''}${broken === undefined ? '' : `: ${broken} begins at ${from[broken] ?? 'nothing'} and ends below at ${below[broken] ?? 'nothing'}`}`,
      { hint: `choose another point with \`stillpoint points ${point.workload}\`` },
    );
  }
}

function incomplete(plan: RecoveryPlan, missing: readonly string[]): StillpointError {
  const some = missing.slice(0, 5).join('; ');
  return new StillpointError(
    'point-incomplete',
    `point ${plan.point.id} cannot be restored whole: ${some}${missing.length > 5 ? ` and ${missing.length - 5} more` : ''}`,
    {
      hint: 'run `stillpoint repo check --read-data` to see which points are hit, and choose another with `stillpoint points`',
      details: { missing },
    },
  );
}

export function copyOf(record: PointRecord, into: (original: string) => string, scratch: string): Copy {
  return { at: into, required: record.evidence.required, facts: record.evidence.engine.facts, scratch };
}

export interface Materialized {
  readonly files: number;
  readonly bytes: number;
  readonly findings: readonly Finding[];
}

/**
 * Writes the base, puts the levels on it in order, and rolls the journals forward. The engine must adopt the copy after that. `staging` is
 * a directory that does not exist yet; it is removed again.
 */
export async function materialize(
  prepared: PreparedRecovery,
  workload: Workload,
  environment: Environment,
  where: {
    readonly into: (original: string) => string;
    readonly scratch: string;
    readonly staging: string;
    readonly signal: AbortSignal;
  },
): Promise<Materialized> {
  const { into, scratch, staging, signal } = where;
  const { base, plan } = prepared;
  const repository = await environment.repository();
  const onProgress = (progress: Progress): void => environment.reporter.progress('restore', progress);
  const copy = copyOf(base.record, into, scratch);
  for (const path of prepared.required) await mkdir(dirname(into(path.path)), { recursive: true, mode: 0o711 });
  const written = await repository.restore({
    snapshot: base.point.repositorySnapshot,
    place: placer(prepared.required, into),
    onProgress,
    signal,
  });
  let { bytes } = written;
  const findings: Finding[] = [];
  try {
    for (const level of [base, ...prepared.levels]) {
      bytes += await applyLevel(level, copy, join(staging, level.point.id), workload, environment, signal);
    }
    if (plan.journals.length > 0) {
      const placed = await placeJournals(plan.journals, copy, join(staging, 'journals'), environment, signal);
      bytes += plan.journals.reduce((sum, file) => sum + file.bytes, 0);
      findings.push(...(await journalsOf(workload).rollForward(copy, placed, plan.target, signal)));
    }
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return { files: written.files, bytes, findings };
}

async function applyLevel(
  { point, record }: PreparedPoint,
  copy: Copy,
  directory: string,
  workload: Workload,
  environment: Environment,
  signal: AbortSignal,
): Promise<number> {
  const online = record.evidence.online;
  if (online === undefined || online.streams.length === 0) return 0;
  const ability = workload.application.online;
  if (ability === undefined) {
    throw new StillpointError(
      'method-unsupported',
      `point ${point.id} is of the engine's own backup, which ${workload.application.engine} as configured cannot read`,
      { hint: `restore it by the application kind ${record.evidence.engine.name}` },
    );
  }
  const repository = await environment.repository();
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const { bytes } = await repository.restore({
    snapshot: point.repositorySnapshot,
    place: streamPlacer(directory),
    onProgress: (progress) => environment.reporter.progress(`level ${point.level}`, progress),
    signal,
  });
  await giveTo(copy, directory);
  const names = (await readdir(directory)).toSorted();
  const streams = new Map(names.map((name) => [name.replace(/^\d+-/, ''), join(directory, name)]));
  const level = online.dirty ? 'incremental' : online.made;
  const dirtySince = online.dirty ? (online.onTopOf ?? undefined) : undefined;
  await ability.apply({ level, streams, ...(dirtySince === undefined ? {} : { dirtySince }) }, copy, signal);
  await rm(directory, { recursive: true, force: true });
  return bytes;
}

/** The engine's own user must be able to read what it is to apply; nobody else. */
async function giveTo(copy: Copy, directory: string): Promise<void> {
  const uid = Number(copy.facts['ownerUid'] ?? 0);
  const gid = Number(copy.facts['ownerGid'] ?? uid);
  if (process.getuid?.() !== 0 || uid === 0) return;
  const names = await readdir(directory, { recursive: true });
  for (const at of [dirname(directory), directory, ...names.map((name) => join(directory, name))])
    await chown(at, uid, gid);
}

async function placeJournals(
  files: readonly ShippedJournal[],
  copy: Copy,
  directory: string,
  environment: Environment,
  signal: AbortSignal,
): Promise<readonly PlacedJournal[]> {
  const repository = await environment.repository();
  const placed: PlacedJournal[] = [];
  for (const [index, file] of files.entries()) {
    // A directory each: two parts may have files of one name.
    const at = join(directory, String(index).padStart(6, '0'), file.name);
    await mkdir(dirname(at), { recursive: true, mode: 0o700 });
    await repository.restore({
      snapshot: file.snapshot,
      place: (original) => (original === file.path ? at : undefined),
      signal,
    });
    if ((await sha256OfFile(at)) !== file.sha256) {
      throw new StillpointError('repository-damaged', `journal file ${file.name} is not what was shipped`, {
        hint: 'run `stillpoint repo check --read-data`',
      });
    }
    placed.push({ file, at });
    environment.reporter.progress('journals', { files: index + 1, bytesDone: index + 1, bytesTotal: files.length });
  }
  await giveTo(copy, directory);
  return placed;
}
