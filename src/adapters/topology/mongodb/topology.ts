import type { ClusterView } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import {
  mongodbRefusal,
  mongodbSaid,
  MongodbSession,
  type MongodbSession as Session,
  refuseUnreadable,
} from '../../../platform/mongodb-session.ts';
import type { Platform, SecretReader, TopologyModule } from '../../../ports/module.ts';
import type { Topology } from '../../../ports/topology.ts';
import { configQuestion, helloQuestion, statusQuestion } from './commands.ts';
import { config, type Config, type MemberSettings } from './config.ts';
import { isThere, later, measure, type Measured, type Target } from './lag.ts';
import { newestConfig, type Refused, type Seen, sittingsOf, State, type Told, toldOf } from './members.ts';
import { type Hello, parseHello, parseSetConfig, parseStatus } from './parse.ts';
import { pollOf, primaryOf } from './primary.ts';
import { manager, viewOf } from './view.ts';

/** For one server, from the connection to its last answer. */
const limitMs = 3000;
/** After an election the others hear of it by their next heartbeat: for so long they are asked again. */
const settleMs = 3000;
const againMs = 250;
const watchMs = 1000;
const pollMs = 50;

interface Round {
  readonly seen: readonly Seen[];
  readonly sinceMs: number;
}

/** A replica set: every member is asked, and a majority of the voters must tell the same. */
class MongodbTopology implements Topology {
  readonly manager = manager;
  readonly #settings: Config;
  readonly #members: readonly (readonly [string, MemberSettings])[];
  readonly #platform: Platform;
  readonly #secret: SecretReader;

  constructor(settings: Config, platform: Platform, secret: SecretReader) {
    this.#settings = settings;
    this.#members = Object.entries(settings.members);
    this.#platform = platform;
    this.#secret = secret;
  }

  async view(signal: AbortSignal): Promise<ClusterView> {
    signal.throwIfAborted();
    const { clock } = this.#platform;
    const untilMs = clock.monoMs() + settleMs;
    let round = await this.#askAll(signal);
    while (this.#isUnsettled(round) && clock.monoMs() < untilMs) {
      await clock.sleep(againMs, signal);
      round = await this.#askAll(signal);
    }
    const measured = await this.#measureAll(round, signal);
    signal.throwIfAborted();
    return viewOf(measured, this.#settings.members);
  }

  /** Enough voters answer, and do not agree on a primary. */
  #isUnsettled({ seen }: Round): boolean {
    const newest = newestConfig(toldOf(seen));
    if (newest === undefined) return false;
    const sittings = sittingsOf(seen, this.#settings.members, newest);
    const { answered, majority } = pollOf(sittings);
    return answered >= majority && primaryOf(sittings) === undefined;
  }

  async #askAll(signal: AbortSignal): Promise<Round> {
    const sinceMs = this.#platform.clock.monoMs();
    const seen = await Promise.all(this.#members.map(async ([name, place]) => await this.#ask(name, place, signal)));
    signal.throwIfAborted();
    refuseMixture(seen);
    return { seen, sinceMs };
  }

  /** First without a login, for an arbiter has no accounts. */
  async #ask(name: string, place: MemberSettings, signal: AbortSignal): Promise<Seen> {
    return await this.#caught(name, async () => {
      const hello = await this.#with(place, signal, false, async (session) =>
        parseHello(await session.ask(helloQuestion)),
      );
      this.#refuseForeign(name, hello);
      const misfit = misfitOf(hello);
      if (misfit !== undefined) return { name, ...misfit };
      if (hello.arbiter) return { name, hello };
      return await this.#with(place, signal, true, async (session) => ({
        name,
        // Once more: what was true of the first one may not be any longer.
        hello: parseHello(await session.ask(helloQuestion)),
        status: parseStatus(await session.ask(statusQuestion)),
        config: parseSetConfig(await session.ask(configQuestion)),
      }));
    });
  }

  /** What no state of a cluster excuses: settings that lead elsewhere. */
  #refuseForeign(name: string, { router, set }: Hello): void {
    if (router) {
      throw new StillpointError(
        'cluster-unknown',
        `${name} is a mongos, the router of a sharded cluster, and no member of a replica set`,
        {
          hint: 'name the mongods of one shard in topology.mongodb.members; a sharded cluster is backed up shard by shard',
        },
      );
    }
    const wanted = this.#settings.replicaSet;
    if (set !== undefined && wanted !== undefined && set !== wanted) {
      throw new StillpointError(
        'cluster-unknown',
        `${name} is a member of the replica set ${set}, and ${wanted} is configured`,
        {
          hint: 'correct topology.mongodb.replicaSet, or host and port of the member',
        },
      );
    }
  }

  async #measureAll({ seen, sinceMs }: Round, signal: AbortSignal): Promise<readonly Seen[]> {
    const newest = newestConfig(toldOf(seen));
    const primary = newest === undefined ? undefined : primaryOf(sittingsOf(seen, this.#settings.members, newest));
    if (primary === undefined) return seen;
    const { applied, appliedAtMs } = primary.status;
    const target: Target = { applied, appliedAtMs, sinceMs };
    return await Promise.all(
      seen.map(async (each) => {
        if (!('status' in each) || each === primary || each.status.state !== State.secondary) return each;
        return await this.#watch(each, target, signal);
      }),
    );
  }

  async #watch(told: Told, target: Target, signal: AbortSignal): Promise<Seen> {
    const first = measure(told.status, target, 0);
    const place = this.#settings.members[told.name];
    if (isThere(first) || place === undefined) return { ...told, ...first };
    return await this.#caught(told.name, async () => {
      const measured = await this.#with(place, signal, true, (session) => this.#poll(session, first, target, signal));
      return { ...told, ...measured };
    });
  }

  async #poll(session: Session, first: Measured, target: Target, signal: AbortSignal): Promise<Measured> {
    const { clock } = this.#platform;
    const untilMs = clock.monoMs() + watchMs;
    let measured = first;
    while (!isThere(measured) && clock.monoMs() < untilMs) {
      await clock.sleep(pollMs, signal);
      const status = parseStatus(await session.ask(statusQuestion));
      // It rolls back or begins anew: what it had says nothing any longer.
      if (status.state !== State.secondary) return { transfer: {}, apply: {} };
      measured = later(measured, measure(status, target, clock.monoMs() - target.sinceMs));
    }
    return measured;
  }

  async #with<T>(
    place: MemberSettings,
    signal: AbortSignal,
    login: boolean,
    ask: (session: Session) => Promise<T>,
  ): Promise<T> {
    const { user, password, authSource, tls } = this.#settings;
    const access = { authSource, tls, ...(login ? { user, password } : {}) };
    const { clock } = this.#platform;
    await using session = await MongodbSession.open(place, access, clock, this.#secret, { signal, limitMs });
    return await ask(session);
  }

  async #caught(name: string, ask: () => Promise<Seen>): Promise<Seen> {
    try {
      return await ask();
    } catch (cause) {
      // A password that cannot be read, or an answer that is not understood, is no state of the member.
      if (cause instanceof StillpointError) throw cause;
      refuseUnreadable(cause);
      return refusedOf(name, cause);
    }
  }
}

function refusedOf(name: string, cause: unknown): Refused {
  return { name, refused: mongodbRefusal(cause), said: mongodbSaid(cause) };
}

function misfitOf({ set, uninitiated }: Hello): Omit<Refused, 'name'> | undefined {
  if (set !== undefined) return undefined;
  const said = uninitiated
    ? 'it was started for a replica set that was never initiated, or has not read its configuration yet'
    : 'it runs by itself, as a member of no replica set';
  return { refused: 'misfit', said };
}

/** Members of two sets: whichever one is meant, the settings are wrong. */
function refuseMixture(seen: readonly Seen[]): void {
  const members = seen.flatMap((each) => ('hello' in each ? [{ name: each.name, set: each.hello.set }] : []));
  const [first] = members;
  const other = members.find(({ set }) => set !== first?.set);
  if (first === undefined || other === undefined) return;
  throw new StillpointError(
    'cluster-unknown',
    `${first.name} is a member of ${first.set}, and ${other.name} one of ${other.set}`,
    {
      hint: 'name the members of one replica set in topology.mongodb.members',
    },
  );
}

export const mongodb = {
  manager,
  config,
  create: (settings, platform, secret) => new MongodbTopology(settings, platform, secret),
} satisfies TopologyModule<Config>;
