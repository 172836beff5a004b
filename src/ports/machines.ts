import type { AttachedSeen, MachineState } from '../model/mirror-split.ts';

/** What is seen of one server's machine. */
export interface MachineLook {
  readonly state: MachineState;
  readonly zone: string;
  /** At the configured device of the mirror disk. */
  readonly attached: AttachedSeen;
  /** The volume there would be deleted with the machine. Undefined: nothing is attached, or nobody tells. */
  readonly deletedWithMachine: boolean | undefined;
}

export interface CutSnapshot {
  readonly id: string;
  readonly volume: string;
  readonly state: string;
}

export interface MadeVolume {
  readonly id: string;
  readonly zone: string;
  readonly state: string;
  /** What it was made of. Empty: of nothing. */
  readonly snapshot: string;
  /** By its maker's word. Undefined: nobody tells. */
  readonly madeFast: boolean | undefined;
}

/** Of fast restore in one zone. `off`: also where it is going off, which ends the bill; `unknown`: a word that has no meaning here. */
export type FastState = 'beginning' | 'on' | 'off' | 'unknown';

/** Volumes of a snapshot are as quick as they will ever be from their first read on. Billed for each zone for as long as it is on. */
export interface FastRestore {
  /** By zone; a zone that is not named has it off. */
  states(snapshot: string): Promise<Readonly<Record<string, FastState>>>;
  enable(snapshot: string, zones: readonly string[]): Promise<void>;
  disable(snapshot: string, zones: readonly string[]): Promise<void>;
  /** For people, in plans: how it is billed. */
  readonly price: string;
}

/**
 * The virtual machines of a cluster's servers, and their disks. Servers go by the names that the cluster gives them. What changes
 * something returns when the maker has taken it, which may be long before it is so, and throws `command-failed` when it may or may not have
 * been taken: what is so is told by `look`, `snapshots` and `volumes` only. What is so already is passed over.
 */
export interface Machines {
  /** `ec2`... */
  readonly kind: string;
  /** What snapshots of it are called as volumes: `ebs`. */
  readonly disks: string;
  machineOf(server: string): string;
  deviceOf(server: string): string;
  /** Paths of the partitions that the cluster is configured with, on that device. */
  partitionsOf(server: string): readonly string[];
  look(server: string, signal?: AbortSignal): Promise<MachineLook>;
  start(server: string): Promise<void>;
  stop(server: string): Promise<void>;
  /** The last lines of what the system wrote to its console; empty when nobody tells. For people. */
  console(server: string): Promise<string>;
  /** Tagged with the run. */
  snapshot(volume: string, run: string): Promise<void>;
  snapshots(run: string): Promise<readonly CutSnapshot[]>;
  snapshotOf(id: string): Promise<CutSnapshot | undefined>;
  deleteSnapshot(id: string): Promise<void>;
  /** Tagged with the run and the server that it is for. */
  volumeFrom(snapshot: string, zone: string, run: string, server: string): Promise<void>;
  volumes(run: string, server: string): Promise<readonly MadeVolume[]>;
  /** All volumes that were made of it, whoever made them. */
  volumesOf(snapshot: string): Promise<readonly MadeVolume[]>;
  deleteVolume(id: string): Promise<void>;
  detach(volume: string, server: string): Promise<void>;
  attach(volume: string, server: string): Promise<void>;
  /** For people, in plans: what would be run. */
  command(what: 'snapshot' | 'start' | 'enable-fast' | 'delete-snapshot', subject: string): string;
  /** Absent: not supported. */
  readonly fast?: FastRestore;
}
