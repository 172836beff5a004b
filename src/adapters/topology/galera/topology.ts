import type { ClusterView } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { MariadbPlace } from '../../../platform/mariadb-place.ts';
import { mariadbRefusal, mariadbSaid, MariadbSession } from '../../../platform/mariadb-session.ts';
import type { Platform, SecretReader, TopologyModule } from '../../../ports/module.ts';
import type { Topology } from '../../../ports/topology.ts';
import { committedSql, statusSql, variablesSql } from './commands.ts';
import { type Answered, type Behind, disagreement, isInside, type Seen, writerOf } from './component.ts';
import { config, type Config } from './config.ts';
import { parseCommitted, parseFacts } from './parse.ts';
import { manager, viewOf } from './view.ts';

/** For one server, from the connection to its last answer. */
const limitMs = 3000;
/** Members that were asked while the cluster changed contradict each other; for so long they are asked again. */
const settleMs = 3000;
const watchMs = 1000;
const pollMs = 50;
const againMs = 250;

interface Round {
  readonly seen: readonly Seen[];
  readonly sinceMs: number;
}

/** Galera: every member is asked, and their answers must make one component. */
class GaleraTopology implements Topology {
  readonly manager = manager;
  readonly #members: readonly (readonly [string, MariadbPlace])[];
  readonly #writers: readonly string[];
  readonly #platform: Platform;
  readonly #secret: SecretReader;

  constructor({ members, writers }: Config, platform: Platform, secret: SecretReader) {
    this.#members = Object.entries(members);
    this.#writers = writers ?? Object.keys(members);
    this.#platform = platform;
    this.#secret = secret;
  }

  async view(signal: AbortSignal): Promise<ClusterView> {
    signal.throwIfAborted();
    const { clock } = this.#platform;
    const untilMs = clock.monoMs() + settleMs;
    let round = await this.#askAll(signal);
    while (disagreement(round.seen) !== undefined && clock.monoMs() < untilMs) {
      await clock.sleep(againMs, signal);
      round = await this.#askAll(signal);
    }
    const measured = await this.#measureAll(round, signal);
    signal.throwIfAborted();
    return viewOf(measured, this.#writers);
  }

  async #askAll(signal: AbortSignal): Promise<Round> {
    const sinceMs = this.#platform.clock.monoMs();
    const seen = await Promise.all(
      this.#members.map(([name, place]) =>
        this.#with<Seen>(name, place, signal, async (session) => ({
          name,
          facts: parseFacts(await session.query(variablesSql), await session.query(statusSql)),
        })),
      ),
    );
    signal.throwIfAborted();
    return { seen, sinceMs };
  }

  /**
   * How long each member takes to commit what the writer had committed. It had it at `sinceMs` at the earliest, so whoever has it now is
   * behind by the time since then at most.
   */
  async #measureAll({ seen, sinceMs }: Round, signal: AbortSignal): Promise<readonly Seen[]> {
    const writer = writerOf(seen, this.#writers);
    if (writer === undefined) return seen;
    const target = writer.facts.committed;
    return await Promise.all(
      this.#members.map(async ([name, place], index) => {
        const each = seen[index];
        if (each === undefined || 'refused' in each || each === writer || !isInside(each)) {
          return each ?? { name, refused: 'silent' as const, said: 'it was not asked' };
        }
        if (each.facts.committed >= target) return { ...each, behind: { writeSets: 0, ms: 0 } };
        return await this.#with<Seen>(name, place, signal, async (session) => ({
          ...each,
          behind: await this.#watch(session, each, target, sinceMs, signal),
        }));
      }),
    );
  }

  async #watch(
    session: MariadbSession,
    { facts }: Answered,
    target: number,
    sinceMs: number,
    signal: AbortSignal,
  ): Promise<Behind> {
    const { clock } = this.#platform;
    const untilMs = clock.monoMs() + watchMs;
    let { committed } = facts;
    while (committed < target && clock.monoMs() < untilMs) {
      await clock.sleep(pollMs, signal);
      committed = parseCommitted(await session.query(committedSql));
    }
    const writeSets = Math.max(0, target - committed);
    return writeSets === 0 ? { writeSets, ms: clock.monoMs() - sinceMs } : { writeSets };
  }

  async #with<T extends Seen>(
    name: string,
    place: MariadbPlace,
    signal: AbortSignal,
    ask: (session: MariadbSession) => Promise<T>,
  ): Promise<Seen> {
    try {
      await using session = await MariadbSession.open(place, this.#platform.clock, this.#secret, { signal, limitMs });
      return await ask(session);
    } catch (cause) {
      // A password that cannot be read, or an answer that is not understood, is no state of the member.
      if (cause instanceof StillpointError) throw cause;
      return { name, refused: mariadbRefusal(cause), said: mariadbSaid(cause) };
    }
  }
}

export const galera = {
  manager,
  config,
  create: (settings, platform, secret) => new GaleraTopology(settings, platform, secret),
} satisfies TopologyModule<Config>;
