import { StillpointError, messageOf } from '../../../model/errors.ts';
import type { CommandSpan } from '../../../model/hold.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { MariadbPlace } from '../../../platform/mariadb-place.ts';
import { mariadbRefusal, mariadbSaid, MariadbSession } from '../../../platform/mariadb-session.ts';
import type { SecretReader } from '../../../ports/module.ts';
import type { Row } from './parse.ts';

/** Longer than any hold, drill or copy: what has a limit of its own sets it. */
const lifeMs = 7 * 24 * 3_600_000;
const loginMs = 10_000;
const statementMs = 30_000;

export interface ConnectOptions {
  readonly signal?: AbortSignal;
  readonly loginMs?: number;
  /** For each statement, here and not in the server; the connection is cut then. Undefined: 30 s; 0: none. */
  readonly statementMs?: number;
}

/** One connection. Every round trip can be a span of the engine; that it was lost is remembered. */
export class Connection {
  readonly #session: MariadbSession;
  readonly #clock: Clock;
  readonly #cut: AbortController;
  readonly #statementMs: number;
  #lost: string | undefined;

  private constructor(session: MariadbSession, clock: Clock, cut: AbortController, limitMs: number) {
    this.#session = session;
    this.#clock = clock;
    this.#cut = cut;
    this.#statementMs = limitMs;
  }

  /** Throws `database-unreachable`, `database-login`. */
  static async open(
    place: MariadbPlace,
    clock: Clock,
    secret: SecretReader,
    options: ConnectOptions = {},
  ): Promise<Connection> {
    const cut = new AbortController();
    const limitMs = options.loginMs ?? loginMs;
    const cancel = clock.after(limitMs, () => cut.abort(new Error(`no login within ${limitMs} ms`)));
    options.signal?.throwIfAborted();
    const signal = options.signal === undefined ? cut.signal : AbortSignal.any([cut.signal, options.signal]);
    try {
      const session = await MariadbSession.open(place, clock, secret, { signal, limitMs: lifeMs });
      return new Connection(session, clock, cut, options.statementMs ?? statementMs);
    } catch (cause) {
      options.signal?.throwIfAborted();
      throw asStillpoint(cause, place);
    } finally {
      cancel();
    }
  }

  /** Why the connection is gone, if it is. */
  get lost(): string | undefined {
    return this.#lost;
  }

  /** One statement; throws what the client library throws. */
  async query(sql: string): Promise<readonly Row[]> {
    const limit = this.#statementMs;
    const cancel = limit === 0 ? undefined : this.#clock.after(limit, () => this.cut());
    try {
      // Answers that are no rows come as an object with counts.
      const answer: unknown = await this.#session.query(sql);
      return Array.isArray(answer) ? (answer as readonly Row[]) : [];
    } catch (cause) {
      if (isFatal(cause)) this.#lost ??= mariadbSaid(cause);
      throw cause;
    } finally {
      cancel?.();
    }
  }

  async timed(what: string, spans: CommandSpan[], sql: string): Promise<readonly Row[]> {
    const startMs = this.#clock.monoMs();
    try {
      return await this.query(sql);
    } finally {
      spans.push({ party: 'engine', what, startMs, endMs: this.#clock.monoMs() });
    }
  }

  /** At once, without a word to the server; statements in flight are rejected. */
  cut(): void {
    this.#lost ??= 'the connection was cut here';
    this.#cut.abort();
  }

  /** Never throws. */
  async close(): Promise<void> {
    this.#lost ??= 'the connection was closed';
    await this.#session[Symbol.asyncDispose]();
  }
}

/** Shutdown, killed, idle for too long. */
const endsOfSession: ReadonlySet<number> = new Set([1053, 1927, 4031]);

/** The library calls a statement that ran into its time limit fatal, too: that session lives. */
function isFatal(cause: unknown): boolean {
  const errno = errnoOf(cause);
  const fatal = cause instanceof Error && 'fatal' in cause && cause.fatal === true;
  return fatal && (errno === undefined || endsOfSession.has(errno));
}

/** The server's number of an error; undefined where the server said nothing. */
export function errnoOf(cause: unknown): number | undefined {
  const errno = cause instanceof Error && 'errno' in cause ? cause.errno : undefined;
  return typeof errno === 'number' && errno > 0 && errno < 45_000 ? errno : undefined;
}

/** Access denied for a statement or a table, for one of several privileges, for a database. */
const privilegeErrors: ReadonlySet<number> = new Set([1044, 1142, 1227, 1370]);

export function isPrivilege(cause: unknown): boolean {
  return privilegeErrors.has(errnoOf(cause) ?? 0);
}

export function where(place: MariadbPlace): string {
  return place.host.startsWith('/') ? `socket ${place.host}` : `${place.host}:${place.port}`;
}

export function grantsHint(user: string): string {
  return `as a superuser: GRANT RELOAD, BINLOG MONITOR, REPLICA MONITOR, CONNECTION ADMIN ON *.* TO the account of ${user} (REPLICA MONITOR since 10.5.9)`;
}

/** Turns what the client library threw into the failure of the table that the user can act on. */
export function asStillpoint(cause: unknown, place: MariadbPlace): StillpointError {
  if (cause instanceof StillpointError) return cause;
  const said = mariadbSaid(cause);
  const details = { where: where(place), code: errnoOf(cause) ?? null };
  if (isPrivilege(cause)) {
    return new StillpointError('database-privilege', `account ${place.user} lacks a privilege: ${said}`, {
      hint: grantsHint(place.user),
      details,
      cause,
    });
  }
  switch (mariadbRefusal(cause)) {
    case 'login':
      return new StillpointError('database-login', `MariaDB refused the login of ${place.user}: ${said}`, {
        hint: 'set application.mariadb.user and password; with unix_socket the account must be that of the system user who runs this',
        details,
        cause,
      });
    case 'unwell':
      return errnoOf(cause) === 1040
        ? new StillpointError('database-unreachable', `MariaDB at ${where(place)} has no connection left: ${said}`, {
            hint: 'GRANT CONNECTION ADMIN to the account, for which one more is kept, or raise max_connections',
            details,
            cause,
          })
        : new StillpointError('command-failed', `MariaDB said: ${said}`, {
            hint: `error ${errnoOf(cause) ?? 'unknown'} of the server at ${where(place)}`,
            details,
            cause,
          });
    case 'silent':
      return new StillpointError(
        'database-unreachable',
        `MariaDB does not answer at ${where(place)}: ${messageOf(cause)}`,
        {
          hint: 'check that the server runs and that application.mariadb.host and port are right',
          details,
          cause,
        },
      );
  }
}
