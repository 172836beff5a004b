import { DatabaseSync } from 'node:sqlite';
import { codeOf, messageOf } from '../model/errors.ts';

/**
 * A lock that the kernel drops when its process dies, however it dies: there is no stale lock to judge. Node has no flock(2), but a
 * SQLite transaction holds fcntl locks on its file. The file must never be opened by other means in the same process, for closing
 * any descriptor of it drops POSIX locks (sqlite.org/howtocorrupt.html §2.2).
 */
export interface ProcessLock {
  release(): void;
}

/** Undefined when another process holds it. Throws what SQLite throws when the file cannot be made. */
export function tryLock(file: string): ProcessLock | undefined {
  const database = new DatabaseSync(file, { timeout: 0 });
  try {
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (codeOf(error) === 'ERR_SQLITE_ERROR' && /locked/.test(messageOf(error))) return undefined;
    throw error;
  }
  let held = true;
  return {
    release() {
      if (!held) return;
      held = false;
      database.exec('ROLLBACK');
      database.close();
    },
  };
}
