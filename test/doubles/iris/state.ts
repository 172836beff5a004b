import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, type ProcessLock } from '../../../src/platform/process-lock.ts';
import type { Settings } from './settings.ts';

/** Everything that the stand-in knows of one instance; what its commands share. Lies outside the instance's own directories. */
export interface Instance {
  readonly name: string;
  readonly product: string;
  readonly version: string;
  /** How many fields `qlist` prints for it. */
  readonly qlistFields: 8 | 10 | 13 | 14;
  readonly cache: boolean;
  readonly isDefault: boolean;
  /** Installation directory, without a slash at its end. */
  readonly directory: string;
  /** Directory of the manager's databases, logs and configuration (`mgr`). */
  readonly manager: string;
  readonly ports: { readonly superserver: number; readonly web: number; readonly gateway: number };
  /** Milliseconds that pass for the instance as one second of its limits. */
  readonly secondMs: number;
  /** What the freeze itself takes; about 1000 in the published logs. */
  readonly freezeMs: number;
  readonly secondFreeze: 'fails' | 'succeeds';
  readonly freezeVerb: boolean;
  readonly freezeArguments: 9 | 11;
  readonly login: { readonly user: string; readonly password: string } | undefined;
  readonly startupNamespace: string | undefined;
  status: 'running' | 'down' | 'starting or stopping' | 'incomplete start or stop, logins disabled' | 'crashed';
  sinceMs: number;
  health: 'ok' | 'warn' | 'alert' | 'hung';
  databases: Database[];
  journal: Journal;
  freeze: Freeze | undefined;
  /** What counts as a backup for the purge of journals, oldest first. */
  history: HistoryEntry[];
  backup: BackupBitmaps;
  mirror: Mirror | undefined;
  /** Those of a new instance when absent. */
  settings?: Settings;
  /** Calls that a test may want to count, in order. */
  calls: { readonly atMs: number; readonly what: string; readonly exit: number }[];
}

export interface Database {
  readonly name: string;
  /** Without a slash at its end; IRIS.DAT lies in it. */
  readonly directory: string;
  readonly journaled: boolean;
  /** Brought in by MountDatabase, not by the configuration. */
  readonly foreign: boolean;
  readOnly: boolean;
  mounted: boolean;
  mirrorName: string | undefined;
  inBackupList: boolean;
}

export interface JournalFile {
  readonly name: string;
  readonly guid: string;
  readonly previous: string | undefined;
  readonly reason: string;
  closed: boolean;
  /** Journals of the backing databases that were closed while this file was the current one. */
  readonly parts: { readonly directory: string; readonly file: string }[];
}

export interface Journal {
  readonly directory: string;
  readonly alternate: string;
  readonly prefix: string;
  state: 0 | 1 | 2 | 3 | 4;
  readonly files: JournalFile[];
  /** Oldest file that an open transaction needs; the current one when undefined. */
  openTransactionFile: string | undefined;
  compress: boolean;
}

export interface Freeze {
  readonly token: string;
  readonly frozenAtMs: number;
  readonly blockAtMs: number;
  readonly resumeAtMs: number | undefined;
  readonly username: string;
  readonly password: string;
  blocked: boolean;
  keeper: number;
}

export interface HistoryEntry {
  readonly atMs: number;
  /** Subscript in ^SYS("BUHISTORY"): days and seconds of its beginning, no two alike. */
  readonly index: number;
  readonly type: 'F' | 'I' | 'C' | 'E';
  readonly description: string;
  readonly device: string;
}

/** Which transaction of the backing database the next incremental (`last`) or cumulative (`full`) begins with, by database directory. */
export interface BackupBitmaps {
  readonly full: Record<string, string>;
  readonly last: Record<string, string>;
  /** Directories whose GFNOBACKUP flag is set. */
  noBackup: string[];
  /** One that hangs on purpose is at work (Faults.backupHangs). */
  running: boolean;
  /** The flag of AbortBackup. */
  aborting: boolean;
}

export interface Mirror {
  readonly name: string;
  memberType: string;
  /** `$SYSTEM.Mirror.GetStatus()`. */
  status: string;
  /** `$SYSTEM.Mirror.GetMemberStatus()` and qlist. */
  memberStatus: string;
  failoverReady: { readonly ready: boolean; readonly reason: string };
  members: (readonly [string, string, string, string, string, string, string, string, string])[];
  noFailover: boolean;
}

/** What goes wrong on purpose; written by the test into `faults.json`. Every key is optional; absent = as documented. */
export interface Faults {
  /** Sessions that need a login wait until the key is gone. */
  readonly loginHangs?: boolean;
  readonly qlistHangs?: boolean;
  readonly licenceExceeded?: boolean;
  readonly accessDenied?: boolean;
  /** A login asks for a name and waits for an answer on stdin. */
  readonly asksForUser?: boolean;
  /** ExternalFreeze answers 3 and leaves the system as it was. */
  readonly freezeFails?: boolean;
  /** ExternalFreeze freezes, and then never returns. */
  readonly freezeHangs?: boolean;
  /** So many thaws answer 3 and do nothing. */
  readonly thawFails?: number;
  readonly thawHangs?: boolean;
  /** What IsWDSuspended and IsWDSuspendedExt say instead of the truth. */
  readonly statusSays?: 'suspended' | 'running';
  /** BACKUP^DBACK comes into its first pass and stays there until it is aborted. */
  readonly backupHangs?: boolean;
  /** What BACKUP^DBACK returns instead of the truth. */
  readonly backupSays?: string;
  /** Text that is cut out of the backup's log. */
  readonly backupLogLacks?: string;
  /** ^SYS("BUHISTORY") cannot be read. */
  readonly noHistory?: boolean;
  /** EXTALL and EXTSELCT return this, and restore nothing. */
  readonly restoreSays?: string;
  /** It hangs until the key is gone, and goes on then whether or not somebody waits. */
  readonly setNoFailover?: 'fails' | 'hangs before' | 'hangs after';
  readonly clearNoFailover?: 'fails';
  /** Classes whose Get, or whose queries where they have no Get, say that they may not. */
  readonly unreadable?: readonly string[];
  /** A session says this instead of anything, and exits 0. */
  readonly sessionSays?: string;
  /** A session's output ends in front of this text, and the session with it. */
  readonly sessionEndsBefore?: string;
  /** Instead of the true exit code. `acts: false`: nothing is done or printed before. */
  readonly exits?: readonly {
    readonly call: 'freeze' | 'thaw' | 'status' | 'history' | 'session' | 'qlist';
    readonly code: number;
    readonly acts: boolean;
  }[];
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

export function pause(ms: number): void {
  Atomics.wait(sleeper, 0, 0, ms);
}

/** Never returns: the caller's limit has to end it. */
export function hang(): never {
  for (;;) pause(1000);
}

/** The directory of one stand-in: registry of instances, faults, backing databases. */
export class Store {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  names(): readonly string[] {
    return readdirSync(join(this.root, 'registry'))
      .filter((file) => file.endsWith('.json'))
      .map((file) => file.slice(0, -5))
      .sort();
  }

  /** Names are told apart without regard to case, as the real commands do. */
  find(name: string): Instance | undefined {
    const found = this.names().find((known) => known.toUpperCase() === name.toUpperCase());
    return found === undefined ? undefined : this.read(found);
  }

  read(name: string): Instance {
    return JSON.parse(readFileSync(this.#file(name), 'utf8')) as Instance;
  }

  write(instance: Instance): void {
    const file = this.#file(instance.name);
    const temporary = `${file}.${process.pid}`;
    writeFileSync(temporary, JSON.stringify(instance, undefined, 1));
    renameSync(temporary, file);
  }

  /** Changes the state under the instance's lock; the kernel drops the lock of a killed process. */
  update<T>(name: string, change: (instance: Instance) => T): T {
    let lock = this.#tryLock(name);
    while (lock === undefined) {
      pause(5);
      lock = this.#tryLock(name);
    }
    return this.#change(name, lock, change);
  }

  /** The same for a process that must hear signals while it waits. */
  async updateWhenFree<T>(name: string, change: (instance: Instance) => T): Promise<T> {
    let lock = this.#tryLock(name);
    while (lock === undefined) {
      await sleep(5);
      lock = this.#tryLock(name);
    }
    return this.#change(name, lock, change);
  }

  #tryLock(name: string): ProcessLock | undefined {
    return tryLock(join(this.root, `${name}.lock`));
  }

  #change<T>(name: string, lock: ProcessLock, change: (instance: Instance) => T): T {
    try {
      const instance = this.read(name);
      const result = change(instance);
      this.write(instance);
      return result;
    } finally {
      lock.release();
    }
  }

  faults(name: string): Faults {
    const file = join(this.root, 'faults.json');
    if (!existsSync(file)) return {};
    const all = JSON.parse(readFileSync(file, 'utf8')) as Readonly<Record<string, Faults>>;
    return { ...all['*'], ...all[name] };
  }

  setFaults(name: string, faults: Faults | undefined): void {
    const file = join(this.root, 'faults.json');
    const all = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, Faults>) : {};
    if (faults === undefined) delete all[name];
    else all[name] = faults;
    const temporary = `${file}.${process.pid}`;
    writeFileSync(temporary, JSON.stringify(all));
    renameSync(temporary, file);
  }

  #file(name: string): string {
    return join(this.root, 'registry', `${name}.json`);
  }
}

/** One whole write: lines of several processes do not mix. */
export function append(file: string, text: string): void {
  const descriptor = openSync(file, 'a');
  try {
    writeSync(descriptor, text);
  } finally {
    closeSync(descriptor);
  }
}
