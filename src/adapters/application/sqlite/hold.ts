import type { DatabaseSync } from 'node:sqlite';
import { messageOf } from '../../../model/errors.ts';
import type { CommandSpan, FreezeAnswer, HoldToken, MemberObservation, ThawAnswer } from '../../../model/hold.ts';
import type { HoldSession } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import {
  databaseError,
  describeHolders,
  failureIn,
  openDatabase,
  statOf,
  tryWriteLock,
  writeLockHoldersOf,
} from './database.ts';
import { type HoldMark, setMark } from './mark.ts';

/** A writer is given this long, at most, to end its transaction; and never more than half the budget. */
const longestWaitMs = 2_000;
const pollMs = 1;
/** TRUNCATE makes new writers wait while it waits for readers, outside the hold. */
const checkpointWaitMs = 100;

/** One database of the hold. Both connections are open before the freeze (docs/design/rules.md, 1). */
interface Held {
  readonly file: string;
  readonly epoch: string;
  readonly hold: DatabaseSync;
  readonly probe: DatabaseSync;
}

export function memberOf(host: string, files: readonly string[]): MemberObservation {
  return { member: host, role: 'standalone', epoch: files.map(epochOf).join(',') };
}

/** A file that was replaced is another history, even under the same name. */
function epochOf(file: string): string {
  const { device, inode } = statOf(file);
  return `${device}:${inode}`;
}

/**
 * Holds SQLite's write lock (`BEGIN IMMEDIATE`) on every file. In WAL mode a foreign checkpoint may still copy pages from the WAL into
 * the database file, but it cannot reset the WAL, which needs the write lock; recovery of the copy replays the WAL over such pages.
 */
export class SqliteHold implements HoldSession {
  readonly #token: HoldToken;
  readonly #budgetMs: number;
  readonly #platform: Platform;
  readonly #held: readonly Held[];
  #mark: HoldMark | undefined;
  #frozen = false;
  #kernelSeesLocks = false;
  #thawCalled = false;
  #thawed: ThawAnswer | undefined;

  /** `files`: real paths in locking order. */
  constructor(token: HoldToken, budgetMs: number, platform: Platform, files: readonly string[]) {
    this.#token = token;
    this.#budgetMs = budgetMs;
    this.#platform = platform;
    const held: Held[] = [];
    try {
      for (const file of files) {
        const epoch = epochOf(file);
        const hold = openDatabase(file, 'write');
        held.push({ file, epoch, hold, probe: hold });
        held.splice(-1, 1, { file, epoch, hold, probe: openDatabase(file, 'write') });
      }
    } catch (cause) {
      for (const each of held) closeQuietly(each);
      throw cause;
    }
    this.#held = held;
  }

  async prepare(): Promise<void> {
    for (const { file, hold, probe } of this.#held) {
      this.#checkpoint(file, hold);
      try {
        // Tells a lack of permission before the freeze, and makes the first ask as quick as the next.
        if (tryWriteLock(probe) === 'granted') probe.exec('ROLLBACK');
      } catch (cause) {
        throw databaseError(file, cause);
      }
    }
    this.#mark = await setMark(this.#token);
    // Run once before it counts: the first pass through this code costs ten milliseconds, which must not be time in the hold.
    for (const { file } of this.#held) writeLockHoldersOf(file);
    await this.observe();
  }

  /** A short WAL makes a short cut and a short recovery. Nothing depends on it. */
  #checkpoint(file: string, database: DatabaseSync): void {
    try {
      database.prepare('PRAGMA wal_checkpoint(PASSIVE)').get();
      database.exec(`PRAGMA busy_timeout=${checkpointWaitMs}`);
      database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get();
    } catch (cause) {
      this.#platform.log.info('the checkpoint before the freeze did not finish', { file, said: messageOf(cause) });
    } finally {
      database.exec('PRAGMA busy_timeout=0');
    }
  }

  async freeze(): Promise<FreezeAnswer> {
    const { clock } = this.#platform;
    const startMs = clock.monoMs();
    const giveUpMs = startMs + Math.min(this.#budgetMs / 2, longestWaitMs);
    const answer = (frozen: boolean, said: string): FreezeAnswer => ({
      frozen,
      said,
      at: clock.now(),
      spans: [{ party: 'engine', what: 'BEGIN IMMEDIATE', startMs, endMs: clock.monoMs() }],
    });
    if (this.#thawCalled) return answer(false, 'this session was thawed already');
    for (const { file, hold } of this.#held) {
      // Asking again and again keeps the event loop free for the deadline; SQLite's own waiting would block it.
      for (;;) {
        try {
          if (tryWriteLock(hold) === 'granted') break;
        } catch (cause) {
          this.#rollback();
          return answer(false, `BEGIN IMMEDIATE on ${file} failed: ${messageOf(cause)}`);
        }
        if (clock.monoMs() >= giveUpMs) {
          const waitedMs = Math.round(clock.monoMs() - startMs);
          const said = `${file}: database is locked; ${describeHolders(file)} kept the write lock for ${waitedMs} ms`;
          this.#rollback();
          return answer(false, said);
        }
        await clock.sleep(pollMs);
        if (this.#thawCalled) {
          this.#rollback();
          return answer(false, 'thawed while waiting for the write lock');
        }
      }
    }
    this.#frozen = true;
    // From here writers wait: the hold begins now, not when it is confirmed.
    const locked = clock.now();
    // A granted statement is no proof: on a file that may not be written SQLite grants BEGIN IMMEDIATE as a mere read transaction.
    const asked = this.#ask();
    if (!asked.frozen) this.#rollback();
    this.#kernelSeesLocks = this.#held.every(({ file }) => writeLockHoldersOf(file).includes(process.pid));
    return {
      ...asked,
      at: locked,
      spans: [{ party: 'engine', what: 'BEGIN IMMEDIATE', startMs, endMs: locked.monoMs }, ...asked.spans],
    };
  }

  async ask(): Promise<FreezeAnswer> {
    return this.#ask();
  }

  #ask(): FreezeAnswer {
    const { clock } = this.#platform;
    const spans: CommandSpan[] = [];
    for (const held of this.#held) {
      const startMs = clock.monoMs();
      const broken = this.#brokenIn(held);
      spans.push({ party: 'engine', what: 'BEGIN IMMEDIATE by a second connection', startMs, endMs: clock.monoMs() });
      if (broken !== undefined) return { frozen: false, said: `${held.file}: ${broken}`, at: clock.now(), spans };
    }
    const proof = this.#kernelSeesLocks ? ', and the kernel lists our write lock' : '';
    const said = `a second connection was answered "database is locked"${proof}`;
    return { frozen: true, said, at: clock.now(), spans };
  }

  /** Why the hold on one file is not in force. */
  #brokenIn({ file, epoch, hold, probe }: Held): string | undefined {
    try {
      if (!this.#frozen) return 'nothing is frozen';
      if (!hold.isOpen || !hold.isTransaction) return 'the holding transaction has ended';
      if (tryWriteLock(probe) === 'granted') {
        probe.exec('ROLLBACK');
        return 'another connection got the write lock';
      }
      if (epochOf(file) !== epoch) return 'the file was replaced by another one';
      // SQLite answers a second connection of this process from memory, so only the kernel notices a lock that was dropped below it.
      if (this.#kernelSeesLocks && !writeLockHoldersOf(file).includes(process.pid)) {
        return 'the kernel does not list our write lock any more';
      }
      return undefined;
    } catch (cause) {
      return messageOf(cause);
    }
  }

  async observe(): Promise<MemberObservation> {
    return memberOf(
      this.#platform.host.name,
      this.#held.map(({ file }) => file),
    );
  }

  async thaw(): Promise<ThawAnswer> {
    if (this.#thawed !== undefined) return this.#thawed;
    const { clock } = this.#platform;
    this.#thawCalled = true;
    const before = this.#frozen ? this.#ask() : undefined;
    const startMs = clock.monoMs();
    this.#rollback();
    const endMs = clock.monoMs();
    const at = clock.now();
    const held = this.#held.filter((each) => !isReleased(each));
    const answer: ThawAnswer = {
      thawed: held.length === 0,
      heldThroughout: before?.frozen === true,
      said:
        held.length > 0
          ? `the write lock is still held on ${held.map(({ file }) => file).join(', ')}`
          : `rolled back, the write lock is free; before that: ${before?.said ?? 'nothing was frozen'}`,
      at,
      spans: [...(before?.spans ?? []), { party: 'engine', what: 'ROLLBACK', startMs, endMs }],
      artifacts: [],
    };
    if (answer.thawed) {
      this.#thawed = answer;
      await this.#mark?.remove();
    }
    return answer;
  }

  /** In reverse order of locking. Closing is the second way to let go of a lock, should the statement fail. */
  #rollback(): void {
    this.#frozen = false;
    for (const { file, hold } of this.#held.toReversed()) {
      try {
        if (hold.isOpen && hold.isTransaction) hold.exec('ROLLBACK');
      } catch (cause) {
        this.#platform.log.warn('ROLLBACK failed; the connection is closed instead', { file, said: messageOf(cause) });
        hold.close();
      }
    }
  }

  async close(): Promise<void> {
    this.#thawCalled = true;
    this.#rollback();
    for (const held of this.#held) closeQuietly(held);
    await this.#mark?.remove();
  }
}

/** Free, or in the hands of somebody else by now. */
function isReleased({ hold, probe }: Held): boolean {
  if (hold.isOpen && hold.isTransaction) return false;
  if (!probe.isOpen) return true;
  try {
    if (tryWriteLock(probe) === 'granted') probe.exec('ROLLBACK');
    return true;
  } catch (cause) {
    // The hold's transaction is over; that the probe failed for another reason (disk full) does not bring it back.
    return failureIn(cause) !== undefined;
  }
}

function closeQuietly({ hold, probe }: Held): void {
  for (const database of new Set([hold, probe])) {
    try {
      if (database.isOpen) database.close();
    } catch {
      // Nothing can be done about it, and the end of the process closes it.
    }
  }
}
