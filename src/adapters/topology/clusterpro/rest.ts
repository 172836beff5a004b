import { readFile } from 'node:fs/promises';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import { within, type Clock } from '../../../platform/clock.ts';
import type { SecretSource } from '../../../platform/secrets.ts';
import type { SecretReader } from '../../../ports/module.ts';
import { parseRefusal, parseReport } from './parse-rest.ts';
import type { Heard, Report, Way } from './way.ts';

const lookMs = 15_000;
const actMs = 20_000;
const mostBytes = 4 * 1024 * 1024;
const base = '/api/v1';

export interface RestSettings {
  readonly servers: Readonly<Record<string, string>>;
  readonly user: string;
  readonly password: SecretSource;
  readonly ca?: string | undefined;
}

interface Session {
  readonly authorization: string;
  readonly ca: string | undefined;
}

interface Reply {
  readonly status: number;
  readonly body: string;
}

/** By the RESTful API of the servers. */
export class Rest implements Way {
  readonly #settings: RestSettings;
  readonly #mirrors: ReadonlyMap<string, string>;
  readonly #clock: Clock;
  readonly #secret: SecretReader;

  constructor(settings: RestSettings, mirrors: ReadonlyMap<string, string>, clock: Clock, secret: SecretReader) {
    this.#settings = settings;
    this.#mirrors = mirrors;
    this.#clock = clock;
    this.#secret = secret;
  }

  async ask(signal?: AbortSignal): Promise<readonly Heard[]> {
    const session = await this.#session();
    return await Promise.all(
      Object.entries(this.#settings.servers).map(async ([server, url]): Promise<Heard> => {
        try {
          return { server, report: await this.#report(session, url, signal) };
        } catch (error) {
          // No other server would let us in either, and a view without a right to ask must not look like a dead server.
          if (codeOf(error) === 'database-login') throw error;
          return { server, why: messageOf(error) };
        }
      }),
    );
  }

  async #report(session: Session, url: string, signal: AbortSignal | undefined): Promise<Report> {
    const get = async (path: string): Promise<string> => {
      const { status, body } = await this.#call(session, `${url}${base}${path}`, 'GET', undefined, lookMs, signal);
      if (status !== 200) throw new Error(`GET ${path} answered ${status}`);
      return body;
    };
    const [cluster, servers, groups, monitors, toratio] = await Promise.all([
      get('/cluster'),
      get('/servers'),
      get('/groups'),
      get('/monitors'),
      get('/cluster/toratio'),
    ]);
    return parseReport({ cluster, servers, groups, monitors, toratio }, this.#mirrors);
  }

  async suspend(monitor: string, server: string, signal?: AbortSignal): Promise<void> {
    await this.#act(`/monitors/${encodeURIComponent(monitor)}/suspend`, { target: server }, server, signal);
  }

  async resume(monitor: string, server: string): Promise<void> {
    await this.#act(`/monitors/${encodeURIComponent(monitor)}/resume`, { target: server }, server);
  }

  async setRatio(factor: number, time: string, signal?: AbortSignal): Promise<void> {
    await this.#act('/cluster/toratio/set', { ratio: factor, time }, undefined, signal);
  }

  async resetRatio(): Promise<void> {
    await this.#act('/cluster/toratio/reset', undefined);
  }

  /** A lost connection may have acted: the next server is told the same, and twice does no harm. */
  async #act(path: string, body: object | undefined, first?: string, signal?: AbortSignal): Promise<void> {
    const session = await this.#session();
    const servers = Object.entries(this.#settings.servers);
    const failed: string[] = [];
    for (const [server, url] of servers.toSorted(([a], [b]) => Number(b === first) - Number(a === first))) {
      try {
        const reply = await this.#call(session, `${url}${base}${path}`, 'POST', body, actMs, signal);
        const why = parseRefusal(reply.status, reply.body);
        if (why === undefined) return;
        failed.push(`${server}: ${why}`);
      } catch (error) {
        if (codeOf(error) === 'database-login') throw error;
        failed.push(`${server}: ${messageOf(error)}`);
        if (signal?.aborted === true) break;
      }
    }
    throw new StillpointError('command-failed', `POST ${path} did not succeed (${failed.join('; ')})`, {
      hint: 'see in Cluster WebUI whether the API service runs and its user may operate the cluster',
    });
  }

  async #session(): Promise<Session> {
    const { user, password, ca } = this.#settings;
    const text = await this.#secret(password);
    let authority: string | undefined;
    try {
      authority = ca === undefined ? undefined : await readFile(ca, 'utf8');
    } catch (cause) {
      throw new StillpointError('config-invalid', `the file of \`rest.ca\` cannot be read: ${messageOf(cause)}`, {
        hint: 'write the certificate of the authority there, in PEM',
        cause,
      });
    }
    return { authorization: `Basic ${Buffer.from(`${user}:${text}`).toString('base64')}`, ca: authority };
  }

  async #call(
    session: Session,
    url: string,
    method: 'GET' | 'POST',
    body: object | undefined,
    limitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Reply> {
    const ended = new AbortController();
    const stop = (): void => ended.abort(signal?.reason);
    signal?.addEventListener('abort', stop, { once: true });
    try {
      signal?.throwIfAborted();
      const reply = await within(this.#clock, limitMs, send(session, url, method, body, ended.signal), () => {
        throw new Error(`it did not answer within ${limitMs} ms`);
      });
      if (reply.status === 401 || reply.status === 403) {
        throw new StillpointError('database-login', `the API at ${url} does not let in ${this.#settings.user}`, {
          hint: 'check `rest.user`, its password, and the rights of the API in the properties of the cluster',
        });
      }
      return reply;
    } finally {
      signal?.removeEventListener('abort', stop);
      ended.abort();
    }
  }
}

/** Settles once; nothing of the connection is left when `signal` fires. */
async function send(
  { authorization, ca }: Session,
  url: string,
  method: string,
  body: object | undefined,
  signal: AbortSignal,
): Promise<Reply> {
  const text = body === undefined ? '' : JSON.stringify(body);
  // Only where it is used: every command would pay for it at its start.
  const { request } = await import('node:https');
  return await new Promise((resolve, reject) => {
    const call = request(
      url,
      {
        method,
        signal,
        agent: false,
        headers: {
          Authorization: authorization,
          Accept: 'application/json',
          ...(text === '' ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }),
        },
        ...(ca === undefined ? {} : { ca }),
      },
      (response) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        response.on('data', (part: Buffer) => {
          bytes += part.length;
          if (bytes > mostBytes) call.destroy(new Error(`its answer is longer than ${mostBytes} bytes`));
          else parts.push(part);
        });
        response.on('error', reject);
        response.once('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString('utf8') }),
        );
      },
    );
    call.on('error', reject);
    call.end(text);
  });
}
