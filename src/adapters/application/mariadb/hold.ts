import { StillpointError } from '../../../model/errors.ts';
import type { CommandSpan, FreezeAnswer, HoldToken, MemberObservation, ThawAnswer } from '../../../model/hold.ts';
import type { JournalStart } from '../../../model/journal.ts';
import type { Clock } from '../../../platform/clock.ts';
import { mariadbSaid } from '../../../platform/mariadb-session.ts';
import type { HoldSession } from '../../../ports/application.ts';
import {
  blockCommitSql,
  channelsSql,
  flushLogsSql,
  literal,
  logPositionsSql,
  masterSql,
  observeSql,
} from './commands.ts';
import type { MariadbConfig } from './config.ts';
import { asStillpoint, errnoOf } from './connection.ts';
import type { Connection } from './connection.ts';
import { logPositionsOf, memberFrom, variablesOf } from './parse.ts';

/** Another backup in the same server, or a DDL statement that keeps it from beginning. */
const beginS = 15;
/** Until the freeze an idle session must live: the volumes are prepared meanwhile. */
const idleS = 3600;
const logPollMs = 5;
/** Error numbers of the server about a stage that is asked for in the wrong order. */
const notRunning = 4146;
const wrongStage = 4147;

type State = 'open' | 'prepared' | 'freezing' | 'frozen' | 'failed' | 'thawed';

/** The lock by whose name other processes find the session of a hold. The server lets it go after everything else of the session. */
export function lockName(token: HoldToken): string {
  return token.identity.slice(-190);
}

/**
 * `BACKUP STAGE BLOCK_COMMIT`, which is bound to this one session: whatever ends the session ends the hold. While `freeze`, `ask` and
 * `thaw` run, nothing but a few round trips on the open connection happens.
 */
export class MariadbHold implements HoldSession {
  readonly #connection: Connection;
  readonly #config: MariadbConfig;
  readonly #token: HoldToken;
  readonly #budgetMs: number;
  readonly #clock: Clock;
  #state: State = 'open';
  #answer: ThawAnswer | undefined;

  constructor(connection: Connection, config: MariadbConfig, token: HoldToken, budgetMs: number, clock: Clock) {
    this.#connection = connection;
    this.#config = config;
    this.#token = token;
    this.#budgetMs = budgetMs;
    this.#clock = clock;
  }

  async prepare(): Promise<void> {
    try {
      await this.#prepare();
    } catch (cause) {
      throw asStillpoint(cause, this.#config);
    }
  }

  /** START blocks nobody but another backup: it keeps Aria's log, and lets DDL be noted. */
  async #prepare(): Promise<void> {
    const connection = this.#connection;
    await connection.query(
      `SET SESSION autocommit = 1, lock_wait_timeout = ${beginS}, max_statement_time = ${beginS}, wait_timeout = ${idleS}`,
    );
    const [lock] = await connection.query(`SELECT GET_LOCK(${literal(lockName(this.#token))}, 0) AS got`);
    if (lock?.['got'] !== '1') {
      throw new StillpointError('freeze-failed', `another session of MariaDB has the lock of ${this.#token.runId}`, {
        hint: 'another hold of this run is in force: stillpoint recover',
      });
    }
    try {
      await connection.query('BACKUP STAGE START');
    } catch (cause) {
      // Timeouts of the statement and of the lock.
      if (![1205, 1969].includes(errnoOf(cause) ?? 0)) throw cause;
      throw new StillpointError('freeze-failed', `BACKUP STAGE START waited ${beginS} s in vain`, {
        hint: 'another backup (mariadb-backup) runs in this server, or somebody holds FLUSH TABLES WITH READ LOCK: SHOW PROCESSLIST',
        cause,
      });
    }
    // Once more in the hold, where it then has little to write.
    await connection.query(flushLogsSql);
    // Both need privileges, whose lack must not show in the hold.
    await connection.query(masterSql);
    await this.#member();
    this.#state = 'prepared';
  }

  async freeze(): Promise<FreezeAnswer> {
    const spans: CommandSpan[] = [];
    const answer = (frozen: boolean, said: string, starts?: readonly JournalStart[]): FreezeAnswer => ({
      ...{ frozen, said, at: this.#clock.now(), spans },
      ...(starts === undefined ? {} : { starts }),
    });
    if (this.#state !== 'prepared') return answer(false, `the session is ${this.#state}`);
    this.#state = 'freezing';
    // What waits here blocks new writers already: it must give up in time for others to be served within the budget.
    const startMs = this.#clock.monoMs();
    const waitS = this.#budgetMs / 2000;
    const limits = `max_statement_time = ${waitS.toFixed(3)}, lock_wait_timeout = ${Math.ceil(waitS)}`;
    try {
      // The server ends the session, and with it the hold, when it hears nothing for so long.
      await this.#connection.query(
        `SET SESSION ${limits}, wait_timeout = ${Math.ceil(this.#budgetMs / 1000) + 2}, net_read_timeout = 5`,
      );
      await this.#connection.timed(blockCommitSql, spans, blockCommitSql);
      const behind = await this.#writeLog(spans, startMs + waitS * 1000);
      if (behind !== undefined) {
        this.#state = 'failed';
        return answer(false, behind);
      }
      const [row] = await this.#connection.timed(masterSql, spans, masterSql);
      const [gtid] = await this.#connection.timed(
        'GTID',
        spans,
        'SELECT @@GLOBAL.gtid_binlog_pos AS binlog, @@GLOBAL.gtid_current_pos AS current',
      );
      this.#state = 'frozen';
      const where = `GTID ${gtid?.['binlog'] || gtid?.['current'] || 'none'}`;
      if (row?.['File'] == null) return answer(true, `BLOCK_COMMIT, no binary log, ${where}`);
      const [file, position] = [row['File'], row['Position'] ?? ''];
      return answer(true, `BLOCK_COMMIT, binary log ${file} at ${position}, ${where}`, [{ part: '', file, position }]);
    } catch (cause) {
      this.#state = 'failed';
      return answer(false, await this.#whyNot(mariadbSaid(cause), errnoOf(cause)));
    }
  }

  /**
   * Until InnoDB itself says that its log is on disk up to where it went when commits had stopped; else why not. With
   * innodb_flush_log_at_trx_commit=0 nobody can have it written: a thread of its own does that once in innodb_flush_log_at_timeout (1 s).
   */
  async #writeLog(spans: CommandSpan[], untilMs: number): Promise<string | undefined> {
    const positions = async (): Promise<ReturnType<typeof logPositionsOf>> =>
      logPositionsOf(await this.#connection.timed('log positions', spans, logPositionsSql));
    // First: background work makes the log longer all the time, and only what commits wrote must be there.
    const { current: target } = await positions();
    await this.#connection.timed('FLUSH ENGINE LOGS', spans, flushLogsSql);
    for (;;) {
      const { flushed } = await positions();
      if (flushed >= target) return undefined;
      if (Number.isNaN(flushed) || Number.isNaN(target)) return 'InnoDB does not tell how far its log is on disk';
      if (this.#clock.monoMs() >= untilMs)
        return `InnoDB's log is on disk up to ${flushed} and not ${target}: see innodb_flush_log_at_trx_commit and innodb_flush_log_at_timeout`;
      const startMs = this.#clock.monoMs();
      await this.#clock.sleep(logPollMs);
      // It is the engine that is waited for.
      spans.push({ party: 'engine', what: 'log is written', startMs, endMs: this.#clock.monoMs() });
    }
  }

  /** Who may be in the way. Names no statement: they hold data. */
  async #whyNot(said: string, errno: number | undefined): Promise<string> {
    if (errno !== 1205 && errno !== 1969) return said;
    return `${said} after ${this.#budgetMs / 2} ms: a statement that writes, or a DDL statement, did not end`;
  }

  /**
   * Asks for the stage that is in force: the server refuses it by saying in which stage this session is, and changes nothing. A session
   * in no stage gets another error.
   */
  async ask(): Promise<FreezeAnswer> {
    const spans: CommandSpan[] = [];
    const answer = (frozen: boolean, said: string): FreezeAnswer => ({ frozen, said, at: this.#clock.now(), spans });
    const lost = this.#connection.lost;
    if (lost !== undefined) return answer(false, `the session is gone: ${lost}`);
    if (this.#state !== 'frozen' && this.#state !== 'thawed') return answer(false, `the session is ${this.#state}`);
    try {
      await this.#connection.timed('ask for the stage', spans, blockCommitSql);
    } catch (cause) {
      if (errnoOf(cause) === wrongStage && this.#state === 'frozen') return answer(true, mariadbSaid(cause));
      return answer(false, mariadbSaid(cause));
    }
    // It should have been refused: whatever was in force before was not this stage.
    this.#state = 'failed';
    return answer(false, 'the session was in an earlier stage');
  }

  async observe(): Promise<MemberObservation> {
    try {
      return await this.#member();
    } catch (cause) {
      throw asStillpoint(cause, this.#config);
    }
  }

  async #member(): Promise<MemberObservation> {
    const variables = variablesOf(await this.#connection.query(observeSql));
    return memberFrom(variables, await this.#connection.query(channelsSql));
  }

  async thaw(): Promise<ThawAnswer> {
    if (this.#answer !== undefined) return this.#answer;
    const answer = await this.#thaw();
    if (answer.thawed) {
      this.#answer = answer;
      this.#state = 'thawed';
    }
    return answer;
  }

  async #thaw(): Promise<ThawAnswer> {
    const spans: CommandSpan[] = [];
    const answer = (thawed: boolean, heldThroughout: boolean, said: string): ThawAnswer => ({
      ...{ thawed, heldThroughout, said, spans, artifacts: [] },
      at: this.#clock.now(),
    });
    const lost = this.#connection.lost;
    // Its end is what ends the hold, but that it has come to the server is for others to prove.
    if (lost !== undefined) return answer(false, false, `the session is gone: ${lost}`);
    const held = this.#state === 'frozen';
    if (this.#state === 'freezing') {
      // A statement behind the running one would wait for it.
      this.#connection.cut();
      return answer(false, false, 'the session was cut off while MariaDB still waited for the stage');
    }
    let result: ThawAnswer;
    try {
      await this.#connection.timed('BACKUP STAGE END', spans, 'BACKUP STAGE END');
      result = answer(true, held, held ? 'BACKUP STAGE END' : 'the hold had not been confirmed; it was ended');
    } catch (cause) {
      if (errnoOf(cause) !== notRunning) return answer(false, false, mariadbSaid(cause));
      result = answer(true, false, mariadbSaid(cause));
    }
    await this.#afterThaw();
    return result;
  }

  /** From here on the session must not look like a hold. */
  async #afterThaw(): Promise<void> {
    try {
      await this.#connection.query(`DO RELEASE_LOCK(${literal(lockName(this.#token))})`);
    } catch {
      // The session is gone, and the lock with it.
    }
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}
