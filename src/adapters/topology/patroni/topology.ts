import type { ClusterView } from '../../../model/cluster.ts';
import type { Platform, SecretReader, TopologyModule } from '../../../ports/module.ts';
import type { HoldOffToken, Topology } from '../../../ports/topology.ts';
import { gather } from './ask.ts';
import { config, type Config } from './config.ts';
import { Pause } from './hold-off.ts';
import { manager, viewOf } from './view.ts';

/** A cluster under Patroni: its list, each member's own word, and the etcds that decide. */
class PatroniTopology implements Topology {
  readonly manager = manager;
  readonly #config: Config;
  readonly #platform: Platform;
  readonly #secret: SecretReader;
  /** Identities of tokens that this instance tried to hold, and whether a change of theirs may still come true. */
  readonly #inDoubt = new Map<string, boolean>();

  constructor(settings: Config, platform: Platform, secret: SecretReader) {
    this.#config = settings;
    this.#platform = platform;
    this.#secret = secret;
  }

  async view(signal: AbortSignal): Promise<ClusterView> {
    signal.throwIfAborted();
    return viewOf(await gather(this.#config, this.#platform.clock, signal), this.#config);
  }

  holdOffToken(runId: string, view: ClusterView): HoldOffToken {
    return { manager, cluster: view.name, runId, identity: `stillpoint:${runId}` };
  }

  async holdOff(token: HoldOffToken, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#inDoubt.has(token.identity)) this.#inDoubt.set(token.identity, false);
    const pause = await Pause.open(this.#config, this.#platform.clock, this.#secret);
    await pause.hold(token, signal, (inDoubt) => this.#inDoubt.set(token.identity, inDoubt));
  }

  async letGo(token: HoldOffToken): Promise<void> {
    const pause = await Pause.open(this.#config, this.#platform.clock, this.#secret);
    await pause.letGo(token, this.#inDoubt.get(token.identity) === false);
    this.#inDoubt.set(token.identity, false);
  }
}

export const patroni = {
  manager,
  config,
  create: (settings, platform, secret) => new PatroniTopology(settings, platform, secret),
} satisfies TopologyModule<Config>;
