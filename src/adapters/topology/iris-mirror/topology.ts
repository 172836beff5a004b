import type { ClusterView } from '../../../model/cluster.ts';
import type { Differences, HoldOffToken, Seeded, SeedRequest, Topology } from '../../../ports/topology.ts';
import type { Platform, SecretReader, TopologyModule } from '../../../ports/module.ts';
import { type Config, configWith, type Reach } from './config.ts';
import { differencesOf } from './difference.ts';
import { HoldOff, identityOf } from './hold-off.ts';
import { Instance } from './instance.ts';
import { memberFromCopy } from './seed.ts';
import { manager, viewOf } from './view.ts';

class IrisMirror implements Topology {
  readonly manager = manager;
  readonly #mirror: string;
  readonly #instances: readonly Instance[];
  readonly #holdOff: HoldOff;

  constructor(config: Config, platform: Platform, secret: SecretReader, reaches: readonly Reach[]) {
    this.#mirror = config.mirror;
    this.#instances = Object.entries(config.instances).map(
      ([name, settings]) => new Instance(name, settings, platform, secret, reaches),
    );
    this.#holdOff = new HoldOff(this.#mirror, this.#instances);
  }

  async view(signal: AbortSignal): Promise<ClusterView> {
    const asked = await Promise.all(this.#instances.map((instance) => instance.ask(this.#mirror, signal)));
    return viewOf(this.#mirror, asked);
  }

  async difference(signal: AbortSignal): Promise<Differences> {
    const told = await Promise.all(
      this.#instances.map(async (instance) => ({
        name: instance.name,
        settings: await instance.settings(this.#mirror, signal),
      })),
    );
    signal.throwIfAborted();
    return differencesOf(this.#mirror, told);
  }

  async seed(request: SeedRequest, signal: AbortSignal): Promise<Seeded> {
    const { members } = await this.view(signal);
    const leader = members.find(({ role }) => role === 'primary')?.name;
    return await memberFromCopy(this.#mirror, request, this.#instances, leader, signal);
  }

  holdOffToken(runId: string, view: ClusterView): HoldOffToken {
    const configured = this.#instances.map(({ name }) => name);
    return { manager, cluster: view.name, runId, identity: identityOf(runId, view, configured) };
  }

  async holdOff(token: HoldOffToken, signal: AbortSignal): Promise<void> {
    await this.#holdOff.begin(token, await this.view(signal), signal);
  }

  async letGo(token: HoldOffToken): Promise<void> {
    await this.#holdOff.end(token);
  }
}

/** With the ways to other machines; the registry knows them. */
export function irisMirror(reaches: readonly Reach[]): TopologyModule<Config> {
  return {
    manager,
    config: configWith(reaches),
    create: (settings, platform, secret) => new IrisMirror(settings, platform, secret, reaches),
    // One that is not asked has the name that the mirror gives it, which has a slash: MACHINE/INSTANCE.
    strangers: ({ instances }, names) =>
      names
        .filter((name) => !Object.hasOwn(instances, name) && !name.includes('/'))
        .map((name) => ({ name, known: Object.keys(instances) })),
  };
}
