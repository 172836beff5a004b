import type { ClusterView } from '../../../model/cluster.ts';
import type { Host } from '../../../ports/host.ts';
import type { Platform, ReachModule, TopologyModule } from '../../../ports/module.ts';
import type { Topology } from '../../../ports/topology.ts';
import { Asker, type Facts, NoAnswer, type Refused } from './ask.ts';
import { configWith, type Config, type MemberPlace } from './config.ts';
import { type Measured, measure } from './lag.ts';
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
    const askers = this.#members.map(({ name, place, host }) => new Asker(name, place, host, signal));
    const live = await Promise.all(askers.map((asker) => answerOf(asker, () => asker.live())));
    // Only now the histories: each then tells under whom the updates were made that the memories had shown.
    const seen = await Promise.all(
      askers.map(async (asker, index): Promise<Facts | Refused> => {
        const found = live[index];
        if (found === undefined || 'said' in found)
          return found ?? { name: asker.name, said: 'no answer', denied: false };
        const rest = await answerOf(
          asker,
          async () => [await asker.file(), await asker.processes(found.value)] as const,
        );
        if ('said' in rest) return rest;
        const [file, processes] = rest.value;
        return { name: asker.name, live: found.value, file, processes };
      }),
    );
    signal.throwIfAborted();
    const measured = await this.#measure(askers, seen);
    signal.throwIfAborted();
    return viewOf(seen, measured);
  }

  async #measure(askers: readonly Asker[], seen: readonly (Facts | Refused)[]): Promise<ReadonlyMap<string, Measured>> {
    const [primary, ...others] = seen.filter(isRootPrimary);
    if (primary === undefined || others.length > 0) return new Map();
    const found = await Promise.all(
      askers.map(async (asker): Promise<readonly (readonly [string, Measured])[]> => {
        const facts = seen.find(({ name }) => name === asker.name);
        if (facts === undefined || !isReplica(facts)) return [];
        const measured = await answerOf(asker, () => measure(asker, facts.live, primary.live, this.#platform.clock));
        return 'said' in measured ? [] : [[asker.name, measured.value]];
      }),
    );
    return new Map(found.flat());
  }
}

async function answerOf<T>({ name }: Asker, ask: () => Promise<T>): Promise<{ readonly value: T } | Refused> {
  try {
    return { value: await ask() };
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
    create: (settings: Config, platform: Platform): Topology =>
      new GtmReplication(settings, platform, ({ reach = {} }) => {
        const chosen = reaches.find(({ kind }) => reach[kind] !== undefined);
        return chosen === undefined ? platform.host : chosen.create(reach[chosen.kind], platform.host);
      }),
  } satisfies TopologyModule<Config>;
}
