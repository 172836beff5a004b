import { messageOf } from '../../../model/errors.ts';
import type { CommandSpan, FreezeStatus, HoldToken, ThawAnswer } from '../../../model/hold.ts';
import type { Clock } from '../../../platform/clock.ts';
import { literal } from './commands.ts';
import type { Connection } from './connection.ts';
import { errnoOf } from './connection.ts';
import { lockName } from './hold.ts';

const thawMs = 10_000;
const pollMs = 20;
const statusMs = 5000;
const tooManyConnections = 1040;
const noSuchThread = 1094;

export interface Engine {
  readonly clock: Clock;
  connect(limitMs: number): Promise<Connection>;
  /** True only if it is proved that no server runs on the data directory. */
  isDown(): Promise<boolean>;
}

/** The connection that has the hold's lock, as the server knows it. */
async function holderOf(connection: Connection, token: HoldToken, spans: CommandSpan[]): Promise<string | undefined> {
  const sql = `SELECT IS_USED_LOCK(${literal(lockName(token))}) AS id`;
  const [row] = await connection.timed('IS_USED_LOCK', spans, sql);
  return row?.['id'] ?? undefined;
}

export async function statusOf(token: HoldToken, engine: Engine): Promise<FreezeStatus> {
  const { clock } = engine;
  const deadline = clock.monoMs() + statusMs;
  for (;;) {
    const status = await askOnce(token, engine);
    if (status !== 'crowded') return status;
    if (clock.monoMs() >= deadline)
      return { state: 'unknown', said: `MariaDB had no connection left for ${statusMs} ms` };
    await clock.sleep(pollMs * 5);
  }
}

/**
 * `crowded`: others have all connections. Under a hold that is to be expected, for all who commit wait; the one that is kept for
 * administrators is taken for a moment by each of those who are about to be turned away.
 */
async function askOnce(token: HoldToken, engine: Engine): Promise<FreezeStatus | 'crowded'> {
  try {
    const connection = await engine.connect(statusMs);
    try {
      const id = await holderOf(connection, token, []);
      if (id === undefined) return { state: 'thawed', said: `no session of MariaDB has the lock ${lockName(token)}` };
      return { state: 'frozen', said: `connection ${id} of MariaDB has the lock ${lockName(token)}` };
    } finally {
      await connection.close();
    }
  } catch (cause) {
    if (cause instanceof Error && errnoOf(cause.cause) === tooManyConnections) return 'crowded';
    return await withoutEngine(cause, engine);
  }
}

/** No session outlives its server: a dead server holds nothing. Silence alone proves nothing. */
async function withoutEngine(cause: unknown, engine: Engine): Promise<FreezeStatus> {
  const said = messageOf(cause);
  try {
    if (await engine.isDown()) return { state: 'thawed', said: 'no server runs on the data directory' };
  } catch {
    // Whoever may not look cannot prove it.
  }
  return { state: 'unknown', said };
}

/** Ends the session of the hold from any process. */
export async function thawByToken(token: HoldToken, engine: Engine): Promise<ThawAnswer> {
  const { clock } = engine;
  const spans: CommandSpan[] = [];
  const deadline = clock.monoMs() + thawMs;
  const answer = (thawed: boolean, said: string): ThawAnswer => ({
    ...{ thawed, heldThroughout: false, said, spans, artifacts: [] },
    at: clock.now(),
  });
  let said = '';
  let killed: string | undefined;
  for (;;) {
    try {
      const connection = await engine.connect(Math.max(500, deadline - clock.monoMs()));
      try {
        for (;;) {
          const id = await holderOf(connection, token, spans);
          if (id === undefined) {
            return answer(
              true,
              killed === undefined ? 'MariaDB has no such session' : `connection ${killed} was killed`,
            );
          }
          said = `connection ${id} does not end`;
          await kill(connection, id, spans);
          killed = id;
          if (clock.monoMs() >= deadline) return answer(false, said);
          await clock.sleep(pollMs);
        }
      } finally {
        await connection.close();
      }
    } catch (cause) {
      const status = await withoutEngine(cause, engine);
      said = status.said;
      if (status.state === 'thawed') return answer(true, said);
    }
    if (clock.monoMs() >= deadline) return answer(false, said);
    await clock.sleep(pollMs * 10);
  }
}

async function kill(connection: Connection, id: string, spans: CommandSpan[]): Promise<void> {
  if (!/^\d+$/.test(id)) throw new Error(`${id} is no connection`);
  try {
    await connection.timed('KILL', spans, `KILL ${id}`);
  } catch (cause) {
    // It ended in between.
    if (errnoOf(cause) !== noSuchThread) throw cause;
  }
}
