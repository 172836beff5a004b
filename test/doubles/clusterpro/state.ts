import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tryLock } from '../../../src/platform/process-lock.ts';

/** What one stand-in knows, in one file that is replaced in one step. Times are of its own clock, in milliseconds. */
export interface State {
  nowMs: number;
  readonly options: Options;
  readonly servers: Server[];
  readonly group: Group;
  mirror: {
    /** A copy from one server to the other that is under way. */
    recovering: { readonly from: string; readonly to: string; readonly endMs: number } | null;
    lastActive: string;
  };
  ratio: number;
  volumes: Record<string, Volume>;
  snapshots: Record<string, Snapshot>;
  timers: Timer[];
  faults: Fault[];
  /** Calls in order, with the server on which they were made. */
  calls: { readonly server: string; readonly what: string }[];
  /** Each time the group came up somewhere without a person. */
  failovers: { readonly atMs: number; readonly to: string }[];
  nextId: number;
}

export interface Options {
  readonly heartbeatTimeoutMs: number;
  readonly monitorMs: number;
  readonly resyncMs: number;
  readonly bootMs: number;
  readonly shutdownMs: number;
  readonly snapshotMs: number;
  readonly jobMs: number;
  /** Until fast restore is on. */
  readonly fastMs: number;
  readonly autoRecovery: boolean;
  /** [Execute initial mirror construction] of the mirror disk resource. */
  readonly initialConstruction: boolean;
  /** Monitors of the cluster besides `mdw1`, of an application for one. */
  readonly otherMonitors: readonly string[];
  readonly user: string;
  readonly password: string;
}

export interface Server {
  readonly name: string;
  readonly instance: string;
  readonly zone: string;
  power: 'running' | 'stopping' | 'stopped' | 'booting';
  /** Of a boot: when it began, and whether EC2 started it (`pending` first) or the system itself (`running` all the time). */
  boot: { readonly fromMs: number; readonly cold: boolean } | null;
  /** The cluster counts it in: `Online`. A dead one stays so until its heartbeat is missed. */
  service: boolean;
  startup: 'auto' | 'manual';
  /** Boots that came to an end. */
  boots: number;
  suspended: string[];
  /** Sends no heartbeat since then: crashed, or its machine stands still. */
  silentFromMs: number | null;
  /** As the mirror disk resource is configured for it. */
  partitions: { cluster: string; data: string };
  /** What the RESTful API was told to do. `status` is `running` or the last line. */
  job: { readonly kind: 'backup' | 'restore'; status: string } | null;
}

export interface Group {
  status: 'Online' | 'Offline';
  current: string | null;
  stoppedByHand: boolean;
}

export interface Volume {
  readonly id: string;
  readonly zone: string;
  state: 'creating' | 'available' | 'in-use';
  attachment: {
    readonly instance: string;
    readonly device: string;
    state: 'attaching' | 'attached' | 'detaching' | 'busy';
  } | null;
  readonly snapshot: string | null;
  readonly tags: Tags;
  readonly madeFast: boolean;
}

export type Tags = Readonly<Record<string, string>>;

export interface Snapshot {
  readonly id: string;
  readonly volume: string;
  readonly description: string;
  readonly startedMs: number;
  state: 'pending' | 'completed';
  readonly tags: Tags;
  /** Zones with fast restore, on or about to be, and since when; and those in which it goes off. */
  fast: string[];
  fastFromMs: Record<string, number>;
  fastOffMs: Record<string, number>;
}

export type Timer =
  | {
      readonly atMs: number;
      readonly kind: 'powered-off' | 'booted' | 'stun-end' | 'heartbeat' | 'job';
      server: string;
    }
  | { readonly atMs: number; readonly kind: 'monitor' | 'recovered' | 'ratio-lapsed' }
  | { readonly atMs: number; readonly kind: 'snapshot' | 'attached' | 'detached' | 'created'; readonly id: string };

/**
 * What goes wrong on purpose. `fails`: says so, and does nothing. `lost`: the connection breaks before, `acts-then-lost`: after it was
 * done. `does-nothing`: ends well. `never-back`: a boot that does not end.
 */
export interface Fault {
  /** The beginning of a command line (`clpmonctrl -s`), of a request (`POST /api/v1/monitors`), or `boot`. */
  readonly where: string;
  readonly server?: string;
  readonly how: 'fails' | 'hangs' | 'lost' | 'acts-then-lost' | 'does-nothing' | 'never-back';
  readonly said?: string;
  /** Exit code or HTTP status. Default 1 and 500. */
  readonly code?: number;
  times: number;
}

/** What lies on the cluster partition. The higher generation is the newer copy; equal ones of two writers are a conflict. */
export interface ClusterPartition {
  readonly resource: string;
  generation: number;
  by: string;
  backup: boolean;
  /** Never constructed, or reset without a promise that both sides are equal. */
  initial: boolean;
}

/** What lies on the data partition. `mounted`: cut now, it is as after a power cut. `partial`: a copy to it did not end. */
export interface DataPartition {
  fs: 'clean' | 'mounted' | 'partial' | 'destroyed';
  rows: string[];
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

function pause(ms: number): void {
  Atomics.wait(sleeper, 0, 0, ms);
}

/** Until the caller's limit ends it, or the stand-in is gone: nobody else ends what a killed caller has left. */
export function hang(root: string): void {
  while (existsSync(root)) pause(200);
}

export class Store {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  read(): State {
    return JSON.parse(readFileSync(join(this.root, 'state.json'), 'utf8')) as State;
  }

  write(state: State): void {
    const file = join(this.root, 'state.json');
    writeFileSync(`${file}.${process.pid}`, JSON.stringify(state, undefined, 1));
    renameSync(`${file}.${process.pid}`, file);
  }

  /** Under a lock that the kernel drops with the process: a killed command has happened or not. */
  update<T>(change: (state: State) => T): T {
    const file = join(this.root, 'lock');
    let lock = tryLock(file);
    while (lock === undefined) {
      pause(5);
      lock = tryLock(file);
    }
    try {
      const state = this.read();
      const result = change(state);
      this.write(state);
      return result;
    } finally {
      lock.release();
    }
  }

  /** `of` is `volumes/ID` or `snapshots/ID`. */
  clusterPartition(of: string): ClusterPartition {
    return JSON.parse(readFileSync(join(this.root, of, 'cluster-partition'), 'utf8')) as ClusterPartition;
  }

  dataPartition(of: string): DataPartition {
    return JSON.parse(readFileSync(join(this.root, of, 'data-partition'), 'utf8')) as DataPartition;
  }

  putClusterPartition(of: string, partition: ClusterPartition): void {
    this.#put(of, 'cluster-partition', partition);
  }

  putDataPartition(of: string, partition: DataPartition): void {
    this.#put(of, 'data-partition', partition);
  }

  #put(of: string, name: string, content: object): void {
    const directory = join(this.root, of);
    if (!existsSync(directory)) mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, name), JSON.stringify(content));
  }
}
