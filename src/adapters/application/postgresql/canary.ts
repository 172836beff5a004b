import type { Canary } from '../../../ports/application.ts';
import { asStillpoint } from './connection.ts';
import type { Connection, Place } from './connection.ts';

/** One committed INSERT for each number. Backup mode never makes it wait, so `write` gives false only if the server says to. */
export class PostgresqlCanary implements Canary {
  readonly #connection: Connection;
  readonly #place: Place;
  readonly #runId: string;
  #acknowledged = 0;

  private constructor(connection: Connection, place: Place, runId: string) {
    this.#connection = connection;
    this.#place = place;
    this.#runId = runId;
  }

  /** Makes the table if needed and empties it, so that the numbers of each run begin at 1. Undefined on a standby, which takes no writes. Owns the connection from here on. */
  static async open(connection: Connection, place: Place, runId: string): Promise<PostgresqlCanary | undefined> {
    try {
      const [row] = await connection.query('SELECT pg_is_in_recovery() AS in_recovery');
      if (row?.['in_recovery'] === true) {
        await connection.close();
        return undefined;
      }
      await connection.query('SET synchronous_commit = on; SET lock_timeout = 5000; SET client_min_messages = warning');
      await connection.query('CREATE SCHEMA IF NOT EXISTS stillpoint');
      await connection.query(
        'CREATE TABLE IF NOT EXISTS stillpoint.canary (n bigint PRIMARY KEY, run text NOT NULL, at timestamptz NOT NULL)',
      );
      await connection.query('TRUNCATE stillpoint.canary');
    } catch (cause) {
      await connection.close();
      throw asStillpoint(cause, place);
    }
    return new PostgresqlCanary(connection, place, runId);
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  async write(): Promise<boolean> {
    try {
      await this.#connection.query('INSERT INTO stillpoint.canary VALUES ($1, $2, clock_timestamp())', [
        this.#acknowledged + 1,
        this.#runId,
      ]);
    } catch (cause) {
      throw asStillpoint(cause, this.#place);
    }
    this.#acknowledged += 1;
    return true;
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}
