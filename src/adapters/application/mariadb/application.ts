import { readFile, realpath } from 'node:fs/promises';
import { codeOf, StillpointError } from '../../../model/errors.ts';
import type { FreezeStatus, HoldToken, ThawAnswer } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import { processesIn } from '../../../platform/process.ts';
import type { Application, Canary, Copy, HoldSession, Located } from '../../../ports/application.ts';
import type { ApplicationModule, Platform, SecretReader } from '../../../ports/module.ts';
import { adopt } from './adopt.ts';
import { MariadbCanary } from './canary.ts';
import { check } from './check.ts';
import { mariadbConfig } from './config.ts';
import type { MariadbConfig } from './config.ts';
import { Connection } from './connection.ts';
import type { ConnectOptions } from './connection.ts';
import { discover } from './discover.ts';
import { MariadbHold } from './hold.ts';
import { locate } from './locate.ts';
import { statusOf, thawByToken, type Engine } from './thaw.ts';
import { verify } from './verify.ts';

export class MariadbApplication implements Application {
  readonly engine = 'mariadb';
  readonly openCanary?: (runId: string) => Promise<Canary | undefined>;
  readonly #config: MariadbConfig;
  readonly #platform: Platform;
  readonly #secret: SecretReader;

  constructor(config: MariadbConfig, platform: Platform, secret: SecretReader) {
    this.#config = config;
    this.#platform = platform;
    this.#secret = secret;
    if (config.canary) {
      this.openCanary = async (runId) => MariadbCanary.open(await this.#connect(), config, runId);
    }
  }

  async #connect(options: ConnectOptions = {}): Promise<Connection> {
    return await Connection.open(this.#config, this.#platform.clock, this.#secret, options);
  }

  async #with<T>(signal: AbortSignal, use: (connection: Connection) => Promise<T>): Promise<T> {
    const connection = await this.#connect({ signal });
    try {
      return await use(connection);
    } catch (cause) {
      signal.throwIfAborted();
      throw cause;
    } finally {
      await connection.close();
    }
  }

  async locate(signal: AbortSignal): Promise<Located> {
    const clustered = this.#platform.clustered === true;
    return await this.#with(signal, async (connection) => locate(connection, this.#config, clustered));
  }

  async *check(signal: AbortSignal): AsyncGenerator<Finding> {
    yield* await this.#with(signal, async (connection) => check(connection, this.#config));
  }

  async openHold(token: HoldToken, budgetMs: number): Promise<HoldSession> {
    // Each statement has its limit in the server, and the guard has one for each answer.
    const connection = await this.#connect({ statementMs: 0 });
    return new MariadbHold(connection, this.#config, token, budgetMs, this.#platform.clock);
  }

  async status(token: HoldToken): Promise<FreezeStatus> {
    return await statusOf(token, this.#fromOutside());
  }

  async thaw(token: HoldToken): Promise<ThawAnswer> {
    return await thawByToken(token, this.#fromOutside());
  }

  #fromOutside(): Engine {
    return {
      clock: this.#platform.clock,
      connect: async (limitMs) => await this.#connect({ loginMs: limitMs, statementMs: limitMs }),
      isDown: async () => {
        const { dataDirectory } = this.#config;
        // Others' processes are invisible to anybody but root: that none is seen proves nothing then.
        if (dataDirectory === undefined || process.getuid?.() !== 0) return false;
        return !(await serverIn(dataDirectory));
      },
    };
  }

  verify(copy: Copy, signal: AbortSignal): AsyncIterable<Finding> {
    return verify(copy, signal, this.#config, this.#platform);
  }

  async adopt(copy: Copy): Promise<void> {
    await adopt(copy);
  }

  async running(signal: AbortSignal): Promise<boolean> {
    const { dataDirectory } = this.#config;
    if (dataDirectory !== undefined && (await serverIn(dataDirectory))) return true;
    if (dataDirectory !== undefined && process.getuid?.() === 0) return false;
    try {
      return await this.#with(signal, async () => true);
    } catch (cause) {
      signal.throwIfAborted();
      if (!(cause instanceof StillpointError)) throw cause;
      // A server that refuses this login runs all the same.
      if (cause.code !== 'database-unreachable' || cause.details['code'] !== null) return true;
      if (/ENOENT|ECONNREFUSED/.test(cause.message)) return false;
      throw new StillpointError(cause.code, cause.message, {
        hint: 'set application.mariadb.dataDirectory and run as root, so that the server can be looked for by its processes',
        cause,
      });
    }
  }
}

/** Whether a server works in that directory, among the processes that this user may look at. */
async function serverIn(directory: string): Promise<boolean> {
  let real: string;
  try {
    real = await realpath(directory);
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return false;
    throw cause;
  }
  for (const { pid } of processesIn(real)) {
    const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
    if (/^(?:mariadbd|mysqld)\n?$/.test(name)) return true;
  }
  return false;
}

export const mariadbServer: ApplicationModule<MariadbConfig> = {
  kind: 'mariadb',
  config: mariadbConfig,
  create: (config, _workload, platform, secret) => new MariadbApplication(config, platform, secret),
  discover,
};
