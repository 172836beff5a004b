import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import { type Failure, failureOf, parseLocks, writeLockHolders } from './parse.ts';

/**
 * Opens through SQLite and never waits for a lock: node:sqlite is synchronous, and a wait would stop the guard's deadline. Nothing in
 * this adapter opens a database file by other means, because closing any descriptor of it drops the locks that this process holds
 * on it (sqlite.org/howtocorrupt.html §2.2).
 */
export function openDatabase(file: string, access: 'read' | 'write', busyTimeoutMs = 0): DatabaseSync {
  statOf(file);
  if (access === 'write') mustBeWritable(file);
  // The URL form takes `mode`: plain paths would create a database that went away since.
  const url = pathToFileURL(file);
  url.searchParams.set('mode', access === 'read' ? 'ro' : 'rw');
  try {
    const database = new DatabaseSync(url, { readOnly: access === 'read', timeout: busyTimeoutMs });
    try {
      database.prepare('PRAGMA schema_version').get();
    } catch (cause) {
      // A writer in rollback mode may be at its commit; the file is a database all the same.
      if (failureIn(cause) !== 'busy') {
        database.close();
        throw cause;
      }
    }
    return database;
  } catch (cause) {
    throw databaseError(file, cause);
  }
}

/** SQLite would open it for reading only and say nothing, and then grant BEGIN IMMEDIATE without a lock. */
function mustBeWritable(file: string): void {
  try {
    accessSync(file, constants.W_OK);
  } catch (cause) {
    throw new StillpointError('database-file', `the database ${file} cannot be written: ${messageOf(cause)}`, {
      hint: hints['not-writable'],
      cause,
    });
  }
}

export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
  readonly bytes: number;
  readonly links: number;
}

/** By stat(2) alone, which opens nothing. */
export function statOf(file: string): FileIdentity {
  try {
    const seen = statSync(file, { bigint: true });
    if (!seen.isFile()) {
      throw new StillpointError('database-file', `${file} is not a file`, {
        hint: 'set `file` to the database file itself',
      });
    }
    return { device: seen.dev, inode: seen.ino, bytes: Number(seen.size), links: Number(seen.nlink) };
  } catch (cause) {
    if (cause instanceof StillpointError) throw cause;
    throw new StillpointError('database-file', `the database file ${file} cannot be found: ${messageOf(cause)}`, {
      hint: 'correct `file` (or `files`) of this workload, or run as a user that may reach the file',
      cause,
    });
  }
}

export function sizeOf(file: string): number {
  return Number(statSync(file, { bigint: true, throwIfNoEntry: false })?.size ?? 0n);
}

export function failureIn(cause: unknown): Failure | undefined {
  if (cause instanceof Error && 'errcode' in cause && typeof cause.errcode === 'number') {
    return failureOf(cause.errcode);
  }
  return undefined;
}

const hints: Readonly<Record<Failure, string>> = {
  busy: 'another program holds the database; try again, or end its transaction',
  'not-a-database': 'set `file` to a SQLite 3 database; encrypted databases cannot be opened',
  damaged: 'run `sqlite3 FILE "PRAGMA integrity_check"`; a damaged database is not backed up as a good one',
  'not-writable': "run as the database's owner or as root: the write lock and WAL mode need write permission",
  'cannot-open':
    "run as the database's owner or as root, and see that the directory is writable (SQLite keeps -wal and -journal there)",
  'disk-full': 'free some space on the disk of the database',
  other: 'run `sqlite3 FILE "PRAGMA integrity_check"` to see whether SQLite itself can read it',
};

export function databaseError(file: string, cause: unknown): unknown {
  const failure = failureIn(cause);
  if (failure === undefined) return cause;
  return new StillpointError('database-file', `SQLite cannot use ${file}: ${messageOf(cause)}`, {
    hint: hints[failure],
    cause,
  });
}

/** `granted` leaves the transaction open; the caller must roll it back. Throws what is not a matter of locks. */
export function tryWriteLock(database: DatabaseSync): 'granted' | 'busy' {
  try {
    database.exec('BEGIN IMMEDIATE');
    return 'granted';
  } catch (cause) {
    if (failureIn(cause) === 'busy') return 'busy';
    throw cause;
  }
}

/** Who holds the write lock by the kernel's list. Empty when nobody does, or when the list cannot be read or does not show it. */
export function writeLockHoldersOf(file: string): readonly number[] {
  try {
    const database = statSync(file, { bigint: true }).ino;
    const sharedMemory = statSync(`${file}-shm`, { bigint: true, throwIfNoEntry: false })?.ino;
    return writeLockHolders(parseLocks(readFileSync('/proc/locks', 'utf8')), { database, sharedMemory });
  } catch {
    // No /proc/locks (another system, a sandbox), or the file went away: nobody can be named.
    return [];
  }
}

/** `process 4711 (sqlite3)`, for messages. */
export function describeHolders(file: string): string {
  const holders = writeLockHoldersOf(file).map((pid) => `process ${pid} (${commandOf(pid)})`);
  return holders.length === 0 ? 'another program' : holders.join(', ');
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    // It ended meanwhile, or lives in another pid namespace.
    return 'gone';
  }
}

export function text(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint' ? String(value) : '';
}
