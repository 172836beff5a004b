import type { z } from 'zod';
import type { Clock } from '../platform/clock.ts';
import type { Exec } from '../platform/exec.ts';
import type { Logger } from '../platform/logger.ts';
import type { SecretSource } from '../platform/secrets.ts';
import type { Application } from './application.ts';
import type { BlobStore } from './blob-store.ts';
import type { Host } from './host.ts';
import type { Machines } from './machines.ts';
import type { SnapshotProvider } from './snapshot-provider.ts';
import type { Topology } from './topology.ts';

/** What an adapter may use of the outside world. Tests hand in scripted ones. */
export interface Platform {
  /** The same as `host.exec`: programs of an application are started where the application is. */
  readonly exec: Exec;
  readonly clock: Clock;
  readonly log: Logger;
  /** Where the application lives. A snapshot provider and a store always get this machine. */
  readonly host: Host;
  /** A topology decides which role may be backed up: the adapter takes what it knows how to freeze. Absent: only who makes the history. */
  readonly clustered?: true;
  /** Directory of Stillpoint's own state; never on a disk that is frozen. */
  readonly stateDirectory: string;
}

/** How an adapter enters the registry. `config` is its part of the configuration file: every key with `.describe()`. */
export interface ApplicationModule<C> {
  readonly kind: string;
  readonly config: z.ZodType<C>;
  /**
   * It touches the engine and its files by `platform.exec` only, and names paths in `locate` as `platform.host.pathHere` gives them. Without
   * it a workload with a `reach` is refused: the adapter would take files of this machine for those of the container.
   */
  readonly reachable?: true;
  /** `secret` resolves a password setting to its value, at the time of the call. */
  create(config: C, workload: string, platform: Platform, secret: SecretReader): Application;
  /** Looks for engines of this kind on this machine, for `init`. Changes nothing; finding nothing is no error. */
  discover?(platform: Platform, signal: AbortSignal): Promise<readonly Discovered[]>;
}

export interface Discovered {
  readonly name: string;
  /** The value of the `application.<kind>` key in the written file. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly said: string;
}

/** A way to a place that is not this machine. */
export interface ReachModule<C> {
  readonly kind: string;
  readonly config: z.ZodType<C>;
  /** `local` is this machine, on which the client program runs. */
  create(config: C, local: Host): Host;
}

export interface SnapshotModule<C> {
  readonly kind: string;
  readonly config: z.ZodType<C>;
  create(config: C, platform: Platform): SnapshotProvider;
}

export interface StoreModule<C> {
  readonly kind: string;
  readonly config: z.ZodType<C>;
  create(config: C, platform: Platform): BlobStore;
}

export interface MachinesModule<C> {
  readonly kind: string;
  readonly config: z.ZodType<C>;
  create(config: C, platform: Platform): Machines;
}

export interface TopologyModule<C> {
  readonly manager: string;
  readonly config: z.ZodType<C>;
  create(config: C, platform: Platform, secret: SecretReader): Topology;
  /** Those of these members that no view can have by that name, each with the names that there are. Asks nobody. */
  strangers?(config: C, members: readonly string[]): readonly Stranger[];
}

export interface Stranger {
  readonly name: string;
  readonly known: readonly string[];
}

export type { SecretSource };

export type SecretReader = (source: SecretSource) => Promise<string>;
