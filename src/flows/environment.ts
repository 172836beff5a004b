import { join } from 'node:path';
import { mkdir } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import type { Catalog } from '../catalog/catalog.ts';
import { StillpointError } from '../model/errors.ts';
import type { SplitLimits } from '../model/mirror-split.ts';
import type { Finding, Method } from '../model/point.ts';
import type { Clock } from '../platform/clock.ts';
import type { Exec } from '../platform/exec.ts';
import type { Logger } from '../platform/logger.ts';
import { tryLock, type ProcessLock } from '../platform/process-lock.ts';
import type { Application } from '../ports/application.ts';
import type { Host } from '../ports/host.ts';
import type { Machines } from '../ports/machines.ts';
import type { SnapshotProvider } from '../ports/snapshot-provider.ts';
import type { Progress, Repository } from '../repository/api.ts';
import type { launchGuard } from '../guard/launch.ts';
import type { Cluster } from './cluster.ts';
import type { FaultPoint } from './flow.ts';

/** One workload, ready to work with: what the composition root makes of its part of the configuration. */
export interface Workload {
  readonly name: string;
  readonly application: Application;
  /** The cluster that the application is a member of; `application` is the first one that can be reached. Absent: it stands alone. */
  readonly cluster?: Cluster;
  /** Of a workload that was made for one member of its cluster: that member's name. */
  readonly member?: string;
  /** For the guard, which makes its own instance. Holds no secret, only where secrets come from. */
  readonly applicationSpec: { readonly kind: string; readonly config: unknown };
  /** In order of preference; each takes the paths that it can cut whole. */
  readonly providers: readonly SnapshotProvider[];
  /** What the providers remarked of late, for the reasons of a refusal. */
  readonly remarks?: () => readonly string[];
  /** Undefined: 5 s for a hold that stops writers, 30 min for one that does not. */
  readonly budgetMs: number | undefined;
  /** How backups are made where nobody says it. */
  readonly method?: Method;
  /** The machines of its cluster's servers, for the method `mirror-split`. Absent: it is not told what they are. */
  readonly mirrorSplit?: {
    readonly machines: Machines;
    readonly limits: SplitLimits;
    /** Restores are made of snapshots with fast restore, which is billed. */
    readonly fastRestore?: boolean;
  };
  /** The weakest verdict that is accepted. */
  readonly consistency: 'application' | 'crash';
  /** Whether an unsound layer below the cut (a degraded array...) refuses a backup. Undefined: it does. */
  readonly degradedStorage?: 'refuse' | 'accept';
  /** Keep the newest point's snapshots, and read only what changed since. Undefined: everything is read, and no snapshot stays. */
  readonly changedBlocks?: boolean;
}

/** What happens while a flow runs, for people and for logs. Never called inside the hold except by `step`, which must only note. */
export interface Reporter {
  step(name: string, phase: 'begin' | 'done' | 'undo'): void;
  progress(what: string, progress: Progress): void;
  finding(finding: Finding): void;
  /** What is done or waited for now, for who looks on; it is no part of the result. Absent: nobody looks on. */
  note?(said: string): void;
}

/** Everything of the outside that flows use. */
export interface Environment {
  readonly stateDirectory: string;
  readonly hostname: string;
  readonly clock: Clock;
  readonly exec: Exec;
  readonly log: Logger;
  readonly host: Host;
  readonly reporter: Reporter;
  /** Tells somebody outside of an alarm. Never throws: what could not be told is a finding. Absent: there is nobody to tell. */
  notify?(document: object): Promise<void>;
  /** Opened at first use; the composition root closes them. */
  catalog(): Promise<Catalog>;
  repository(): Promise<Repository>;
  readonly fault?: FaultPoint;
  /** How guards are started; absent: as processes of their own, which is the only way outside of tests. */
  readonly launch?: typeof launchGuard;
}

/** Sorts by time; the tail tells two runs of one second apart. */
export function newRunId(clock: Clock): string {
  const time = clock
    .now()
    .wall.replaceAll(/[-:]/g, '')
    .replace(/\.\d+Z$/, '')
    .replace('T', '-');
  return `${time}-${randomBytes(3).toString('hex')}`;
}

/** Snapshots of ours begin so; whatever does not is never deleted. */
export function labelOf(runId: string): string {
  return `stillpoint-${runId}`;
}

export function runDirectory(environment: Environment, runId: string): string {
  return join(environment.stateDirectory, 'work', runId);
}

/** Throws `workload-busy` at once when another run of the workload is alive on this machine. */
export async function lockWorkload(environment: Environment, workload: string): Promise<ProcessLock> {
  const directory = join(environment.stateDirectory, 'locks');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const lock = tryLock(join(directory, `${workload}.lock`));
  if (lock === undefined) {
    throw new StillpointError('workload-busy', `another run on workload ${workload} is at work`, {
      hint: `wait for it to end, or see \`stillpoint status ${workload}\``,
    });
  }
  return lock;
}

/** A value that one step sets and later ones read; reading it too early is a bug in the order of steps. */
export class Slot<T> {
  readonly #name: string;
  #value: T | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  set(value: T): void {
    this.#value = value;
  }

  get(): T {
    if (this.#value === undefined) throw new Error(`${this.#name} is read before the step that sets it`);
    return this.#value;
  }

  peek(): T | undefined {
    return this.#value;
  }
}
