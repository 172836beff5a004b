/**
 * An independent writer: commits one numbered row after the other and notes each acknowledgement with the time of CLOCK_MONOTONIC. It
 * knows nothing of the tool; what it could not write is the judge of every hold. `node writer.ts SPEC` with SPEC as JSON; ends on SIGTERM.
 */
import { appendFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { createConnection } from 'mariadb';
import pg from 'pg';
import { messageOf } from '../../src/model/errors.ts';
import { systemClock } from '../../src/platform/clock.ts';

export interface WriterSpec {
  readonly engine: 'postgresql' | 'sqlite' | 'mariadb';
  /** Socket directory, the socket's file, or the database file. */
  readonly at: string;
  readonly port?: number;
  /** One line an acknowledged row: number, blank, monotonic milliseconds. */
  readonly log: string;
  readonly pauseMs: number;
  readonly payloadBytes: number;
}

type Insert = (row: number) => Promise<boolean>;

async function postgres(spec: WriterSpec): Promise<Insert> {
  const client = new pg.Client({ host: spec.at, port: spec.port ?? 5432, user: 'postgres', database: 'postgres' });
  await client.connect();
  await client.query('CREATE TABLE IF NOT EXISTS written (n bigint PRIMARY KEY, payload text)');
  const payload = 'x'.repeat(spec.payloadBytes);
  return async (row) => {
    await client.query('INSERT INTO written VALUES ($1, $2)', [row, payload]);
    return true;
  };
}

async function mariadb(spec: WriterSpec): Promise<Insert> {
  const client = await createConnection({ socketPath: spec.at, user: 'root' });
  await client.query('CREATE TABLE IF NOT EXISTS app.written (n BIGINT PRIMARY KEY, payload TEXT)');
  const payload = 'x'.repeat(spec.payloadBytes);
  return async (row) => {
    await client.query('INSERT INTO app.written VALUES (?, ?)', [row, payload]);
    return true;
  };
}

function sqlite(spec: WriterSpec): Insert {
  const database = new DatabaseSync(spec.at, { timeout: 0 });
  database.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS written (n INTEGER PRIMARY KEY, payload TEXT)',
  );
  const insert = database.prepare('INSERT INTO written VALUES (?, ?)');
  const payload = 'x'.repeat(spec.payloadBytes);
  return (row) => {
    try {
      insert.run(row, payload);
      return Promise.resolve(true);
    } catch (error) {
      if (/locked|busy/.test(messageOf(error))) return Promise.resolve(false);
      throw error;
    }
  };
}

const openers = { postgresql: postgres, mariadb, sqlite: (spec: WriterSpec) => Promise.resolve(sqlite(spec)) };

async function main(): Promise<void> {
  const spec = JSON.parse(process.argv[2] ?? '') as WriterSpec;
  const stop = new AbortController();
  process.on('SIGTERM', () => stop.abort());
  // A test that is killed takes its writer with it.
  process.stdin.resume().on('end', () => stop.abort());
  const insert = await openers[spec.engine](spec);
  process.stdout.write('ready\n');
  for (let row = 1; !stop.signal.aborted;) {
    if (await insert(row)) {
      appendFileSync(spec.log, `${row} ${systemClock.monoMs()}\n`);
      row++;
    }
    await systemClock.sleep(spec.pauseMs);
  }
  process.exit(0);
}

await main();
