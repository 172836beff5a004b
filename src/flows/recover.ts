import type { HostGroup } from './barrier-group.ts';
import { isGroupRun, undoGroupRun } from './barrier-recover.ts';
import { labelsOfBases } from './changed-blocks.ts';
import { whereverHeld } from './cluster.ts';
import { deadRuns, headOf, tracesOf } from './dead-runs.ts';
import { undoRun } from './undo-run.ts';
import { syncCatalog } from './sync-catalog.ts';
import { openCatalog, setCatalogAside } from '../catalog/catalog.ts';
import { StillpointError, codeOf, messageOf } from '../model/errors.ts';
import type { Finding } from '../model/point.ts';
import { labelOf, lockWorkload, type Environment, type Workload } from './environment.ts';
import { locateGroup } from './group.ts';
import { isOver, knownRuns, readJournals, setAside, type RunHistory } from './journal.ts';

export interface Recovered {
  /** Runs that were finished or undone now. */
  readonly runs: readonly {
    readonly runId: string;
    readonly workload: string;
    readonly flow: string;
    /** `open`: neither is done yet, as a failure tells. */
    readonly how: 'finished' | 'undone' | 'open';
    readonly said: readonly string[];
  }[];
  /** Points found in the repository that the catalog did not know. */
  readonly pointsFound: readonly string[];
  readonly snapshotsRemoved: number;
  readonly locksRemoved: number;
  readonly findings: readonly Finding[];
  /** What still needs a person; not empty means exit code 6. */
  readonly failures: readonly StillpointError[];
}

/**
 * Before a run begins: what a dead run of this workload left is taken away, and a hold left by hand refuses the run. Throws
 * `recover-first` when it cannot be taken away.
 */
export async function refuseLeftHold(workload: Workload, environment: Environment): Promise<void> {
  const { dead, left, damaged } = await deadRuns(environment);
  const broken = damaged[0];
  if (broken !== undefined) throw broken;
  if (left.some((history) => headOf(history)?.workload === workload.name)) {
    throw new StillpointError('workload-busy', `a hold on ${workload.name} made by \`stillpoint freeze\` is in force`, {
      hint: `end it with \`stillpoint thaw ${workload.name}\``,
    });
  }
  for (const history of dead) {
    if (headOf(history)?.workload !== workload.name) continue;
    const { failures } = await undoRun(history, workload, environment);
    const failure = failures[0];
    if (failure !== undefined) {
      throw new StillpointError('recover-first', `an earlier run left something behind: ${failure.message}`, {
        hint: failure.hint ?? 'run `stillpoint recover`',
        cause: failure,
      });
    }
  }
}

export interface RecoverRequest {
  /** A damaged journal to set aside, after a person has looked at the engine. */
  readonly discard: string | undefined;
  /** Workloads on several hosts: a dead run of one is recovered on every host of it. */
  readonly groups?: ReadonlyMap<string, HostGroup>;
  readonly signal: AbortSignal;
}

/** Finishes or undoes what dead runs left. Safe to run at boot, twice, and beside live runs, which it leaves alone. */
export async function recover(
  workloads: readonly Workload[],
  environment: Environment,
  request: RecoverRequest,
): Promise<Recovered> {
  const findings: Finding[] = [];
  const failures: StillpointError[] = [];
  if (request.discard !== undefined) {
    findings.push({ severity: 'warning', check: 'journal', said: `set aside as ${await setAside(request.discard)}` });
  }
  const { dead, damaged } = await deadRuns(environment);
  failures.push(...damaged);
  const runs: Recovered['runs'][number][] = [];
  // Runs of groups last: their parts on this machine are recovered by then.
  for (const history of [...dead].sort((a, b) => Number(isGroupRun(a)) - Number(isGroupRun(b)))) {
    const head = headOf(history);
    if (head === undefined) continue;
    const workload = workloads.find((each) => each.name === head.workload);
    const lock = await aloneAt(history, head.workload, environment);
    if (lock === 'busy') {
      const said = `another process is at work on ${head.workload}, and the dead run ${head.runId} is left to it`;
      findings.push({ severity: 'info', check: 'journal', said });
      continue;
    }
    try {
      const result = isGroupRun(history)
        ? await undoGroupRun(history, request.groups?.get(head.workload), environment, request.signal)
        : await undoRun(history, workload, environment);
      failures.push(...result.failures);
      runs.push({ runId: head.runId, workload: head.workload, flow: head.flow, how: result.how, said: result.said });
    } finally {
      lock?.release();
    }
  }
  await mendCatalog(environment, findings);
  // Before the sweep: a point that is found here is the newest, and an older one's snapshots are no base any more.
  const { pointsFound, locksRemoved } = await recoverRepository(environment, findings);
  const bases = await labelsOfBases(workloads, environment);
  let snapshotsRemoved = 0;
  // Of a mirror that is split the snapshots go with their runs; its files are on servers that cannot be asked from here.
  const swept = workloads.filter(({ method }) => method !== 'mirror-split');
  for (const workload of swept.flatMap(whereverHeld))
    snapshotsRemoved += await sweepSnapshots(workload, environment, bases, request.signal, findings);
  return { runs, pointsFound, snapshotsRemoved, locksRemoved, findings, failures };
}

/** Two at once would tell the servers of one cluster to boot and to come back twice. Other undoing may be done by several. */
async function aloneAt(
  history: RunHistory,
  workload: string,
  environment: Environment,
): Promise<{ release(): void } | 'busy' | undefined> {
  if (!tracesOf(history).some(({ kind }) => kind === 'split' || kind === 'forgotten')) return undefined;
  try {
    return await lockWorkload(environment, workload);
  } catch (error) {
    if (codeOf(error) === 'workload-busy') return 'busy';
    throw error;
  }
}

/** Snapshots with our tag that no live run owns. Skipped while the workload is at work or its engine does not answer. */
async function sweepSnapshots(
  workload: Workload,
  environment: Environment,
  bases: ReadonlySet<string>,
  signal: AbortSignal,
  findings: Finding[],
): Promise<number> {
  let lock: { release(): void };
  try {
    lock = await lockWorkload(environment, workload.name);
  } catch (error) {
    if (codeOf(error) === 'workload-busy') return 0;
    throw error;
  }
  try {
    const { runs } = await readJournals(environment.stateDirectory);
    const alive = new Set(
      runs.flatMap((history) => {
        const head = headOf(history);
        return head !== undefined && !isOver(history) ? [labelOf(head.runId)] : [];
      }),
    );
    const ours = new Set([...(await knownRuns(environment.stateDirectory))].map(labelOf));
    const group = await locateGroup(await workload.application.locate(signal), workload, signal);
    let removed = 0;
    for (const part of group.parts) {
      for await (const ref of part.provider.list(part.volumes)) {
        if (alive.has(ref.label) || bases.has(ref.label)) continue;
        if (ours.has(ref.label)) {
          await part.provider.delete(ref);
          removed++;
        } else {
          // Another installation may be at work on the same volume, with a state directory of its own.
          const said = `${ref.at} was made by a run that is not known here; remove it by hand if nobody else uses it`;
          findings.push({ severity: 'warning', check: 'snapshots', said });
        }
      }
    }
    return removed;
  } catch (error) {
    findings.push({
      severity: 'warning',
      check: 'snapshots',
      said: `snapshots of ${workload.name} could not be looked through: ${messageOf(error)}`,
    });
    return 0;
  } finally {
    lock.release();
  }
}

async function mendCatalog(environment: Environment, findings: Finding[]): Promise<void> {
  try {
    (await openCatalog(environment.stateDirectory)).close();
  } catch (error) {
    if (codeOf(error) !== 'catalog-damaged') throw error;
    const aside = await setCatalogAside(environment.stateDirectory, String(environment.clock.wallMs()));
    findings.push({
      severity: 'warning',
      check: 'catalog',
      said: `the damaged catalog was set aside as ${aside}; drills and hold times in it are not rebuilt`,
    });
  }
}

async function recoverRepository(
  environment: Environment,
  findings: Finding[],
): Promise<{ pointsFound: readonly string[]; locksRemoved: number }> {
  try {
    const repository = await environment.repository();
    const locksRemoved = await repository.removeStaleLocks();
    const synced = await syncCatalog(repository, await environment.catalog());
    findings.push(...synced.findings);
    return { pointsFound: synced.found.map((point) => point.id), locksRemoved };
  } catch (error) {
    if (!(error instanceof StillpointError)) throw error;
    findings.push({
      severity: 'warning',
      check: 'repository',
      said: `${error.message}; points in it could not be compared with the catalog`,
    });
    return { pointsFound: [], locksRemoved: 0 };
  }
}
