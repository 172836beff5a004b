/**
 * The demo's witness, a process of its own: `node writer.ts SOCKET_DIRECTORY PORT LOG`. Commits one row after the other and notes each
 * only when the database has acknowledged it, with the monotonic time that all processes share. Ends with its input or its database.
 */
import { openSync, writeSync } from 'node:fs';
import pg from 'pg';
import { systemClock } from '../platform/clock.ts';

const [host = '', port = '', logFile = ''] = process.argv.slice(2);
const over = new AbortController();
process.stdin.on('end', () => over.abort());
process.stdin.resume();
const log = openSync(logFile, 'a', 0o600);
const client = new pg.Client({ host, port: Number(port), user: 'postgres', database: 'postgres' });
client.on('error', () => over.abort());
try {
  await client.connect();
  for (let id = 1; !over.signal.aborted; id++) {
    await client.query('INSERT INTO payments (id, account) VALUES ($1, $2)', [id, id % 1000]);
    writeSync(log, `${id} ${systemClock.monoMs()}\n`);
    if (id === 1) process.stdout.write('ready\n');
  }
  await client.end();
} catch (error) {
  // The database was destroyed, as the story has it: what was not acknowledged is not noted.
  process.stderr.write(`the writer ends: ${error instanceof Error ? error.message : String(error)}\n`);
}
process.stdin.destroy();
