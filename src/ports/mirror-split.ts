import type { ServerSeen } from '../model/mirror-split.ts';

/** What the servers of a cluster tell, without their machines. */
export interface ToldBySplit {
  readonly servers: Readonly<Record<string, Omit<ServerSeen, 'machine' | 'attached'>>>;
  readonly group: { readonly status: 'online' | 'offline' | 'unknown'; readonly on: string | null };
  readonly mirror: string;
}

/** A disk of a server, as its kernel shows it. */
export interface SeenDisk {
  /** `/dev/xvdb`. */
  readonly path: string;
  /** The volume's id where the disk tells it. */
  readonly serial: string | undefined;
  readonly partitions: readonly string[];
}

/** `--pre` and `--post` of a backup or of a restore. */
export type SplitPhase = 'backup-pre' | 'backup-post' | 'restore-pre' | 'restore-post';

/**
 * A mirror that can be taken apart: an optional ability of a topology. An answer is no proof here: every method that changes something
 * resolves when the command said so, and throws `command-failed` otherwise, in which case it may have been done all the same. What is so
 * is told by `look` only. Each call ends within ten minutes: a group stops with
 * its engine.
 */
export interface Split {
  /** The monitors of the mirrors. */
  readonly monitors: readonly string[];
  /** Names of the mirrors. */
  readonly mirrors: readonly string[];
  /** Throws nothing for a server that does not answer: that is told in its place. */
  look(signal?: AbortSignal): Promise<ToldBySplit>;
  stopGroup(on: string): Promise<void>;
  startGroup(on: string): Promise<void>;
  suspend(monitor: string, server: string): Promise<void>;
  resume(monitor: string, server: string): Promise<void>;
  /** Isolates the side on which it is called. */
  break(standby: string): Promise<void>;
  recover(on: string): Promise<void>;
  /** `restore-post` takes both sides for equal without looking: only for disks that are proved to be so. */
  phase(phase: SplitPhase, server: string): Promise<void>;
  disks(server: string): Promise<readonly SeenDisk[]>;
  /** For people, in plans: the command of a step. */
  command(step: 'stop-group' | 'start-group' | 'suspend' | 'resume' | 'break' | 'recover' | SplitPhase): string;
}
