import type { ClusterView } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import { type Around, askAround } from '../../../platform/ask-around.ts';
import type { MariadbPlace } from '../../../platform/mariadb-place.ts';
import { mariadbRefusal, mariadbSaid, MariadbSession } from '../../../platform/mariadb-session.ts';
import type { Platform, SecretReader, TopologyModule } from '../../../ports/module.ts';
import type { Seeded, SeedRequest, Topology } from '../../../ports/topology.ts';
import { binlogsSql, channelsSql, statusSql, variablesSql } from './commands.ts';
import { config, type Config } from './config.ts';
import { measure, type Target } from './lag.ts';
import { type Facts, parseBinlogs, parseChannels, parseSemiSync, parseVariables } from './parse.ts';
import { answeredOf, isWriter, primaryOf, type Seen } from './roles.ts';
import { makeReplica } from './seed.ts';
import { manager, viewOf } from './view.ts';

/** For one server, from the connection to its last answer: the answer itself, and the second in which a replica is watched. */
const limitMs = 5000;

type Named = readonly [name: string, place: MariadbPlace];

/** Replication of MariaDB: every server is asked, for nobody else knows who they are. */
class MariadbTopology implements Topology {
  readonly manager = manager;
  readonly #settings: Config;
  readonly #members: readonly Named[];
  readonly #platform: Platform;
  readonly #secret: SecretReader;

  constructor(settings: Config, platform: Platform, secret: SecretReader) {
    this.#settings = settings;
    this.#members = Object.entries(settings.members);
    this.#platform = platform;
    this.#secret = secret;
  }

  async view(signal: AbortSignal): Promise<ClusterView> {
    return viewOf(await this.#look(signal), this.#settings);
  }

  async seed(request: SeedRequest, signal: AbortSignal): Promise<Seeded> {
    const seen = await this.#look(signal);
    const primary = primaryOf(seen);
    const place = primary === undefined ? undefined : this.#settings.members[primary.name];
    if (primary === undefined || place === undefined) {
      throw new StillpointError('cluster-unknown', 'a new replica needs a primary, and nobody is', {
        hint: 'see `stillpoint mirror status`',
      });
    }
    const taken = answeredOf(seen).map(({ facts }) => facts.serverId);
    const { clock } = this.#platform;
    await using session = await MariadbSession.open(place, clock, this.#secret, { signal, limitMs });
    return await makeReplica(request, { name: primary.name, place, facts: primary.facts, session, taken });
  }

  async #look(signal: AbortSignal): Promise<readonly Seen[]> {
    signal.throwIfAborted();
    const seen = await askAround<Named, Target, Seen>(this.#members, async (member, around) =>
      this.#ask(member, around, signal),
    );
    signal.throwIfAborted();
    return seen;
  }

  async #ask([name, place]: Named, { answered, primary }: Around<Target>, signal: AbortSignal): Promise<Seen> {
    const { clock } = this.#platform;
    try {
      await using session = await MariadbSession.open(place, clock, this.#secret, { signal, limitMs });
      const sinceMs = clock.monoMs();
      const facts = await factsOf(session);
      if (isWriter(facts)) {
        const { serverId, binlogs, binlogPos: gtids } = facts;
        // A writer with a channel that is stopped may be a replica: it counts only when there is no other.
        answered({ serverId, binlogs, gtids, sinceMs }, facts.channels.length === 0);
        return { name, facts };
      }
      answered();
      const [from, [first]] = [await primary, facts.channels];
      if (from === undefined || first === undefined) return { name, facts };
      const channel = facts.channels.find(({ sourceId }) => sourceId === from.serverId) ?? first;
      return { name, facts, measured: await measure(session, channel, from, clock, signal) };
    } catch (cause) {
      // A password that cannot be read, or an answer that is not understood, is no state of the member.
      if (cause instanceof StillpointError) throw cause;
      return { name, refused: mariadbRefusal(cause), said: mariadbSaid(cause) };
    }
  }
}

async function factsOf(session: MariadbSession): Promise<Facts> {
  // First: a server that is no MariaDB has these, and answers the next question with a syntax error.
  const variables = parseVariables(await session.query(variablesSql));
  const channels = parseChannels(await session.query(channelsSql));
  return {
    ...variables,
    channels,
    semiSync: parseSemiSync(await session.query(statusSql)),
    binlogs: variables.logs ? parseBinlogs(await session.query(binlogsSql)) : [],
  };
}

export const mariadb = {
  manager,
  config,
  create: (settings, platform, secret) => new MariadbTopology(settings, platform, secret),
} satisfies TopologyModule<Config>;
