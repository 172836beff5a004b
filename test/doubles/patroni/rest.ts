import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { request as tlsRequest } from 'node:https';

/** Of a client that shows who it is. */
export interface TlsPair {
  readonly certificate: string;
  readonly key: string;
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** One question to a REST interface, for the test's own eyes. Status 0: no answer. */
export async function rest(url: string, method = 'GET', body?: unknown, tls?: TlsPair): Promise<Answer> {
  const files = tls === undefined ? {} : { cert: await readFile(tls.certificate), key: await readFile(tls.key) };
  const send = url.startsWith('https:') ? tlsRequest : request;
  return await new Promise((resolve) => {
    const out = send(url, { method, timeout: 20_000, rejectUnauthorized: false, ...files }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('error', () => resolve({ status: 0, body: undefined }));
      answer.on('end', () => {
        resolve({ status: answer.statusCode ?? 0, body: jsonOf(Buffer.concat(chunks).toString()) });
      });
    });
    out.on('timeout', () => out.destroy());
    out.on('error', () => resolve({ status: 0, body: undefined }));
    out.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Patroni says some things in plain words. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
