/** Contract only so far; see below for what each field promises. */
export interface Command {
  readonly argv: readonly [string, ...string[]];
  readonly cwd?: string;
  /** Added to a minimal environment: PATH and LC_ALL=C.UTF-8; nothing else is inherited. */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string | Uint8Array;
  /** Run as another user (needs root). */
  readonly uid?: number;
  readonly gid?: number;
  /** Required: TERM to the process group at the deadline, KILL 2 s later. A child blocked in the kernel is abandoned, with an error. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Default 16 MiB for each of stdout and stderr; more is an error, not a truncation. */
  readonly maxOutputBytes?: number;
}

export interface CommandResult {
  readonly argv: readonly string[];
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  readonly killedBy: string | null;
  readonly timedOut: boolean;
  readonly cancelled: boolean;
  readonly stdout: string;
  readonly stderr: string;
  /** Monotonic milliseconds: when spawn returned (the child runs) and when it was reaped. Time in spawn itself is the caller's own. */
  readonly startedMs: number;
  readonly endedMs: number;
}

/** A long-running child: a database server, the guard. */
export interface RunningProcess {
  readonly pid: number;
  readonly exited: Promise<{ readonly exitCode: number | null; readonly killedBy: string | null }>;
  /** First line of stdout that passes `accept`; rejects if the child exits before or `timeoutMs` passes. */
  firstLine(accept: (line: string) => boolean, timeoutMs: number): Promise<string>;
  /** Last 64 KiB of stderr. */
  stderrTail(): string;
  write(text: string): void;
  closeInput(): void;
  kill(signal: NodeJS.Signals): void;
}

export interface Exec {
  /** Never throws for a failing command: the result says so. Throws `command-failed` when it cannot be started at all. */
  run(command: Command): Promise<CommandResult>;
  /** Like run, but throws `command-failed` with the last lines of stderr unless the exit code is 0. */
  check(command: Command): Promise<CommandResult>;
  /** `detached`: own session, survives the parent and its Ctrl-C. */
  start(command: Omit<Command, 'timeoutMs' | 'stdin'> & { readonly detached?: boolean }): RunningProcess;
  /** Absolute path of a program on PATH plus the sbin directories, or undefined. */
  which(program: string): Promise<string | undefined>;
}
