import { systemClock } from '../../../src/platform/clock.ts';
import { MariadbSession, type MariadbRow } from '../../../src/platform/mariadb-session.ts';
import { type MariadbServer, until } from '../../doubles/mariadb-server.ts';
import { Samples } from './samples.ts';
import type { Witness } from './subject.ts';

/** Rows are written over after so many, so that the database stays small however long it runs. */
export const ring = 1_000;
/** An account that `read_only` stops, as it does not stop the superuser. */
export const load = 'app';
const pauseMs = 8;
const lookMs = 60;
/** A server that stands still is no broken connection. */
const patienceMs = 60_000;
const sessionMs = 3_600_000;
/** What is older is of a round that was judged. */
const keptMs = 300_000;

export const tables = [
  `CREATE TABLE app.written (slot INT PRIMARY KEY, n BIGINT NOT NULL, payload TEXT) ENGINE = InnoDB CHARACTER SET utf8mb4`,
  `CREATE TABLE app.paired (slot INT PRIMARY KEY, n BIGINT NOT NULL, payload TEXT) ENGINE = InnoDB CHARACTER SET utf8mb4`,
  `CREATE USER ${load}@localhost`,
  `GRANT ALL ON app.* TO ${load}@localhost`,
] as const;
const newest = 'SELECT COALESCE(MAX(n), 0) AS last FROM app.written';

/** Writes to whoever takes writes, and looks at every member all the time. It knows nothing of the tool. */
export class MariadbWitness implements Witness {
  readonly #members: readonly MariadbServer[];
  readonly #seen: ReadonlyMap<string, Samples>;
  readonly #written = new Samples();
  readonly #stop = new AbortController();
  readonly #work: readonly Promise<void>[];

  constructor(members: readonly MariadbServer[]) {
    this.#members = members;
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
        await using session = await Session.open(member);
        const found = await session?.ask('SELECT @@GLOBAL.read_only AS read_only');
        if (session === undefined || found?.['read_only'] !== '0') continue;
        // Each row is two statements and a commit: a freeze finds transactions that are open.
        if ((await session.ask('SET SESSION autocommit = 0')) === undefined) continue;
        await this.#writeThrough(session, member);
      }
      await systemClock.sleep(50);
    }
  }

  async #writeThrough(session: Session, { name }: MariadbServer): Promise<void> {
    // Where a new primary stands, or one that came back.
    let row = await session.last();
    while (row !== undefined && !this.#stop.signal.aborted) {
      row += 1;
      for (const sql of rowOf(row)) if ((await session.ask(sql)) === undefined) return;
      const monoMs = systemClock.monoMs();
      this.#written.add(row, monoMs);
      // The server's word that it is there is as good as a look.
      this.#seen.get(name)?.add(row, monoMs);
      await systemClock.sleep(pauseMs);
    }
  }

  async #look(member: MariadbServer): Promise<void> {
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
      const last = await session.last();
      if (last === undefined) return;
      seen.add(last, systemClock.monoMs());
      await systemClock.sleep(lookMs);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#work);
  }
}

/** One transaction over both tables. */
function rowOf(row: number): readonly string[] {
  const slot = row % ring;
  return [
    `REPLACE INTO app.written VALUES (${slot}, ${row}, REPEAT(MD5(${row}), 3))`,
    `REPLACE INTO app.paired VALUES (${slot}, ${row}, MD5(${row}))`,
    'COMMIT',
  ];
}

/** A session of which every failure is its end. */
class Session implements AsyncDisposable {
  readonly #session: MariadbSession;

  constructor(session: MariadbSession) {
    this.#session = session;
  }

  static async open({ socket }: MariadbServer): Promise<Session | undefined> {
    const place = { host: socket, port: 3306, user: load };
    const limits = { signal: new AbortController().signal, limitMs: sessionMs };
    try {
      return new Session(await MariadbSession.open(place, systemClock, async () => '', limits));
    } catch {
      // It is down, or starts.
      return undefined;
    }
  }

  /** The first row, an empty one if there is none; undefined when it failed or nothing came. */
  async ask(sql: string): Promise<MariadbRow | undefined> {
    const late = new AbortController();
    try {
      const found = await Promise.race([this.#session.query(sql), systemClock.sleep(patienceMs, late.signal)]);
      if (found === undefined) return undefined;
      return Array.isArray(found) ? ((found as readonly MariadbRow[])[0] ?? {}) : {};
    } catch {
      // Killed, or read-only by now.
      return undefined;
    } finally {
      late.abort();
    }
  }

  async last(): Promise<number | undefined> {
    const found = await this.ask(newest);
    return found === undefined ? undefined : Number(found['last']);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }
}
