import type { DatabaseSync } from 'node:sqlite';
import type { Finding } from '../../../model/point.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { Canary } from '../../../ports/application.ts';
import { databaseError, failureIn, openDatabase, text } from './database.ts';

const beginWaitMs = 2_000;
const begin = `
  BEGIN IMMEDIATE;
  CREATE TABLE IF NOT EXISTS stillpoint_canary(n INTEGER PRIMARY KEY, run TEXT NOT NULL, at TEXT NOT NULL);
  DELETE FROM stillpoint_canary;
  COMMIT`;
const insert = 'INSERT OR REPLACE INTO stillpoint_canary(n, run, at) VALUES (?, ?, ?)';

/**
 * The same numbers in every file of the workload; a number counts once all files have it. No connection stays open between two
 * numbers: the process that writes them may also copy the files, which would drop the locks of an open connection.
 */
export class SqliteCanary implements Canary {
  readonly #files: readonly string[];
  readonly #runId: string;
  readonly #clock: Clock;
  #acknowledged = 0;

  /** Makes the table where it is missing, and empties it. */
  constructor(files: readonly string[], runId: string, clock: Clock) {
    this.#files = files;
    this.#runId = runId;
    this.#clock = clock;
    for (const file of files) inDatabase(file, beginWaitMs, (database) => database.exec(begin));
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  async write(): Promise<boolean> {
    const next = this.#acknowledged + 1;
    for (const file of this.#files) {
      try {
        // A number that an earlier call got into one file but not into the next is written again.
        inDatabase(file, 0, (database) => database.prepare(insert).run(next, this.#runId, this.#clock.now().wall));
      } catch (cause) {
        if (failureIn(cause) === 'busy') return false;
        throw databaseError(file, cause);
      }
    }
    this.#acknowledged = next;
    return true;
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}

function inDatabase(file: string, busyTimeoutMs: number, use: (database: DatabaseSync) => void): void {
  const database = openDatabase(file, 'write', busyTimeoutMs);
  try {
    database.exec('PRAGMA synchronous=FULL');
    use(database);
  } finally {
    database.close();
  }
}

/** How far the numbers of one copied file reach, or what is wrong with them. Undefined when the copy has no canary. */
export type CanarySeen = {
  readonly name: string;
  readonly last: number;
  readonly run: string;
  readonly broken?: string;
};

export function readCanary(database: DatabaseSync, name: string): CanarySeen | undefined {
  const table = database.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'stillpoint_canary'");
  if (table.get() === undefined) return undefined;
  const row = database
    .prepare(
      'SELECT count(*) AS rows, min(n) AS first, max(n) AS last, count(DISTINCT run) AS runs, max(run) AS run FROM stillpoint_canary',
    )
    .get();
  const rows = Number(row?.['rows']);
  const last = Number(row?.['last']);
  const run = text(row?.['run']);
  if (rows === 0 || (row?.['first'] === 1 && last === rows && row['runs'] === 1)) return { name, last, run };
  const broken = `${name} has ${rows} records from ${text(row?.['first'])} to ${last} of ${text(row?.['runs'])} runs`;
  return { name, last, run, broken };
}

/** One finding for all files. They are written one after the other, so the last number may be missing in some. */
export function canaryFinding(seen: readonly CanarySeen[]): Finding | undefined {
  const [first] = seen;
  if (first === undefined) return undefined;
  const lasts = seen.map(({ last }) => last);
  const value = Math.min(...lasts);
  const broken = seen.flatMap((each) => each.broken ?? []);
  const filled = seen.filter(({ last }) => last > 0);
  if (Math.max(...lasts) - value > 1 || new Set(filled.map(({ run }) => run)).size > 1) {
    broken.push(
      `the files differ: ${seen.map(({ name, last, run }) => `${name} ends at ${last} of run ${run}`).join(', ')}`,
    );
  }
  if (broken.length > 0) {
    return { severity: 'error', check: 'canary', said: `the numbers are no prefix: ${broken.join('; ')}`, value: 0 };
  }
  return {
    severity: 'info',
    check: 'canary',
    said: value === 0 ? 'empty' : `prefix 1..${value} of run ${first.run}`,
    value,
  };
}
