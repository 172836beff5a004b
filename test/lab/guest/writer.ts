/**
 * A write load that knows nothing of Stillpoint: number n into the first database, committed, then into the next, and only then a line "n
 * milliseconds-since-1970" in the log, synced. So a consistent group of copies differs by one number at most, and what the log has must be in
 * every copy that was cut later. `node writer.ts SPEC` with SPEC as JSON; ends on SIGTERM. Goes on where the databases end.
 */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { systemClock } from '../../../src/platform/clock.ts';

export interface LoadSpec {
  readonly files: readonly string[];
  readonly log: string;
  readonly pauseMs: number;
  readonly payloadBytes: number;
}

const busyMs = 60_000;

async function main(): Promise<void> {
  const spec = JSON.parse(process.argv[2] ?? '') as LoadSpec;
  const stop = new AbortController();
  process.on('SIGTERM', () => stop.abort());
  const payload = 'x'.repeat(spec.payloadBytes);
  const databases = spec.files.map((file) => {
    const database = new DatabaseSync(file, { timeout: busyMs });
    database.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS written (n INTEGER PRIMARY KEY, payload TEXT)',
    );
    return database;
  });
  const inserts = databases.map((database) => database.prepare('INSERT OR IGNORE INTO written VALUES (?, ?)'));
  const ends = databases.map((database) =>
    Number(database.prepare('SELECT max(n) AS n FROM written').get()?.['n'] ?? 0),
  );
  const log = openSync(spec.log, 'a');
  process.stdout.write('ready\n');
  for (let n = Math.min(...ends) + 1; !stop.signal.aborted; n++) {
    for (const insert of inserts) insert.run(n, payload);
    writeSync(log, `${n} ${systemClock.wallMs()}\n`);
    fdatasyncSync(log);
    await systemClock.sleep(spec.pauseMs);
  }
  closeSync(log);
  for (const database of databases) database.close();
}

await main();
