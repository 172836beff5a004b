import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { StillpointError } from '../model/errors.ts';
import { GuardClient, type GuardStatus, type HoldReport } from '../guard/protocol.ts';
import { within } from '../platform/clock.ts';
import { type Environment } from './environment.ts';

/** Asks a guard over its socket. Undefined when nobody listens there or it does not answer in time. */
export async function askGuard(socket: string, environment: Environment): Promise<GuardStatus | undefined> {
  if (!existsSync(socket)) return undefined;
  try {
    const client = await GuardClient.connect(socket);
    try {
      return await withTime(client.call('status'), 2_000, environment);
    } finally {
      client.close();
    }
  } catch {
    // Refused, reset or silent: there is no guard that could answer.
    return undefined;
  }
}

/** Tells a guard to thaw and end. Undefined when it could not be told. */
export async function thawByGuard(
  socket: string,
  environment: Environment,
  waitMs: number,
): Promise<HoldReport | undefined> {
  if (!existsSync(socket)) return undefined;
  try {
    const client = await GuardClient.connect(socket);
    try {
      const report = await withTime(client.call('thaw'), waitMs, environment);
      await withTime(client.call('release'), waitMs, environment).catch(() => undefined);
      // The end of its connection is its last act: its socket is gone by then.
      await withTime(client.closed, waitMs, environment).catch(() => undefined);
      return report;
    } finally {
      client.close();
    }
  } catch {
    // Whoever calls asks the engine itself next.
    return undefined;
  }
}

/** The result that a guard left when its hold was over. */
export async function leftResult(resultFile: string): Promise<HoldReport | undefined> {
  try {
    const status = JSON.parse(await readFile(resultFile, 'utf8')) as { readonly report: HoldReport | null };
    return status.report ?? undefined;
  } catch {
    // Not written (yet, or for want of space): the engine is asked instead.
    return undefined;
  }
}

async function withTime<T>(work: Promise<T>, ms: number, environment: Environment): Promise<T> {
  return await within<T, never>(environment.clock, ms, work, () => {
    throw new StillpointError('guard-lost', 'the guard does not answer');
  });
}
