import { lstat, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { StillpointError, messageOf } from '../model/errors.ts';
import type { Evidence, FlightEvent, GroupCut, HoldEvidence } from '../model/evidence.ts';
import type { FreezeAnswer, MemberObservation } from '../model/hold.ts';
import { judge } from '../model/judge.ts';
import type { Finding, Level, Outcome, Point, Verdict } from '../model/point.ts';
import type { Moment } from '../model/time.ts';
import { bootId } from '../platform/clock.ts';
import type { Canary, CollectedFile, Located } from '../ports/application.ts';
import type { OpenSnapshot } from '../ports/snapshot-provider.ts';
import type { TreeEntry } from '../repository/api.ts';
import { budgetOf, cutGroup, locateGroup, refsOf, type Group } from './group.ts';
import { labelOf, lockWorkload, newRunId, runDirectory, Slot, type Environment, type Workload } from './environment.ts';
import type { Step } from './flow.ts';
import { Hold } from './hold.ts';
import { chooseParent, predict, type ParentChoice, type Forecast } from './predict.ts';
import { describePoint, encodeRecord, pointFrom, pointTag, recordPath } from './record.ts';
import { refuseLeftHold } from './recover.ts';
import { runJournaled } from './run.ts';

export interface BackupRequest {
  /** Undefined: incremental where a parent exists, else full. */
  readonly level: Level | undefined;
  readonly signal: AbortSignal;
}

export interface BackupResult {
  readonly outcome: Outcome;
  readonly point: Point;
  readonly evidence: Evidence;
  readonly findings: readonly Finding[];
}

/** Short enough to have a number near the cut, long enough not to be a load. */
const canaryEveryMs = 25;

/** What a backup knows of itself, filled step by step. */
class Backup {
  readonly runId: string;
  readonly workload: Workload;
  readonly environment: Environment;
  readonly request: BackupRequest;
  readonly located = new Slot<Located>('located');
  readonly group = new Slot<Group>('group');
  readonly parent = new Slot<ParentChoice>('parent');
  readonly forecast = new Slot<Forecast>('forecast');
  readonly hold = new Slot<Hold>('hold');
  readonly frozen = new Slot<{ readonly called: Moment; readonly answer: FreezeAnswer }>('frozen');
  readonly asked = new Slot<FreezeAnswer>('asked');
  readonly cut = new Slot<GroupCut>('cut');
  readonly canary = new Slot<Canary>('canary');
  /** Before the copy, without the last look at the member. */
  readonly verdict = new Slot<Verdict>('verdict');
  readonly collected = new Slot<readonly CollectedFile[]>('collected');
  readonly saved = new Slot<{ readonly point: Point; readonly evidence: Evidence }>('saved');
  readonly members: { readonly when: 'chosen' | 'frozen' | 'cut' | 'record'; readonly seen: MemberObservation }[] = [];
  readonly events: FlightEvent[] = [];
  readonly findings: Finding[] = [];
  readonly canaryStop = new AbortController();
  canaryLoop: Promise<void> = Promise.resolve();
  canaryAcknowledged: number | undefined;
  copyMs = 0;

  constructor(workload: Workload, environment: Environment, request: BackupRequest) {
    this.runId = newRunId(environment.clock);
    this.workload = workload;
    this.environment = environment;
    this.request = request;
  }

  get label(): string {
    return labelOf(this.runId);
  }

  event(what: string, at: Moment = this.environment.clock.now(), by: FlightEvent['by'] = 'flow'): void {
    this.events.push({ what, by, at });
  }

  /** Null where the configuration asks for a cut without a hold. */
  get holds(): boolean {
    return this.located.get().holdKind !== 'none';
  }

  get accepted(): Verdict {
    return this.holds ? 'application-consistent' : 'crash-consistent';
  }

  evidence(): Evidence {
    const located = this.located.get();
    const group = this.group.get();
    return {
      schema: 'stillpoint.evidence/1',
      runId: this.runId,
      workload: this.workload.name,
      engine: { name: this.workload.application.engine, version: located.version, facts: located.facts },
      bootId: bootId(),
      required: located.paths,
      volumes: group.volumes,
      members: [...this.members],
      hold: this.holdEvidence(),
      cut: this.cut.get(),
      leftOut: located.paths.flatMap((path) => path.leftOut.map((each) => ({ ...each, under: path.path }))),
      ...(this.canaryAcknowledged === undefined ? {} : { canary: { acknowledged: this.canaryAcknowledged } }),
      events: [...this.events],
    };
  }

  private holdEvidence(): HoldEvidence | null {
    if (!this.holds) return null;
    const hold = this.hold.get();
    const report = hold.report;
    if (report === undefined) throw new Error('evidence is asked for before the thaw');
    const { answer, by } = report;
    const asked = this.asked.peek();
    return {
      kind: this.located.get().holdKind,
      token: hold.token,
      budgetMs: hold.budgetMs,
      freezeCalled: this.frozen.get().called,
      frozen: this.frozen.get().answer,
      ...(asked === undefined ? {} : { askedBeforeThaw: asked }),
      thawed: {
        proved: answer.thawed,
        heldThroughout: answer.heldThroughout,
        said: answer.said,
        at: answer.at,
        by,
        spans: answer.spans,
      },
      ...(answer.journal === undefined ? {} : { journal: answer.journal }),
      journalCollected: (this.collected.peek() ?? []).map((file) => file.path.slice(file.path.lastIndexOf('/') + 1)),
    };
  }
}

/** The steps of DESIGN §4, in order. `plan` prints their names. */
export const backupSteps: readonly Step<Backup>[] = [
  { name: 'locate', run: locate },
  { name: 'choose', run: choose },
  { name: 'predict', run: predictStep },
  {
    name: 'prepare',
    traces: (backup) => [{ kind: 'directory', path: runDirectory(backup.environment, backup.runId) }],
    run: prepare,
    undo: letGo,
  },
  {
    name: 'freeze',
    traces: (backup) => (backup.holds ? [backup.hold.get().trace] : []),
    run: freeze,
    undo: thawAgain,
    undoFirst: true,
  },
  {
    name: 'cut',
    quiet: true,
    traces: (backup) => refsOf(backup.group.get(), backup.label).map((ref) => ({ kind: 'snapshot', ref })),
    run: cut,
    undo: removeSnapshots,
  },
  { name: 'thaw', quiet: true, run: thaw },
  { name: 'judge', run: judgeStep },
  { name: 'copy', run: copy, undo: forgetCopy },
  { name: 'record', run: record, undo: unrecord, commits: true },
  { name: 'expire', run: expire },
];

/** Makes one restore point, or throws and leaves nothing behind. */
export async function backup(
  workload: Workload,
  environment: Environment,
  request: BackupRequest,
): Promise<BackupResult> {
  const lock = await lockWorkload(environment, workload.name);
  try {
    await refuseLeftHold(workload, environment);
    const state = new Backup(workload, environment, request);
    const { runId } = state;
    const run = { runId, flow: 'backup', workload: workload.name, steps: backupSteps, state, signal: request.signal };
    return await runJournaled({ ...run, result: resultOf, outcomeOf: (result) => result.outcome }, environment);
  } finally {
    lock.release();
  }
}

function resultOf(state: Backup): BackupResult {
  const { point, evidence } = state.saved.get();
  const weaker = point.verdict !== state.accepted || state.parent.get().degraded !== undefined;
  return { outcome: weaker ? 'degraded' : 'complete', point, evidence, findings: state.findings };
}

async function locate(state: Backup, signal: AbortSignal): Promise<void> {
  const located = await state.workload.application.locate(signal);
  state.located.set(located);
  state.group.set(await locateGroup(located, state.workload.providers, signal));
}

async function choose(state: Backup): Promise<void> {
  state.members.push({ when: 'chosen', seen: state.located.get().member });
  const catalog = await state.environment.catalog();
  const repository = await state.environment.repository();
  const choice = chooseParent({
    asked: state.request.level,
    identity: state.located.get().identity,
    points: catalog.points(state.workload.name),
    snapshots: new Set((await repository.snapshots()).map((each) => each.id)),
    nowMs: state.environment.clock.wallMs(),
  });
  if (choice.degraded !== undefined) note(state, { severity: 'warning', check: 'level', said: choice.degraded });
  state.parent.set(choice);
}

async function predictStep(state: Backup, signal: AbortSignal): Promise<void> {
  const located = state.located.get();
  const catalog = await state.environment.catalog();
  const forecast = await predict({
    workload: state.workload,
    host: state.environment.host,
    located,
    group: state.group.get(),
    history: catalog.holds(state.workload.name, 10),
    budgetMs: budgetOf(located.holdKind, state.workload.budgetMs),
    signal,
  });
  for (const finding of forecast.findings) note(state, finding);
  state.forecast.set(forecast);
}

function note(state: Backup, finding: Finding): void {
  state.findings.push(finding);
  state.environment.reporter.finding(finding);
}

async function prepare(
  state: Backup,
  signal: AbortSignal,
  noteTrace: Parameters<Step<Backup>['run']>[2],
): Promise<void> {
  const { environment, workload } = state;
  await mkdir(runDirectory(environment, state.runId), { recursive: true, mode: 0o700 });
  for (const part of state.group.get().parts) await part.provider.prepare(part.volumes, signal);
  if (!state.holds) return;
  const hold = new Hold(workload, environment, state.runId, budgetOf(state.located.get().holdKind, workload.budgetMs));
  state.hold.set(hold);
  await hold.prepare(noteTrace);
  const canary = await workload.application.openCanary?.(state.runId);
  if (canary === undefined) return;
  state.canary.set(canary);
  state.canaryLoop = sing(state, canary);
}

/**
 * Numbers into the live database until the cut, so that a restored copy can be held against what the engine had acknowledged. Where
 * the hold stops writers the song ends at the freeze; elsewhere it goes on through the cut, which must then show a prefix.
 */
async function sing(state: Backup, canary: Canary): Promise<void> {
  while (state.cut.peek() === undefined && !state.canaryStop.signal.aborted) {
    if (!(await canary.write())) return;
    await state.environment.clock.sleep(canaryEveryMs, state.canaryStop.signal).catch(() => undefined);
  }
}

async function stopCanary(state: Backup): Promise<void> {
  state.canaryStop.abort();
  await state.canaryLoop;
  await state.canary.peek()?.close();
}

async function letGo(state: Backup): Promise<void> {
  await stopCanary(state);
  await state.hold.peek()?.release();
  await rm(runDirectory(state.environment, state.runId), { recursive: true, force: true });
}

async function freeze(state: Backup): Promise<void> {
  if (!state.holds) return;
  if (state.located.get().holdKind === 'writes-stopped') {
    state.canaryStop.abort();
    await state.canaryLoop;
  }
  const hold = state.hold.get();
  const frozen = await hold.freeze();
  state.frozen.set(frozen);
  state.event('freeze called', frozen.called, 'guard');
  state.event('frozen', frozen.answer.at, 'guard');
  if (!frozen.answer.frozen) {
    throw new StillpointError('freeze-failed', `the engine did not freeze: ${frozen.answer.said}`, {
      hint: 'look for long transactions or locks that keep it from freezing, or raise hold.budget',
    });
  }
  state.members.push({ when: 'frozen', seen: await hold.observe() });
}

/** Also when the freeze failed or is unsure (DESIGN rule 4). */
async function thawAgain(state: Backup): Promise<void> {
  await state.hold.peek()?.thaw();
}

async function cut(state: Backup, signal: AbortSignal): Promise<void> {
  const held = state.holds ? AbortSignal.any([signal, state.hold.get().held]) : signal;
  // What is acknowledged here must be in the copy.
  state.canaryAcknowledged = state.canary.peek()?.acknowledged;
  state.event('cut called');
  try {
    state.cut.set(await cutGroup(state.group.get(), state.label, held));
  } catch (error) {
    // A lost hold is the cause; the aborted cut is only what it did.
    if (!signal.aborted && held.aborted && held.reason instanceof StillpointError) throw held.reason;
    throw error;
  }
  state.event('cut');
}

async function removeSnapshots(state: Backup): Promise<void> {
  for (const part of state.group.get().parts) {
    for (const ref of part.provider.refs(part.volumes, state.label)) await part.provider.delete(ref);
  }
}

async function thaw(state: Backup, signal: AbortSignal): Promise<void> {
  if (!state.holds) {
    state.members.push({ when: 'cut', seen: (await state.workload.application.locate(signal)).member });
    return;
  }
  const hold = state.hold.get();
  state.members.push({ when: 'cut', seen: await hold.observe() });
  state.asked.set(await hold.ask());
  const { answer, by } = await hold.thaw();
  state.event('thawed', answer.at, by === 'sentinel' ? 'sentinel' : 'guard');
  // Out of the hold, but still under the guard's session, which keeps the engine from recycling the journal.
  const { collectJournal } = state.workload.application;
  if (answer.journal !== undefined && collectJournal !== undefined && answer.heldThroughout) {
    const into = join(runDirectory(state.environment, state.runId), 'journal');
    await mkdir(into, { recursive: true, mode: 0o700 });
    state.collected.set(await collectJournal.call(state.workload.application, answer.journal, into, signal));
    state.event('journal collected');
  }
  await stopCanary(state);
  await hold.release();
}

/** Before anything is copied, with the role at the cut standing in for the role at the record, which is judged again then. */
async function judgeStep(state: Backup): Promise<void> {
  const evidence = state.evidence();
  const atCut = evidence.members.find((each) => each.when === 'cut');
  const soFar =
    atCut === undefined
      ? evidence
      : { ...evidence, members: [...evidence.members, { when: 'record' as const, seen: atCut.seen }] };
  state.verdict.set(refuseWeak(state, soFar).verdict);
}

function refuseWeak(state: Backup, evidence: Evidence): ReturnType<typeof judge> {
  const judgement = judge(evidence);
  const good =
    judgement.verdict === 'application-consistent' ||
    (judgement.verdict === 'crash-consistent' && (!state.holds || state.workload.consistency === 'crash'));
  if (!good) {
    const why = judgement.reasons.map((each) => `${each.rule}: ${each.said}`).join('; ');
    throw new StillpointError(
      'verdict-too-weak',
      `the cut is ${judgement.verdict}, and ${state.accepted} was asked for (${why})`,
      {
        hint: 'mend the cause and run again; `consistency: crash` in the workload accepts a crash-consistent point',
        details: { verdict: judgement.verdict, reasons: judgement.reasons },
      },
    );
  }
  return judgement;
}

async function copy(state: Backup, signal: AbortSignal): Promise<void> {
  const { environment, workload } = state;
  const repository = await environment.repository();
  const located = state.located.get();
  const began = environment.clock.monoMs();
  await using opened = await openAll(state);
  const entries = await treeEntries(state, opened.snapshots);
  let unsaved: { readonly point: ReturnType<typeof describePoint>; readonly evidence: Evidence } | undefined;
  const parent = state.parent.get();
  const cutWall = state.cut.get().cuts[0]?.fixed.wall ?? environment.clock.now().wall;
  const report = await repository.save({
    entries,
    paths: located.paths.map((path) => path.path),
    tags: [pointTag, `workload:${workload.name}`, `point:${state.runId}`],
    hostname: environment.hostname,
    time: cutWall,
    ...(parent.point === null
      ? {}
      : { parent: { snapshot: parent.point.repositorySnapshot, cutAt: parent.point.cutAt } }),
    onProgress: (progress) => environment.reporter.progress('copy', progress),
    signal,
    last: async () => {
      // The member must still be who it was when the point becomes real (DESIGN rule 10).
      state.members.push({ when: 'record', seen: (await workload.application.locate(signal)).member });
      state.event('record');
      const evidence = state.evidence();
      const judgement = refuseWeak(state, evidence);
      const facts = {
        id: state.runId,
        method: 'snapshot',
        level: parent.level,
        parent: parent.point?.id ?? null,
        identity: located.identity,
      } as const;
      unsaved = { point: describePoint(facts, evidence, judgement), evidence };
      return [
        ownFile(
          recordPath,
          encodeRecord(unsaved.point, evidence, repository),
          BigInt(environment.clock.wallMs()) * 1_000_000n,
        ),
      ];
    },
  });
  if (unsaved === undefined) throw new Error('the repository saved a point without asking for its evidence');
  state.copyMs = environment.clock.monoMs() - began;
  state.saved.set({
    point: pointFrom(unsaved.point, { id: report.snapshot, bytes: report.bytes }),
    evidence: unsaved.evidence,
  });
}

function ownFile(at: string, data: Uint8Array, mtimeNs: bigint): TreeEntry {
  return { kind: 'bytes', at, data, mode: 0o600, mtimeNs, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
}

async function openAll(state: Backup): Promise<AsyncDisposable & { readonly snapshots: readonly OpenSnapshot[] }> {
  const stack = new AsyncDisposableStack();
  const snapshots: OpenSnapshot[] = [];
  for (const part of state.group.get().parts) {
    for (const ref of part.provider.refs(part.volumes, state.label))
      snapshots.push(stack.use(await part.provider.open(ref)));
  }
  return { snapshots, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** The required paths from the snapshots, then the journal of the hold and what the engine handed out at the thaw, over them. */
async function treeEntries(state: Backup, snapshots: readonly OpenSnapshot[]): Promise<readonly TreeEntry[]> {
  const entries: TreeEntry[] = [];
  const held = state.verdict.get() === 'application-consistent';
  for (const path of state.located.get().paths) {
    const leaveOut = (relative: string): 'keep' | 'entry' | 'contents' =>
      path.leftOut.find((each) => each.relative === relative && (held || each.onlyHeld !== true))?.match ?? 'keep';
    for (const at of [path.path, ...path.companions]) {
      const holder = snapshots.find((snapshot) => snapshot.at(at) !== undefined);
      const from = holder?.at(at);
      if (holder === undefined || from === undefined || !(await exists(from))) {
        if (at === path.path)
          throw new StillpointError('cut-failed', `${at} is not in the snapshot that should hold it`);
        continue;
      }
      const statOf = holder.statOf?.bind(holder);
      entries.push({ kind: 'path', at, from, leaveOut, ...(statOf === undefined ? {} : { statOf }) });
    }
  }
  for (const file of state.collected.peek() ?? []) entries.push({ kind: 'path', at: file.path, from: file.from });
  const owner = {
    uid: Number(state.located.get().facts['ownerUid'] ?? 0),
    gid: Number(state.located.get().facts['ownerGid'] ?? 0),
  };
  const mtimeNs = BigInt(state.environment.clock.wallMs()) * 1_000_000n;
  for (const artifact of held ? (state.hold.peek()?.report?.answer.artifacts ?? []) : []) {
    entries.push({
      kind: 'bytes',
      at: artifact.path,
      data: Buffer.from(artifact.base64, 'base64'),
      mode: artifact.mode,
      mtimeNs,
      ...owner,
    });
  }
  return entries;
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    // Not there, or not to be seen: the caller decides whether that matters.
    return false;
  }
}

async function forgetCopy(state: Backup): Promise<void> {
  const saved = state.saved.peek();
  if (saved !== undefined) await (await state.environment.repository()).removeSnapshot(saved.point.repositorySnapshot);
}

async function record(state: Backup): Promise<void> {
  const { point } = state.saved.get();
  const catalog = await state.environment.catalog();
  catalog.addPoint(point);
  if (point.hold === null) return;
  const { heldMs, overheadMs } = point.hold;
  catalog.addHold(point.workload, point.cutAt, {
    heldMs,
    overheadMs,
    bytesRead: point.bytes.read,
    copyMs: state.copyMs,
  });
}

async function unrecord(state: Backup): Promise<void> {
  const saved = state.saved.peek();
  if (saved !== undefined) (await state.environment.catalog()).removePoint(saved.point.id);
}

/** The repository has it all now: snapshots and staging go. What cannot be removed is said, and `recover` removes it later. */
async function expire(state: Backup): Promise<void> {
  try {
    await removeSnapshots(state);
    await rm(runDirectory(state.environment, state.runId), { recursive: true, force: true });
  } catch (error) {
    throw new StillpointError(
      'undo-failed',
      `the point is recorded, but its snapshots could not be removed: ${messageOf(error)}`,
      {
        hint: 'run `stillpoint recover`',
        cause: error,
      },
    );
  }
}
