import type pg from 'pg';
import type { Evidence } from '../../../src/model/evidence.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { until } from '../../doubles/streaming-cluster.ts';
import { Samples } from './samples.ts';
import type { Judged, Term, Witness } from './subject.ts';

/** A server that can be asked, whoever it is by now. */
export interface Asked {
  readonly name: string;
  connect(): Promise<pg.Client>;
}

/** Rows are written over after so many, so that the database stays small however long it runs. */
const ring = 1_000;
const pauseMs = 8;
const lookMs = 60;
/** A server that stands still is no broken connection. */
const patienceMs = 60_000;
/** What is older is of a round that was judged. */
const keptMs = 300_000;

const schema = `
  CREATE TABLE IF NOT EXISTS written (slot int PRIMARY KEY, n bigint NOT NULL, payload text) WITH (fillfactor = 50);
  CREATE TABLE IF NOT EXISTS paired (slot int PRIMARY KEY, n bigint NOT NULL, payload text) WITH (fillfactor = 50)`;
/** One transaction over both tables. */
const write = `WITH one AS (
    INSERT INTO written VALUES ($1 % ${ring}, $1, repeat(md5($1::text), 3))
    ON CONFLICT (slot) DO UPDATE SET n = excluded.n, payload = excluded.payload)
  INSERT INTO paired VALUES ($1 % ${ring}, $1, md5($1::text))
  ON CONFLICT (slot) DO UPDATE SET n = excluded.n, payload = excluded.payload`;
const check = `SELECT (SELECT count(*) FROM written)::int AS rows, (SELECT count(*) FROM paired)::int AS pairs,
  (SELECT coalesce(max(n), 0) FROM written)::int AS last, (SELECT coalesce(min(n), 0) FROM written)::int AS first,
  (SELECT count(*) FROM written w FULL JOIN paired p USING (n)
    WHERE p.slot IS NULL OR w.slot IS DISTINCT FROM p.slot OR p.payload <> md5(n::text) OR w.payload <> repeat(md5(n::text), 3))::int AS torn,
  pg_is_in_recovery() AS standby`;

/** Of initdb, in MB. So that the WAL of a hold is as small as the rest. */
export const smallSegments = '--wal-segsize=1';
export const smallWal = { checkpoint_timeout: '30s', max_wal_size: '16MB', min_wal_size: '4MB', wal_keep_size: '16MB' };

/** Nobody makes a database of its templates, and each is as large as the one that is used. */
export async function makeSmall(primary: Asked): Promise<void> {
  const client = await primary.connect();
  try {
    for (const name of ['template0', 'template1']) {
      await client.query(`ALTER DATABASE ${name} IS_TEMPLATE false`);
      await client.query(`DROP DATABASE ${name}`);
    }
  } finally {
    await client.end();
  }
}

interface Row {
  readonly rows: number;
  readonly pairs: number;
  readonly last: number;
  readonly first: number;
  readonly torn: number;
  readonly standby: boolean;
}

/** Writes to whoever is primary, and looks at every member all the time. It knows nothing of the tool. */
export class PostgresWitness implements Witness {
  readonly #members: readonly Asked[];
  readonly #seen: ReadonlyMap<string, Samples>;
  readonly #written = new Samples();
  readonly #stop = new AbortController();
  readonly #work: readonly Promise<void>[];
  /** The load may not write here: a primary that is not to be any more. */
  readonly #barred: () => string | undefined;

  constructor(members: readonly Asked[], barred: () => string | undefined = () => undefined) {
    this.#members = members;
    this.#barred = barred;
    this.#seen = new Map(members.map(({ name }) => [name, new Samples()]));
    this.#work = [this.#write(), ...members.map(async (each) => this.#look(each))];
  }

  seenAt(member: string, monoMs: number): number | undefined {
    return this.#seen.get(member)?.at(monoMs);
  }

  newest(): { readonly row: number; readonly monoMs: number } {
    return this.#written.newest();
  }

  longestGap(fromMs: number, toMs: number): number {
    return this.#written.longestGap(fromMs, toMs);
  }

  longestStill(member: string, fromMs: number, toMs: number): number {
    return this.#seen.get(member)?.longestStill(fromMs, toMs) ?? 0;
  }

  /** Returns when a row was acknowledged after now and every member has it. */
  async flows(): Promise<void> {
    const fromMs = systemClock.monoMs();
    // A member that is behind, or ahead by rows that are lost elsewhere, may stand still for ever.
    const most = Math.max(...[...this.#seen.values()].map((each) => each.newest().row));
    const goesOn = (): boolean => this.newest().monoMs > fromMs && this.newest().row > most;
    await until('the load writes', async () => goesOn(), 120_000);
    const { row } = this.newest();
    await until(
      'every member has what was written',
      async () => [...this.#seen.values()].every((each) => each.newest().row >= row && each.newest().monoMs > fromMs),
      120_000,
    );
    for (const each of [this.#written, ...this.#seen.values()]) each.forget(fromMs - keptMs);
  }

  async #write(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      for (const member of this.#members) {
        if (member.name === this.#barred()) continue;
        await using session = await Session.open(member);
        if (
          session === undefined ||
          (await session.ask<Row>('SELECT pg_is_in_recovery() AS standby'))?.standby !== false
        )
          continue;
        if ((await session.ask(schema)) === undefined) continue;
        // Where a new primary stands; rows that only the former one had are lost.
        let row = (await session.ask<Row>('SELECT coalesce(max(n), 0)::int AS last FROM written'))?.last;
        while (row !== undefined && !this.#stop.signal.aborted && member.name !== this.#barred()) {
          row += 1;
          if ((await session.ask(write, [row])) === undefined) break;
          this.#written.add(row, systemClock.monoMs());
          await systemClock.sleep(pauseMs);
        }
      }
      await systemClock.sleep(50);
    }
  }

  async #look(member: Asked): Promise<void> {
    const seen = this.#seen.get(member.name) ?? new Samples();
    while (!this.#stop.signal.aborted) {
      const session = await Session.open(member);
      seen.newLife(systemClock.monoMs());
      if (session !== undefined) await this.#lookThrough(session, seen);
      seen.newLife(systemClock.monoMs());
      await systemClock.sleep(50);
    }
  }

  async #lookThrough(session: Session, seen: Samples): Promise<void> {
    await using _session = session;
    while (!this.#stop.signal.aborted) {
      const found = await session.ask<Row>('SELECT coalesce(max(n), 0)::int AS last FROM written');
      if (found === undefined) return;
      seen.add(found.last, systemClock.monoMs());
      await systemClock.sleep(lookMs);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#work);
  }
}

/** A session of which every failure is its end. */
class Session implements AsyncDisposable {
  readonly #client: pg.Client;

  constructor(client: pg.Client) {
    this.#client = client;
  }

  static async open(member: Asked): Promise<Session | undefined> {
    try {
      return new Session(await member.connect());
    } catch {
      // It is down, or starts.
      return undefined;
    }
  }

  /** The first row, an empty one if there is none; undefined when it failed or nothing came. */
  async ask<T extends object = object>(sql: string, values?: readonly unknown[]): Promise<T | undefined> {
    const late = new AbortController();
    try {
      const work = values === undefined ? this.#client.query(sql) : this.#client.query(sql, [...values]);
      const found = await Promise.race([work, systemClock.sleep(patienceMs, late.signal)]);
      if (found === undefined) return undefined;
      const rows: unknown = (Array.isArray(found) ? found.at(-1) : found).rows;
      return (rows as readonly T[])[0] ?? ({} as T);
    } catch {
      // Killed, read-only by now, or in conflict with recovery.
      return undefined;
    } finally {
      late.abort();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const late = new AbortController();
    const bye = this.#client.end().catch(() => undefined);
    await Promise.race([bye, systemClock.sleep(2_000, late.signal).catch(() => undefined)]);
    late.abort();
  }
}

/** Of the servers themselves: who writes, and the timelines that each has been on. */
export async function postgresTerm(members: readonly Asked[]): Promise<Term> {
  const all = await Promise.all(
    members.map(async (member) => {
      const found = await ask<{ readonly standby: boolean; readonly timeline: number }>(
        member,
        `SELECT pg_is_in_recovery() AS standby,
           CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver)
           ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline`,
      );
      return { name: member.name, ...found };
    }),
  );
  const leaders = all.filter(({ standby }) => !standby);
  return {
    leader: leaders.map(({ name }) => name).join(' and '),
    roles: all.map(({ name, standby }) => `${name} ${standby ? 'replica' : 'primary'}`),
    term: leaders.map(({ timeline }) => `timeline ${timeline}`).join(' and '),
  };
}

export async function ask<T extends object>(member: Asked, sql: string): Promise<T> {
  const client = await member.connect();
  try {
    const { rows } = await client.query<T>(sql);
    const [row] = rows;
    if (row === undefined) throw new Error(`${member.name} gave no row for ${sql}`);
    return row;
  } finally {
    await client.end();
  }
}

/** Sessions that made a backup last: such a one ends with its session, and nobody else's shows it. */
export async function inBackupMode(members: readonly Asked[]): Promise<readonly string[]> {
  const said = members.map(async (member) => {
    const { found } = await ask<{ readonly found: string | null }>(
      member,
      `SELECT string_agg(pid || ' ' || application_name || ': ' || left(query, 100), ', ') AS found FROM pg_stat_activity
       WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND query ~* 'pg_(backup|start_backup|stop_backup)'`,
    );
    return found === null ? [] : [`a session of ${member.name} with ${found}`];
  });
  return (await Promise.all(said)).flat();
}

/** Backup mode stops nobody: what a member had replayed before it began is in the copy. */
export function certainInBackupMode({ hold }: Evidence): number {
  return hold?.freezeCalled.monoMs ?? 0;
}

/** By a server of its own on the copy. */
export async function judgePostgres(copy: Asked): Promise<Judged> {
  const found = await ask<Row>(copy, check);
  const wrong: string[] = [];
  if (found.standby) wrong.push('the copy follows somebody');
  if (found.torn > 0) wrong.push(`${found.torn} pairs are torn`);
  if (found.rows !== found.pairs) wrong.push(`${found.rows} rows and ${found.pairs} pairs`);
  if (found.rows !== Math.min(found.last, ring) || found.first !== found.last - found.rows + 1)
    wrong.push(`${found.rows} rows from ${found.first} to ${found.last}`);
  return { last: found.last, wrong };
}
