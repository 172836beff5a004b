import { rename, rm, readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { openCatalog, setCatalogAside, type Catalog } from '../catalog/catalog.ts';
import { StillpointError, codeOf, messageOf } from '../model/errors.ts';
import type { HoldToken } from '../model/hold.ts';
import type { Finding, Point } from '../model/point.ts';
import { GuardClient, type GuardStatus, type HoldReport } from '../guard/protocol.ts';
import { isAlive, killExactly, processesIn, type ProcessIdentity } from '../platform/process.ts';
import type { Repository } from '../repository/api.ts';
import { labelOf, lockWorkload, type Environment, type Workload } from './environment.ts';
import { locateGroup } from './group.ts';
import { continueJournal, isOver, readJournals, setAside, type RunHistory, type Trace } from './journal.ts';
import { unproven } from './hold.ts';
import { pointFrom, pointTag, readRecord } from './record.ts';

export interface Recovered {
  /** Runs that were finished or undone now. */
  readonly runs: readonly {
    readonly runId: string;
    readonly workload: string;
    readonly flow: string;
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

interface RunHead {
  readonly runId: string;
  readonly workload: string;
  readonly flow: string;
  readonly process: ProcessIdentity;
}

function headOf(history: RunHistory): RunHead | undefined {
  const first = history.records[0];
  return first?.type === 'run' ? first : undefined;
}

function tracesOf(history: RunHistory): readonly Trace[] {
  return history.records.flatMap((record) => (record.type === 'intent' ? record.traces : []));
}

/** Asks a guard over its socket. Undefined when nobody listens there or it does not answer in time. */
export async function askGuard(socket: string, environment: Environment): Promise<GuardStatus | undefined> {
  if (!existsSync(socket)) return undefined;
  try {
    const client = await GuardClient.connect(socket);
    try {
      return await withTime(client.call('status'), 2_000, environment);
    } finally {
      client.close();
    }
  } catch {
    // Refused, reset or silent: there is no guard that could answer.
    return undefined;
  }
}

async function withTime<T>(work: Promise<T>, ms: number, environment: Environment): Promise<T> {
  let cancel = (): void => undefined;
  const late = new Promise<never>((_resolve, reject) => {
    cancel = environment.clock.after(ms, () => reject(new StillpointError('guard-lost', 'the guard does not answer')));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel();
  }
}

/** Tells a guard to thaw and end. Undefined when it could not be told. */
export async function thawByGuard(
  socket: string,
  environment: Environment,
  waitMs: number,
): Promise<HoldReport | undefined> {
  if (!existsSync(socket)) return undefined;
  try {
    const client = await GuardClient.connect(socket);
    try {
      const report = await withTime(client.call('thaw'), waitMs, environment);
      await withTime(client.call('release'), waitMs, environment).catch(() => undefined);
      return report;
    } finally {
      client.close();
    }
  } catch {
    // Whoever calls asks the engine itself next.
    return undefined;
  }
}

/** Runs whose process is gone and that nobody ended; holds left on purpose, with their guard alive, are not among them. */
async function deadRuns(environment: Environment): Promise<{
  readonly dead: readonly RunHistory[];
  readonly left: readonly RunHistory[];
  readonly damaged: readonly StillpointError[];
}> {
  const { runs, damaged } = await readJournals(environment.stateDirectory);
  const dead: RunHistory[] = [];
  const left: RunHistory[] = [];
  for (const history of runs) {
    const head = headOf(history);
    if (head === undefined || isOver(history) || isAlive(head.process)) continue;
    const guards = tracesOf(history).flatMap((trace) => (trace.kind === 'guard' ? [trace.process] : []));
    if (head.flow === 'freeze' && guards.some((guard) => isAlive(guard))) left.push(history);
    else dead.push(history);
  }
  return { dead, left, damaged };
}

/** Holds made by `stillpoint freeze` that are still in force, newest last. */
export async function leftHolds(
  environment: Environment,
  workload: string,
): Promise<
  readonly {
    readonly token: HoldToken;
    readonly socket: string;
    readonly resultFile: string;
    readonly history: RunHistory;
  }[]
> {
  const { runs } = await readJournals(environment.stateDirectory);
  return runs.flatMap((history) => {
    const head = headOf(history);
    if (head === undefined || head.workload !== workload || head.flow !== 'freeze' || isOver(history)) return [];
    return tracesOf(history).flatMap((trace) => (trace.kind === 'hold' ? [{ ...trace, history }] : []));
  });
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

/** Takes away everything that one dead run left, the hold first. Idempotent. */
async function undoRun(
  history: RunHistory,
  workload: Workload | undefined,
  environment: Environment,
): Promise<{ readonly said: readonly string[]; readonly failures: readonly StillpointError[] }> {
  const said: string[] = [];
  const failures: StillpointError[] = [];
  const traces = tracesOf(history).toReversed();
  const ordered = [
    ...traces.filter((trace) => trace.kind === 'hold'),
    ...traces.filter((trace) => trace.kind !== 'hold'),
  ];
  for (const trace of ordered) {
    try {
      const done = await undoTrace(trace, history, workload, environment);
      if (done !== undefined && !said.includes(done)) said.push(done);
    } catch (error) {
      failures.push(
        error instanceof StillpointError
          ? error
          : new StillpointError('undo-failed', messageOf(error), {
              hint: 'mend the cause and run `stillpoint recover` again',
              cause: error,
            }),
      );
    }
  }
  if (failures.length === 0) {
    const journal = await continueJournal(history, environment.stateDirectory);
    try {
      await journal.append({ type: 'end', outcome: 'recovered', at: environment.clock.now().wall });
    } finally {
      await journal.close();
    }
  }
  return { said, failures };
}

async function undoTrace(
  trace: Trace,
  history: RunHistory,
  workload: Workload | undefined,
  environment: Environment,
): Promise<string | undefined> {
  switch (trace.kind) {
    case 'hold':
      return await undoHold(trace, history, workload, environment);
    case 'guard':
      // Its hold is thawed by now; what is left of it only holds a session.
      return killExactly(trace.process, 'SIGKILL') ? `guard ${trace.process.pid} ended` : undefined;
    case 'snapshot': {
      const provider = workload?.providers.find((each) => each.kind === trace.ref.provider);
      if (provider === undefined) {
        throw new StillpointError(
          'undo-failed',
          `snapshot ${trace.ref.at} of provider ${trace.ref.provider} belongs to no configured workload`,
          {
            hint: 'put the workload back into the configuration, or remove the snapshot by hand',
          },
        );
      }
      await provider.delete(trace.ref);
      return `snapshot ${trace.ref.at} is gone`;
    }
    case 'directory':
      return await removeDirectory(trace.path, history);
    case 'renamed':
      return await undoRename(trace);
  }
}

/** A dead drill may have left its engine running on the copy; whatever works inside that directory is the drill's own. */
async function removeDirectory(path: string, history: RunHistory): Promise<string | undefined> {
  const running = headOf(history)?.flow === 'drill' ? processesIn(path) : [];
  for (const each of running) killExactly(each, 'SIGKILL');
  await rm(path, { recursive: true, force: true });
  return running.length === 0 ? undefined : `${running.length} processes of the drill were ended`;
}

async function undoHold(
  trace: Extract<Trace, { kind: 'hold' }>,
  history: RunHistory,
  workload: Workload | undefined,
  environment: Environment,
): Promise<string> {
  if (workload === undefined) {
    throw new StillpointError(
      'thaw-unproven',
      `the dead run ${trace.token.runId} held ${trace.token.workload}, which the configuration does not know`,
      {
        hint: 'put the workload back into the configuration and run `stillpoint recover` again',
      },
    );
  }
  const byGuard = await thawByGuard(trace.socket, environment, 3_000);
  if (byGuard?.answer.thawed !== true) {
    // Nobody listens, or a stopped guard: end its processes, then ask the engine.
    for (const each of tracesOf(history)) if (each.kind === 'guard') killExactly(each.process, 'SIGKILL');
    const answer = await workload.application.thaw(trace.token);
    if (!answer.thawed) throw unproven(trace.token, answer.said);
  }
  const status = await workload.application.status(trace.token);
  if (status.state !== 'thawed') throw unproven(trace.token, status.said);
  await rm(trace.socket, { force: true });
  await rm(trace.resultFile, { force: true });
  return `the hold on ${trace.token.workload} is over: ${status.said}`;
}

/** Puts back what an in-place restore had moved aside, unless the new place was finished. */
async function undoRename(trace: Extract<Trace, { kind: 'renamed' }>): Promise<string | undefined> {
  if (!existsSync(trace.to)) return undefined;
  if (existsSync(trace.from)) await rm(trace.from, { recursive: true, force: true });
  await rename(trace.to, trace.from);
  return `${trace.from} is back in its place`;
}

/** Adds points that the repository has and the catalog does not. Records that cannot be trusted are findings. */
export async function syncCatalog(
  repository: Repository,
  catalog: Catalog,
): Promise<{ readonly found: readonly Point[]; readonly findings: readonly Finding[] }> {
  const known = new Set(catalog.points().map((point) => point.repositorySnapshot));
  const found: Point[] = [];
  const findings: Finding[] = [];
  for (const snapshot of await repository.snapshots()) {
    if (!snapshot.tags.includes(pointTag) || known.has(snapshot.id)) continue;
    try {
      const { point } = await readRecord(repository, snapshot.id);
      const whole = pointFrom(point, snapshot);
      catalog.addPoint(whole);
      found.push(whole);
    } catch (error) {
      findings.push({ severity: 'error', check: 'catalog', said: messageOf(error) });
    }
  }
  return { found, findings };
}

export interface RecoverRequest {
  /** A damaged journal to set aside, after a person has looked at the engine. */
  readonly discard: string | undefined;
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
  const runs: { runId: string; workload: string; flow: string; said: readonly string[] }[] = [];
  for (const history of dead) {
    const head = headOf(history);
    if (head === undefined) continue;
    const workload = workloads.find((each) => each.name === head.workload);
    const result = await undoRun(history, workload, environment);
    failures.push(...result.failures);
    runs.push({ runId: head.runId, workload: head.workload, flow: head.flow, said: result.said });
  }
  let snapshotsRemoved = 0;
  for (const workload of workloads)
    snapshotsRemoved += await sweepSnapshots(workload, environment, request.signal, findings);
  await mendCatalog(environment, findings);
  const { pointsFound, locksRemoved } = await recoverRepository(environment, findings);
  return { runs, pointsFound, snapshotsRemoved, locksRemoved, findings, failures };
}

/** Snapshots with our tag that no live run owns. Skipped while the workload is at work or its engine does not answer. */
async function sweepSnapshots(
  workload: Workload,
  environment: Environment,
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
    const group = await locateGroup(await workload.application.locate(signal), workload.providers, signal);
    let removed = 0;
    for (const part of group.parts) {
      for await (const ref of part.provider.list(part.volumes)) {
        if (alive.has(ref.label)) continue;
        await part.provider.delete(ref);
        removed++;
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

/** The result that a guard left when its hold was over. */
export async function leftResult(resultFile: string): Promise<HoldReport | undefined> {
  try {
    const status = JSON.parse(await readFile(resultFile, 'utf8')) as { readonly report: HoldReport | null };
    return status.report ?? undefined;
  } catch {
    // Not written (yet, or for want of space): the engine is asked instead.
    return undefined;
  }
}
