import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/platform/clock.ts';
import { silent } from '../../src/platform/logger.ts';
import type { BlobStore } from '../../src/ports/blob-store.ts';
import type { Repository, SaveReport, SaveRequest } from '../../src/repository/api.ts';
import { initRepository, openRepository, type RepositoryDeps } from '../../src/repository/repository.ts';

export const password = 'correct horse';
/** scrypt at its cheapest: the tests open hundreds of repositories. */
export const cheapKey = { N: 2, r: 1, p: 1 } as const;
export const never = new AbortController().signal;

export const deps: RepositoryDeps = {
  clock: systemClock,
  log: silent,
  hostname: 'testhost',
  pid: process.pid,
  isProcessAlive: (pid) => pid === process.pid,
};

export async function makeRepository(store: BlobStore, more: Partial<RepositoryDeps> = {}): Promise<Repository> {
  await initRepository(store, password, { clock: systemClock, hostname: 'testhost', keyCost: cheapKey });
  return await openRepository(store, password, { ...deps, ...more });
}

/** A directory of its own, removed at the end. */
export async function temporaryDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'stillpoint-repository-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Saves a directory at its own path. */
export async function saveDirectory(
  repository: Repository,
  directory: string,
  more: Partial<SaveRequest> = {},
): Promise<SaveReport> {
  return await repository.save({
    entries: [{ kind: 'path', at: directory, from: directory }],
    paths: [directory],
    tags: [],
    hostname: 'testhost',
    time: systemClock.now().wall,
    signal: never,
    ...more,
  });
}

/** A parent's cut so late that nothing counts as racy. */
export const longAfter = '2100-01-01T00:00:00Z';
