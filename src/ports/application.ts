import type {
  FreezeAnswer,
  FreezeStatus,
  HoldKind,
  HoldToken,
  JournalSpan,
  MemberObservation,
  ThawAnswer,
} from '../model/hold.ts';
import type { Marks } from '../model/journal.ts';
import type { Finding, Level } from '../model/point.ts';
import type { RequiredPath } from '../model/storage.ts';
import type { Journals } from './journals.ts';
import type { OnlineBackup } from './online.ts';

/** What the engine says of itself before anything is frozen. */
export interface Located {
  readonly version: string;
  readonly member: MemberObservation;
  readonly holdKind: HoldKind;
  /** Every path that recovery needs, from the engine itself. Real paths: no symbolic link is left in them. */
  readonly paths: readonly RequiredPath[];
  /** Bytes of all required paths, for space and time predictions. */
  readonly bytes: number;
  /**
   * Identity of the data set (PostgreSQL's system identifier, a SQLite file's place): a parent point must have the same.
   */
  readonly identity: string;
  /** What `verify` and `adopt` will need years later, without the live engine: binary directory, owner... No secrets. */
  readonly facts: Readonly<Record<string, string>>;
}

/** A copy of the required paths somewhere else. `at` maps an original absolute path to where the copy lies now. */
export interface Copy {
  readonly at: (original: string) => string;
  readonly required: readonly RequiredPath[];
  readonly facts: Readonly<Record<string, string>>;
  /** An empty directory for sockets, logs and generated files; removed by the caller. Short path: sockets live there. */
  readonly scratch: string;
}

/**
 * One database engine. Instances are made by a module's `create` and hold no connection; every method connects, asks and closes,
 * but `openHold`, whose session lives in the guard. All methods throw StillpointError for what can be foreseen.
 */
export interface Application {
  readonly engine: string;

  /** Asks the live engine where its files are, what it is, and whether it may be backed up now. Changes nothing. */
  locate(signal: AbortSignal): Promise<Located>;

  /**
   * Connects and loads everything that freeze, ask and thaw need (docs/design/rules.md, 1). Called in the guard only, once a hold.
   * The freeze must carry a limit inside the engine a little above `budgetMs` where the engine has one.
   */
  openHold(token: HoldToken, budgetMs: number): Promise<HoldSession>;

  /** What somebody who does not own the hold can see of it. `unknown` when the engine does not answer. Never throws. */
  status(token: HoldToken): Promise<FreezeStatus>;

  /**
   * Ends the hold from any process, also a new one after a crash. Idempotent: a hold that is over already, or never began, is
   * success. Takes no cancellation, but gives up by itself after about 10 s with `thawed: false`. Never throws.
   */
  thaw(token: HoldToken): Promise<ThawAnswer>;

  /** Starts or opens a copy, away from the original, and asks it questions. The copy is thrown away afterwards. */
  verify(copy: Copy, signal: AbortSignal): AsyncIterable<Finding>;

  /** Things worth knowing before the first backup: privileges, settings, versions. Changes nothing. */
  check?(signal: AbortSignal): AsyncIterable<Finding>;

  /**
   * After the thaw and before the guard lets its session go: copies the journal files of `span` from the live engine into the
   * directory `into` and proves that they are whole. Throws `journal-missing`. Absent when the cut alone is enough.
   */
  collectJournal?(span: JournalSpan, into: string, signal: AbortSignal): Promise<readonly CollectedFile[]>;

  /** After a restore to another place: mends what points to the old place (links, maps). Called once, before the first start. */
  adopt?(copy: Copy): Promise<void>;

  /** True when an engine process has the original files open, so that they must not be replaced. */
  running?(signal: AbortSignal): Promise<boolean>;

  /**
   * The hold of a cold backup: `freeze` stops the engine's users (or dismounts the database), `ask` proves that nobody has the files
   * open, `thaw` starts them again. For tokens whose `way` is `stop`; `status` and `thaw` of the application look at that too: a thaw
   * from outside starts what is not running. Absent = not supported.
   */
  openStop?(token: HoldToken, budgetMs: number): Promise<HoldSession>;

  /** The engine's own backup. Absent = not supported. */
  readonly online?: OnlineBackup;

  /** The engine's journal as files. Absent = not supported. */
  readonly journals?: Journals;

  /** Sizes of the next backups of the engine's own kind, in bytes, from its counters. `since` as in OnlineRequest, by level. Changes nothing. */
  estimate?(
    since: Readonly<Partial<Record<Level, Marks>>>,
    signal: AbortSignal,
  ): Promise<readonly { readonly level: Level; readonly bytes: number; readonly said: string }[]>;

  /** What the engine logged between two times (ms since 1970, both included), oldest first. Reads only the tail of a log. */
  events?(fromMs: number, toMs: number, signal: AbortSignal): Promise<readonly EngineEvent[]>;

  /**
   * Tells the engine that a copy of its data, cut then, is proved: it may count that for its own journal purge (ExternalSetHistory). Called
   * only after a drill of the point has passed.
   */
  confirm?(point: { readonly id: string; readonly cutAt: string }): Promise<void>;

  /** Numbered records in the live database (docs/design/evidence.md). Absent = not supported; undefined = this member takes no writes. */
  openCanary?(runId: string): Promise<Canary | undefined>;
}

/** A line, with its continuation lines, of an engine's own log. */
export interface EngineEvent {
  /** Milliseconds since 1970; engines' logs may be exact only to the second. */
  readonly atMs: number;
  readonly severity: 'info' | 'warning' | 'severe' | 'fatal';
  readonly text: string;
}

export interface CollectedFile {
  /** Where it lies now. */
  readonly from: string;
  /** Absolute original path that it has in the point. */
  readonly path: string;
}

/** The hold of one engine, inside the guard. Calls come one at a time, in the order prepare, freeze, (ask, observe)*, thaw, close. */
export interface HoldSession {
  /**
   * How long a healthy answer may take, in ms: `ask` and `observe` together, and `thaw`. The guard waits no longer; it then leaves the
   * answer out, or thaws from outside. Absent: 1000 and 1500. For engines whose every word takes a session of its own.
   */
  readonly patience?: { readonly askMs: number; readonly thawMs: number };
  /** Everything slow that shortens the freeze: connect, checkpoint, reserve journal. Outside the hold. */
  prepare(): Promise<void>;
  /** Returns once the engine itself says it is frozen; `frozen: false` or a throw means that `thaw` must be called all the same. */
  freeze(): Promise<FreezeAnswer>;
  /** Asks the engine, through its own means, whether the hold is in force now. */
  ask(): Promise<FreezeAnswer>;
  /** Role and epoch now, through what is connected already. */
  observe(): Promise<MemberObservation>;
  /** Ends the hold. Callable in every state, more than once; the first true answer counts. */
  thaw(): Promise<ThawAnswer>;
  /** Lets go of everything that protected the journal after the thaw, and disconnects. Never throws. */
  close(): Promise<void>;
}

/** Writes the numbers 1, 2, 3... each durable before the next; `stop` returns the last that the engine acknowledged. */
export interface Canary {
  /** Writes the next number. False when the engine would have to wait (it is frozen). */
  write(): Promise<boolean>;
  readonly acknowledged: number;
  close(): Promise<void>;
}
