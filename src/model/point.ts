import type { ChangedBlocksEvidence, Evidence } from './evidence.ts';
import type { JournalStart, Marks } from './journal.ts';

export type Verdict = 'application-consistent' | 'crash-consistent' | 'unproven';
export type Level = 'full' | 'cumulative' | 'incremental';
export type Method = 'snapshot' | 'online' | 'concurrent' | 'cold' | 'mirror-split';
export type Outcome = 'complete' | 'degraded' | 'failed' | 'cancelled';

/** One reason for a verdict: a violated rule by its name, and what was seen. */
export interface Reason {
  readonly rule: string;
  readonly said: string;
}

export interface Finding {
  readonly severity: 'info' | 'warning' | 'error';
  /** What was looked at: `amcheck`, `integrity_check`, `canary`... */
  readonly check: string;
  readonly said: string;
  /** The figure that the check found, where other figures are held against it: for `canary` the last number of an unbroken row. */
  readonly value?: number;
}

export interface DrillResult {
  readonly at: string | null;
  readonly rtoMs: number | null;
  readonly outcome: 'passed' | 'failed' | 'none';
  readonly findings: readonly Finding[];
}

export interface HoldSummary {
  readonly frozenAt: string;
  readonly cutAt: string;
  readonly thawedAt: string;
  readonly heldMs: number;
  readonly overheadMs: number;
  readonly budgetMs: number;
  readonly heldThroughout: boolean;
}

export interface Bytes {
  /** Size of all files of the point. */
  readonly logical: number;
  /** Read from the snapshots for this point. */
  readonly read: number;
  /** Plaintext bytes that were new to the repository. */
  readonly changed: number;
  /** Bytes that the repository grew by. */
  readonly stored: number;
}

/** A point of one part of a group: it lies in the repository of its host, and is restored there. */
export interface GroupPart {
  readonly name: string;
  readonly host: string;
  readonly workload: string;
  readonly point: string;
  readonly repositorySnapshot: string;
  readonly verdict: Verdict;
  readonly bytes: Bytes;
}

/** A recoverable state, as `show` prints it. Field names are a promise (docs/guide/json.md). */
export interface Point {
  readonly id: string;
  readonly workload: string;
  readonly method: Method;
  readonly level: Level;
  /** `online`: the point that this one goes on top of and cannot be restored without. Else: the point that it was compared with. */
  readonly parent: string | null;
  readonly verdict: Verdict;
  readonly reasons: readonly Reason[];
  readonly cutAt: string;
  /**
   * When the first volume's cut was called: a file that has not changed since well before this is in the point as it is. Later times
   * would not do, for a copy looks at its first files long before it is done.
   */
  readonly cutCalledAt: string;
  readonly member: string;
  readonly role: string;
  readonly epoch: string;
  /** Which data set this is a state of; a parent must have the same. */
  readonly identity: string;
  readonly hold: HoldSummary | null;
  readonly volumes: readonly {
    readonly id: string;
    readonly provider: string;
    readonly paths: readonly string[];
    readonly cutAt: string;
    /** Of a volume that is not in the repository: the snapshot that is the data. */
    readonly snapshot?: string;
  }[];
  readonly journal: { readonly file: string; readonly position: string } | null;
  /** Where rolling forward begins, by part; empty when it is not known. */
  readonly starts: readonly JournalStart[];
  /** How far the engine's own backup reaches, by part; null for other methods. */
  readonly marks: Marks | null;
  /** By what it was known which blocks had to be read; absent if everything was looked at. */
  readonly changedBlocks?: ChangedBlocksEvidence;
  /** Of a group: the points that are its data. All of them, or there is no point of the group. */
  readonly parts?: readonly GroupPart[];
  /** The point of a group that needs this one, if the group's was recorded. */
  readonly partOf?: string;
  readonly bytes: Bytes;
  readonly repositorySnapshot: string;
  readonly drill: DrillResult;
}

/** What is stored inside the repository snapshot: everything that the catalog needs to be rebuilt, and the evidence behind it. */
export interface PointRecord {
  readonly schema: 'stillpoint.point/1';
  /** Without `repositorySnapshot`, `bytes` and `drill`: those are known only after the snapshot is written. */
  readonly point: Omit<Point, 'repositorySnapshot' | 'bytes' | 'drill'>;
  readonly evidence: Evidence;
  /** HMAC-SHA-256 of the canonical JSON of `{ point, evidence }`, hex, by a key derived from the repository's master key. */
  readonly signature: string;
}
