import type { JournalStart } from './journal.ts';
import type { Moment } from './time.ts';

/**
 * What a hold guarantees while it is in force.
 * `writes-stopped`: no byte of the files changes in a way that recovery from them would notice, however long the cut takes.
 * `one-instant`: nothing commits, but the engine itself goes on writing pages and the log of open transactions. All volumes cut at one
 * instant show exactly what was committed; files copied one after the other may not be recoverable (MariaDB's backup stages).
 * `copy-rules`: writes go on, but files copied one after the other between freeze and thaw are recoverable together with the journal
 * of that span (PostgreSQL's backup mode).
 * `none`: no hold at all; only a cut of all volumes at one instant is worth anything, and it is crash-consistent.
 */
export type HoldKind = 'writes-stopped' | 'one-instant' | 'copy-rules' | 'none';

/** Whether those who commit wait while it is in force: it must be short, and a canary cannot write. */
export function stopsWriters(kind: HoldKind): boolean {
  return kind === 'writes-stopped' || kind === 'one-instant';
}

/** Whether volumes that are cut one after the other are worth nothing under it. */
export function needsOneInstant(kind: HoldKind): boolean {
  return kind === 'one-instant' || kind === 'none';
}

/** Which member was looked at, in which role and epoch. `epoch` changes whenever the identity of the writable history changes. */
export interface MemberObservation {
  readonly member: string;
  readonly role: 'primary' | 'backup' | 'replica' | 'async' | 'arbiter' | 'standalone';
  readonly epoch: string;
}

/** Plain data that lets another process thaw the hold. Journaled before the freeze; holds no secret. */
export interface HoldToken {
  readonly runId: string;
  readonly workload: string;
  readonly engine: string;
  /** How the engine knows the hold: a session name, a lock file, a freeze id. */
  readonly identity: string;
  /** The member of the cluster whose engine is held, as the cluster's manager calls it. Absent: there is no cluster. */
  readonly member?: string;
  /** `freeze` if absent. `stop`: the engine's users are stopped and started again (Application.openStop). */
  readonly way?: 'freeze' | 'stop';
  /** File systems that are frozen with the engine, after it, and thawed before it. Absent: none. */
  readonly fileSystems?: readonly FrozenFileSystem[];
}

/** A freeze belongs to the superblock, not to who made it: it outlives every process, but not the boot. */
export interface FrozenFileSystem {
  readonly mountPoint: string;
  /** st_dev of the mount point, in decimal: another file system may be mounted there by the time of the thaw. */
  readonly device: string;
  readonly bootId: string;
}

/** A span of time spent in somebody else's command. */
export interface CommandSpan {
  readonly party: 'engine' | 'provider';
  readonly what: string;
  readonly startMs: number;
  readonly endMs: number;
}

/** The engine's own word on whether it is frozen. `said` quotes it. */
export interface FreezeAnswer {
  readonly frozen: boolean;
  readonly said: string;
  readonly at: Moment;
  readonly spans: readonly CommandSpan[];
  /** Where rolling forward from this hold's cut begins, if the engine said so at the freeze. */
  readonly starts?: readonly JournalStart[];
}

/** What a process that does not own the hold can find out. `unknown` is an alarm, never "thawed". */
export interface FreezeStatus {
  readonly state: 'frozen' | 'thawed' | 'unknown';
  readonly said: string;
}

/** The journal that recovery needs besides the cut: every file from `from` to `to`, both included. */
export interface JournalSpan {
  readonly from: { readonly file: string; readonly position: string };
  readonly to: { readonly file: string; readonly position: string };
  readonly files: readonly string[];
  /** Directory in which the engine keeps these files now, and the directory where recovery looks for them (original paths). */
  readonly directory: string;
}

/** A file that the engine hands out at thaw and that belongs into the copy byte by byte (`backup_label`). */
export interface Artifact {
  /** Absolute path, as if it lay beside the original. */
  readonly path: string;
  readonly base64: string;
  readonly mode: number;
}

export interface ThawAnswer {
  readonly thawed: boolean;
  /** False when the session was lost, the engine thawed itself, or it cannot be known. */
  readonly heldThroughout: boolean;
  readonly said: string;
  readonly at: Moment;
  readonly spans: readonly CommandSpan[];
  readonly journal?: JournalSpan;
  /** Where rolling forward begins, if the engine says so only now. */
  readonly starts?: readonly JournalStart[];
  readonly artifacts: readonly Artifact[];
}

/** Who ended a hold. `word`: told to; `owner-lost`: end-of-file from the flow; `deadline`; `sentinel`: the guard itself had died or hung. */
export type HoldEnd = 'word' | 'owner-lost' | 'deadline' | 'sentinel' | 'flow' | 'recover';
