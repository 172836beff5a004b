import type { Platform, ReachModule, SecretReader, TopologyModule } from '../../../ports/module.ts';
import type { Topology } from '../../../ports/topology.ts';
import { configWith, type Config } from './config.ts';
import { HoldOff } from './hold-off.ts';
import { Programs } from './programs.ts';
import { Rest } from './rest.ts';
import { ClusterproSplit } from './split.ts';
import { manager, Told, viewOf, type ViewSettings } from './view.ts';
import type { Way } from './way.ts';
import type { Exec } from '../../../platform/exec.ts';

function topologyOf(settings: ViewSettings, way: Way, platform: Platform, ability: Pick<Topology, 'split'>): Topology {
  const view: Topology['view'] = async (signal) => viewOf(new Told(await way.ask(signal)), settings);
  const { holdOff } = settings;
  if (holdOff === undefined) return { manager, view, ...ability };
  const hold = new HoldOff(holdOff, way, platform);
  const parts = [...holdOff.monitors, ...(holdOff.ratio === undefined ? [] : [`ratio ${holdOff.ratio.factor}`])];
  return {
    manager,
    view,
    ...ability,
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
      const view = { ...settings, servers };
      const execs = new Map(
        Object.entries(settings.servers ?? {}).map(([server, { ssh: reach }]): [string, Exec] => [
          server,
          ssh.create(reach as C, platform.host).exec,
        ]),
      );
      const way = wayOf(settings, execs, platform, secret);
      const split = settings.rest === undefined ? new ClusterproSplit(view, way, execs, settings.programs) : undefined;
      return topologyOf(view, way, platform, split === undefined ? {} : { split });
    },
  };
}

function wayOf(settings: Config, execs: ReadonlyMap<string, Exec>, platform: Platform, secret: SecretReader): Way {
  const mirrors = Object.entries(settings.mirrors).map(([resource, { monitor }]) => [resource, monitor] as const);
  if (settings.rest !== undefined) return new Rest(settings.rest, new Map(mirrors), platform.clock, secret);
  return new Programs(
    execs,
    mirrors.map(([resource]) => resource),
    settings.programs,
  );
}
