import type { ClusterView } from '../model/cluster.ts';

/** A failover that is held off: plain data that lets another process let it go. Journaled before it is done; holds no secret. */
export interface HoldOffToken {
  readonly manager: string;
  readonly cluster: string;
  readonly runId: string;
  /** How the manager knows it. */
  readonly identity: string;
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
}
