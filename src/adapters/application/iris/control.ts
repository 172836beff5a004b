import { basename, dirname } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { CommandSpan } from '../../../model/hold.ts';
import type { CommandResult } from '../../../platform/exec.ts';
import type { Platform, SecretReader } from '../../../ports/module.ts';
import {
  type Argv,
  asUser,
  lifecycleArgv,
  listArgv,
  methodArgv,
  qlistArgv,
  scriptArgv,
  statArgv,
  type Tool,
} from './commands.ts';
import { type IrisConfig, secondsOf } from './config.ts';
import { type Exit, methodExit, refusalIn } from './parse.ts';
import { type Instance, parseList, parseQlist } from './parse-instances.ts';

const qlistMs = 5_000;
const fileMs = 5_000;
const sessionMs = 30_000;

export interface Called {
  readonly exit: Exit;
  readonly said: string;
  readonly span: CommandSpan;
}

/**
 * The commands of the engine and of its machine. Everything goes through `platform.exec`, files too: the instance and its logs may
 * live in a container.
 */
export class Control {
  readonly config: IrisConfig;
  readonly platform: Platform;
  readonly #secret: SecretReader;
  #tool: Tool | undefined;
  #loginLines: string | undefined;

  constructor(config: IrisConfig, platform: Platform, secret: SecretReader) {
    this.config = config;
    this.platform = platform;
    this.#secret = secret;
  }

  /** Finds the programs and reads the password, once. A hold does so before its freeze. */
  async load(): Promise<void> {
    await this.#tools();
    await this.#login();
  }

  async #tools(): Promise<Tool> {
    this.#tool ??= await this.#find();
    return this.#tool;
  }

  async #login(): Promise<string> {
    const { login } = this.config;
    this.#loginLines ??= login === undefined ? '' : `${login.user}\n${await this.#secret(login.password)}\n`;
    return this.#loginLines;
  }

  async #find(): Promise<Tool> {
    const { command, user } = this.config;
    const { exec } = this.platform;
    if (command !== 'ccontrol') {
      const iris = await exec.which('iris');
      if (iris !== undefined) return { kind: 'iris', program: iris, session: iris, user };
    }
    if (command !== 'iris') {
      const [program, session] = [await exec.which('ccontrol'), await exec.which('csession')];
      if (program !== undefined && session !== undefined) return { kind: 'ccontrol', program, session, user };
    }
    const wanted = command === 'auto' ? 'neither iris nor ccontrol and csession' : `no ${command}`;
    throw new StillpointError('database-unreachable', `there is ${wanted} on the search path`, {
      hint: 'run this on the machine of the instance, or link its programs into /usr/local/bin',
    });
  }

  async #run(argv: Argv, timeoutMs: number, stdin?: string, signal?: AbortSignal): Promise<CommandResult> {
    return this.platform.exec.run({
      argv,
      timeoutMs,
      // A session without a terminal needs a name of one.
      env: { TERM: 'dumb' },
      ...(stdin === undefined ? {} : { stdin }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Every instance that the machine knows, running or not. Throws `database-unreachable` when no list can be had or understood. */
  async instances(signal?: AbortSignal, timeoutMs = qlistMs): Promise<readonly Instance[]> {
    const tool = await this.#tools();
    let why = '';
    // qlist is made for programs; it is known to hang when an instance does.
    for (const [argv, parse] of [
      [qlistArgv(tool), parseQlist],
      [listArgv(tool), parseList],
    ] as const) {
      const result = await this.#run(argv, timeoutMs, undefined, signal);
      signal?.throwIfAborted();
      const { instances, notUnderstood } = parse(result.stdout);
      if (result.exitCode === 0 && notUnderstood.length === 0 && instances.length > 0) return instances;
      why ||= `${argv.join(' ')} ${describe(result, notUnderstood)}`;
    }
    throw new StillpointError('database-unreachable', why, {
      hint: 'run the command by hand as the same user; it must list the instances of this machine',
    });
  }

  /** The instances that the configuration means. Throws when one of them is not there, or none is. */
  async wanted(signal?: AbortSignal): Promise<readonly Instance[]> {
    const all = await this.instances(signal);
    const { instances, verify } = this.config;
    if (instances === 'all') {
      const running = all.filter((each) => each.state !== 'down' && each.name !== verify?.instance);
      if (running.length > 0) return running;
      throw new StillpointError('database-unreachable', 'no instance runs on this machine', {
        hint: 'start it, or name the instances under application.iris.instances',
      });
    }
    return [...new Set(instances)].map((name) => {
      // The programs take names in any case.
      const found = all.find((each) => each.name.toUpperCase() === name.toUpperCase());
      if (found !== undefined) return found;
      throw new StillpointError('database-unreachable', `there is no instance ${name} on this machine`, {
        hint: `this machine has ${all.map((each) => each.name).join(', ')}`,
      });
    });
  }

  /**
   * A class method as the command's argument. Never throws; a program that cannot start is `unknown` too. `login: 'none'` for
   * ExternalThaw, which asks for none: it must not wait for a password command.
   */
  async method(
    instance: string,
    expression: string,
    timeoutMs: number,
    options: { readonly signal?: AbortSignal; readonly login?: 'none' } = {},
  ): Promise<Called> {
    const what = /\.(\w+)\(/.exec(expression)?.[1] ?? 'session';
    const startMs = this.platform.clock.monoMs();
    try {
      const tool = await this.#tools();
      const stdin = options.login === 'none' ? '' : await this.#login();
      const result = await this.#run(methodArgv(tool, instance, expression), timeoutMs, stdin, options.signal);
      const exit = methodExit(result);
      const span: CommandSpan = {
        party: 'engine',
        what: `${what} ${instance}`,
        startMs: result.startedMs,
        endMs: result.endedMs,
      };
      return { exit, said: `${what} of ${instance} ${howItEnded(result)}`, span };
    } catch (cause) {
      const said = `${what} of ${instance} could not be called: ${cause instanceof Error ? cause.message : String(cause)}`;
      const endMs = this.platform.clock.monoMs();
      return { exit: 'unknown', said, span: { party: 'engine', what: `${what} ${instance}`, startMs, endMs } };
    }
  }

  /** Commands on standard input. The output is only worth what `SP:` answers it holds. */
  async script(
    instance: string,
    lines: readonly string[],
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<string> {
    const tool = await this.#tools();
    const stdin = `${await this.#login()}${lines.join('\n')}\n`;
    const result = await this.#run(scriptArgv(tool, instance), options.timeoutMs ?? sessionMs, stdin, options.signal);
    options.signal?.throwIfAborted();
    if (result.timedOut) {
      throw new StillpointError('database-unreachable', `a session of ${instance} did not end in time`, {
        hint: 'an instance whose write daemon is suspended may take no logins; see `iris stat`',
      });
    }
    return result.stdout;
  }

  /** Throws what a session that gave no answers means. */
  refuse(instance: string, output: string): never {
    const why = refusalIn(output);
    const user = this.config.user ?? 'the user that runs this';
    throw new StillpointError(
      why === undefined ? 'database-unreachable' : 'database-login',
      `${instance} gave no answers in a session${why === undefined ? '' : `: ${why}`}`,
      { hint: `let ${user} log in by operating-system authentication, or set application.iris.login` },
    );
  }

  /** Starts or stops an instance and returns at once: the command goes on, whatever becomes of this process. */
  async launch(verb: 'start' | 'stop', instance: string): Promise<void> {
    const argv = lifecycleArgv(await this.#tools(), verb, instance);
    const child = this.platform.exec.start({ argv, env: { TERM: 'dumb' }, detached: true });
    child.closeInput();
  }

  async stat(instance: string, timeoutMs: number, ...options: readonly string[]): Promise<CommandResult | undefined> {
    try {
      return await this.#run(statArgv(await this.#tools(), instance, ...options), timeoutMs);
    } catch {
      // No such program: whoever asks treats silence as unknown.
      return undefined;
    }
  }

  /** The limit for a backup by the engine. */
  get backupMs(): number {
    return secondsOf(this.config.backupTimeout) * 1000;
  }

  async command(argv: Argv, timeoutMs = fileMs): Promise<CommandResult> {
    return this.#run(asUser(this.config.user, argv), timeoutMs);
  }

  /** The text of a file, from byte `from` on; undefined when it cannot be read. */
  async read(path: string, from = 0, timeoutMs = fileMs): Promise<string | undefined> {
    try {
      const argv: Argv = from === 0 ? ['cat', '--', path] : ['tail', '-c', `+${from + 1}`, '--', path];
      const result = await this.command(argv, timeoutMs);
      return result.exitCode === 0 ? result.stdout : undefined;
    } catch {
      return undefined;
    }
  }

  /** `undefined` when the directory cannot be listed: only a listing proves that a file is absent. */
  async has(directory: string, name: string, timeoutMs = fileMs): Promise<boolean | undefined> {
    try {
      const result = await this.command(['ls', '-1A', '--', directory], timeoutMs);
      return result.exitCode === 0 ? result.stdout.split('\n').includes(name) : undefined;
    } catch {
      return undefined;
    }
  }

  /** Bytes that a log has; 0 when it is proved that there is none yet. Undefined when that cannot be known. */
  async sizeSoFar(path: string): Promise<number | undefined> {
    const size = await this.size(path);
    if (size !== undefined) return size;
    return (await this.has(dirname(path), basename(path))) === false ? 0 : undefined;
  }

  /** Bytes; undefined when the file is not there or not for us. */
  async size(path: string): Promise<number | undefined> {
    const result = await this.command(['stat', '-L', '-c', '%s', '--', path]);
    const size = Number(result.stdout.trim() || Number.NaN);
    return result.exitCode === 0 && Number.isSafeInteger(size) ? size : undefined;
  }
}

function howItEnded(result: CommandResult): string {
  const words = `${result.stdout}\n${result.stderr}`;
  if (result.timedOut) return 'did not end in time';
  if (result.cancelled) return 'was cut off';
  if (result.exitCode === null) return `was ended by ${result.killedBy ?? 'its output limit'}`;
  const why = refusalIn(words);
  return `exited with ${result.exitCode}${why === undefined ? '' : ` (${why})`}`;
}

function describe(result: CommandResult, notUnderstood: readonly string[]): string {
  if (result.timedOut) return 'did not end in time';
  if (result.exitCode !== 0) return `exited with ${result.exitCode}`;
  const [first] = notUnderstood;
  return first === undefined ? 'listed no instance' : `printed a line that is not understood: ${JSON.stringify(first)}`;
}
