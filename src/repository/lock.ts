import { z } from 'zod';
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import { username, type Context } from './context.ts';
import { getFile, listIds, putFile } from './files.ts';

const minute = 60_000;
const refreshMs = 5 * minute;
/** restic ignores and removes locks older than this. */
const staleMs = 30 * minute;

const lockFile = z.object({
  time: z.string(),
  exclusive: z.boolean(),
  hostname: z.string(),
  username: z.string().optional(),
  pid: z.int(),
});
type LockFile = z.infer<typeof lockFile>;

/** Ours: refreshed until released. */
export interface HeldLock extends AsyncDisposable {
  /**
   * Throws `repository-locked` if it was not refreshed for so long that others may take it as stale: a prune may then have removed
   * what a new snapshot refers to.
   */
  assertHeld(): void;
}

/** Undefined for a lock that vanished meanwhile or cannot be read; restic ignores those too. */
async function readLock(context: Context, name: string): Promise<LockFile | undefined> {
  try {
    const { json } = await getFile(context.store, context.key, name);
    return lockFile.parse(JSON.parse(json));
  } catch (error) {
    if ((await context.store.stat(name)) !== undefined) {
      context.deps.log.warn('a lock file cannot be read and is ignored', { name, error: messageOf(error) });
    }
    return undefined;
  }
}

function isStale(context: Context, lock: LockFile): boolean {
  if (context.deps.clock.wallMs() - Date.parse(lock.time) > staleMs) return true;
  return isDead(context, lock);
}

function isDead(context: Context, lock: LockFile): boolean {
  return lock.hostname === context.deps.hostname && !context.deps.isProcessAlive(lock.pid);
}

async function refuseExclusive(context: Context): Promise<void> {
  for await (const { name } of listIds(context.store, 'locks')) {
    const lock = await readLock(context, name);
    if (lock === undefined || !lock.exclusive || isStale(context, lock)) continue;
    const holder = `${lock.username ?? ''}@${lock.hostname}, process ${lock.pid}, since ${lock.time}`;
    throw new StillpointError('repository-locked', `the repository is locked exclusively by ${holder}`, {
      hint: 'wait until that program (often `restic prune` or `restic check`) has ended; if it is dead, run `restic unlock`',
      details: { file: name, hostname: lock.hostname, pid: lock.pid, since: lock.time },
    });
  }
}

async function writeLock(context: Context): Promise<string> {
  const lock = {
    time: context.deps.clock.now().wall,
    exclusive: false,
    hostname: context.deps.hostname,
    username: username(),
    pid: context.deps.pid,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
  };
  return `locks/${(await putFile(context.store, context.key, 'locks', JSON.stringify(lock))).id}`;
}

/**
 * A shared lock as restic's. Looked for exclusive ones before and again after writing ours: whoever comes at the same time sees ours
 * in his own second look. Throws `repository-locked`.
 */
export async function takeLock(context: Context): Promise<HeldLock> {
  await refuseExclusive(context);
  let name = await writeLock(context);
  let refreshedMs = context.deps.clock.monoMs();
  let refreshing = Promise.resolve();
  const refresh = async (): Promise<void> => {
    try {
      const next = await writeLock(context);
      const old = name;
      name = next;
      refreshedMs = context.deps.clock.monoMs();
      await context.store.delete(old);
    } catch (error) {
      context.deps.log.warn('the lock of the repository could not be refreshed', { error: messageOf(error) });
    }
  };
  const stop = context.deps.clock.every(refreshMs, () => {
    refreshing = refreshing.then(refresh);
  });
  const held: HeldLock = {
    assertHeld() {
      if (context.deps.clock.monoMs() - refreshedMs < staleMs - refreshMs) return;
      throw new StillpointError(
        'repository-locked',
        'the lock of the repository could not be kept and may have been taken as stale',
        {
          hint: 'run the command again; if it happens again, look why files under locks/ cannot be written',
        },
      );
    },
    async [Symbol.asyncDispose]() {
      stop();
      await refreshing;
      try {
        await context.store.delete(name);
      } catch (error) {
        context.deps.log.warn('the lock of the repository could not be removed', { name, error: messageOf(error) });
      }
    },
  };
  try {
    await refuseExclusive(context);
  } catch (error) {
    await held[Symbol.asyncDispose]();
    throw error;
  }
  return held;
}

/**
 * For readers and for undoing: a lock if one can be written. On a full or read-only disk a restore must still be possible, so only
 * somebody else's exclusive lock is a reason to stop.
 */
export async function tryLock(context: Context): Promise<AsyncDisposable> {
  try {
    return await takeLock(context);
  } catch (error) {
    if (codeOf(error) === 'repository-locked') throw error;
    context.deps.log.warn('no lock could be written; going on without', { error: messageOf(error) });
    return { [Symbol.asyncDispose]: () => Promise.resolve() };
  }
}

/** Removes locks of this host whose process is dead, exclusive ones too. */
export async function removeStaleLocks(context: Context): Promise<number> {
  let removed = 0;
  for await (const { name } of listIds(context.store, 'locks')) {
    const lock = await readLock(context, name);
    if (lock === undefined || !isDead(context, lock)) continue;
    await context.store.delete(name);
    removed += 1;
  }
  return removed;
}
