import type { MongoClient, MongoClientOptions } from 'mongodb';
import { messageOf, StillpointError } from '../model/errors.ts';
import type { Clock } from './clock.ts';
import type { MongodbAccess, MongodbPlace } from './mongodb-place.ts';
import type { SecretSource } from './secrets.ts';

/** A command that reads, as the server takes it: its name comes first. */
export type MongodbQuestion = Readonly<Record<string, string | number | boolean>>;

/** An answer as extended JSON (relaxed), which is plain data: `{ $date }`, `{ $timestamp: { t, i } }`, `{ $oid }`. */
export type MongodbAnswer = Readonly<Record<string, unknown>>;

export interface MongodbLimits {
  readonly signal: AbortSignal;
  /** For the connection, the login and everything that is asked after it, together. A server that hangs takes connections and never answers. */
  readonly limitMs: number;
}

/** A few questions to one server, never to whoever else it knows. It ends at its limit or when the signal fires, whatever it waits for. */
export class MongodbSession implements AsyncDisposable {
  readonly #client: MongoClient;
  readonly #serialize: (document: Readonly<Record<string, unknown>>) => MongodbAnswer;
  readonly #ended: Promise<never>;
  readonly #release: () => void;

  private constructor(
    client: MongoClient,
    serialize: (document: Readonly<Record<string, unknown>>) => MongodbAnswer,
    ended: Promise<never>,
    release: () => void,
  ) {
    this.#client = client;
    this.#serialize = serialize;
    this.#ended = ended;
    this.#release = release;
  }

  /** Without `access.user` nobody logs in. Throws what the client library throws; `mongodbRefusal` tells what that means. */
  static async open(
    place: MongodbPlace,
    access: MongodbAccess,
    clock: Clock,
    secret: (source: SecretSource) => Promise<string>,
    { signal, limitMs }: MongodbLimits,
  ): Promise<MongodbSession> {
    signal.throwIfAborted();
    // Only where it is used: loading it would cost every command, guard and sentinel its time at their start.
    const { BSON, MongoClient } = await import('mongodb');
    // Read here, and kept nowhere else. A command that prints it has a limit of its own.
    const password = access.password === undefined ? undefined : await secret(access.password);
    signal.throwIfAborted();
    const host = place.host.includes(':') ? `[${place.host}]` : place.host;
    const client = new MongoClient(`mongodb://${host}:${place.port}/`, optionsOf(access, password, limitMs));
    const ending = Promise.withResolvers<never>();
    // Nobody listens while nothing is asked.
    ending.promise.catch(() => undefined);
    const end = (why: unknown): void => {
      ending.reject(why);
      void client.close(true).catch(() => undefined);
    };
    // The library would go on trying until its limit: a port that refuses, or a certificate that is not believed, is an answer.
    client.on('serverHeartbeatFailed', ({ failure }) => end(failure));
    const cut = (): void => end(signal.reason);
    const cancelTimer = clock.after(limitMs, () => end(new Error(`no answer within ${limitMs} ms`)));
    signal.addEventListener('abort', cut, { once: true });
    const release = (): void => {
      cancelTimer();
      signal.removeEventListener('abort', cut);
    };
    const serialize = (document: Readonly<Record<string, unknown>>): MongodbAnswer =>
      BSON.EJSON.serialize(document, { relaxed: true });
    const session = new MongodbSession(client, serialize, ending.promise, release);
    try {
      await Promise.race([client.connect(), ending.promise]);
      return session;
    } catch (cause) {
      await session[Symbol.asyncDispose]();
      throw cause;
    }
  }

  async ask(question: MongodbQuestion): Promise<MongodbAnswer> {
    return this.#serialize(await Promise.race([this.#client.db('admin').command({ ...question }), this.#ended]));
  }

  /** Does not wait for a server that hangs. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#release();
    void this.#client.close(true).catch(() => undefined);
    return Promise.resolve();
  }
}

function optionsOf(
  { user, authSource, tls }: MongodbAccess,
  password: string | undefined,
  limitMs: number,
): MongoClientOptions {
  return {
    appName: 'stillpoint',
    // This one server and nobody else, whatever the set looks like; and no question goes out twice.
    directConnection: true,
    retryReads: false,
    retryWrites: false,
    maxPoolSize: 1,
    serverSelectionTimeoutMS: limitMs,
    connectTimeoutMS: limitMs,
    socketTimeoutMS: limitMs,
    waitQueueTimeoutMS: limitMs,
    // One look is enough for a session of seconds.
    serverMonitoringMode: 'poll',
    heartbeatFrequencyMS: 60_000,
    ...(user === undefined ? {} : { auth: { username: user, ...(password === undefined ? {} : { password }) } }),
    ...(user === undefined ? {} : { authSource }),
    ...(tls === undefined ? {} : { tls: true }),
    ...(tls?.ca === undefined ? {} : { tlsCAFile: tls.ca }),
    ...(tls?.certificate === undefined ? {} : { tlsCertificateKeyFile: tls.certificate }),
  };
}

/** `tls`: something answers, and it is not proved who. `old`: not of a version that the client speaks with. `silent`: no answer at all. */
export type MongodbRefusal = 'login' | 'tls' | 'old' | 'unwell' | 'silent';

/** AuthenticationFailed, Unauthorized, UserNotFound, and a login that this account may not use. */
const loginErrors: ReadonlySet<number> = new Set([18, 13, 11, 334, 8000]);

/** What a failed connection or question says. */
export function mongodbRefusal(cause: unknown): MongodbRefusal {
  const chain = [...causesOf(cause)];
  if (chain.some((each) => each.name === 'MongoServerError' && loginErrors.has(Number(codeIn(each))))) return 'login';
  // CommandNotFound: `hello` came with 4.4.2, and the others are older.
  if (chain.some((each) => each.name === 'MongoCompatibilityError' || codeIn(each) === 59)) return 'old';
  if (chain.some((each) => /CERT|SELF_SIGNED|UNABLE_TO|^ERR_(TLS|SSL)/.test(String(codeIn(each))))) return 'tls';
  return chain.some((each) => each.name === 'MongoServerError') ? 'unwell' : 'silent';
}

/** The server's or the system's own words on one line: the library wraps them in descriptions of the whole topology. */
export function mongodbSaid(cause: unknown): string {
  const chain = [...causesOf(cause)];
  return (messageOf(chain.at(-1) ?? cause).split('\n')[0] ?? '').trim();
}

/** Throws when a file of the settings cannot be read: that is no state of a server. */
export function refuseUnreadable(cause: unknown): void {
  const [code, path] =
    [...causesOf(cause)].map((each) => [codeIn(each), 'path' in each ? each.path : undefined]).at(-1) ?? [];
  if (typeof path !== 'string' || (code !== 'ENOENT' && code !== 'EACCES' && code !== 'EISDIR')) return;
  throw new StillpointError('config-invalid', `${path} cannot be read: ${mongodbSaid(cause)}`, {
    hint: 'give existing files in tls',
  });
}

function* causesOf(cause: unknown): Generator<Error> {
  for (let [each, depth] = [cause, 0]; each instanceof Error && depth < 8; each = each.cause, depth += 1) yield each;
}

function codeIn(each: Error): unknown {
  return 'code' in each ? each.code : undefined;
}
