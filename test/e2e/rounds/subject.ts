import type { Evidence } from '../../../src/model/evidence.ts';
import type { Point } from '../../../src/model/point.ts';
import type { Chance } from './random.ts';

/** Who leads, in which term, by the servers' own word. Two terms are equal if no role changed between them. */
export interface Term {
  readonly leader: string;
  /** Every member with its role. */
  readonly roles: readonly string[];
  /** Grows with each promotion, also with one that was taken back. */
  readonly term: string;
}

/** Something that befalls the cluster while a backup is under way. */
export interface Disturbance {
  readonly kind: string;
  /** How often, against the others. */
  readonly weight: number;
  /** The cluster may rightly change roles for it. */
  readonly explains: boolean;
  act(chance: Chance): Promise<void>;
}

/** What an independent process knows of the rows of each member. All times are milliseconds of the monotonic clock. */
export interface Witness extends AsyncDisposable {
  /** Newest row that was seen in the member at or before that time, in the same life of its engine; undefined if it was not looked at. */
  seenAt(member: string, monoMs: number): number | undefined;
  /** Newest row that the engine acknowledged to the load, and when. */
  newest(): { readonly row: number; readonly monoMs: number };
  /** Longest time between two acknowledged rows. */
  longestGap(fromMs: number, toMs: number): number;
  /** Longest time in which the member's newest row did not change, while it could be asked. */
  longestStill(member: string, fromMs: number, toMs: number): number;
}

export interface Judged {
  /** Newest row in the copy. */
  readonly last: number;
  /** Everything that is wrong with it. */
  readonly wrong: readonly string[];
}

/** A real cluster under a load. */
export interface RoundsSubject extends AsyncDisposable {
  readonly name: string;
  /** `application`, `topology`, `members` of the workload, and what may differ from round to round. */
  workload(chance: Chance): Readonly<Record<string, unknown>>;
  readonly witness: Witness;
  readonly disturbances: readonly Disturbance[];
  /** A hold lasts no longer, whatever happens. In ms. */
  readonly budgetMs: number;
  /** Whether the engine's writers wait while it is held. */
  readonly stopsWriters: boolean;
  term(): Promise<Term>;
  /** Starts what was ended. Returns when the cluster is whole, all follow, and the load writes again. */
  mend(): Promise<void>;
  /** What is frozen, paused, held off or in backup mode, by the cluster's own word, and snapshots that none of the points has. Points: oldest first. */
  held(points: readonly Point[]): Promise<readonly string[]>;
  /** Until when rows that were seen in a member must be in the copy. */
  certainUntil(evidence: Evidence): number;
  /** Looks at a restored copy with programs of the engine, and not with ours. `directory` is where the paths of the original are found below. */
  judge(directory: string, member: string, evidence: Evidence): Promise<Judged>;
}
