import type { Platform, ReachModule, SecretReader, TopologyModule } from '../../../ports/module.ts';
import type { Topology } from '../../../ports/topology.ts';
import { configWith, type Config } from './config.ts';
import { HoldOff } from './hold-off.ts';
import { Programs } from './programs.ts';
import { Rest } from './rest.ts';
import { manager, Told, viewOf, type ViewSettings } from './view.ts';
import type { Way } from './way.ts';

function topologyOf(settings: ViewSettings, way: Way, platform: Platform): Topology {
  const view: Topology['view'] = async (signal) => viewOf(new Told(await way.ask(signal)), settings);
  const { holdOff } = settings;
  if (holdOff === undefined) return { manager, view };
  const hold = new HoldOff(holdOff, way, platform);
  const parts = [...holdOff.monitors, ...(holdOff.ratio === undefined ? [] : [`ratio ${holdOff.ratio.factor}`])];
  return {
    manager,
    view,
    holdOff: (token, signal) => hold.begin(token, signal),
    letGo: (token) => hold.end(token),
    holdOffToken: (runId, { name }) => ({ manager, cluster: name, runId, identity: parts.join(', ') }),
  };
}

/** With the reach by which servers are called; the registry knows it. */
export function clusterpro<C>(ssh: ReachModule<C>): TopologyModule<Config> {
  return {
    manager,
    config: configWith(ssh.config),
    create(settings, platform, secret) {
      const servers = Object.keys(settings.servers ?? settings.rest?.servers ?? {});
      return topologyOf({ ...settings, servers }, wayOf(settings, ssh, platform, secret), platform);
    },
  };
}

function wayOf<C>(settings: Config, ssh: ReachModule<C>, platform: Platform, secret: SecretReader): Way {
  const mirrors = Object.entries(settings.mirrors).map(([resource, { monitor }]) => [resource, monitor] as const);
  if (settings.rest !== undefined) return new Rest(settings.rest, new Map(mirrors), platform.clock, secret);
  const execs = Object.entries(settings.servers ?? {}).map(
    ([server, { ssh: reach }]) => [server, ssh.create(reach as C, platform.host).exec] as const,
  );
  return new Programs(
    new Map(execs),
    mirrors.map(([resource]) => resource),
    settings.programs,
  );
}
