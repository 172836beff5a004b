import { StillpointError } from '../model/errors.ts';
import type { Evidence, FlightEvent } from '../model/evidence.ts';
import { judge } from '../model/judge.ts';
import type { Finding, Level, Outcome, Point } from '../model/point.ts';
import { dataSetOf, stages } from '../model/together.ts';
import type { Moment } from '../model/time.ts';
import { bootId } from '../platform/clock.ts';
import type { BackupResult } from './backup-state.ts';
import type { HostGroup } from './barrier-group.ts';
import { needsRecover, Parts } from './barrier-parts.ts';
import { groupFlow, refuseLeftGroup } from './barrier-recover.ts';
import { lockWorkload, newRunId, Slot, type Environment } from './environment.ts';
import type { Step } from './flow.ts';
import { describePoint, encodeRecord, groupTag, pointFrom, pointTag, recordPath } from './record.ts';
import { runJournaled } from './run.ts';

/** A user who cancels is told within 5 s; what a part has not said by then is for `recover`. */
const cancelMs = 4_000;
/** For parts whose points are recorded to remove their snapshots. */
const endMs = 120_000;
/** Of the budget for all to become frozen; the rest is for the cut and the thaw. */
const frozenShare = 0.5;

export interface GroupBackupRequest {
  readonly level: Level | undefined;
  readonly signal: AbortSignal;
}

class Together {
  readonly runId: string;
  readonly group: HostGroup;
  readonly environment: Environment;
  readonly request: GroupBackupRequest;
  readonly parts: Parts;
  readonly findings: Finding[] = [];
  readonly events: FlightEvent[] = [];
  readonly saidFreeze = new Slot<Moment>('the word to freeze');
  readonly saidCut = new Slot<Moment>('the word to cut');
  readonly saved = new Slot<{ readonly point: Point; readonly evidence: Evidence }>('saved');
  outcome: Outcome = 'complete';

  constructor(group: HostGroup, environment: Environment, request: GroupBackupRequest) {
    this.runId = newRunId(environment.clock);
    this.group = group;
    this.environment = environment;
    this.request = request;
    this.parts = new Parts(group, environment.clock, {
      onFinding: (finding) => this.note(finding),
      onProgress: (part, { bytesDone, bytesTotal }) =>
        environment.reporter.progress(part, { files: 0, bytesDone, bytesTotal }),
    });
  }

  /** What its own cluster leaves to the part that has least. */
  get budgetMs(): number {
    return Math.min(this.group.budgetMs, ...this.parts.ready.map((part) => part.budgetMs));
  }

  note(finding: Finding): void {
    this.findings.push(finding);
    this.environment.reporter.finding(finding);
  }

  event(what: string, at: Moment): void {
    this.events.push({ what, by: 'flow', at });
  }
}

/** The steps of the coordinator; each part takes those of an ordinary backup between them (docs/design/barrier.md). */
export const barrierSteps: readonly Step<Together>[] = [
  { name: 'start', run: start, undo: giveUp, undoFirst: true },
  { name: 'freeze', run: freeze },
  { name: 'cut', quiet: true, run: cut },
  { name: 'thaw', quiet: true, run: thaw },
  { name: 'copy', run: copy },
  { name: 'confirm', run: confirm },
  { name: 'record', run: record, undo: unrecord, commits: true },
  { name: 'end', run: end },
];

/** Makes one point of all parts, or throws and leaves no part frozen, and no point of the group. */
export async function groupBackup(
  group: HostGroup,
  environment: Environment,
  request: GroupBackupRequest,
): Promise<BackupResult> {
  const lock = await lockWorkload(environment, group.name);
  try {
    await refuseLeftGroup(group, environment, request.signal);
    const state = new Together(group, environment, request);
    return await runJournaled(
      {
        runId: state.runId,
        flow: groupFlow,
        workload: group.name,
        steps: barrierSteps,
        state,
        signal: request.signal,
        result: ({ saved, findings, outcome }): BackupResult => ({ outcome, ...saved.get(), findings }),
        outcomeOf: (result) => result.outcome,
      },
      environment,
    );
  } finally {
    lock.release();
  }
}

/** Opened before anything is held: it must not turn out to be closed when all parts are recorded. */
async function start(state: Together, signal: AbortSignal): Promise<void> {
  await state.environment.repository();
  await state.environment.catalog();
  state.parts.connect(state.runId, state.request.level);
  await state.parts.all('ready', state.group.readyMs, signal);
  refuseUnsuitable(state);
}

/** While nothing is frozen yet. `judge` says the same of what is found out only later. */
function refuseUnsuitable({ parts, group }: Together): void {
  const refuse = (said: string, hint: string): never => {
    throw new StillpointError('parts-unsuitable', said, { hint });
  };
  const free = parts.ready.find((part) => !part.holds);
  if (free !== undefined)
    refuse(
      `${free.name} is configured to be cut without a hold, and a barrier is made of holds`,
      'let its workload be held: see the settings of its application',
    );
  const sets = new Map<string, string>();
  for (const part of parts.ready) {
    const set = dataSetOf(part, part.identity);
    const other = sets.get(set);
    if (other !== undefined)
      refuse(
        `${other} and ${part.name} are the same data set`,
        `correct the parts of ${group.name}: one of them is there twice`,
      );
    sets.set(set, part.name);
  }
  const going = parts.ready.filter((part) => !part.stopsWriters).map((part) => part.name);
  if (going.length > 0 && group.skewMs === null)
    refuse(
      `writers of ${going.join(', ')} go on while they are held, so the parts would not show one instant`,
      'put their data on a volume that is cut below its file system, which is then frozen too; or accept parts that lie apart, and a point that is not proved, with `barrier.skew`',
    );
}

async function freeze(state: Together, signal: AbortSignal): Promise<void> {
  state.saidFreeze.set(state.parts.say('freeze'));
  await state.parts.all('frozen', state.budgetMs * frozenShare, signal);
}

/** Only now may anybody cut: every part has said that it is frozen. */
async function cut(state: Together, signal: AbortSignal): Promise<void> {
  state.saidCut.set(state.parts.say('cut'));
  await state.parts.all('cut', leftMs(state), signal);
}

async function thaw(state: Together, signal: AbortSignal): Promise<void> {
  await state.parts.all('thawed', leftMs(state), signal);
}

function leftMs(state: Together): number {
  return state.saidFreeze.get().monoMs + state.budgetMs - state.environment.clock.monoMs();
}

/** Not before all are thawed: what reads and packs would take the processor from those that are still held. */
async function copy(state: Together, signal: AbortSignal): Promise<void> {
  await state.parts.all('judged', state.group.readyMs, signal);
  state.parts.say('copy');
  await state.parts.all('copied', undefined, signal);
}

/** From here on points of parts become real, each for itself; they are true points of their workloads, whatever becomes of the group. */
async function confirm(state: Together, signal: AbortSignal): Promise<void> {
  state.parts.say('record');
  await state.parts.all('recorded', state.group.readyMs, signal);
}

async function record(state: Together, signal: AbortSignal): Promise<void> {
  const { environment, group, runId } = state;
  const evidence = evidenceOf(state);
  const judgement = judge(evidence);
  const accepted = judgement.reasons.every(({ rule }) => group.skewMs !== null && rule === 'writers-not-stopped');
  if (!accepted) {
    const why = judgement.reasons.map((each) => `${each.rule}: ${each.said}`).join('; ');
    throw new StillpointError('verdict-too-weak', `the group is ${judgement.verdict} (${why})`, {
      hint: 'the points of the parts are there, each for itself; mend the cause and run again',
      details: { verdict: judgement.verdict, reasons: judgement.reasons },
    });
  }
  if (judgement.reasons.length > 0) state.outcome = 'degraded';
  const identity = (evidence.together?.parts ?? []).map((part) => part.point?.identity ?? '').join(' ');
  const facts = { id: runId, method: 'snapshot', level: 'full', parent: null, identity } as const;
  const unsaved = describePoint(facts, evidence, judgement);
  const repository = await environment.repository();
  const report = await repository.save({
    entries: [
      {
        ...{ kind: 'bytes', at: recordPath, data: encodeRecord(unsaved, evidence, repository), mode: 0o600 },
        mtimeNs: BigInt(environment.clock.wallMs()) * 1_000_000n,
        ...{ uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
      },
    ],
    paths: [recordPath],
    tags: [pointTag, `workload:${group.name}`, `point:${runId}`, groupTag],
    hostname: environment.hostname,
    time: environment.clock.now().wall,
    signal,
  });
  const point = pointFrom(unsaved, { id: report.snapshot, bytes: report.bytes });
  state.saved.set({ point, evidence });
  (await environment.catalog()).addPoint(point);
}

function evidenceOf(state: Together): Evidence {
  const { group, runId } = state;
  const parts = state.parts.evidence();
  state.event('said: freeze', state.saidFreeze.get());
  state.event('said: cut', state.saidCut.get());
  for (const { name, heard } of parts) {
    for (const stage of stages) {
      const at = heard[stage];
      if (at !== undefined) state.event(`${name} ${stage}`, at);
    }
  }
  return {
    schema: 'stillpoint.evidence/1',
    runId,
    workload: group.name,
    engine: { name: `group of ${parts.length} parts`, version: '', facts: {} },
    bootId: bootId(),
    required: [],
    volumes: [],
    members: [],
    hold: null,
    cut: { atomicity: 'sequential', how: 'each part was cut for itself while all were held', cuts: [], spans: [] },
    together: {
      budgetMs: state.budgetMs,
      skewMs: group.skewMs,
      saidFreeze: state.saidFreeze.get(),
      saidCut: state.saidCut.get(),
      parts,
    },
    leftOut: [],
    events: state.events.toSorted((a, b) => a.at.monoMs - b.at.monoMs),
  };
}

async function unrecord(state: Together): Promise<void> {
  const saved = state.saved.peek();
  if (saved === undefined) return;
  await (await state.environment.repository()).removeSnapshot(saved.point.repositorySnapshot);
  (await state.environment.catalog()).removePoint(saved.point.id);
}

/** All points are real; what a part could not tidy up is told, and its own next run does it. */
async function end(state: Together): Promise<void> {
  const { unheard, errors } = await state.parts.ended(endMs);
  for (const name of unheard)
    state.note({
      severity: 'warning',
      check: 'parts',
      said: `${name} recorded its point and did not say that it was done`,
    });
  for (const error of errors) state.note({ severity: 'warning', check: 'parts', said: error.message });
  if (unheard.length + errors.length > 0) state.outcome = 'degraded';
}

/** Thaws all, whatever they are at. A part that does not say that it is undone may be frozen until its guard's deadline: an alarm. */
async function giveUp(state: Together): Promise<void> {
  const { parts, request, saidFreeze, group } = state;
  parts.abort('another part failed or was late, or the run was cancelled');
  const { unheard, errors } = await parts.ended(
    request.signal.aborted ? Math.min(cancelMs, group.undoMs) : group.undoMs,
  );
  const worst = errors.find((error) => error.code === 'thaw-unproven') ?? errors.find(needsRecover);
  if (worst !== undefined) throw worst;
  // Before the first word to freeze there is nothing that its own next run would not find.
  if (unheard.length === 0 || saidFreeze.peek() === undefined) return;
  throw new StillpointError('undo-failed', `it is not known of ${unheard.join(', ')} that it is thawed and undone`, {
    hint: `its guard thaws it ${Math.ceil(group.budgetMs / 1000)} s after the freeze at the latest; \`stillpoint recover\` here asks all hosts`,
    details: { parts: unheard },
  });
}
