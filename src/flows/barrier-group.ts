import type { CommandResult } from '../platform/exec.ts';

/** Parts on several hosts that are held together, ready to work with: what the composition root makes of a group's configuration. */
export interface HostGroup {
  readonly name: string;
  readonly budgetMs: number;
  /** Null: parts whose writers go on are refused. */
  readonly skewMs: number | null;
  /** For all parts to start, connect, checkpoint and sync. */
  readonly readyMs: number;
  /** Without a sign of life for so long a part or its coordinator is lost; inside the hold the budget counts. */
  readonly silentMs: number;
  /** For a part to thaw, to remove what it made and to say so, when the barrier was given up. */
  readonly undoMs: number;
  readonly parts: readonly GroupPart[];
}

/** A workload of a Stillpoint that runs on another host, or here. */
export interface GroupPart {
  readonly name: string;
  /** For people; null: this machine. */
  readonly host: string | null;
  readonly workload: string;
  /** Its configuration is the one that the group stands in: what works on all workloads here works on it too. */
  readonly here: boolean;
  /** Starts a backup that waits for the barrier's words. Throws `command-failed` when it cannot be started. */
  connect(): PartConnection;
  /** Runs a command of the Stillpoint there, with `--json`. */
  run(args: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<CommandResult>;
}

/** The coordinator's end of its line to a part. */
export interface PartConnection {
  write(line: string): void;
  /** Called once. `onEnd` says why the line ended, after the last line. */
  listen(onLine: (line: string) => void, onEnd: (why: string) => void): void;
  /** Ends the line, which tells the part to give the barrier up if it still stands. */
  close(): void;
  /** Ends the process that the line goes through; what runs on the host sees the end of its line. */
  kill(): void;
}

/** `shard1 on db1.example`. */
export function nameOf(part: Pick<GroupPart, 'name' | 'host'>): string {
  return part.host === null ? part.name : `${part.name} on ${part.host}`;
}
