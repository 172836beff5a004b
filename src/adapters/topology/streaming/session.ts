import { Socket } from 'node:net';
import pg from 'pg';
import type { Clock } from '../../../platform/clock.ts';
import type { SecretReader } from '../../../ports/module.ts';
import type { Member } from './config.ts';

const goodbyeMs = 500;

export type Row = Readonly<Record<string, unknown>>;

export interface SessionLimits {
  readonly signal: AbortSignal;
  /** For the login and everything that is asked after it, together. A server that is stopped takes connections and never answers. */
  readonly limitMs: number;
}

/** A few questions to one server. It ends at its limit or when the signal fires, whatever it waits for. Throws what `pg` throws. */
export class Session implements AsyncDisposable {
  readonly #client: pg.Client;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #release: () => void;

  private constructor(client: pg.Client, socket: Socket, clock: Clock, release: () => void) {
    this.#client = client;
    this.#socket = socket;
    this.#clock = clock;
    this.#release = release;
  }

  static async open(
    place: Member,
    clock: Clock,
    secret: SecretReader,
    { signal, limitMs }: SessionLimits,
  ): Promise<Session> {
    signal.throwIfAborted();
    // Read here, and kept nowhere else. A command that prints it has a limit of its own.
    const password = place.password === undefined ? undefined : await secret(place.password);
    signal.throwIfAborted();
    const socket = new Socket();
    const client = new pg.Client({
      host: place.host,
      port: place.port,
      user: place.user,
      database: place.database,
      ...(password === undefined ? {} : { password }),
      application_name: 'stillpoint topology',
      connectionTimeoutMillis: limitMs,
      statement_timeout: limitMs,
      stream: () => socket,
    });
    // Statements in flight are rejected with it; nobody else listens.
    client.on('error', () => undefined);
    const cut = (): void => void socket.destroy();
    const cancelTimer = clock.after(limitMs, () => socket.destroy(new Error(`no answer within ${limitMs} ms`)));
    signal.addEventListener('abort', cut, { once: true });
    const session = new Session(client, socket, clock, () => {
      cancelTimer();
      signal.removeEventListener('abort', cut);
    });
    try {
      await client.connect();
      return session;
    } catch (cause) {
      await session[Symbol.asyncDispose]();
      throw cause;
    }
  }

  async query(sql: string): Promise<readonly Row[]> {
    return (await this.#client.query<Row>(sql)).rows;
  }

  /** Says goodbye, and does not wait for a server that is stopped. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#release();
    if (this.#socket.connecting || this.#socket.destroyed) this.#socket.destroy();
    else {
      void this.#client.end().catch(() => undefined);
      this.#socket.destroySoon();
      this.#clock.after(goodbyeMs, () => this.#socket.destroy());
      this.#socket.unref();
    }
    return Promise.resolve();
  }
}
