import { Socket } from 'node:net';
import pg from 'pg';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import type { ErrorCode } from '../../../model/errors.ts';
import type { CommandSpan } from '../../../model/hold.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { SecretReader } from '../../../ports/module.ts';
import type { PostgresqlConfig } from './config.ts';

export type Place = Pick<PostgresqlConfig, 'host' | 'port' | 'user' | 'database' | 'password'>;

export interface ConnectOptions {
  readonly applicationName: string;
  /** For the connection and for each statement; 0 = statements have no limit. */
  readonly connectMs?: number;
  readonly statementMs?: number;
  readonly signal?: AbortSignal;
}

export type Row = Readonly<Record<string, unknown>>;

/** One connection. Every round trip is a span of the engine; losing the connection is remembered with the engine's last word. */
export class Connection {
  readonly #client: pg.Client;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #unhook: () => void;
  #lost: { readonly said: string; readonly byEngine: boolean } | undefined;
  #ended = false;

  constructor(client: pg.Client, socket: Socket, clock: Clock, signal: AbortSignal | undefined) {
    this.#client = client;
    this.#socket = socket;
    this.#clock = clock;
    client.on('error', (cause) => this.#remember(cause));
    client.on('end', () => {
      if (!this.#ended) this.#remember(new Error('the connection ended'));
    });
    const cut = (): void => this.cut();
    signal?.addEventListener('abort', cut, { once: true });
    this.#unhook = () => signal?.removeEventListener('abort', cut);
  }

  /** Why the connection is gone, if it is. `byEngine`: the server itself said that it ended the session. */
  get lost(): { readonly said: string; readonly byEngine: boolean } | undefined {
    return this.#lost;
  }

  #remember(cause: unknown): void {
    // The FATAL message comes first and says why; what follows is only the broken pipe.
    const byEngine = isEndOfSession(cause);
    if (this.#lost === undefined || (byEngine && !this.#lost.byEngine)) {
      this.#lost = { said: messageOf(cause), byEngine };
    }
  }

  /** One statement; throws what `pg` throws. Several statements without values give the rows of the last that has any. */
  async query(sql: string, values?: readonly unknown[]): Promise<readonly Row[]> {
    try {
      // `pg` answers several statements with an array, which its types do not know.
      const answer: pg.QueryResult | readonly pg.QueryResult[] =
        values === undefined ? await this.#client.query(sql) : await this.#client.query(sql, [...values]);
      if (!Array.isArray(answer)) return 'rows' in answer ? answer.rows : [];
      return answer.findLast((each: pg.QueryResult) => each.fields.length > 0)?.rows ?? [];
    } catch (cause) {
      if (isEndOfSession(cause)) this.#remember(cause);
      throw cause;
    }
  }

  async timed(what: string, spans: CommandSpan[], sql: string, values?: readonly unknown[]): Promise<readonly Row[]> {
    const startMs = this.#clock.monoMs();
    try {
      return await this.query(sql, values);
    } finally {
      spans.push({ party: 'engine', what, startMs, endMs: this.#clock.monoMs() });
    }
  }

  literal(text: string): string {
    return this.#client.escapeLiteral(text);
  }

  /** At once, without a word to the server; statements in flight are rejected. */
  cut(): void {
    this.#remember(new Error('the connection was cut here'));
    this.#socket.destroy();
  }

  /** Says goodbye, but does not wait for ever for a server that is stopped. Never throws. */
  async close(): Promise<void> {
    this.#unhook();
    this.#ended = true;
    const stop = this.#clock.after(2000, () => this.#socket.destroy());
    try {
      await this.#client.end();
    } catch {
      // It was broken before; there is nothing left to close.
    }
    stop();
    this.#socket.destroy();
  }
}

/** Opens a connection or throws `database-unreachable`, `database-login`. The password is read now and kept nowhere else. */
export async function connect(
  place: Place,
  options: ConnectOptions,
  clock: Clock,
  secret: SecretReader,
): Promise<Connection> {
  options.signal?.throwIfAborted();
  const password = place.password === undefined ? undefined : await secret(place.password);
  const socket = new Socket();
  const client = new pg.Client({
    host: place.host,
    port: place.port,
    user: place.user,
    database: place.database,
    ...(password === undefined ? {} : { password }),
    application_name: options.applicationName,
    connectionTimeoutMillis: options.connectMs ?? 10_000,
    statement_timeout: options.statementMs ?? 30_000,
    stream: () => socket,
  });
  const connection = new Connection(client, socket, clock, options.signal);
  try {
    await client.connect();
  } catch (cause) {
    await connection.close();
    options.signal?.throwIfAborted();
    throw asStillpoint(cause, place);
  }
  return connection;
}

/** Admin shutdown, crash shutdown, idle session timeout: the server has ended this session. */
function isEndOfSession(cause: unknown): boolean {
  return ['57P01', '57P02', '57P05', '25P03'].includes(codeOf(cause) ?? '');
}

/** SQLSTATE of an answer of the engine. */
export function sqlState(cause: unknown): string | undefined {
  const code = codeOf(cause);
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

export function where(place: Place): string {
  return place.host.startsWith('/') ? `socket ${place.host}/.s.PGSQL.${place.port}` : `${place.host}:${place.port}`;
}

/** Turns what `pg` threw into the failure of the table that the user can act on. */
export function asStillpoint(cause: unknown, place: Place): StillpointError {
  if (cause instanceof StillpointError) return cause;
  const make = (code: ErrorCode, message: string, hint: string): StillpointError =>
    new StillpointError(code, message, { hint, cause, details: { where: where(place), code: codeOf(cause) ?? null } });
  const said = messageOf(cause) || 'no answer';
  const state = sqlState(cause);
  switch (state) {
    case '28P01':
      return make(
        'database-login',
        `PostgreSQL refused the login of ${place.user}: ${said}`,
        `set application.postgresql.password, or change it with ALTER ROLE ${place.user} PASSWORD`,
      );
    case '28000':
      return make(
        'database-login',
        `PostgreSQL refused the login of ${place.user}: ${said}`,
        `allow it in pg_hba.conf; for peer authentication as another system user put "stillpoint root ${place.user}" into pg_ident.conf and "local all ${place.user} peer map=stillpoint" into pg_hba.conf, then reload`,
      );
    case '3D000':
      return make(
        'database-login',
        `PostgreSQL at ${where(place)} has no such database: ${said}`,
        'set application.postgresql.database',
      );
    case '42501':
      return make('database-privilege', `role ${place.user} lacks a privilege: ${said}`, grantsHint(place.user));
    case '53300':
    case '57P03':
      return make(
        'database-unreachable',
        `PostgreSQL at ${where(place)} takes no connection now: ${said}`,
        state === '53300' ? 'raise max_connections, or reserve connections' : 'wait until the server is ready',
      );
    case undefined:
    default:
  }
  if (/SASL|password must be a string/.test(said)) {
    return make(
      'database-login',
      `PostgreSQL asks ${place.user} for a password and none is configured`,
      'set application.postgresql.password to a file, env or command',
    );
  }
  if (state !== undefined) return make('command-failed', `PostgreSQL said: ${said}`, `SQLSTATE ${state}`);
  return make(
    'database-unreachable',
    `PostgreSQL does not answer at ${where(place)}: ${said}`,
    `check that the server runs and that application.postgresql.host (${place.host}) and port (${place.port}) are right`,
  );
}

/** Everything that a role other than a superuser needs, as it must be typed. */
export function grantsFor(user: string): readonly string[] {
  const role = `"${user.replaceAll('"', '""')}"`;
  return [
    `GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO ${role}`,
    `GRANT pg_monitor TO ${role}`,
    `GRANT SELECT ON pg_file_settings TO ${role}`,
    `GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO ${role}`,
    `GRANT pg_checkpoint TO ${role}`,
    `ALTER ROLE ${role} REPLICATION`,
  ];
}

export function grantsHint(user: string): string {
  return `as superuser, in the database that is connected to: ${grantsFor(user).join('; ')}`;
}
