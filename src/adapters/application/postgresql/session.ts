import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { CommandSpan, FreezeAnswer, HoldToken, MemberObservation, ThawAnswer } from '../../../model/hold.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { Logger } from '../../../platform/logger.ts';
import type { HoldSession } from '../../../ports/application.ts';
import type { PostgresqlConfig } from './config.ts';
import { asStillpoint, sqlState } from './connection.ts';
import type { Connection, Row } from './connection.ts';
import { directoriesOf, memberOf, observeSql, text } from './locate.ts';
import type { Directories } from './locate.ts';
import { isWholeControl, journalSpan, majorOf, parseLabel, sessionName, thawedName } from './parse.ts';

/** A checkpoint of a large server takes minutes; longer than this and something is wrong. */
const checkpointMs = 15 * 60_000;
/** How long the session may idle after the thaw, while its slot still keeps the WAL that is being collected. */
const collectingMs = 30 * 60_000;

/** Reading 8 KiB while the server writes 512 bytes of it is wrong once in a blue moon; five times is a damaged file. */
const controlTries = 5;
const controlPollMs = 5;

type State = 'open' | 'freezing' | 'frozen' | 'failed' | 'thawed';

/**
 * PostgreSQL's backup mode, which is bound to this one session: whatever ends the session ends the hold. While `freeze`, `ask` and
 * `thaw` run, nothing but one round trip each on the open connection happens.
 */
export class PostgresqlHold implements HoldSession {
  readonly #connection: Connection;
  readonly #config: PostgresqlConfig;
  readonly #token: HoldToken;
  readonly #budgetMs: number;
  readonly #clock: Clock;
  readonly #log: Logger;
  #state: State = 'open';
  #directories: Directories | undefined;
  #segmentBytes = 0n;
  #replica = false;
  #answer: ThawAnswer | undefined;

  constructor(
    connection: Connection,
    config: PostgresqlConfig,
    token: HoldToken,
    budgetMs: number,
    clock: Clock,
    log: Logger,
  ) {
    this.#connection = connection;
    this.#config = config;
    this.#token = token;
    this.#budgetMs = budgetMs;
    this.#clock = clock;
    this.#log = log;
  }

  async prepare(): Promise<void> {
    try {
      await this.#prepare();
    } catch (cause) {
      throw asStillpoint(cause, this.#config);
    }
  }

  async #prepare(): Promise<void> {
    const connection = this.#connection;
    const [server] = await connection.query(
      `SELECT current_setting('server_version_num')::int AS number,
        (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size') AS segment,
        pg_is_in_recovery() AS in_recovery`,
    );
    const major = majorOf(Number(server?.['number']));
    this.#segmentBytes = BigInt(text(server, 'segment'));
    this.#replica = server?.['in_recovery'] === true;
    this.#directories = await directoriesOf(connection, this.#config);
    // A backend that runs the start of the backup notices a dead guard only when it looks.
    await connection.query(
      `SET client_connection_check_interval = 1000; SET client_encoding = 'SQL_ASCII'; SET statement_timeout = ${checkpointMs}`,
    );
    await this.#reserveJournal();
    await this.#checkpoint();
    const [start, stop] =
      major >= 15
        ? ['pg_backup_start($1, true)', 'pg_backup_stop(false)']
        : ['pg_start_backup($1, true, false)', 'pg_stop_backup(false, false)'];
    // The label and the map leave the server as hex of their bytes: no encoding on the way can alter them.
    for (const statement of [
      `PREPARE stillpoint_freeze(text) AS SELECT ${start}::text AS lsn`,
      `PREPARE stillpoint_thaw AS SELECT lsn::text AS lsn, encode(textsend(labelfile), 'hex') AS label,
        encode(textsend(coalesce(spcmapfile, '')), 'hex') AS map FROM ${stop}`,
      `PREPARE stillpoint_observe AS ${observeSql}`,
      'EXECUTE stillpoint_observe',
      'SET statement_timeout = 0',
    ]) {
      await connection.query(statement);
    }
    await this.#provePrivilege(major);
  }

  /** Fails before the hold rather than in it. */
  async #provePrivilege(major: number): Promise<void> {
    const functions =
      major >= 15
        ? ['pg_backup_start(text, boolean)', 'pg_backup_stop(boolean)']
        : ['pg_start_backup(text, boolean, boolean)', 'pg_stop_backup(boolean, boolean)'];
    for (const each of functions) {
      const [row] = await this.#connection.query(`SELECT has_function_privilege($1, 'EXECUTE') AS allowed`, [each]);
      if (row?.['allowed'] !== true) {
        throw new StillpointError('database-privilege', `role ${this.#config.user} may not execute ${each}`, {
          hint: `as superuser: GRANT EXECUTE ON FUNCTION ${functions.join(', ')} TO "${this.#config.user}"`,
        });
      }
    }
  }

  /** Without the slot the WAL may be recycled before it is collected; collecting proves what it finds, so that is no silent loss. */
  async #reserveJournal(): Promise<void> {
    const name = this.#token.runId.toLowerCase().replace(/[^a-z0-9_]/g, '_');
    try {
      await this.#connection.query('SELECT pg_create_physical_replication_slot($1, true, true)', [
        `stillpoint_${name}`.slice(0, 63),
      ]);
    } catch (cause) {
      if (sqlState(cause) === undefined || this.#connection.lost !== undefined) throw cause;
      this.#log.warn('no temporary replication slot: WAL may be recycled before it is collected', {
        reason: messageOf(cause),
      });
    }
  }

  /** Moves the slow part of the backup's own checkpoint in front of the hold. */
  async #checkpoint(): Promise<void> {
    try {
      await this.#connection.query('CHECKPOINT');
    } catch (cause) {
      if (sqlState(cause) !== '42501') throw cause;
      this.#log.info('no checkpoint before the hold: the role may not', { reason: messageOf(cause) });
    }
  }

  async freeze(): Promise<FreezeAnswer> {
    if (this.#state !== 'open') {
      return { frozen: false, said: `the session is ${this.#state}`, at: this.#clock.now(), spans: [] };
    }
    const label = this.#connection.literal(sessionName(this.#token.identity));
    const spans: CommandSpan[] = [];
    this.#state = 'freezing';
    try {
      const [row] = await this.#connection.timed(
        'pg_backup_start',
        spans,
        `SET idle_session_timeout = ${Math.ceil(this.#budgetMs) + 2000}; SET LOCAL statement_timeout = ${Math.ceil(this.#budgetMs)}; EXECUTE stillpoint_freeze(${label})`,
      );
      const at = this.#clock.now();
      this.#state = 'frozen';
      return { frozen: true, said: `pg_backup_start returned ${text(row, 'lsn')}`, at, spans };
    } catch (cause) {
      this.#state = 'failed';
      throw new StillpointError('freeze-failed', `PostgreSQL did not enter backup mode: ${messageOf(cause)}`, {
        hint:
          sqlState(cause) === '57014'
            ? 'the checkpoint took longer than hold.budget; raise it'
            : 'see the log of the PostgreSQL server',
        cause,
        details: { sqlState: sqlState(cause) ?? null },
      });
    }
  }

  async ask(): Promise<FreezeAnswer> {
    const spans: CommandSpan[] = [];
    const answer = (frozen: boolean, said: string): FreezeAnswer => ({ frozen, said, at: this.#clock.now(), spans });
    if (this.#connection.lost !== undefined) return answer(false, `the session is gone: ${this.#connection.lost.said}`);
    // Asking in any other state would start a backup.
    if (this.#state !== 'frozen') return answer(false, `the session is ${this.#state}`);
    try {
      // The one thing that only a session in backup mode refuses. The refusal leaves the backup as it is.
      await this.#connection.timed('ask', spans, `EXECUTE stillpoint_freeze('stillpoint asks')`);
    } catch (cause) {
      const said = messageOf(cause);
      return answer(sqlState(cause) === '55000', said);
    }
    this.#state = 'failed';
    return answer(false, 'the session was not in backup mode: the question started a new backup, which the thaw ends');
  }

  async observe(): Promise<MemberObservation> {
    try {
      return memberOf((await this.#connection.query('EXECUTE stillpoint_observe'))[0]);
    } catch (cause) {
      throw asStillpoint(cause, this.#config);
    }
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
    const without = (thawed: boolean, said: string): ThawAnswer => ({
      thawed,
      heldThroughout: false,
      said,
      at: this.#clock.now(),
      spans,
      artifacts: [],
    });
    const lost = this.#connection.lost;
    if (lost !== undefined) {
      return without(
        lost.byEngine,
        `${lost.byEngine ? 'PostgreSQL ended the session' : 'the session is gone'}: ${lost.said}`,
      );
    }
    if (this.#state === 'open') return without(true, 'the session never entered backup mode');
    if (this.#state === 'freezing') {
      // A statement behind the running one would wait for it. The backup dies with the session.
      this.#connection.cut();
      return without(false, 'the session was cut off while PostgreSQL still started the backup');
    }
    const held = this.#state === 'frozen';
    let row: Row | undefined;
    let control: Buffer | undefined;
    try {
      control = this.#replica ? await this.#controlFile() : undefined;
    } catch (cause) {
      // Without it the copy is worth nothing, but the thaw comes first: it goes on, and what it hands out says so.
      this.#log.warn('the control file could not be read', { reason: messageOf(cause) });
    }
    try {
      [row] = await this.#connection.timed('pg_backup_stop', spans, 'EXECUTE stillpoint_thaw');
    } catch (cause) {
      if (sqlState(cause) === '55000') return without(true, messageOf(cause));
      return without(this.#connection.lost?.byEngine === true, messageOf(cause));
    }
    const at = this.#clock.now();
    await this.#afterThaw();
    if (!held) return without(true, 'PostgreSQL had not confirmed the hold; it was ended');
    if (this.#replica && control === undefined)
      return { ...without(true, 'the control file of the standby could not be read whole'), at };
    const evidence = this.#evidence(text(row, 'lsn'), text(row, 'label'), text(row, 'map'), control);
    return { ...evidence, at, spans };
  }

  /** From here on the session only keeps the WAL: it must neither look like a hold nor be ended by the hold's limit. */
  async #afterThaw(): Promise<void> {
    const name = this.#connection.literal(thawedName(this.#token.identity));
    try {
      await this.#connection.query(`SET application_name = ${name}; SET idle_session_timeout = ${collectingMs}`);
    } catch (cause) {
      this.#log.warn('the session was lost after the thaw', { reason: messageOf(cause) });
    }
  }

  /**
   * Recovery of a standby's copy ends where its control file says, so that file must not be older than any page of the copy. The server
   * writes it in place: what was read is good when its checksum is.
   */
  async #controlFile(): Promise<Buffer> {
    const directories = this.#directories;
    if (directories === undefined) throw new Error('frozen without prepare');
    for (let tries = 0; tries < controlTries; tries += 1) {
      const read = await readFile(join(directories.data, 'global', 'pg_control'));
      if (isWholeControl(read)) return read;
      await this.#clock.sleep(controlPollMs);
    }
    throw new Error(`its checksum was wrong ${controlTries} times`);
  }

  #evidence(
    lsn: string,
    labelHex: string,
    mapHex: string,
    control: Buffer | undefined,
  ): Omit<ThawAnswer, 'at' | 'spans'> {
    const directories = this.#directories;
    if (directories === undefined) throw new Error('frozen without prepare');
    const label = Buffer.from(labelHex, 'hex');
    const map = Buffer.from(mapHex, 'hex');
    const journal = journalSpan(parseLabel(label.toString('latin1')), lsn, this.#segmentBytes, directories.wal);
    const artifacts = [{ path: `${directories.data}/backup_label`, base64: label.toString('base64'), mode: 0o600 }];
    if (map.byteLength > 0) {
      artifacts.push({ path: `${directories.data}/tablespace_map`, base64: map.toString('base64'), mode: 0o600 });
    }
    if (control !== undefined) {
      const path = `${directories.data}/global/pg_control`;
      artifacts.push({ path, base64: control.toString('base64'), mode: 0o600 });
    }
    return { thawed: true, heldThroughout: true, said: `pg_backup_stop returned ${lsn}`, journal, artifacts };
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}
