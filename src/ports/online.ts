import type { Readable } from 'node:stream';
import type { JournalStart, Marks } from '../model/journal.ts';
import type { CommandSpan } from '../model/hold.ts';
import type { Level } from '../model/point.ts';
import type { Moment } from '../model/time.ts';
import type { Copy } from './application.ts';

/** One file of the engine's backup format. */
export interface OnlineStream {
  /** Base name under which the point keeps it: letters, digits, `.`, `_`, `-`. */
  readonly name: string;
  /** Called once. The stream fails (`error` event) when the engine fails; ending early never looks like a whole backup. */
  open(): Readable;
}

export interface OnlineAnswer {
  /** True only if the engine itself said that it was done; an exit code is not enough where the engine says more. */
  readonly finished: boolean;
  readonly said: string;
  /** What the engine really made, which may be more than was asked for; `why` says so then. */
  readonly made: Level;
  readonly why?: string;
  readonly from: Marks;
  readonly to: Marks;
  /** The moment whose state it holds lies between these two. */
  readonly began: Moment;
  readonly ended: Moment;
  /** Where rolling forward from this level begins. Empty if the engine keeps no journal. */
  readonly starts: readonly JournalStart[];
  readonly spans: readonly CommandSpan[];
}

/** A running backup. Disposing ends it, whatever state it is in, and removes what the engine left half done. */
export interface OnlineRun extends AsyncDisposable {
  /** To be read to the end one after the other in this order: the engine may write them so. */
  readonly streams: readonly OnlineStream[];
  /** After the last stream has ended. Throws `command-failed` when the engine cannot be understood. */
  finish(): Promise<OnlineAnswer>;
}

export interface OnlineRequest {
  readonly level: Level;
  /** The marks of the point that this level goes on top of: the last full for a cumulative, the last of any level for an incremental. */
  readonly since: Marks | undefined;
  /** An empty directory of ours for pipes and what the engine must stage. Not on the engine's own disks. */
  readonly scratch: string;
  readonly signal: AbortSignal;
}

/** An optional ability of an application: the engine's own full, cumulative and incremental backup while users work. */
export interface OnlineBackup {
  /** Starts it. Throws before anything is changed where it can be foreseen (a level without `since`, another backup at work). */
  start(request: OnlineRequest): Promise<OnlineRun>;

  /**
   * Lets a copy that is made of live files from here on be closed by an incremental `since` the returned marks: everything older than
   * them is on disk when this returns. Absent: the method `concurrent` is not supported.
   */
  mark?(signal: AbortSignal): Promise<Marks>;

  /**
   * Puts one level into a copy: creates its files for a full (nothing is there yet), changes them for the others. With `dirtySince` the copy's files
   * were copied live after those marks were taken. Called in the order of the levels. `streams` are files, by stream name. Away from
   * the live database (docs/design/rules.md, 15). Throws `level-misfit` when the engine refuses it, with the copy to be thrown away.
   */
  apply(level: AppliedLevel, copy: Copy, signal: AbortSignal): Promise<void>;
}

export interface AppliedLevel {
  readonly level: Level;
  readonly streams: ReadonlyMap<string, string>;
  readonly dirtySince?: Marks;
}
