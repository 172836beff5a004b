import { randomBytes } from 'node:crypto';
import { StillpointError } from '../model/errors.ts';
import { systemClock } from './clock.ts';
import type { Command, CommandResult, Exec, RunningProcess } from './exec.ts';
import {
  type Argv,
  backArgv,
  environmentLines,
  type FarEnd,
  farEnd,
  frontArgv,
  type FrontSignal,
  readBack,
  unmarked,
} from './far-shell.ts';

/** Another place in which programs are started by a client program of this machine. */
export interface Way {
  /** For messages: `container iris`. */
  readonly name: string;
  /** The client's arguments that run `argv` there, with standard input and without a terminal. Throws when it cannot be that user. */
  wrap(argv: Argv, as: { readonly uid?: number; readonly gid?: number }): Argv;
  /** What the client itself needs of our environment to find its server and its credentials. */
  readonly clientEnv: Readonly<Record<string, string>>;
}

/** What a client needs of our environment, and no more: it may hold passwords of ours. */
export function environmentFor(names: RegExp): Readonly<Record<string, string>> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && names.test(name)) env[name] = value;
  }
  return env;
}

/** For one word to the front there. A place that does not take it in this time is not known any more. */
const wordMs = 3_000;
/** From TERM to KILL, as in exec.ts. */
const graceMs = 2_000;
/** For the client to end after the program did. */
const drainMs = 500;
/** What our marks add to a stream. */
const markBytes = 256;
const defaultOutputBytes = 16 * 1024 * 1024;

/**
 * Starts programs in another place, under the contract of Exec. What differs:
 * - `exitCode` is also null when nobody knows how the program ended: the client failed, lost its connection or was killed, the container died,
 *   or the end is one of 125 to 127, which the tools in between use themselves. stderr says so. Never take null for "did not run".
 * - codes above 128 that name a signal are given as `killedBy`, for a shell cannot tell them apart.
 * - PATH is that of the place, with the system directories after it.
 * - at the deadline and when cancelled the program there is told to end (TERM, then KILL) before the client is let go; should that fail,
 *   `timeout` there ends it a second after its deadline.
 */
export function execThrough(local: Exec, way: Way): Exec {
  return {
    run: (command) => run(local, way, command),
    async check(command) {
      const result = await run(local, way, command);
      if (result.exitCode === 0 && !result.timedOut && !result.cancelled) return result;
      throw failed(way, command, result);
    },
    start: (command) => start(local, way, command),
    which: (program) => which(local, way, program),
  };
}

/** One call, known in the other place by its mark. */
class Call {
  readonly mark = `sp-${randomBytes(12).toString('hex')}`;
  readonly #local: Exec;
  readonly #way: Way;
  readonly #as: Pick<Command, 'uid' | 'gid'>;

  constructor(local: Exec, way: Way, command: Pick<Command, 'uid' | 'gid'>) {
    this.#local = local;
    this.#way = way;
    this.#as = {
      ...(command.uid === undefined ? {} : { uid: command.uid }),
      ...(command.gid === undefined ? {} : { gid: command.gid }),
    };
  }

  argv(command: Pick<Command, 'argv' | 'cwd'>, limitSeconds: number, streams: 'both' | 'stderr'): Argv {
    const front = { mark: this.mark, limitSeconds, streams, directory: command.cwd ?? '/' };
    return this.#way.wrap(frontArgv(front, command.argv), this.#as);
  }

  async tell(signal: FrontSignal): Promise<'found' | 'none' | 'unknown'> {
    try {
      const { exitCode, stdout } = await this.#local.run({
        argv: this.#way.wrap(backArgv(signal), this.#as),
        env: this.#way.clientEnv,
        stdin: `${this.mark}\n`,
        timeoutMs: wordMs,
      });
      return exitCode === 0 ? readBack(stdout, this.mark) : 'unknown';
    } catch {
      return 'unknown';
    }
  }

  /** True when the program does not run there any more. What it started has ended with it only where `timeout` made them one group. */
  async end(): Promise<boolean> {
    const words: readonly (readonly [FrontSignal, number])[] = [
      ['TERM', drainMs],
      ['0', graceMs - drainMs],
      ['USR1', drainMs],
      ['0', 0],
    ];
    for (const [signal, waitMs] of words) {
      const answer = await this.tell(signal);
      if (answer !== 'found') return answer === 'none';
      await systemClock.sleep(waitMs);
    }
    return false;
  }
}

async function run(local: Exec, way: Way, command: Command): Promise<CommandResult> {
  const call = new Call(local, way, command);
  const client = new AbortController();
  const cancelled = { timedOut: false, cancelled: command.signal?.aborted === true };
  if (cancelled.cancelled) client.abort();
  let ending: Promise<boolean> | undefined;
  const end = (why: 'timedOut' | 'cancelled'): void => {
    if (ending !== undefined) return;
    cancelled[why] = true;
    ending = call.end();
    void ending.then(async () => {
      await systemClock.sleep(drainMs);
      client.abort();
    });
  };
  const onAbort = (): void => end('cancelled');
  const argv = call.argv(command, Math.ceil(command.timeoutMs / 1000) + 1, 'both');
  const stdin = [Buffer.from(environmentLines(environmentOf(command))), Buffer.from(command.stdin ?? '')];
  const limit = command.maxOutputBytes ?? defaultOutputBytes;
  command.signal?.addEventListener('abort', onAbort, { once: true });
  const stopTimer = systemClock.after(command.timeoutMs, () => end('timedOut'));
  let ended: CommandResult;
  try {
    ended = await local.run({
      argv,
      stdin: Buffer.concat(stdin),
      env: way.clientEnv,
      // Only against a bug of ours: `end` gives up before.
      timeoutMs: command.timeoutMs + 4 * wordMs + 4 * graceMs,
      signal: client.signal,
      maxOutputBytes: limit + markBytes,
    });
  } finally {
    stopTimer();
    command.signal?.removeEventListener('abort', onAbort);
  }
  const far = farEnd(ended.stderr, call.mark);
  if (far.how === 'not-started') throw notStarted(way, command, far.why);
  const gone =
    far.how !== 'unmarked' || (ending === undefined && client.signal.aborted) || (await (ending ?? call.end()));
  return resultOf({ way, command, mark: call.mark, ended, far, gone, limit, ...cancelled });
}

function environmentOf(command: Pick<Command, 'env'>): Readonly<Record<string, string>> {
  return { LC_ALL: 'C.UTF-8', ...command.env };
}

function resultOf(of: {
  readonly way: Way;
  readonly command: Command;
  readonly mark: string;
  readonly ended: CommandResult;
  readonly far: FarEnd;
  readonly gone: boolean;
  readonly limit: number;
  readonly timedOut: boolean;
  readonly cancelled: boolean;
}): CommandResult {
  const { way, command, mark, ended, far, limit } = of;
  const stdout = unmarked(ended.stdout, mark);
  const stderr = unmarked(`${ended.stderr}\n`, mark);
  const notes: string[] = [];
  if (of.timedOut) notes.push(`ended after ${command.timeoutMs} ms`);
  if (far.how === 'unclear') notes.push(`${way.name}: 125 to 127 (here ${far.code}) may mean that it never started`);
  if (far.how === 'unmarked' && !(ended.cancelled && of.gone)) {
    const how = ended.exitCode === null ? 'was ended' : `ended with exit code ${ended.exitCode}`;
    notes.push(`${way.name}: the client ${how} and nothing told how the program did`);
    notes.push(
      of.gone ? 'the program does not run there any more' : `it may still run there, until ${limitText(command)}`,
    );
  }
  // The front ends with 0 in any case. A client that says otherwise lost something on the way: output that was too long, for one.
  const cut = far.how !== 'unmarked' && (!stdout.whole || ended.exitCode !== 0);
  if (cut) notes.push(`${way.name}: the output was cut short on its way`);
  const tooMuch = [stdout.text, stderr.text].some((text) => Buffer.byteLength(text) > limit);
  if (tooMuch) notes.push(`the output is longer than ${limit} bytes`);
  return {
    argv: command.argv,
    exitCode: far.how === 'exited' && !cut && !tooMuch ? far.code : null,
    killedBy: far.how === 'killed' ? far.signal : null,
    timedOut: of.timedOut || ended.timedOut,
    cancelled: of.cancelled,
    stdout: stdout.text,
    stderr: [stderr.text.trimEnd(), ...notes].filter((part) => part !== '').join('\n'),
    startedMs: ended.startedMs,
    endedMs: ended.endedMs,
  };
}

function limitText(command: Command): string {
  return `\`timeout\` there ends it ${Math.ceil(command.timeoutMs / 1000) + 1} s after its start, if there is one`;
}

function start(local: Exec, way: Way, command: Parameters<Exec['start']>[0]): RunningProcess {
  const call = new Call(local, way, command);
  const child = local.start({
    argv: call.argv(command, 0, 'stderr'),
    env: way.clientEnv,
    ...(command.detached === undefined ? {} : { detached: command.detached }),
  });
  child.write(environmentLines(environmentOf(command)));
  let over = false;
  const kill = (signal: NodeJS.Signals): void => {
    if (over) return;
    void call.tell(frontSignals[signal] ?? 'TERM').then((answer) => {
      // Nobody there to be told: the client may hang on a lost connection.
      if (answer !== 'found') child.kill(signal);
    });
  };
  const onAbort = (): void => kill('SIGTERM');
  command.signal?.addEventListener('abort', onAbort, { once: true });
  if (command.signal?.aborted === true) onAbort();
  const exited = child.exited.then(async () => {
    over = true;
    command.signal?.removeEventListener('abort', onAbort);
    // Its last lines may still be in the pipe.
    await systemClock.sleep(drainMs / 5);
    const far = farEnd(child.stderrTail(), call.mark);
    if (far.how === 'unmarked') await call.end();
    return {
      exitCode: far.how === 'exited' ? far.code : null,
      killedBy: far.how === 'killed' ? far.signal : null,
    };
  });
  return {
    pid: child.pid,
    exited,
    firstLine: (accept, timeoutMs) => child.firstLine(accept, timeoutMs),
    stderrTail: () => unmarked(child.stderrTail(), call.mark).text,
    write: (text) => child.write(text),
    closeInput: () => child.closeInput(),
    kill,
  };
}

const frontSignals: Readonly<Partial<Record<NodeJS.Signals, FrontSignal>>> = {
  SIGHUP: 'HUP',
  SIGINT: 'INT',
  SIGQUIT: 'QUIT',
  SIGTERM: 'TERM',
  SIGKILL: 'USR1',
};

/** Throws `command-failed` when the place does not answer: absent and unknown are not the same. */
async function which(local: Exec, way: Way, program: string): Promise<string | undefined> {
  const result = await run(local, way, {
    argv: ['sh', '-c', 'command -v "$1" || exit 1', 'sh', program],
    timeoutMs: 15_000,
  });
  const path = result.stdout.trimEnd();
  if (result.exitCode === 0) return path.startsWith('/') ? path : undefined;
  if (result.exitCode === 1) return undefined;
  throw new StillpointError('command-failed', `${way.name} cannot be asked for ${program}: ${lastLines(result)}`, {
    hint: `see that ${way.name} runs and has a shell, and that its client works by hand`,
  });
}

function notStarted(way: Way, command: Command, why: 'directory' | 'missing'): StillpointError {
  const [program] = command.argv;
  const said =
    why === 'missing' ? 'there is no such program, or it may not be executed' : `no directory ${command.cwd ?? '/'}`;
  return new StillpointError('command-failed', `${program} cannot be started in ${way.name}: ${said}`, {
    hint: `install ${program} there, or check which ${way.name} the setting \`reach\` names`,
    details: { argv: command.argv },
  });
}

function failed(way: Way, command: Command, result: CommandResult): StillpointError {
  const how = result.cancelled
    ? 'was cancelled'
    : result.timedOut
      ? `did not end within ${command.timeoutMs} ms`
      : result.killedBy !== null
        ? `was ended by ${result.killedBy}`
        : result.exitCode === null
          ? 'ended in a way that is not known'
          : `failed with exit code ${result.exitCode}`;
  const argv = command.argv.join(' ');
  const shown = argv.length > 200 ? `${argv.slice(0, 200)}...` : argv;
  const said = lastLines(result);
  return new StillpointError('command-failed', `${shown} in ${way.name} ${how}${said === '' ? '' : `: ${said}`}`, {
    details: {
      argv: command.argv,
      exitCode: result.exitCode,
      killedBy: result.killedBy,
      timedOut: result.timedOut,
      cancelled: result.cancelled,
    },
  });
}

function lastLines(result: CommandResult): string {
  return result.stderr.trim().split('\n').slice(-5).join('; ');
}
