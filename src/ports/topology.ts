import type { ClusterView } from '../model/cluster.ts';
import type { RequiredPath } from '../model/storage.ts';
import type { Split } from './mirror-split.ts';

/** A failover that is held off: plain data that lets another process let it go. Journaled before it is done; holds no secret. */
export interface HoldOffToken {
  readonly manager: string;
  readonly cluster: string;
  readonly runId: string;
  /** How the manager knows it. */
  readonly identity: string;
}

/** A restored copy, on which no engine runs yet, that is to become a member. */
export interface SeedRequest {
  /** As the cluster calls it. */
  readonly member: string;
  /** Where an original path lies in the copy. */
  readonly at: (original: string) => string;
  readonly required: readonly RequiredPath[];
  /** What the application adapter noted when the point was made. */
  readonly facts: Readonly<Record<string, string>>;
  /** The data set's identity, which the cluster's must be. */
  readonly identity: string;
  /** The last journal file that the copy has itself: the cluster must still have what comes after. Null: the engine has no such files. */
  readonly journal: { readonly file: string; readonly position: string } | null;
}

export interface Seeded {
  readonly said: readonly string[];
  /** What a person does next, as a command. */
  readonly next: string;
}

/** Something of which the members should all have the same, and have not. Holds no secret. */
export interface MemberDifference {
  /** What sort of thing: `users`, `mappings`, `tasks`... */
  readonly kind: string;
  readonly name: string;
  /**
   * `missing`: `member` lacks it; `different`: both have it; `not-compared`: a member did not tell; `local`: each has its own, by intent
   * perhaps, and nobody replicates it.
   */
  readonly state: 'missing' | 'different' | 'not-compared' | 'local';
  /** Between these two, the one that all others are held against first. Of `local` the one member. */
  readonly between: readonly string[];
  readonly member?: string;
  readonly said: string;
  readonly remedy: string;
}

export interface Differences {
  /** Members that told their settings, the one that the others were held against first. */
  readonly compared: readonly string[];
  readonly silent: readonly { readonly member: string; readonly said: string }[];
  readonly found: readonly MemberDifference[];
  /** What no member can tell, for people to see to. */
  readonly untold: readonly { readonly kind: string; readonly remedy: string }[];
}

/**
 * Who the members of a cluster are, and how failover is decided. Every method takes a few seconds at most and may ask other machines:
 * never called in a hold. What follows from a view is decided elsewhere (model/choose-member.ts, model/failover-margin.ts).
 */
export interface Topology {
  /** The same as the module's. */
  readonly manager: string;
  /**
   * The cluster now. Changes nothing. A member that does not answer is in the view as `down` or `unknown`. Throws `cluster-unknown`
   * when nobody can say who is primary and who is not, `database-login` when it is not allowed to ask.
   */
  view(signal: AbortSignal): Promise<ClusterView>;
  /**
   * Keeps the others from taking over until `letGo`. Absent: this manager cannot do that. Returns once the manager has said so; a view
   * shows `heldOff` then. One that somebody else holds off already is not ours: throws `role-unsuitable`.
   */
  holdOff?(token: HoldOffToken, signal: AbortSignal): Promise<void>;
  /** What `holdOff` will be known by. Touches nothing. */
  holdOffToken?(runId: string, view: ClusterView): HoldOffToken;
  /** Idempotent, takes no cancellation, proved by asking. Only what this token held off. Throws `undo-failed` when that is not proved. */
  letGo?(token: HoldOffToken): Promise<void>;
  /**
   * Makes the copy ready to start as this member and to catch up from the primary. Writes into the copy only: the cluster is asked and not
   * changed. Throws `journal-gap` when what it would have to catch up from is gone there, `role-unsuitable` when the member is no place
   * for a copy. Absent: new members are not made of points.
   */
  seed?(request: SeedRequest, signal: AbortSignal): Promise<Seeded>;
  /**
   * What the manager does not replicate and the members have not alike, so that one of them would do as primary what the other did not.
   * Changes nothing. Throws `cluster-unknown` when fewer than two members tell their settings. Absent: the manager replicates everything,
   * or nobody can ask.
   */
  difference?(signal: AbortSignal): Promise<Differences>;
  /** How its mirror is taken apart for a backup. Absent: it has none, or the way to it lacks the words for that. */
  readonly split?: Split;
}
