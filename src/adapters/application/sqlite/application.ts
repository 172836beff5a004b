import { realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { FreezeStatus, HoldToken, ThawAnswer } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import type { RequiredPath } from '../../../model/storage.ts';
import type { Application, Canary, Copy, HoldSession, Located } from '../../../ports/application.ts';
import type { ApplicationModule, Discovered, Platform } from '../../../ports/module.ts';
import { SqliteCanary } from './canary.ts';
import { filesOf, sqliteConfig, type SqliteConfig } from './config.ts';
import { describeHolders, openDatabase, sizeOf, statOf, text, tryWriteLock } from './database.ts';
import { memberOf, SqliteHold } from './hold.ts';
import { seeMark } from './mark.ts';
import { walDatabases } from './parse.ts';
import { openFilesOfOthers } from '../../../platform/process.ts';
import { verifyFiles } from './verify.ts';

const statusWaitMs = 1_000;
const thawWaitMs = 3_000;
const largeWalBytes = 64 * 1024 * 1024;
const mostDiscovered = 20;

/** SQLite 3 files whose writers are stopped by SQLite's own write lock. README.md says what that covers and what not. */
export class SqliteApplication implements Application {
  readonly engine = 'sqlite';
  readonly openCanary?: (runId: string) => Promise<Canary>;
  readonly #config: SqliteConfig;
  readonly #platform: Platform;

  constructor(config: SqliteConfig, platform: Platform) {
    this.#config = config;
    this.#platform = platform;
    if (config.canary) this.openCanary = async (runId) => new SqliteCanary(this.#files(), runId, platform.clock);
  }

  /** Real paths in locking order. */
  #files(): readonly string[] {
    const real = filesOf(this.#config).map((file) => {
      statOf(file);
      return realpathSync(file);
    });
    const files = [...new Set(real)].toSorted();
    if (files.length < real.length) {
      throw new StillpointError(
        'database-file',
        `the configuration names one database file twice: ${real.join(', ')}`,
        {
          hint: 'keep one of the names; links to the same file are the same database',
        },
      );
    }
    return files;
  }

  async locate(_signal: AbortSignal): Promise<Located> {
    const files = this.#files();
    const modes: string[] = [];
    let version = '';
    for (const file of files) {
      const database = openDatabase(file, 'read');
      try {
        modes.push(text(database.prepare('PRAGMA journal_mode').get()?.['journal_mode']));
        version = text(database.prepare('SELECT sqlite_version() AS version').get()?.['version']);
      } finally {
        database.close();
      }
    }
    const names = files.map((file) => basename(file));
    return {
      version,
      member: memberOf(this.#platform.host.name, files),
      holdKind: 'writes-stopped',
      paths: files.map((file): RequiredPath => {
        const name = basename(file);
        return {
          path: file,
          role: 'data',
          name: names.filter((each) => each === name).length > 1 ? file : name,
          kind: 'file',
          // Not -shm: SQLite rebuilds it from the -wal.
          companions: [`${file}-wal`, `${file}-journal`],
          leftOut: [],
        };
      }),
      bytes: files.reduce((sum, file) => sum + sizeOf(file) + sizeOf(`${file}-wal`), 0),
      identity: files.join(':'),
      facts: { journalMode: modes.join(',') },
    };
  }

  async openHold(token: HoldToken, budgetMs: number): Promise<HoldSession> {
    return new SqliteHold(token, budgetMs, this.#platform, this.#files());
  }

  async status(token: HoldToken): Promise<FreezeStatus> {
    try {
      return await this.#statusWithin(token, statusWaitMs);
    } catch (cause) {
      return { state: 'unknown', said: messageOf(cause) };
    }
  }

  async #statusWithin(token: HoldToken, waitMs: number): Promise<FreezeStatus> {
    const { clock } = this.#platform;
    const giveUpMs = clock.monoMs() + waitMs;
    for (;;) {
      const mark = seeMark(token);
      let locked: string | undefined;
      try {
        locked = this.#lockedFile();
      } catch (cause) {
        // A database that went away must not keep `recover` waiting for ever: no process of this hold, no lock.
        if (mark === 'absent') return { state: 'thawed', said: `no process has this hold; ${messageOf(cause)}` };
        throw cause;
      }
      if (locked === undefined) return { state: 'thawed', said: 'the write lock can be had' };
      const said = `${describeHolders(locked)} holds the write lock of ${locked}`;
      if (mark === 'absent') return { state: 'thawed', said: `${said}, and that is not this hold` };
      if (clock.monoMs() >= giveUpMs) {
        return mark === 'set'
          ? { state: 'frozen', said: `${said}, and the process of this hold is alive` }
          : { state: 'unknown', said: `${said}, and /proc/net/unix cannot be read to see whether that is this hold` };
      }
      await clock.sleep(Math.min(20, waitMs));
    }
  }

  /** The first file whose write lock somebody has. */
  #lockedFile(): string | undefined {
    return this.#files().find((file) => {
      const database = openDatabase(file, 'write');
      try {
        return tryWriteLock(database) === 'busy';
      } finally {
        // Closing rolls back what was granted.
        database.close();
      }
    });
  }

  /** The lock can only be let go by its process, so this waits until that has happened, and never claims it before. */
  async thaw(token: HoldToken): Promise<ThawAnswer> {
    const { clock } = this.#platform;
    let status: FreezeStatus;
    try {
      status = await this.#statusWithin(token, thawWaitMs);
    } catch (cause) {
      status = { state: 'unknown', said: messageOf(cause) };
    }
    return {
      thawed: status.state === 'thawed',
      heldThroughout: false,
      said: status.said,
      at: clock.now(),
      spans: [],
      artifacts: [],
    };
  }

  verify(copy: Copy, signal: AbortSignal): AsyncIterable<Finding> {
    return verifyFiles(copy, this.#config.verify.integrity, signal);
  }

  async *check(_signal: AbortSignal): AsyncIterable<Finding> {
    for (const file of this.#files()) {
      const database = openDatabase(file, 'write');
      try {
        const mode = text(database.prepare('PRAGMA journal_mode').get()?.['journal_mode']);
        yield { severity: 'info', check: 'file', said: `${file}: ${sizeOf(file)} bytes, journal mode ${mode}` };
        const lock = tryWriteLock(database);
        yield lock === 'granted'
          ? { severity: 'info', check: 'write-lock', said: `${file}: the write lock can be had` }
          : {
              severity: 'warning',
              check: 'write-lock',
              said: `${file}: ${describeHolders(file)} holds the write lock now`,
            };
      } catch (cause) {
        yield { severity: 'error', check: 'write-lock', said: `${file}: ${messageOf(cause)}` };
      } finally {
        database.close();
      }
      const walBytes = sizeOf(`${file}-wal`);
      if (walBytes > largeWalBytes) {
        const said = `${file}-wal has ${walBytes} bytes: a reader that never ends keeps it from shrinking, and each point carries it`;
        yield { severity: 'warning', check: 'wal-size', said };
      }
      if (statOf(file).links > 1) {
        const said = `${file} has several hard links: a writer that uses another name has another journal, which corrupts the database`;
        yield { severity: 'warning', check: 'links', said };
      }
    }
  }

  async running(_signal: AbortSignal): Promise<boolean> {
    const files = new Set(this.#files());
    for (const { files: open } of openFilesOfOthers()) if (open.some((file) => files.has(file))) return true;
    return false;
  }
}

/** Databases in WAL mode that a running process has open. Others cannot be told from any other file without reading the disk. */
function discover(platform: Platform): readonly Discovered[] {
  const found = new Map<string, Discovered>();
  for (const { pid, files } of openFilesOfOthers()) {
    for (const file of walDatabases(files)) {
      if (found.size === mostDiscovered) break;
      // Our own catalog is no workload.
      if (found.has(file) || file.startsWith(`${platform.stateDirectory}/`)) continue;
      const name = basename(file).replace(/\.(db3?|sqlite3?)$/i, '');
      found.set(file, { name, config: { file }, said: `SQLite database in WAL mode, open in process ${pid}` });
    }
  }
  return [...found.values()];
}

export const sqlite: ApplicationModule<SqliteConfig> = {
  kind: 'sqlite',
  config: sqliteConfig,
  create: (config, _workload, platform) => new SqliteApplication(config, platform),
  discover: async (platform) => discover(platform),
};
