import type { z } from 'zod';
import type { Application } from '../ports/application.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type {
  ApplicationModule,
  Discovered,
  MachinesModule,
  Platform,
  ReachModule,
  SecretReader,
  SnapshotModule,
  StoreModule,
  Stranger,
  TopologyModule,
} from '../ports/module.ts';
import type { Host } from '../ports/host.ts';
import type { Machines } from '../ports/machines.ts';
import type { SnapshotProvider } from '../ports/snapshot-provider.ts';
import type { Topology } from '../ports/topology.ts';
import { iris } from './application/iris/application.ts';
import { gtm } from './application/gtm/application.ts';
import { mariadbServer } from './application/mariadb/application.ts';
import { postgresql } from './application/postgresql/application.ts';
import { sqlite } from './application/sqlite/application.ts';
import { filesOf } from './application/sqlite/config.ts';
import { docker } from './host/docker/host.ts';
import { kubernetes } from './host/kubernetes/host.ts';
import { ssh } from './host/ssh/host.ts';
import { btrfs } from './snapshot/btrfs/provider.ts';
import { copy } from './snapshot/copy/provider.ts';
import { dmThin } from './snapshot/dm-thin/provider.ts';
import { lvmThick, lvmThin } from './snapshot/lvm/provider.ts';
import { qemu } from './snapshot/qemu/provider.ts';
import { reflink } from './snapshot/reflink/provider.ts';
import { vss } from './snapshot/vss/provider.ts';
import { zfs } from './snapshot/zfs/provider.ts';
import { ec2 } from './machines/ec2/machines.ts';
import { clusterpro } from './topology/clusterpro/topology.ts';
import { gtmReplication } from './topology/gtm/topology.ts';
import { galera } from './topology/galera/topology.ts';
import { mariadb } from './topology/mariadb/topology.ts';
import { irisMirror } from './topology/iris-mirror/topology.ts';
import { mongodb } from './topology/mongodb/topology.ts';
import { patroni } from './topology/patroni/topology.ts';
import { streaming } from './topology/streaming/topology.ts';
import { localStore } from './store/local/store.ts';

/**
 * An adapter's module with its configuration type closed over: `create` takes plain data, as it stands in the file or came over a
 * pipe, and validates it by the module's own schema. Schemas must accept what they put out (defaults, no changes of type), because
 * a configuration is validated when it is loaded and again here.
 */
export interface RegisteredApplication {
  readonly kind: string;
  readonly config: z.ZodType;
  readonly reachable: boolean;
  create(config: unknown, workload: string, platform: Platform, secret: SecretReader): Application;
  discover?(platform: Platform, signal: AbortSignal): Promise<readonly Discovered[]>;
  /** Live data whose place the configuration itself tells: our own files must not lie inside. */
  dataPaths(config: unknown): readonly string[];
}

export interface RegisteredReach {
  readonly kind: string;
  readonly config: z.ZodType;
  create(config: unknown, local: Host): Host;
}

export interface RegisteredSnapshotProvider {
  readonly kind: string;
  readonly config: z.ZodType;
  create(config: unknown, platform: Platform): SnapshotProvider;
}

export interface RegisteredStore {
  readonly kind: string;
  readonly config: z.ZodType;
  create(config: unknown, platform: Platform): BlobStore;
  /** Local directories that the store fills. */
  directories(config: unknown): readonly string[];
}

export interface RegisteredTopology {
  readonly kind: string;
  readonly config: z.ZodType;
  create(config: unknown, platform: Platform, secret: SecretReader): Topology;
  strangers?(config: unknown, members: readonly string[]): readonly Stranger[];
}

export interface RegisteredMachines {
  readonly kind: string;
  readonly config: z.ZodType;
  create(config: unknown, platform: Platform): Machines;
}

function application<C>(
  module: ApplicationModule<C>,
  dataPaths: (config: C) => readonly string[],
): RegisteredApplication {
  return {
    kind: module.kind,
    config: module.config,
    reachable: module.reachable === true,
    create: (config, ...rest) => module.create(module.config.parse(config), ...rest),
    ...(module.discover === undefined ? {} : { discover: module.discover.bind(module) }),
    dataPaths: (config) => dataPaths(module.config.parse(config)),
  };
}

function reach<C>(module: ReachModule<C>): RegisteredReach {
  return {
    kind: module.kind,
    config: module.config,
    create: (config, local) => module.create(module.config.parse(config), local),
  };
}

function snapshotProvider<C>(module: SnapshotModule<C>): RegisteredSnapshotProvider {
  return {
    kind: module.kind,
    config: module.config,
    create: (config, platform) => module.create(module.config.parse(config), platform),
  };
}

function store<C>(module: StoreModule<C>, directories: (config: C) => readonly string[]): RegisteredStore {
  return {
    kind: module.kind,
    config: module.config,
    create: (config, platform) => module.create(module.config.parse(config), platform),
    directories: (config) => directories(module.config.parse(config)),
  };
}

function topology<C>(module: TopologyModule<C>): RegisteredTopology {
  return {
    kind: module.manager,
    config: module.config,
    create: (config, ...rest) => module.create(module.config.parse(config), ...rest),
    ...(module.strangers === undefined
      ? {}
      : { strangers: (config, names) => module.strangers?.(module.config.parse(config), names) ?? [] }),
  };
}

function machinesOf<C>(module: MachinesModule<C>): RegisteredMachines {
  return {
    kind: module.kind,
    config: module.config,
    create: (config, platform) => module.create(module.config.parse(config), platform),
  };
}

/** All adapters. Nothing else names them; a new one is one line here. */
export const applications: readonly RegisteredApplication[] = [
  application(iris, () => []),
  application(postgresql, (config) => (config.dataDirectory === undefined ? [] : [config.dataDirectory])),
  application(mariadbServer, (config) => (config.dataDirectory === undefined ? [] : [config.dataDirectory])),
  application(sqlite, filesOf),
  application(gtm, (config) => [config.globalDirectory]),
];

export const reaches: readonly RegisteredReach[] = [reach(docker), reach(kubernetes), reach(ssh)];

/** What an application adapter gets: `local` itself, or the same with the place that its workload names. */
export function platformAt(
  chosen: { readonly kind: string; readonly config: unknown } | undefined,
  local: Platform,
): Platform {
  if (chosen === undefined) return local;
  const module = reaches.find((each) => each.kind === chosen.kind);
  // The configuration's schema is made of the same list.
  if (module === undefined) throw new Error(`no reach is called ${chosen.kind}`);
  const host = module.create(chosen.config, local.host);
  return { ...local, host, exec: host.exec };
}

/** In the order in which `storage: auto` tries them. */
export const snapshotProviders: readonly RegisteredSnapshotProvider[] = [
  snapshotProvider(btrfs),
  snapshotProvider(zfs),
  snapshotProvider(lvmThin),
  snapshotProvider(dmThin),
  snapshotProvider(reflink),
  snapshotProvider(lvmThick),
  snapshotProvider(qemu),
  snapshotProvider(vss(ssh)),
  snapshotProvider(copy),
];

export const topologies: readonly RegisteredTopology[] = [
  topology(irisMirror([docker, kubernetes, ssh])),
  topology(patroni),
  topology(streaming),
  topology(galera),
  topology(mariadb),
  topology(mongodb),
  topology(gtmReplication([docker, kubernetes, ssh])),
  topology(clusterpro(ssh)),
];

export const machines: readonly RegisteredMachines[] = [machinesOf(ec2)];

export const stores: readonly RegisteredStore[] = [store(localStore, (directory) => [directory])];
