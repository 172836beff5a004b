/** One line of /proc/locks (proc(5)). `end` is inclusive; Infinity for EOF. */
export interface KernelLock {
  readonly access: 'READ' | 'WRITE';
  readonly pid: number;
  readonly inode: bigint;
  readonly start: number;
  readonly end: number;
}

const lockLine = /^\d+: POSIX +\S+ +(READ|WRITE) +(-?\d+) +[0-9a-f]+:[0-9a-f]+:(\d+) +(\d+) +(EOF|\d+)$/;

/**
 * Granted POSIX locks of /proc/locks. Lines with `->` are waiters and hold nothing. The device is not returned: on btrfs and overlayfs
 * it is not the one that stat(2) gives for the same file.
 */
export function parseLocks(text: string): readonly KernelLock[] {
  const locks: KernelLock[] = [];
  for (const line of text.split('\n')) {
    const match = lockLine.exec(line);
    if (match === null) continue;
    const [, access, pid = '', inode = '', start, end] = match;
    locks.push({
      access: access === 'WRITE' ? 'WRITE' : 'READ',
      pid: Number(pid),
      inode: BigInt(inode),
      start: Number(start),
      end: end === 'EOF' ? Infinity : Number(end),
    });
  }
  return locks;
}

/** Inodes of a database file and, in WAL mode, of its -shm file. */
export interface LockedFiles {
  readonly database: bigint;
  readonly sharedMemory: bigint | undefined;
}

/** sqlite.org/src: os_unix.c RESERVED_BYTE (PENDING_BYTE 0x40000000 + 1) and wal.c/os_unix.c WAL_WRITE_LOCK (UNIX_SHM_BASE 120 + 0). */
const reservedByte = 0x40000001;
const walWriteByte = 120;

/** Processes that hold SQLite's write lock by the kernel's own list: RESERVED in rollback mode, WAL_WRITE_LOCK in WAL mode. */
export function writeLockHolders(locks: readonly KernelLock[], files: LockedFiles): readonly number[] {
  const holders = locks.filter(
    (lock) =>
      lock.access === 'WRITE' &&
      ((lock.inode === files.database && covers(lock, reservedByte)) ||
        (lock.inode === files.sharedMemory && covers(lock, walWriteByte))),
  );
  return [...new Set(holders.map((lock) => lock.pid))];
}

function covers(lock: KernelLock, byte: number): boolean {
  return lock.start <= byte && byte <= lock.end;
}

/** Whether /proc/net/unix lists the abstract socket `name`. The kernel writes the leading zero byte as `@`. */
export function hasAbstractSocket(text: string, name: string): boolean {
  return text.split('\n').some((line) => line.endsWith(` @${name}`));
}

/** Databases in WAL mode among the files that one process has open: those whose `-wal` is open beside them. */
export function walDatabases(openFiles: readonly string[]): readonly string[] {
  const open = new Set(openFiles);
  return [...open].filter((file) => open.has(`${file}-wal`));
}

export type Failure = 'busy' | 'not-a-database' | 'damaged' | 'not-writable' | 'cannot-open' | 'disk-full' | 'other';

/** SQLite's result code (sqlite.org/rescode.html); the primary code is in the lowest byte. */
export function failureOf(errcode: number): Failure {
  switch (errcode & 0xff) {
    case 5: // SQLITE_BUSY
    case 6: // SQLITE_LOCKED
      return 'busy';
    case 26: // SQLITE_NOTADB
      return 'not-a-database';
    case 11: // SQLITE_CORRUPT
      return 'damaged';
    case 3: // SQLITE_PERM
    case 8: // SQLITE_READONLY
    case 23: // SQLITE_AUTH
      return 'not-writable';
    case 14: // SQLITE_CANTOPEN
      return 'cannot-open';
    case 13: // SQLITE_FULL
      return 'disk-full';
    default:
      return 'other';
  }
}
