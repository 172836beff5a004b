import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { messageOf, StillpointError } from '../model/errors.ts';
import { systemClock } from './clock.ts';

/** One call of an external program. No shell is ever involved: `argv` reaches the program as it is. */
export interface Command {
  readonly argv: readonly [string, ...string[]];
  /** Default `/`: the caller's own directory may lie on a disk that is about to be frozen or unmounted. */
  readonly cwd?: string;
  /** Added to a minimal environment: PATH and LC_ALL=C.UTF-8; nothing else is inherited. */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string | Uint8Array;
  /** Run as another user (needs root). Supplementary groups are dropped; `gid` defaults to the number of `uid`, never to root's. */
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
  /** Null when a signal ended it, or when nobody can say how it ended (a container that went away). */
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
  /**
   * First line of stdout that passes `accept`; rejects if the child exits before or `timeoutMs` passes. Lines up to and with that one
   * are consumed, so that calls one after the other read a line protocol; lines printed before the call count.
   */
  firstLine(accept: (line: string) => boolean, timeoutMs: number): Promise<string>;
  /** Last 64 KiB of stderr. */
  stderrTail(): string;
  write(text: string): void;
  closeInput(): void;
  /** To the child's whole process group; nothing happens once the child has been reaped. */
  kill(signal: NodeJS.Signals): void;
}

export interface Exec {
  /** Never throws for a failing command: the result says so. Throws `command-failed` when it cannot be started at all. */
  run(command: Command): Promise<CommandResult>;
  /** Like run, but throws `command-failed` with the last lines of stderr unless the exit code is 0. */
  check(command: Command): Promise<CommandResult>;
  /**
   * `detached`: survives the parent, and neither the child nor its pipes keep the parent alive. Its stdin ends when the parent dies;
   * its stdout and stderr then have no reader, so it must not write there any more (SIGPIPE) unless it handles that.
   * Not detached: TERM when the parent exits. Every child has its own session, so that Ctrl-C reaches only the parent.
   */
  start(command: Omit<Command, 'timeoutMs' | 'stdin'> & { readonly detached?: boolean }): RunningProcess;
  /** Absolute path of a program on PATH plus the sbin directories, or undefined. */
  which(program: string): Promise<string | undefined>;
}

/** Between TERM and KILL, between KILL and giving up, and between a child's end and that of what it left holding its pipes. */
const graceMs = 2000;
const defaultOutputBytes = 16 * 1024 * 1024;
const tailBytes = 64 * 1024;
const lineBufferChars = 1024 * 1024;
const systemDirectories = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/usr/bin', '/bin'];

function searchPath(): string[] {
  const inherited = (process.env['PATH'] ?? '').split(delimiter).filter((directory) => directory.startsWith('/'));
  return [...new Set([...inherited, ...systemDirectories])];
}

/** Process groups that must not outlive this process. */
const owned = new Set<number>();
let exitHooked = false;

function own(pid: number): void {
  if (!exitHooked) {
    exitHooked = true;
    process.once('exit', () => {
      for (const group of owned) signalGroup(group, 'SIGTERM');
    });
  }
  owned.add(pid);
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // ESRCH: ended in between. EPERM: a set-uid child; the caller's deadline then gives it up and says so.
  }
}

function describe(argv: readonly string[]): string {
  const text = argv.join(' ');
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}

function launch(command: Omit<Command, 'timeoutMs'>): {
  readonly child: ChildProcessWithoutNullStreams;
  readonly pid: number;
} {
  const [program, ...rest] = command.argv;
  const cannotStart = (why: string): StillpointError =>
    new StillpointError('command-failed', `${program} cannot be started: ${why}`, {
      hint: `install ${program}, or check that it can be executed${command.cwd === undefined ? '' : ` from ${command.cwd}`}`,
      details: { argv: command.argv },
    });
  let child: ChildProcessWithoutNullStreams;
  try {
    child = spawn(program, rest, {
      cwd: command.cwd ?? '/',
      env: { PATH: searchPath().join(delimiter), LC_ALL: 'C.UTF-8', ...command.env },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      ...(command.uid === undefined ? {} : { uid: command.uid, gid: command.gid ?? command.uid }),
      ...(command.uid === undefined && command.gid !== undefined ? { gid: command.gid } : {}),
    });
  } catch (error) {
    throw cannotStart(messageOf(error));
  }
  // Without a listener, Node turns a failed start and a failed kill into an uncaught exception. A failed start shows in `pid`.
  child.on('error', () => undefined);
  if (child.pid === undefined) throw cannotStart('there is no such program or directory, or it may not be executed');
  return { child, pid: child.pid };
}

async function run(command: Command): Promise<CommandResult> {
  if (command.signal?.aborted === true) {
    const now = systemClock.monoMs();
    return {
      argv: command.argv,
      exitCode: null,
      killedBy: null,
      timedOut: false,
      cancelled: true,
      stdout: '',
      stderr: 'not started: cancelled before',
      startedMs: now,
      endedMs: now,
    };
  }
  const { child, pid } = launch(command);
  const startedMs = systemClock.monoMs();
  own(pid);

  const limit = command.maxOutputBytes ?? defaultOutputBytes;
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  const notes: string[] = [];
  let timedOut = false;
  let cancelled = false;
  let tooMuch = false;
  let ending = false;
  let ended: { exitCode: number | null; killedBy: string | null; atMs: number } | undefined;
  const timers: (() => void)[] = [];

  return await new Promise<CommandResult>((resolve) => {
    const finish = (): void => {
      for (const stop of timers) stop();
      command.signal?.removeEventListener('abort', onAbort);
      owned.delete(pid);
      child.stdout.destroy();
      child.stderr.destroy();
      child.stdin.destroy();
      child.unref();
      const text = Buffer.concat(stderr).toString('utf8');
      resolve({
        argv: command.argv,
        exitCode: tooMuch || ended === undefined ? null : ended.exitCode,
        killedBy: ended === undefined ? null : ended.killedBy,
        timedOut,
        cancelled,
        stdout: Buffer.concat(stdout).toString('utf8'),
        stderr: [text.trimEnd(), ...notes].filter((part) => part !== '').join('\n'),
        startedMs,
        endedMs: ended?.atMs ?? systemClock.monoMs(),
      });
    };

    const terminate = (): void => {
      if (ending || ended !== undefined) return;
      ending = true;
      signalGroup(pid, 'SIGTERM');
      timers.push(
        systemClock.after(graceMs, () => {
          if (ended !== undefined) return;
          signalGroup(pid, 'SIGKILL');
          timers.push(
            systemClock.after(graceMs, () => {
              if (ended !== undefined) return;
              // A task blocked in the kernel (a frozen file system, a dead disk) takes no signal; waiting for it would hang us too.
              notes.push(
                `process ${pid} is blocked in the kernel and did not end ${graceMs} ms after SIGKILL; given up`,
              );
              finish();
            }),
          );
        }),
      );
    };

    const onAbort = (): void => {
      if (ended !== undefined || timedOut) return;
      cancelled = true;
      terminate();
    };

    const collect = (into: Buffer[], name: string) => {
      let bytes = 0;
      return (chunk: Buffer): void => {
        if (bytes + chunk.length > limit) {
          if (!tooMuch) notes.push(`${name} is longer than ${limit} bytes; the command was ended`);
          tooMuch = true;
          terminate();
          return;
        }
        bytes += chunk.length;
        into.push(chunk);
      };
    };
    child.stdout.on('data', collect(stdout, 'stdout'));
    child.stderr.on('data', collect(stderr, 'stderr'));

    child.once('exit', (exitCode, killedBy) => {
      ended = { exitCode, killedBy, atMs: systemClock.monoMs() };
      // What ignored the TERM in the group of an ended command must not go on behind our back.
      if (ending) signalGroup(pid, 'SIGKILL');
      // A daemon that the command left behind may hold the pipes for ever; what the command itself wrote is in them already.
      timers.push(systemClock.after(graceMs / 4, finish));
    });
    child.once('close', () => {
      ended ??= { exitCode: child.exitCode, killedBy: child.signalCode, atMs: systemClock.monoMs() };
      finish();
    });

    timers.push(
      systemClock.after(command.timeoutMs, () => {
        if (ended !== undefined || cancelled) return;
        timedOut = true;
        notes.push(`ended after ${command.timeoutMs} ms`);
        terminate();
      }),
    );
    command.signal?.addEventListener('abort', onAbort, { once: true });

    // EPIPE: the command ended without reading all of its input; its exit code says whether that was well.
    child.stdin.on('error', () => undefined);
    child.stdin.end(command.stdin);
  });
}

async function check(command: Command): Promise<CommandResult> {
  const result = await run(command);
  if (result.exitCode === 0 && !result.timedOut && !result.cancelled) return result;
  const how = result.cancelled
    ? 'was cancelled'
    : result.timedOut
      ? `did not end within ${command.timeoutMs} ms`
      : result.exitCode === null
        ? `was ended by ${result.killedBy ?? 'its output limit'}`
        : `failed with exit code ${result.exitCode}`;
  const said = result.stderr.trim().split('\n').slice(-5).join('; ');
  throw new StillpointError('command-failed', `${describe(command.argv)} ${how}${said === '' ? '' : `: ${said}`}`, {
    details: {
      argv: result.argv,
      exitCode: result.exitCode,
      killedBy: result.killedBy,
      timedOut: result.timedOut,
      cancelled: result.cancelled,
    },
  });
}

interface LineWaiter {
  readonly accept: (line: string) => boolean;
  readonly settle: (line: string) => void;
  readonly fail: (why: string) => void;
}

/** Lines nobody has asked for yet, and those who wait for one. */
class LineQueue {
  #lines: string[] = [];
  #chars = 0;
  #waiters: LineWaiter[] = [];

  push(line: string): void {
    this.#lines.push(line);
    this.#chars += line.length;
    this.#serve();
    // A chatty server whose lines nobody wants must not fill the memory.
    while (this.#chars > lineBufferChars) this.#chars -= this.#lines.shift()?.length ?? this.#chars;
  }

  wait(waiter: LineWaiter): () => void {
    this.#waiters.push(waiter);
    this.#serve();
    return () => {
      this.#waiters = this.#waiters.filter((other) => other !== waiter);
    };
  }

  failAll(why: string): void {
    for (const waiter of this.#waiters.splice(0)) waiter.fail(why);
  }

  #serve(): void {
    for (let first = this.#waiters[0]; first !== undefined; first = this.#waiters[0]) {
      const found = this.#lines.findIndex(first.accept);
      if (found === -1) return;
      const line = this.#lines[found] ?? '';
      for (const consumed of this.#lines.splice(0, found + 1)) this.#chars -= consumed.length;
      this.#waiters.shift();
      first.settle(line);
    }
  }
}

function start(command: Parameters<Exec['start']>[0]): RunningProcess {
  command.signal?.throwIfAborted();
  const { child, pid } = launch(command);
  const detached = command.detached === true;
  const name = describe(command.argv);
  let exited = false;
  let outputEnded = false;
  let waiting = 0;
  let stderr = Buffer.alloc(0);
  const lines = new LineQueue();
  // The three pipes are sockets; only those can be told not to keep the parent alive.
  const pipes = [child.stdin, child.stdout, child.stderr].filter((pipe) => pipe instanceof Socket);

  const onAbort = (): void => {
    if (exited) return;
    signalGroup(pid, 'SIGTERM');
    systemClock.after(graceMs, () => {
      if (!exited) signalGroup(pid, 'SIGKILL');
    });
  };
  const end = Promise.withResolvers<{ exitCode: number | null; killedBy: string | null }>();
  const givenUp = (): void => lines.failAll(`${name} ended${stderr.length === 0 ? '' : `: ${tail()}`}`);
  const tail = (): string => stderr.toString('utf8').trim().split('\n').slice(-5).join('; ');
  child.once('exit', (exitCode, killedBy) => {
    exited = true;
    owned.delete(pid);
    command.signal?.removeEventListener('abort', onAbort);
    end.resolve({ exitCode, killedBy });
    // Its last lines are still in the pipe; something that it left behind may keep that open for ever.
    if (!outputEnded) systemClock.after(graceMs / 4, givenUp);
  });
  child.stdin.on('error', () => undefined); // EPIPE: it has ended or closed its input; `exited` and its silence tell.
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = Buffer.concat([stderr, chunk]).subarray(-tailBytes);
  });
  const reader = createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY });
  reader.on('line', (line) => lines.push(line));
  reader.once('close', () => {
    outputEnded = true;
    // stderr may still be in its pipe when stdout ends, and it holds the reason.
    child.once('close', givenUp);
    systemClock.after(graceMs / 4, givenUp);
  });
  command.signal?.addEventListener('abort', onAbort, { once: true });
  if (detached) {
    child.unref();
    for (const pipe of pipes) pipe.unref();
  } else {
    own(pid);
  }

  return {
    pid,
    exited: end.promise,
    async firstLine(accept, timeoutMs) {
      // With everything unref'ed a parent that only waits for this line would end in the middle of it.
      // A child that is killed takes its pipes with it before its end is known: then only the child itself keeps the parent.
      if (detached && waiting++ === 0) for (const each of [child, ...pipes]) each.ref();
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const fail = (why: string): void =>
        reject(new StillpointError('command-failed', why, { details: { argv: command.argv } }));
      const forget = lines.wait({ accept, settle: resolve, fail });
      const stop = systemClock.after(timeoutMs, () => {
        fail(
          `${name} did not print the awaited line within ${timeoutMs} ms${stderr.length === 0 ? '' : `: ${tail()}`}`,
        );
      });
      if (exited && outputEnded) givenUp();
      try {
        return await promise;
      } finally {
        forget();
        stop();
        if (detached && --waiting === 0) for (const each of [child, ...pipes]) each.unref();
      }
    },
    stderrTail: () => stderr.toString('utf8'),
    write: (text) => void child.stdin.write(text),
    closeInput: () => void child.stdin.end(),
    kill(signal) {
      if (!exited) signalGroup(pid, signal);
    },
  };
}

async function which(program: string): Promise<string | undefined> {
  const candidates = program.includes('/') ? [program] : searchPath().map((directory) => join(directory, program));
  for (const candidate of candidates) {
    try {
      await access(candidate, constants.X_OK);
      if ((await stat(candidate)).isFile()) return candidate;
    } catch {
      // Not here, or not for us: the next directory may have it.
    }
  }
  return undefined;
}

/** The real operating system. */
export const systemExec: Exec = { run, check, start, which };
