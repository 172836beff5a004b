import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { HoldToken } from '../../../model/hold.ts';
import { hasAbstractSocket } from './parse.ts';

/**
 * SQLite's lock does not say for what it is held, so a hold is marked beside it by an abstract Unix socket that carries the run id.
 * Like the lock it needs no file and dies with its process, so that there is never a stale one.
 */
export interface HoldMark {
  remove(): Promise<void>;
}

function nameOf(token: HoldToken): string {
  return `stillpoint-sqlite-${token.runId}`;
}

export async function setMark(token: HoldToken): Promise<HoldMark> {
  const server = createServer((socket) => socket.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(`\0${nameOf(token)}`, resolve);
    });
  } catch (cause) {
    throw new StillpointError('freeze-failed', `the hold cannot be marked for other processes: ${messageOf(cause)}`, {
      hint: 'see `stillpoint status`; a hold of the same run may be in force',
      cause,
    });
  }
  server.unref();
  return {
    async remove() {
      if (!server.listening) return;
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

/** `unknown` when the kernel's list cannot be read. */
export function seeMark(token: HoldToken): 'set' | 'absent' | 'unknown' {
  try {
    return hasAbstractSocket(readFileSync('/proc/net/unix', 'utf8'), nameOf(token)) ? 'set' : 'absent';
  } catch {
    return 'unknown';
  }
}
