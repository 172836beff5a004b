import type { ClusterView } from '../../../model/cluster.ts';
import type { Host } from '../../../ports/host.ts';
import type { Platform, ReachModule, TopologyModule } from '../../../ports/module.ts';
import type { Seeded, SeedRequest, Topology } from '../../../ports/topology.ts';
import { Asker, type Facts, type Refused } from './ask.ts';
import { configWith, type Config, type MemberPlace } from './config.ts';
import { type Measured, measure } from './lag.ts';
import { memberFromPoint } from './member-from-point.ts';
import { NoAnswer, Programs } from './programs.ts';
import { isReplica, isRootPrimary } from './servers.ts';
import { manager, viewOf } from './view.ts';

/** Replication of GT.M, in which a person or a script switches: every instance is asked itself, for none knows of all. */
class GtmReplication implements Topology {
  readonly manager = manager;
  readonly #members: readonly { readonly name: string; readonly place: MemberPlace; readonly host: Host }[];
  readonly #platform: Platform;

  constructor(settings: Config, platform: Platform, hostOf: (place: MemberPlace) => Host) {
    this.#members = Object.entries(settings.members).map(([name, place]) => ({ name, place, host: hostOf(place) }));
    this.#platform = platform;
  }

  async view(signal: AbortSignal): Promise<ClusterView> {
    signal.throwIfAborted();
    const opened = await Promise.all(
      this.#members.map(({ name, place, host }) =>
        answerOf(name, async () => {
          const asker = new Asker(name, await Programs.of(place, host, signal));
          return { asker, live: await asker.live() };
        }),
      ),
    );
    // Only now the histories: each then tells under whom the updates were made that the memories had shown.
    const seen = await Promise.all(
      opened.map(async (each): Promise<Facts | Refused> => {
        if ('said' in each) return each;
        const { asker, live } = each;
        const rest = await answerOf(asker.name, () => Promise.all([asker.file(), asker.processes(live)]));
        return 'said' in rest ? rest : { name: asker.name, live, file: rest[0], processes: rest[1] };
      }),
    );
    signal.throwIfAborted();
    const measured = await this.#measure(
      opened.flatMap((each) => ('said' in each ? [] : [each.asker])),
      seen,
    );
    signal.throwIfAborted();
    return viewOf(seen, measured);
  }

  async seed(request: SeedRequest, signal: AbortSignal): Promise<Seeded> {
    const { members } = await this.view(signal);
    const primary = members.find(({ role }) => role === 'primary')?.name;
    return await memberFromPoint(request, this.#members, primary, this.#platform.host, signal);
  }

  async #measure(askers: readonly Asker[], seen: readonly (Facts | Refused)[]): Promise<ReadonlyMap<string, Measured>> {
    const [primary, ...others] = seen.filter(isRootPrimary);
    if (primary === undefined || others.length > 0) return new Map();
    const found = await Promise.all(
      askers.map(async (asker): Promise<readonly (readonly [string, Measured])[]> => {
        const facts = seen.find(({ name }) => name === asker.name);
        if (facts === undefined || !isReplica(facts)) return [];
        const measured = await answerOf(asker.name, () =>
          measure(asker, facts.live, primary.live, this.#platform.clock),
        );
        return 'said' in measured ? [] : [[asker.name, measured]];
      }),
    );
    return new Map(found.flat());
  }
}

async function answerOf<T extends object>(name: string, ask: () => Promise<T>): Promise<T | Refused> {
  try {
    return await ask();
  } catch (cause) {
    if (cause instanceof NoAnswer) return { name, said: cause.message, denied: cause.denied };
    throw cause;
  }
}

/** `reaches`: the ways to members that are not on this machine. */
export function gtmReplication(reaches: readonly ReachModule<unknown>[] = []) {
  return {
    manager,
    config: configWith(reaches),
    strangers: ({ members }, names) =>
      names.filter((name) => !Object.hasOwn(members, name)).map((name) => ({ name, known: Object.keys(members) })),
    create: (settings: Config, platform: Platform): Topology =>
      new GtmReplication(settings, platform, ({ reach = {} }) => {
        const chosen = reaches.find(({ kind }) => reach[kind] !== undefined);
        return chosen === undefined ? platform.host : chosen.create(reach[chosen.kind], platform.host);
      }),
  } satisfies TopologyModule<Config>;
}
