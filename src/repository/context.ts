import { userInfo } from 'node:os';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/logger.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import { StillpointError } from '../model/errors.ts';
import type { MasterKey } from './crypto.ts';

/** What the repository uses of the outside world. */
export interface RepositoryDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly hostname: string;
  readonly pid: number;
  /** Whether a process of this host lives. */
  readonly isProcessAlive: (pid: number) => boolean;
  /** Stillpoint's own version, noted in snapshots. */
  readonly version?: string;
  /** zstd, 1 to 19; default 1. */
  readonly compressionLevel?: number;
}

/** What every operation on an open repository needs. */
export interface Context {
  readonly store: BlobStore;
  readonly key: MasterKey;
  readonly deps: RepositoryDeps;
}

export function username(): string {
  try {
    return userInfo().username;
  } catch {
    // A uid without an entry in the password file is common in containers; restic then writes an empty name too.
    return '';
  }
}

export function throwIfCancelled(signal: AbortSignal): void {
  if (signal.aborted)
    throw new StillpointError('cancelled', 'the repository operation was cancelled', { cause: signal.reason });
}
