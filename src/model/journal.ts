/** Where rolling forward from a point begins in one part of the journal. */
export interface JournalStart {
  /** What has a journal of its own: a region, an instance, a mirror. `''` where an engine has only one. */
  readonly part: string;
  /** Base name of the first file whose changes are not in the point. */
  readonly file: string;
  /** The engine's own position in it or of the data at that moment: a transaction number, an offset, an LSN. */
  readonly position: string;
  /** An older file that undoing open transactions may need; roll forward itself does not. */
  readonly required?: string;
}

/**
 * The engine's own counters, by part (a region, a database): how far a backup reaches. A level fits on another when its `from` equals
 * the other's `to` in every part. Compared as text only.
 */
export type Marks = Readonly<Record<string, string>>;

/**
 * One file of an engine's journal. Files of one part form a chain: each begins at the position at which the one before it ended.
 * Times are RFC 3339 UTC, as exact as the engine keeps them.
 */
export interface JournalFile {
  readonly part: string;
  /** Base name, unique within the part for as long as any copy of it is kept. */
  readonly name: string;
  /** Absolute path at which the engine keeps or kept it. */
  readonly path: string;
  readonly begin: string;
  /** Undefined while the engine still writes to it. */
  readonly end?: string;
  readonly beganAt: string;
  /** Time of the last change in it; undefined while the engine still writes to it. */
  readonly endedAt?: string;
  readonly bytes: number;
}

/** A journal file that is in the repository, whole and closed. */
export interface ShippedJournal extends JournalFile {
  readonly end: string;
  readonly endedAt: string;
  readonly workload: string;
  /** Identity of the data set (Located.identity): files of another one never fit. */
  readonly identity: string;
  /** Repository snapshot that holds it, at `path`. */
  readonly snapshot: string;
  readonly sha256: string;
  /** Every change made until then is in this file or an earlier one of its part. Not later than the moment at which it was closed. */
  readonly coversTo: string;
}

/** Up to where recovery goes. `time`: every change made until the end of that second or instant. `file`: to the end of that journal file. */
export type RecoveryTarget =
  | { readonly kind: 'point' }
  | { readonly kind: 'latest' }
  | { readonly kind: 'time'; readonly at: string }
  | { readonly kind: 'file'; readonly name: string };
