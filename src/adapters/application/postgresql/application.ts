import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { CommandSpan, FreezeStatus, HoldToken, JournalSpan, ThawAnswer } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import type { Application, Canary, CollectedFile, Copy, HoldSession, Located } from '../../../ports/application.ts';
import type { ApplicationModule, Platform, SecretReader } from '../../../ports/module.ts';
import { adopt } from './adopt.ts';
import { PostgresqlCanary } from './canary.ts';
import { check } from './check.ts';
import { postgresqlConfig } from './config.ts';
import type { PostgresqlConfig } from './config.ts';
import { asStillpoint, connect } from './connection.ts';
import type { Connection, ConnectOptions } from './connection.ts';
import { discover } from './discover.ts';
import { collectJournal } from './journal.ts';
import { locate, postmasterOf, text } from './locate.ts';
import { sessionName } from './parse.ts';
import { PostgresqlHold } from './session.ts';
import { verify } from './verify.ts';

const thawMs = 10_000;
const pollMs = 50;

export class PostgresqlApplication implements Application {
  readonly engine = 'postgresql';
  readonly openCanary?: (runId: string) => Promise<Canary | undefined>;
  readonly #config: PostgresqlConfig;
  readonly #platform: Platform;
  readonly #secret: SecretReader;

  constructor(config: PostgresqlConfig, platform: Platform, secret: SecretReader) {
    this.#config = config;
    this.#platform = platform;
    this.#secret = secret;
    if (config.canary) {
      this.openCanary = async (runId) => {
        const connection = await this.#connect({ applicationName: 'stillpoint canary' });
        return PostgresqlCanary.open(connection, config, runId);
      };
    }
  }

  async #connect(options: ConnectOptions): Promise<Connection> {
    return connect(this.#config, options, this.#platform.clock, this.#secret);
  }

  async #with<T>(what: string, signal: AbortSignal, use: (connection: Connection) => Promise<T>): Promise<T> {
    const connection = await this.#connect({ applicationName: `stillpoint ${what}`, signal });
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
    return this.#with('locate', signal, async (connection) =>
      locate(connection, this.#config, this.#platform.clustered === true),
    );
  }

  async *check(signal: AbortSignal): AsyncGenerator<Finding> {
    yield* await this.#with('check', signal, async (connection) => check(connection, this.#config));
  }

  async openHold(token: HoldToken, budgetMs: number): Promise<HoldSession> {
    const { clock, log } = this.#platform;
    const connection = await this.#connect({ applicationName: sessionName(token.identity) });
    return new PostgresqlHold(connection, this.#config, token, budgetMs, clock, log);
  }

  async status(token: HoldToken): Promise<FreezeStatus> {
    try {
      const connection = await this.#connect({
        applicationName: 'stillpoint status',
        connectMs: 5000,
        statementMs: 5000,
      });
      try {
        const pids = await holders(connection, token, []);
        if (pids.length === 0) return { state: 'thawed', said: `no session ${sessionName(token.identity)}` };
        return { state: 'frozen', said: `session ${sessionName(token.identity)} of server process ${pids.join(', ')}` };
      } finally {
        await connection.close();
      }
    } catch (cause) {
      return this.#withoutEngine(cause);
    }
  }

  /** A hold lives in a session and no session outlives its server: a dead server holds nothing. Silence alone proves nothing. */
  async #withoutEngine(cause: unknown): Promise<FreezeStatus> {
    const said = messageOf(cause);
    const data = this.#config.dataDirectory;
    if (data === undefined) return { state: 'unknown', said };
    try {
      const postmaster = await postmasterOf(data);
      if (postmaster === undefined) return { state: 'thawed', said: `no server runs on ${data}` };
      if (postmaster.status === 'starting') {
        return { state: 'thawed', said: `the server on ${data} is starting and has no session yet` };
      }
    } catch {
      // Whoever may not look cannot prove it.
    }
    return { state: 'unknown', said };
  }

  async thaw(token: HoldToken): Promise<ThawAnswer> {
    const { clock } = this.#platform;
    const spans: CommandSpan[] = [];
    const deadline = clock.monoMs() + thawMs;
    const answer = (thawed: boolean, said: string): ThawAnswer => ({
      thawed,
      heldThroughout: false,
      said,
      at: clock.now(),
      spans,
      artifacts: [],
    });
    let said = '';
    let ended = 0;
    for (;;) {
      const leftMs = Math.max(500, deadline - clock.monoMs());
      try {
        const connection = await this.#connect({
          applicationName: 'stillpoint thaw',
          connectMs: leftMs,
          statementMs: leftMs,
        });
        try {
          for (;;) {
            const pids = await holders(connection, token, spans);
            if (pids.length === 0) {
              return answer(
                true,
                ended === 0 ? 'PostgreSQL has no such session' : `${ended} session ended by its name`,
              );
            }
            ended = Math.max(ended, pids.length);
            said = `session of server process ${pids.join(', ')} does not end`;
            await connection.timed(
              'pg_terminate_backend',
              spans,
              'SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid',
              [pids],
            );
            if (clock.monoMs() >= deadline) return answer(false, said);
            await clock.sleep(pollMs);
          }
        } finally {
          await connection.close();
        }
      } catch (cause) {
        const status = await this.#withoutEngine(cause);
        said = status.said;
        if (status.state === 'thawed') return answer(true, said);
      }
      if (clock.monoMs() >= deadline) return answer(false, said);
      await clock.sleep(pollMs * 4);
    }
  }

  verify(copy: Copy, signal: AbortSignal): AsyncIterable<Finding> {
    return verify(copy, signal, this.#config, this.#platform);
  }

  async collectJournal(span: JournalSpan, into: string, signal: AbortSignal): Promise<readonly CollectedFile[]> {
    const [row] = await this.#with('journal', signal, async (connection) =>
      connection.query(
        `SELECT (SELECT system_identifier FROM pg_control_system())::text AS system_identifier,
          (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size') AS segment`,
      ),
    );
    const facts = {
      systemIdentifier: BigInt.asUintN(64, BigInt(text(row, 'system_identifier'))),
      segmentBytes: BigInt(text(row, 'segment')),
    };
    return collectJournal(span, facts, into, signal);
  }

  async adopt(copy: Copy): Promise<void> {
    await adopt(copy);
  }

  async running(signal: AbortSignal): Promise<boolean> {
    if (this.#config.dataDirectory !== undefined) return (await postmasterOf(this.#config.dataDirectory)) !== undefined;
    try {
      return await this.#with('running', signal, async () => true);
    } catch (cause) {
      signal.throwIfAborted();
      const failure = asStillpoint(cause, this.#config);
      const why = failure.details['code'];
      if (why === 'ENOENT' || why === 'ECONNREFUSED') return false;
      // A server that refuses this login runs all the same.
      if (failure.code === 'database-login') return true;
      throw new StillpointError(failure.code, failure.message, {
        hint: 'set application.postgresql.dataDirectory, so that the server can be looked for by its files',
        cause,
      });
    }
  }
}

async function holders(connection: Connection, token: HoldToken, spans: CommandSpan[]): Promise<readonly number[]> {
  const rows = await connection.timed(
    'pg_stat_activity',
    spans,
    'SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid() ORDER BY pid',
    [sessionName(token.identity)],
  );
  return rows.map((row) => Number(row['pid']));
}

export const postgresql: ApplicationModule<PostgresqlConfig> = {
  kind: 'postgresql',
  config: postgresqlConfig,
  create: (config, _workload, platform, secret) => new PostgresqlApplication(config, platform, secret),
  discover,
};
