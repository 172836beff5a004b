import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { Tls } from './config.ts';

export interface Answer {
  readonly status: number;
  /** What the body is as JSON; undefined if it is none. */
  readonly json: unknown;
  /** The other side's own clock (RFC 9110 Date, whole seconds), in milliseconds since 1970. */
  readonly dateMs: number | undefined;
}

export interface Question {
  readonly url: string;
  readonly method?: 'GET' | 'POST' | 'PATCH';
  readonly body?: unknown;
  readonly login?: { readonly user: string; readonly password: string };
  readonly signal?: AbortSignal;
  /** From the first packet to the last byte. */
  readonly limitMs: number;
}

const mostBytes = 4 * 1024 * 1024;

/** The files of a `tls` setting, read anew for each view: certificates are renewed while a daemon runs. */
export interface TlsFiles {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export async function readTls(tls: Tls | undefined): Promise<TlsFiles> {
  const [ca, cert, key] = await Promise.all([tls?.ca, tls?.certificate, tls?.key].map(read));
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

async function read(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new StillpointError('io', `${file} cannot be read: ${messageOf(cause)}`, {
      hint: 'correct the path or its permissions in topology.patroni.tls',
      cause,
    });
  }
}

/** One request. Throws when there is no answer, with the network's own words. Never follows a redirection. */
export async function ask(question: Question, tls: TlsFiles, clock: Clock): Promise<Answer> {
  const { url, method = 'GET', body, login, signal, limitMs } = question;
  signal?.throwIfAborted();
  const controller = new AbortController();
  const abort = (): void => controller.abort(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  const stop = clock.after(limitMs, () => controller.abort(new Error(`no answer within ${limitMs} ms`)));
  const text = body === undefined ? undefined : JSON.stringify(body);
  const options = {
    method,
    signal: controller.signal,
    agent: false as const,
    headers: {
      accept: 'application/json',
      ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    },
    ...(login === undefined ? {} : { auth: `${login.user}:${login.password}` }),
  };
  try {
    // Only where they are used: loading them would cost every command, guard and sentinel 30 ms at its start.
    const { request } = url.startsWith('https:') ? await import('node:https') : await import('node:http');
    return await new Promise<Answer>((resolve, reject) => {
      const out = request(url, { ...options, ...tls });
      out.once('error', reject);
      out.once('response', (response) => {
        response.once('error', reject);
        collect(response, resolve, reject);
      });
      out.end(text);
    });
  } catch (cause) {
    // The abort's own error says nothing; the reason does.
    throw controller.signal.aborted ? controller.signal.reason : cause;
  } finally {
    stop();
    signal?.removeEventListener('abort', abort);
  }
}

function collect(response: IncomingMessage, resolve: (answer: Answer) => void, reject: (cause: Error) => void): void {
  const chunks: Buffer[] = [];
  let size = 0;
  response.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > mostBytes) response.destroy(new Error(`its answer is longer than ${mostBytes} bytes`));
    else chunks.push(chunk);
  });
  response.once('close', () => {
    if (!response.complete) reject(new Error('its answer broke off'));
  });
  response.once('end', () => {
    const dateMs = Date.parse(response.headers.date ?? '');
    resolve({
      status: response.statusCode ?? 0,
      json: jsonOf(Buffer.concat(chunks).toString('utf8')),
      dateMs: Number.isNaN(dateMs) ? undefined : dateMs,
    });
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A page for people: the status says what there is to know.
    return undefined;
  }
}
