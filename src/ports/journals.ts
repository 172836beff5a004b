import type { JournalFile, RecoveryTarget } from '../model/journal.ts';
import type { Finding } from '../model/point.ts';
import type { Copy } from './application.ts';

/** A journal file laid out for rolling forward. */
export interface PlacedJournal {
  readonly file: JournalFile;
  /** Where a copy of it lies now. The adapter may change that copy. */
  readonly at: string;
}

/** Why the engine or a member of its mirror still needs a file. */
export interface JournalNeed {
  readonly name: string;
  readonly part: string;
  readonly why: string;
}

/** An optional ability of an application: its journal as files that can be shipped, kept, purged and rolled forward. */
export interface Journals {
  /** Every file that the engine has, oldest first in each part; the ones still written to have no `end`. Changes nothing. */
  list(signal: AbortSignal): Promise<readonly JournalFile[]>;

  /** Ends the files written to now and begins new ones in all parts, so that the ended ones can be shipped. */
  switch(signal: AbortSignal): Promise<void>;

  /** Files that the engine itself (open transactions, recovery) or another member (not yet received) still needs. */
  needed(signal: AbortSignal): Promise<readonly JournalNeed[]>;

  /** Deletes one closed file by the engine's own means, or as a file. Missing = success. Throws when it is still written to. */
  remove(file: JournalFile): Promise<void>;

  /**
   * Rolls a copy forward through the files, which form a chain in every part, to `target` (`time` or `file`; `latest`: to the end of what is given). Away from the live
   * database. Throws `journal-misfit` when the engine refuses them; the copy is worth nothing then. Returns what the engine said.
   */
  rollForward(
    copy: Copy,
    files: readonly PlacedJournal[],
    target: RecoveryTarget,
    signal: AbortSignal,
  ): Promise<readonly Finding[]>;
}
