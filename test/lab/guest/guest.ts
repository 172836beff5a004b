/** What a scenario has at hand inside a guest. */
import { appendFileSync } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec, type CommandResult } from '../../../src/platform/exec.ts';

/** Where the host's directory of this machine is. */
export const share = '/run/lab/share';
/** The clone as an image, read-only. */
export const project = '/run/lab/project';
export const node = join(project, 'node_modules/.bin/node');

type Argv = readonly [string, ...string[]];

export interface CommandOptions {
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

export interface Guest {
  readonly share: string;
  /** The device of the scenario's disk with this index. */
  disk(index: number): string;
  /** A line in the guest's log, with milliseconds since power-on. */
  log(text: string): void;
  /** Never throws for a failing command. Programs start slowly here: 20 to 100 ms each. Default limit 60 s. */
  run(argv: Argv, options?: CommandOptions): Promise<CommandResult>;
  /** The command's stdout; throws unless it exits with 0. */
  check(argv: Argv, options?: CommandOptions): Promise<string>;
  /** The same, as JSON. */
  json(argv: Argv, options?: CommandOptions): Promise<unknown>;
  /** Milliseconds that `work` took, noted in the log. */
  timed<T>(what: string, work: () => Promise<T>): Promise<{ readonly value: T; readonly ms: number }>;
  /** A file that the host waits for with `sign`. */
  sign(name: string, content?: string): Promise<void>;
  mountPoint(name: string): Promise<string>;
}

const defaultMs = 60_000;

/** Of every command. LVM warns of every descriptor that Node left open; Node starts twice as fast with its cache. */
export const environment: Readonly<Record<string, string>> = Object.fromEntries(
  ['LVM_SUPPRESS_FD_WARNINGS', 'NODE_COMPILE_CACHE', 'NODE_COMPILE_CACHE_PORTABLE', 'NODE_OPTIONS', 'HOME'].map(
    (name) => [name, process.env[name] ?? ''],
  ),
);

async function run(argv: Argv, options: CommandOptions = {}): Promise<CommandResult> {
  const done = await systemExec.run({
    argv,
    timeoutMs: options.timeoutMs ?? defaultMs,
    env: { ...environment, ...options.env },
    ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
  });
  const said = done.exitCode === 0 ? '' : ` -> ${done.exitCode ?? done.killedBy} ${done.stderr.trim().slice(-2000)}`;
  log(`${argv.join(' ').slice(0, 300)} (${Math.round(done.endedMs - done.startedMs)} ms)${said}`);
  return done;
}

async function check(argv: Argv, options?: CommandOptions): Promise<string> {
  const done = await run(argv, options);
  if (done.exitCode !== 0)
    throw new Error(`${argv.join(' ')} ended with ${done.exitCode ?? done.killedBy}: ${done.stderr}${done.stdout}`);
  return done.stdout;
}

function log(text: string): void {
  appendFileSync(join(share, 'guest.log'), `[${Math.round(systemClock.monoMs())}] ${text}\n`);
}

export const guest: Guest = {
  share,
  disk: (index) => `/dev/ubd${String.fromCodePoint(97 + index)}`,
  log,
  run,
  check,
  json: async (argv, options) => JSON.parse(await check(argv, options)) as unknown,
  async timed(what, work) {
    const from = systemClock.monoMs();
    const value = await work();
    const ms = Math.round(systemClock.monoMs() - from);
    log(`${what}: ${ms} ms`);
    return { value, ms };
  },
  async sign(name, content = '') {
    await writeSynced(join(share, name), content);
  },
  async mountPoint(name) {
    const directory = join('/mnt', name);
    await mkdir(directory, { recursive: true });
    return directory;
  },
};

/** Complete on the host when it returns: what the guest only caches, a power cut takes away. */
export async function writeSynced(file: string, content: string): Promise<void> {
  const handle = await open(`${file}.new`, 'w');
  await handle.writeFile(content);
  await handle.sync();
  await handle.close();
  await rename(`${file}.new`, file);
}
