import type {
  CommandSpan,
  FreezeAnswer,
  HoldEnd,
  HoldKind,
  HoldToken,
  JournalSpan,
  MemberObservation,
} from './hold.ts';
import type { Considered } from './choose-member.ts';
import type { ClusterObservation } from './cluster.ts';
import type { MarginAnswer, Silence } from './failover-margin.ts';
import type { JournalStart, Marks } from './journal.ts';
import type { Level } from './point.ts';
import type { LeftOut, RequiredPath, SnapshotRef, Volume } from './storage.ts';
import type { SplitEvidence } from './mirror-split.ts';
import type { TogetherEvidence } from './together.ts';
import type { Moment } from './time.ts';

/** Something that happened, on the shared monotonic clock. The flight recorder is the list of these. */
export interface FlightEvent {
  readonly what: string;
  readonly by: 'flow' | 'guard' | 'sentinel' | 'canary' | 'engine';
  readonly at: Moment;
}

export interface VolumeCut {
  readonly volume: string;
  readonly snapshot: SnapshotRef;
  /** The instant that the snapshot shows lies between these two. */
  readonly called: Moment;
  readonly fixed: Moment;
}

/** `one-instant`: all volumes show the same instant, and `how` says why. `sequential`: one after the other, only sound inside a hold. */
export interface GroupCut {
  readonly atomicity: 'one-instant' | 'sequential';
  readonly how: string;
  readonly cuts: readonly VolumeCut[];
  readonly spans: readonly CommandSpan[];
}

export interface HoldEvidence {
  readonly kind: HoldKind;
  readonly token: HoldToken;
  readonly budgetMs: number;
  readonly freezeCalled: Moment;
  /** The engine's word right after the freeze. */
  readonly frozen: FreezeAnswer;
  /** The engine's word after the last cut and before the thaw; absent if it was never asked. */
  readonly askedBeforeThaw?: FreezeAnswer;
  readonly thawed: {
    readonly proved: boolean;
    readonly heldThroughout: boolean;
    readonly said: string;
    readonly at: Moment;
    readonly by: HoldEnd;
    readonly spans: readonly CommandSpan[];
  };
  readonly journal?: JournalSpan;
  /** Names of the journal files that were really collected into the point. */
  readonly journalCollected: readonly string[];
}

/** What the engine's own backup said of itself. Without a hold of ours: the engine answers for the consistency of what it writes. */
export interface OnlineEvidence {
  readonly asked: Level;
  readonly made: Level;
  /** Why the engine made another level than was asked for. */
  readonly why?: string;
  readonly from: Marks;
  readonly to: Marks;
  /**
   * What this level goes on top of: the parent's `to`, or the marks that were taken before live files were copied (`dirty`). Null for
   * a full.
   */
  readonly onTopOf: Marks | null;
  /** True when live files were copied before, which are worth nothing without this level. */
  readonly dirty: boolean;
  readonly finished: boolean;
  readonly said: string;
  readonly began: Moment;
  readonly ended: Moment;
  readonly streams: readonly { readonly name: string; readonly bytes: number }[];
  readonly spans: readonly CommandSpan[];
}

/** By what it was known which blocks of a volume had to be read. */
export interface BlockMap {
  readonly volume: string;
  /** Label of the older snapshot. */
  readonly base: string;
  /** In the provider's words. */
  readonly source: string;
}

/** What was not read, and why that was believed. */
export interface ChangedBlocksEvidence {
  readonly maps: readonly BlockMap[];
  readonly files: number;
  /** Called unchanged, and read and compared all the same. */
  readonly sampledBytes: number;
  /** Where a map had called changed blocks unchanged. Everything was read then, and `maps` is empty. */
  readonly wrong?: string;
}

/** What the manager of the cluster and its members said, and what was concluded from it at that time. */
export interface ClusterEvidence {
  readonly chosen: ClusterObservation;
  readonly considered: readonly Considered[];
  /** Absent where nothing was silent: the engine backed itself up. */
  readonly margin?: { readonly silence: Silence; readonly answer: MarginAnswer };
  /** By this run. */
  readonly heldOff: boolean;
  readonly seen: readonly {
    readonly when: 'cut' | 'record';
    readonly seen: ClusterObservation;
    readonly at: Moment;
  }[];
}

/**
 * What was observed while a point was made. Nothing here is a conclusion: `judge` draws them. Stored and signed with the point.
 * Members are observed at `chosen`, `frozen`, `cut` and `record` (docs/design/rules.md, 10).
 */
export interface Evidence {
  readonly schema: 'stillpoint.evidence/1';
  readonly runId: string;
  readonly workload: string;
  readonly engine: {
    readonly name: string;
    readonly version: string;
    readonly facts: Readonly<Record<string, string>>;
  };
  readonly bootId: string;
  readonly required: readonly RequiredPath[];
  readonly volumes: readonly Volume[];
  readonly members: readonly {
    readonly when: 'chosen' | 'frozen' | 'cut' | 'record';
    readonly seen: MemberObservation;
  }[];
  /** Absent: the application stands alone, or nobody said that it does not. */
  readonly cluster?: ClusterEvidence;
  /** Null when the configuration asks for a cut without a hold. */
  readonly hold: HoldEvidence | null;
  readonly cut: GroupCut;
  /** Present for the methods `online` and `concurrent`; `hold` is null and `cut` empty then. */
  readonly online?: OnlineEvidence;
  /** Present for the method `mirror-split`; `hold` is null then, and the one cut is of the disk that nobody wrote to since the break. */
  readonly split?: SplitEvidence;
  /** Present for a group of parts on several hosts; `hold` is null and `cut` empty then: each part's point has its own. */
  readonly together?: TogetherEvidence;
  /** Run of the coordinator that this was a part of; absent: it was made for itself. */
  readonly partOf?: string;
  /** Where rolling forward from this point begins, by part of the journal. */
  readonly starts?: readonly JournalStart[];
  /** Absent: every file was looked at as a whole. */
  readonly changedBlocks?: ChangedBlocksEvidence;
  readonly leftOut: readonly (LeftOut & { readonly under: string })[];
  /** Last canary number that the engine had acknowledged before the cut was called; absent without a canary. */
  readonly canary?: { readonly acknowledged: number };
  readonly events: readonly FlightEvent[];
}
