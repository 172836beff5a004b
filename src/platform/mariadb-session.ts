import { connect, type Socket } from 'node:net';
import type { Connection } from 'mariadb';
import { messageOf } from '../model/errors.ts';
import type { Clock } from './clock.ts';
import type { MariadbPlace } from './mariadb-place.ts';
import type { SecretSource } from './secrets.ts';

const goodbyeMs = 500;

/** Every value as the server wrote it: numbers that grow for ever do not fit into ours. */
export type MariadbRow = Readonly<Record<string, string | null>>;

export interface MariadbLimits {
  readonly signal: AbortSignal;
  /** For the login and everything that is asked after it, together. A server that is stopped takes connections and never answers. */
  readonly limitMs: number;
}

/** A few questions to one server. It ends at its limit or when the signal fires, whatever it waits for. Throws what the client library throws. */
export class MariadbSession implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #release: () => void;

  private constructor(connection: Connection, socket: Socket, clock: Clock, release: () => void) {
    this.#connection = connection;
    this.#socket = socket;
    this.#clock = clock;
    this.#release = release;
  }

  static async open(
    place: MariadbPlace,
    clock: Clock,
    secret: (source: SecretSource) => Promise<string>,
    { signal, limitMs }: MariadbLimits,
  ): Promise<MariadbSession> {
    signal.throwIfAborted();
    // Only where it is used: loading it would cost every command, guard and sentinel 55 ms at its start.
    const { createConnection } = await import('mariadb');
    // Read here, and kept nowhere else. A command that prints it has a limit of its own.
    const password = place.password === undefined ? undefined : await secret(place.password);
    signal.throwIfAborted();
    const socket = place.host.startsWith('/') ? connect(place.host) : connect(place.port, place.host);
    // Until the library listens.
    socket.on('error', () => undefined);
    // The library notices an error or an end only: a socket that is cut without one leaves its promises open for ever.
    const cut = (): void => void socket.destroy(new Error('cancelled'));
    const cancelTimer = clock.after(limitMs, () => socket.destroy(new Error(`no answer within ${limitMs} ms`)));
    signal.addEventListener('abort', cut, { once: true });
    const release = (): void => {
      cancelTimer();
      signal.removeEventListener('abort', cut);
    };
    try {
      // Not encrypted: the library refuses to send a password itself then.
      const connection = await createConnection({
        user: place.user,
        ...(password === undefined ? {} : { password }),
        connectTimeout: limitMs,
        stream: (give) => give(undefined, socket),
        typeCast: (field) => field.string(),
      });
      // Statements in flight are rejected with it; nobody else listens.
      connection.on('error', () => undefined);
      return new MariadbSession(connection, socket, clock, release);
    } catch (cause) {
      release();
      socket.destroy();
      throw cause;
    }
  }

  async query(sql: string): Promise<readonly MariadbRow[]> {
    return await this.#connection.query<readonly MariadbRow[]>(sql);
  }

  /** Says goodbye, and does not wait for a server that is stopped. The library's own `destroy` would log in once more to kill. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#release();
    if (this.#socket.destroyed) return Promise.resolve();
    void this.#connection.end().catch(() => undefined);
    this.#clock.after(goodbyeMs, () => this.#socket.destroy());
    this.#socket.unref();
    return Promise.resolve();
  }
}

/** `unwell`: it answers, and takes no session or no question now. `silent`: no answer at all. */
export type MariadbRefusal = 'login' | 'unwell' | 'silent';

const loginErrors: ReadonlySet<number> = new Set([
  1044, // database
  1045, // password
  1130, // host
  1142, // table
  1227, // privilege
  1251, // old client
  1275, // old password
  1524, // plugin
  1698, // unix_socket, and not that user
  1820, // password has expired
  1862, // password has expired
  4151, // account locked
]);

/** What a failed connection or question says. `errno` of the server is below 45000: those above are the library's own. */
export function mariadbRefusal(cause: unknown): MariadbRefusal {
  const errno = cause instanceof Error && 'errno' in cause && typeof cause.errno === 'number' ? cause.errno : undefined;
  if (errno === undefined || errno <= 0) return 'silent';
  if (loginErrors.has(errno)) return 'login';
  // The library's own: a way to log in that it does not take, or no answer.
  if (errno >= 45_000) return /authentication/i.test(String(cause)) ? 'login' : 'silent';
  return 'unwell';
}

/** The server's own words on one line: the library's message quotes the statement. */
export function mariadbSaid(cause: unknown): string {
  const said = cause instanceof Error && 'sqlMessage' in cause ? cause.sqlMessage : undefined;
  return (typeof said === 'string' ? said : messageOf(cause)).split('\n')[0] ?? '';
}
