/**
 * An application over several databases: writes number n into the first, then into the second..., then n + 1 into the first again, each only
 * when the one before is acknowledged. `node barrier-writer.ts LOG FILE...`; ends on SIGTERM. Where all databases show one instant, the
 * numbers of two of them differ by one at most, and never grow from one database to the next.
 */
import { appendFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { messageOf } from '../../src/model/errors.ts';
import { systemClock } from '../../src/platform/clock.ts';

const [, , log = '', ...files] = process.argv;
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
// A test that is killed takes its writer with it.
process.stdin.resume().on('end', () => stop.abort());

const databases = files.map((file) => {
  const database = new DatabaseSync(file, { timeout: 0 });
  database.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE IF NOT EXISTS step (n INTEGER PRIMARY KEY)',
  );
  return database.prepare('INSERT INTO step VALUES (?)');
});
process.stdout.write('ready\n');

let n = 0;
while (!stop.signal.aborted) {
  n++;
  for (const insert of databases) {
    while (!stop.signal.aborted) {
      try {
        insert.run(n);
        break;
      } catch (error) {
        if (!/locked|busy/.test(messageOf(error))) throw error;
        await systemClock.sleep(1);
      }
    }
  }
  appendFileSync(log, `${n} ${systemClock.monoMs()}\n`);
  await systemClock.sleep(1);
}
// Its input would keep it alive.
process.exit(0);
