import type { ClusterView } from '../../../model/cluster.ts';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import { type Around, askAround } from '../../../platform/ask-around.ts';
import type { Platform, SecretReader, TopologyModule } from '../../../ports/module.ts';
import type { Seeded, SeedRequest, Topology } from '../../../ports/topology.ts';
import { factsSql } from './commands.ts';
import { config, type Config, type Member } from './config.ts';
import { measure } from './lag.ts';
import { type Facts, parseFacts, refusalOf } from './parse.ts';
import { makeStandby } from './seed.ts';
import { Session } from './session.ts';
import { manager, type Seen, viewOf } from './view.ts';

/** For one server, from the connection to its last answer: the answer itself, and the second in which a standby is watched. */
const limitMs = 5000;

interface Primary {
  readonly written: number;
  /** When the question for it went out. */
  readonly sinceMs: number;
}

type Named = readonly [name: string, place: Member];

/** Streaming replication in which a person fails over: it asks every server itself, for nobody else knows who they are. */
class StreamingTopology implements Topology {
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
    signal.throwIfAborted();
    const seen = await askAround<Named, Primary, Seen>(this.#members, async (member, around) =>
      this.#ask(member, around, signal),
    );
    signal.throwIfAborted();
    return viewOf(seen);
  }

  async seed(request: SeedRequest, signal: AbortSignal): Promise<Seeded> {
    const { members } = this.#settings;
    const primary = (await this.view(signal)).members.find(({ role }) => role === 'primary')?.name;
    const place = primary === undefined ? undefined : members[primary];
    if (primary === undefined || place === undefined) {
      throw new StillpointError('cluster-unknown', 'a new standby needs a primary, and nobody is', {
        hint: 'see `stillpoint mirror status`',
      });
    }
    await using session = await Session.open(place, this.#platform.clock, this.#secret, { signal, limitMs });
    return await makeStandby(request, { name: primary, place, session, slot: members[request.member]?.slot });
  }

  async #ask([name, place]: Named, { answered, primary }: Around<Primary>, signal: AbortSignal): Promise<Seen> {
    const { clock } = this.#platform;
    try {
      await using session = await Session.open(place, clock, this.#secret, { signal, limitMs });
      const sinceMs = clock.monoMs();
      const facts = await factsOf(session);
      if (!facts.inRecovery) {
        answered(facts.written === null ? undefined : { written: facts.written, sinceMs }, true);
        return { name, facts };
      }
      answered();
      const from = await primary;
      if (from === undefined) return { name, facts };
      return { name, facts, measured: await measure(session, facts, from.written, from.sinceMs, clock, signal) };
    } catch (cause) {
      // A password that cannot be read, or an answer that is not understood, is no state of the member.
      if (cause instanceof StillpointError) throw cause;
      const said = messageOf(cause) || (codeOf(cause) ?? 'no answer');
      return { name, refused: refusalOf(sqlState(cause), said), said };
    }
  }
}

/** A server that is promoted while it is asked refuses a question that only a standby answers; the next one is for a primary. */
async function factsOf(session: Session): Promise<Facts> {
  try {
    return await ask(session);
  } catch (cause) {
    if (sqlState(cause) !== '55000') throw cause;
    return await ask(session);
  }
}

async function ask(session: Session): Promise<Facts> {
  const [row] = await session.query(factsSql);
  return parseFacts(row?.['facts']);
}

function sqlState(cause: unknown): string | undefined {
  const code = codeOf(cause);
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

export const streaming = {
  manager,
  config,
  create: (settings, platform, secret) => new StreamingTopology(settings, platform, secret),
} satisfies TopologyModule<Config>;
