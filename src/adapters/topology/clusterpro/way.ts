/** What one server says of its cluster. Words are the cluster's own. */
export interface Report {
  readonly cluster: string;
  readonly servers: ReadonlyMap<string, string>;
  /** By server, what resources below it say: heartbeats, network partition resolution. Empty where nobody tells. */
  readonly parts: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly groups: ReadonlyMap<string, GroupReport>;
  /** By monitor, then by server. */
  readonly monitors: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly mirrors: ReadonlyMap<string, MirrorReport>;
  /** By how much time-outs are extended now. Undefined: it does not tell. */
  readonly ratio: number | undefined;
}

export interface GroupReport {
  readonly status: string;
  /** Undefined: on no server. */
  readonly current: string | undefined;
}

export interface MirrorReport {
  /** `Normal`, `Recovering`, `Abnormal`... */
  readonly status: string;
  /** By server: `GREEN`, `YELLOW`... */
  readonly colours: ReadonlyMap<string, string>;
}

export interface Heard {
  readonly server: string;
  /** Undefined: it did not answer, or its cluster service does not run. `why` says which. */
  readonly report?: Report;
  readonly why?: string;
}

/** By which the cluster is asked and told. Nothing of it proves itself: what was told is proved by asking. */
export interface Way {
  /** Asks every server. Throws only what makes all further asking useless (`database-login`, `secret-unreadable`). */
  ask(signal?: AbortSignal): Promise<readonly Heard[]>;
  suspend(monitor: string, server: string, signal?: AbortSignal): Promise<void>;
  resume(monitor: string, server: string): Promise<void>;
  setRatio(factor: number, time: string, signal?: AbortSignal): Promise<void>;
  resetRatio(): Promise<void>;
}
