import { randomBytes } from 'node:crypto';
import { StillpointError } from '../model/errors.ts';
import { systemClock } from './clock.ts';
import type { Command, CommandResult, Exec } from './exec.ts';
import { backScript, encodedCommand, frontScript, payload, readFrame, type Frame } from './powershell-front.ts';

/** A way to a Windows machine. `wrap` gives the client's arguments that start `argv` there with standard input; its words hold no blanks. */
export interface WindowsWay {
  /** For messages: `host sql1`. */
  readonly name: string;
  wrap(argv: readonly [string, ...string[]]): readonly [string, ...string[]];
  readonly clientEnv: Readonly<Record<string, string>>;
}

/** Windows PowerShell takes a second or more to start, twice that on a busy machine. */
const startMs = 20_000;
const wordMs = 20_000;
const drainMs = 5_000;
const defaultOutputBytes = 16 * 1024 * 1024;

/**
 * Starts programs on a Windows machine, under the contract of Exec. What differs:
 * - a script of ours in PowerShell starts the program, waits for it, and answers in one line behind a mark that is made anew for every
 *   call. Without that line `exitCode` is null, whatever the client says: never take null for "did not run".
 * - program, arguments, environment and input go over standard input, so that no process list and no log of commands holds them.
 * - a code is the 32 bits that Windows gives, as a signed number. Nothing is ever `killedBy`.
 * - at the deadline the script there ends the program with what it started; when cancelled a second call does.
 * - no `start`: there is no conversation with a program there. No `uid`.
 */
export function execThroughPowerShell(local: Exec, way: WindowsWay): Exec {
  return {
    run: (command) => run(local, way, command),
    async check(command) {
      const result = await run(local, way, command);
      if (result.exitCode === 0 && !result.timedOut && !result.cancelled) return result;
      throw failed(way, command, result);
    },
    start(command) {
      throw new StillpointError('command-failed', `${command.argv[0]} cannot be kept running on ${way.name}`, {
        hint: 'only commands that end by themselves are started on Windows hosts',
      });
    },
    async which(program) {
      const found = await run(local, way, { argv: ['where.exe', program], timeoutMs: 15_000 });
      if (found.exitCode === 0) return found.stdout.split(/\r?\n/, 1)[0];
      if (found.exitCode === 1) return undefined;
      throw failed(way, { argv: ['where.exe', program], timeoutMs: 15_000 }, found);
    },
  };
}

async function run(local: Exec, way: WindowsWay, command: Command): Promise<CommandResult> {
  if (command.uid !== undefined || command.gid !== undefined) {
    throw new StillpointError('command-failed', `${way.name} takes no user number to run ${command.argv[0]} as`, {
      hint: 'log in as the user that the engine wants (setting `user` of the reach)',
    });
  }
  const mark = `sp-${randomBytes(12).toString('hex')}`;
  const client = new AbortController();
  if (command.signal?.aborted === true) client.abort();
  const cancelled = client.signal.aborted;
  let ending: Promise<void> | undefined;
  const onAbort = (): void => {
    ending ??= end(local, way, mark).then(async () => {
      await systemClock.sleep(drainMs);
      client.abort();
    });
  };
  command.signal?.addEventListener('abort', onAbort, { once: true });
  const limit = command.maxOutputBytes ?? defaultOutputBytes;
  let ended: CommandResult;
  try {
    ended = await local.run({
      argv: way.wrap(powershell(frontScript)),
      env: way.clientEnv,
      stdin: payload(mark, command),
      timeoutMs: command.timeoutMs + startMs,
      signal: client.signal,
      // Base64 of both streams.
      maxOutputBytes: 3 * limit + 4096,
    });
  } finally {
    command.signal?.removeEventListener('abort', onAbort);
  }
  const frame = readFrame(ended.stdout, mark);
  if (frame?.how === 'missing' || frame?.how === 'directory') throw notStarted(way, command, frame.how);
  return resultOf({ way, command, ended, frame, limit, cancelled: cancelled || ending !== undefined });
}

function powershell(script: string): readonly [string, ...string[]] {
  return ['powershell', '-NoProfile', '-NonInteractive', '-EncodedCommand', encodedCommand(script)];
}

/** Tells the machine there to end the program of this mark. Whether it did shows in the answer of the call itself. */
async function end(local: Exec, way: WindowsWay, mark: string): Promise<void> {
  await local
    .run({ argv: way.wrap(powershell(backScript)), env: way.clientEnv, stdin: `${mark}\n`, timeoutMs: wordMs })
    .catch(() => undefined);
}

function resultOf(of: {
  readonly way: WindowsWay;
  readonly command: Command;
  readonly ended: CommandResult;
  readonly frame: Frame | undefined;
  readonly limit: number;
  readonly cancelled: boolean;
}): CommandResult {
  const { way, command, ended, frame, limit } = of;
  const notes: string[] = [];
  const timedOut = frame === undefined ? ended.timedOut : frame.how === 'limit';
  if (timedOut) notes.push(`ended after ${command.timeoutMs} ms`);
  if (frame === undefined && !(of.cancelled && ended.stderr.startsWith('not started'))) {
    const how = ended.exitCode === null ? 'was ended' : `ended with exit code ${ended.exitCode}`;
    notes.push(
      `${way.name}: the client ${how} and nothing told how the program did; it may still run there, until ${Math.ceil(command.timeoutMs / 1000)} s after its start`,
    );
  }
  const stdout = frame?.stdout ?? ended.stdout;
  const stderr = frame?.stderr ?? ended.stderr;
  const tooMuch = [stdout, stderr].some((text) => Buffer.byteLength(text) > limit);
  if (tooMuch) notes.push(`the output is longer than ${limit} bytes`);
  return {
    argv: command.argv,
    exitCode: frame?.how === 'exited' && !tooMuch ? frame.code : null,
    killedBy: null,
    timedOut,
    cancelled: of.cancelled,
    stdout,
    stderr: [stderr.trimEnd(), ...notes].filter((part) => part !== '').join('\n'),
    startedMs: ended.startedMs,
    endedMs: ended.endedMs,
  };
}

function notStarted(way: WindowsWay, command: Command, why: 'missing' | 'directory'): StillpointError {
  const [program] = command.argv;
  const said = why === 'missing' ? 'there is no such program' : `no directory ${command.cwd ?? ''}`;
  return new StillpointError('command-failed', `${program} cannot be started on ${way.name}: ${said}`, {
    hint: `install ${program} there, or check which ${way.name} the setting \`reach\` or \`host\` names`,
    details: { argv: command.argv },
  });
}

function failed(way: WindowsWay, command: Command, result: CommandResult): StillpointError {
  const how = result.cancelled
    ? 'was cancelled'
    : result.timedOut
      ? `did not end within ${command.timeoutMs} ms`
      : result.exitCode === null
        ? 'ended in a way that is not known'
        : `failed with exit code ${result.exitCode}`;
  const said = result.stderr.trim().split('\n').slice(-5).join('; ');
  return new StillpointError(
    'command-failed',
    `${command.argv.join(' ').slice(0, 200)} on ${way.name} ${how}${said === '' ? '' : `: ${said}`}`,
    { details: { argv: command.argv, exitCode: result.exitCode, timedOut: result.timedOut } },
  );
}
