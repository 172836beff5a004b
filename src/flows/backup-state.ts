import { messageOf, StillpointError } from '../model/errors.ts';
import type {
  ChangedBlocksEvidence,
  Evidence,
  FlightEvent,
  GroupCut,
  HoldEvidence,
  OnlineEvidence,
} from '../model/evidence.ts';
import { stopsWriters as stopsWritersOf, type FreezeAnswer, type MemberObservation } from '../model/hold.ts';
import { judge } from '../model/judge.ts';
import type { JournalStart } from '../model/journal.ts';
import type { Finding, Level, Method, Outcome, Point, Verdict } from '../model/point.ts';
import type { Moment } from '../model/time.ts';
import { bootId } from '../platform/clock.ts';
import type { Canary, CollectedFile, Located } from '../ports/application.ts';
import { type Group } from './group.ts';
import { labelOf, newRunId, Slot, type Environment, type Workload } from './environment.ts';
import type { Barrier } from './barrier-gate.ts';
import type { ClusterAtWork } from './cluster.ts';
import type { Hold } from './hold.ts';
import type { Layers } from './layers.ts';
import type { ParentChoice, Forecast } from './predict.ts';

export interface BackupRequest {
  /** Undefined: `snapshot`. */
  readonly method?: Method | undefined;
  /** Undefined: incremental where a parent exists, else full. */
  readonly level: Level | undefined;
  readonly signal: AbortSignal;
  /** As a part of a group: waits for the coordinator's word before it freezes, cuts, copies and records. */
  readonly barrier?: Barrier;
}

export interface BackupResult {
  readonly outcome: Outcome;
  readonly point: Point;
  readonly evidence: Evidence;
  readonly findings: readonly Finding[];
}

/** The engine backs itself up: nothing of ours cuts. */
const noCut: GroupCut = {
  atomicity: 'sequential',
  how: "the engine's own backup, nothing was cut",
  cuts: [],
  spans: [],
};

/** What a backup knows of itself, filled step by step. */
export class Backup {
  readonly runId: string;
  readonly workload: Workload;
  readonly environment: Environment;
  readonly request: BackupRequest;
  readonly located = new Slot<Located>('located');
  readonly group = new Slot<Group>('group');
  readonly layers = new Slot<Layers>('layers');
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
  readonly online = new Slot<OnlineEvidence>('online');
  starts: readonly JournalStart[] = [];
  readonly saved = new Slot<{ readonly point: Point; readonly evidence: Evidence }>('saved');
  readonly members: { readonly when: 'chosen' | 'frozen' | 'cut' | 'record'; readonly seen: MemberObservation }[] = [];
  readonly events: FlightEvent[] = [];
  readonly findings: Finding[] = [];
  readonly canaryStop = new AbortController();
  canaryLoop: Promise<void> = Promise.resolve();
  canaryAcknowledged: number | undefined;
  copyMs = 0;
  changedBlocks: ChangedBlocksEvidence | undefined;
  /** Where a map of changed blocks had lied in this run. */
  wrongMap: string | undefined;
  /** True once it is known that this run's snapshots serve the next one. */
  keepsBase = false;
  estimatedBytes: number | undefined;
  /** Undefined: the workload is in no cluster. */
  readonly cluster: ClusterAtWork | undefined;

  constructor(workload: Workload, environment: Environment, request: BackupRequest, cluster?: ClusterAtWork) {
    this.cluster = cluster;
    this.runId = newRunId(environment.clock);
    this.workload = workload;
    this.environment = environment;
    this.request = request;
  }

  get method(): Method {
    return this.request.method ?? 'snapshot';
  }

  get label(): string {
    return labelOf(this.runId);
  }

  event(what: string, at: Moment = this.environment.clock.now(), by: FlightEvent['by'] = 'flow'): void {
    this.events.push({ what, by, at });
  }

  /** False where the configuration asks for a cut without a hold, and where the engine backs itself up. */
  get holds(): boolean {
    return this.method === 'cold' || (this.method === 'snapshot' && this.located.get().holdKind !== 'none');
  }

  /** Whether the engine, or a file system below it, takes no writes during the hold. */
  get stopsWriters(): boolean {
    if (!this.holds) return false;
    return stopsWritersOf(this.located.get().holdKind) || (this.layers.peek()?.fileSystems.length ?? 0) > 0;
  }

  get accepted(): Verdict {
    return this.holds || this.online.peek() !== undefined ? 'application-consistent' : 'crash-consistent';
  }

  evidence(): Evidence {
    const located = this.located.get();
    const online = this.online.peek();
    return {
      schema: 'stillpoint.evidence/1',
      runId: this.runId,
      workload: this.workload.name,
      engine: { name: this.workload.application.engine, version: located.version, facts: located.facts },
      bootId: bootId(),
      required: located.paths,
      volumes: this.group.peek()?.volumes ?? [],
      members: [...this.members],
      ...(this.cluster === undefined ? {} : { cluster: this.cluster.evidence() }),
      hold: this.holdEvidence(),
      cut: online === undefined ? this.cut.get() : noCut,
      ...(online === undefined ? {} : { online }),
      ...(this.request.barrier === undefined ? {} : { partOf: this.request.barrier.group }),
      ...(this.starts.length === 0 ? {} : { starts: this.starts }),
      ...(this.changedBlocks === undefined ? {} : { changedBlocks: this.changedBlocks }),
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

export function refuseWeak(state: Backup, evidence: Evidence): ReturnType<typeof judge> {
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

/** The engine's log may be exact only to the second, and is written a little later than what it tells of. */
const logSlackMs = 2_000;

/** What the engine logged around this run joins its flight record. A log that cannot be read costs a warning, not the point. */
export async function joinEngineLog(state: Backup, signal: AbortSignal): Promise<void> {
  const { application } = state.workload;
  const first = state.events[0]?.at;
  if (application.events === undefined || first === undefined) return;
  const now = state.environment.clock.now();
  const nowMs = Date.parse(now.wall);
  try {
    const logged = await application.events(Date.parse(first.wall) - logSlackMs, nowMs, signal);
    for (const { atMs, severity, text } of logged) {
      const at = { monoMs: now.monoMs - (nowMs - atMs), wall: new Date(atMs).toISOString() };
      state.event(severity === 'info' ? text : `${severity}: ${text}`, at, 'engine');
      if (severity === 'severe' || severity === 'fatal')
        note(state, { severity: 'warning', check: 'engine-log', said: text });
    }
  } catch (error) {
    note(state, {
      severity: 'warning',
      check: 'engine-log',
      said: `the engine's log cannot be read: ${messageOf(error)}`,
    });
  }
}

export function note(state: Backup, finding: Finding): void {
  state.findings.push(finding);
  state.environment.reporter.finding(finding);
}
