import type { Canary } from '../../../ports/application.ts';
import { channelsSql, literal, observeSql } from './commands.ts';
import type { MariadbConfig } from './config.ts';
import { asStillpoint, errnoOf } from './connection.ts';
import type { Connection } from './connection.ts';
import { isReadOnly, memberFrom, variablesOf } from './parse.ts';

/** A lock that was not given within the session's limit, or a statement that took longer than it may. */
const waited: ReadonlySet<number> = new Set([1205, 1969]);

/** One committed INSERT for each number. It is on disk by then only if innodb_flush_log_at_trx_commit is 1; else the freeze sees to that. */
export class MariadbCanary implements Canary {
  readonly #connection: Connection;
  readonly #config: MariadbConfig;
  readonly #runId: string;
  #acknowledged = 0;

  private constructor(connection: Connection, config: MariadbConfig, runId: string) {
    this.#connection = connection;
    this.#config = config;
    this.#runId = runId;
  }

  /** Makes the table if needed and empties it, so that the numbers of each run begin at 1. Undefined on a replica. Owns the connection from here on. */
  static async open(connection: Connection, config: MariadbConfig, runId: string): Promise<MariadbCanary | undefined> {
    try {
      const variables = variablesOf(await connection.query(observeSql));
      const { role } = memberFrom(variables, await connection.query(channelsSql));
      if (role === 'replica' || isReadOnly(variables)) {
        await connection.close();
        return undefined;
      }
      await connection.query('SET SESSION autocommit = 1, lock_wait_timeout = 1, max_statement_time = 5');
      await connection.query('CREATE DATABASE IF NOT EXISTS stillpoint');
      await connection.query(`CREATE TABLE IF NOT EXISTS stillpoint.canary
        (n BIGINT PRIMARY KEY, run VARCHAR(200) NOT NULL, at TIMESTAMP(6) NOT NULL) ENGINE = InnoDB`);
      await connection.query('TRUNCATE TABLE stillpoint.canary');
    } catch (cause) {
      await connection.close();
      throw asStillpoint(cause, config);
    }
    return new MariadbCanary(connection, config, runId);
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  async write(): Promise<boolean> {
    const next = this.#acknowledged + 1;
    try {
      await this.#connection.query(
        `INSERT INTO stillpoint.canary VALUES (${next}, ${literal(this.#runId)}, CURRENT_TIMESTAMP(6))`,
      );
    } catch (cause) {
      if (waited.has(errnoOf(cause) ?? 0)) return false;
      throw asStillpoint(cause, this.#config);
    }
    this.#acknowledged = next;
    return true;
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}
