import { randomBytes } from 'node:crypto';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { CommandResult, Exec } from '../../../platform/exec.ts';
import type { Platform, SecretReader } from '../../../ports/module.ts';
import { catalogueScript, cpfArgv, existsArgv, listsScript } from './commands-lists.ts';
import { type Argv, qlistArgv, sessionArgv, spaceArgv, tailArgv, type Tool, viewScript } from './commands.ts';
import { type InstanceConfig, memberNameOf, type Reach } from './config.ts';
import { type Catalogue, type Exported, parseCatalogue, parseLists } from './parse-lists.ts';
import { type Answers, parseAnswers, parseSpace, refusalIn } from './parse.ts';
import { type LogEntry, type Messages, parseMessages } from '../../../platform/parse-iris-messages.ts';
import { type Listed, parseQlist } from './parse-qlist.ts';

/** Together, with 2 s to end what hangs, well within the 30 s that a view may take. */
const qlistMs = 5_000;
const sessionMs = 12_000;
const fileMs = 4_000;
/** Definitions are read one by one. */
const listsMs = 60_000;
/** Of a session: more is no answer to these questions. */
const mostOutputBytes = 4 * 1024 * 1024;

export interface Refusal {
  /** It was not allowed to ask, as against: nobody answered. */
  readonly login: boolean;
  readonly said: string;
}

/** What one configured member said, or why it said nothing. Plain data. */
export interface Asked {
  /** In the configuration. */
  readonly name: string;
  /** In the mirror, in capitals. */
  readonly member: string;
  readonly listed: Listed | undefined;
  /** Undefined: no session came to its end. */
  readonly answers: Answers | undefined;
  readonly refusal: Refusal | undefined;
  readonly log: readonly LogEntry[] | undefined;
  /** alerts.log, in which the engine's own monitor collects severe entries. Absent: there is none, which is as it should be. */
  readonly alerts?: Messages;
  readonly space: { readonly freeBytes: number; readonly usedPercent: number } | undefined;
}

export type { Catalogue } from './parse-lists.ts';

/** What is configured at one member, as far as it tells. */
export interface Settings extends Exported {
  readonly cpf: string;
}

/** One instance that can be asked. Nothing here throws for an instance that does not answer. */
export class Instance {
  readonly name: string;
  readonly member: string;
  readonly #settings: InstanceConfig;
  readonly #exec: Exec;
  readonly #secret: SecretReader;
  #tool: Tool | undefined;
  #loginLines: string | undefined;

  constructor(
    name: string,
    settings: InstanceConfig,
    platform: Platform,
    secret: SecretReader,
    reaches: readonly Reach[],
  ) {
    this.name = name;
    this.member = memberNameOf(name, settings);
    this.#settings = settings;
    this.#exec = reached(settings, platform, reaches);
    this.#secret = secret;
  }

  async ask(mirror: string, signal: AbortSignal): Promise<Asked> {
    const [listed, session] = await Promise.all([
      this.listed(signal),
      this.session((nonce) => viewScript(mirror, nonce), signal),
    ]);
    const { answers, refusal } = session;
    const values = answers?.values;
    const manager = values?.get('manager') ?? (listed === undefined ? undefined : `${listed.dataDirectory}/mgr/`);
    const [log, alerts, space] = await Promise.all([
      this.#log(manager, ['messages.log', 'cconsole.log'], signal),
      this.#log(manager, ['alerts.log'], signal),
      this.#space(values?.get('journals'), signal),
    ]);
    return {
      ...{ name: this.name, member: this.member, listed, answers, refusal, log: log?.entries, space },
      ...(alerts === undefined ? {} : { alerts }),
    };
  }

  /** Undefined when the list cannot be had or does not name it. */
  async listed(signal?: AbortSignal): Promise<Listed | undefined> {
    const { instance } = this.#settings;
    const result = await this.#try((tool) => qlistArgv(tool, instance), qlistMs, undefined, signal);
    return 'said' in result || result.exitCode !== 0 ? undefined : parseQlist(result.stdout, instance);
  }

  /** Its configuration file, and the lists that no file holds. */
  async settings(mirror: string, signal: AbortSignal): Promise<Settings | Refusal> {
    const [listed, session] = await Promise.all([
      this.listed(signal),
      this.#transcript((nonce) => listsScript(mirror, nonce), listsMs, signal),
    ]);
    if ('refusal' in session) return session.refusal;
    const exported = parseLists(session.output, session.nonce);
    if (exported === undefined) return refusalIn(session.output);
    const cpf = await this.#configuration(listed, signal);
    return typeof cpf === 'string' ? { ...exported, cpf } : cpf;
  }

  /** Its configuration file; the engine need not run. */
  async configuration(signal: AbortSignal): Promise<string | Refusal> {
    return await this.#configuration(await this.listed(signal), signal);
  }

  async #configuration(listed: Listed | undefined, signal: AbortSignal): Promise<string | Refusal> {
    if (listed === undefined) return { login: false, said: 'its list of instances does not name it' };
    const { configuration, dataDirectory } = listed;
    const path = configuration.startsWith('/') ? configuration : `${dataDirectory}/${configuration || 'iris.cpf'}`;
    const cpf = await this.#try((tool) => cpfArgv(tool, path), fileMs, undefined, signal);
    if (!('said' in cpf) && cpf.exitCode === 0) return cpf.stdout;
    return { login: false, said: `${path} cannot be read: ${'said' in cpf ? cpf.said : cpf.stderr.trim()}` };
  }

  /** What the mirror holds, and where it lies on this member. */
  async catalogue(mirror: string, signal: AbortSignal): Promise<Catalogue | Refusal> {
    const session = await this.#transcript((nonce) => catalogueScript(mirror, nonce), sessionMs, signal);
    if ('refusal' in session) return session.refusal;
    return parseCatalogue(session.output, session.nonce) ?? refusalIn(session.output);
  }

  /** Whether any of these is there. */
  async hasFile(paths: readonly string[], signal: AbortSignal): Promise<boolean> {
    for (const path of paths) {
      const result = await this.#try((tool) => existsArgv(tool, path), fileMs, undefined, signal);
      if (!('said' in result) && result.exitCode === 0) return true;
    }
    return false;
  }

  get instance(): string {
    return this.#settings.instance;
  }

  /** Throws `database-unreachable` where there is no such program. */
  async kind(): Promise<Tool['kind']> {
    return (await this.#tools()).kind;
  }

  /** Commands on standard input. `answers` only if the session came to its end: half a list must not look like a whole one. */
  async session(
    lines: (nonce: string) => readonly string[],
    signal?: AbortSignal,
  ): Promise<
    | { readonly answers: Answers; readonly refusal: undefined }
    | { readonly answers: undefined; readonly refusal: Refusal }
  > {
    const transcript = await this.#transcript(lines, sessionMs, signal);
    if ('refusal' in transcript) return { answers: undefined, refusal: transcript.refusal };
    return { answers: parseAnswers(transcript.output, transcript.nonce), refusal: undefined };
  }

  /** What a session printed that came to its end. */
  async #transcript(
    lines: (nonce: string) => readonly string[],
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly output: string; readonly nonce: string } | { readonly refusal: Refusal }> {
    const nonce = randomBytes(8).toString('hex');
    const argv = (tool: Tool): Argv => sessionArgv(tool, this.#settings.instance);
    const result = await this.#try(argv, timeoutMs, lines(nonce), signal);
    if ('said' in result) return { refusal: { login: false, said: result.said } };
    const answers = parseAnswers(result.stdout, nonce);
    // An answer to none of the questions is a refusal, whatever the end says.
    if (answers.complete && answers.values.size > 1) return { output: result.stdout, nonce };
    const refusal = result.timedOut
      ? { login: false, said: 'its session did not end in time' }
      : answers.values.size > 0
        ? { login: false, said: 'its session ended in the middle' }
        : refusalIn(`${result.stdout}\n${result.stderr}`);
    return { refusal };
  }

  /** The end of the first of these that is there. */
  async #log(
    directory: string | undefined,
    files: readonly string[],
    signal: AbortSignal,
  ): Promise<Messages | undefined> {
    if (directory === undefined) return undefined;
    for (const file of files) {
      const path = `${directory.replace(/\/*$/, '/')}${file}`;
      const result = await this.#try((tool) => tailArgv(tool, path), fileMs, undefined, signal);
      if (!('said' in result) && result.exitCode === 0) return parseMessages(result.stdout);
    }
    return undefined;
  }

  async #space(directory: string | undefined, signal: AbortSignal): Promise<Asked['space']> {
    if (directory === undefined || !directory.startsWith('/')) return undefined;
    const result = await this.#try((tool) => spaceArgv(tool, directory), fileMs, undefined, signal);
    return 'said' in result || result.exitCode !== 0 ? undefined : parseSpace(result.stdout);
  }

  async #try(
    argv: (tool: Tool) => Argv,
    timeoutMs: number,
    lines: readonly string[] | undefined,
    signal: AbortSignal | undefined,
  ): Promise<CommandResult | { readonly said: string }> {
    try {
      const tool = await this.#tools();
      const stdin = lines === undefined ? undefined : `${await this.#login()}${lines.join('\n')}\n`;
      return await this.#exec.run({
        argv: argv(tool),
        timeoutMs,
        maxOutputBytes: mostOutputBytes,
        // A session without a terminal needs a name of one.
        env: { TERM: 'dumb' },
        ...(stdin === undefined ? {} : { stdin }),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (cause) {
      return { said: messageOf(cause) };
    } finally {
      signal?.throwIfAborted();
    }
  }

  async #login(): Promise<string> {
    const { login } = this.#settings;
    this.#loginLines ??= login === undefined ? '' : `${login.user}\n${await this.#secret(login.password)}\n`;
    return this.#loginLines;
  }

  async #tools(): Promise<Tool> {
    this.#tool ??= await this.#find();
    return this.#tool;
  }

  async #find(): Promise<Tool> {
    const { command, user } = this.#settings;
    if (command !== 'ccontrol') {
      const iris = await this.#exec.which('iris');
      if (iris !== undefined) return { kind: 'iris', program: iris, session: iris, user };
    }
    if (command !== 'iris') {
      const [program, session] = [await this.#exec.which('ccontrol'), await this.#exec.which('csession')];
      if (program !== undefined && session !== undefined) return { kind: 'ccontrol', program, session, user };
    }
    const wanted = command === 'auto' ? 'neither iris nor ccontrol and csession' : `no ${command}`;
    throw new StillpointError('database-unreachable', `there is ${wanted} on its search path`, {
      hint: 'link its programs into /usr/local/bin there',
    });
  }
}

function reached({ reach }: InstanceConfig, platform: Platform, reaches: readonly Reach[]): Exec {
  const found = reaches.find(({ kind }) => reach?.[kind] !== undefined);
  return found === undefined ? platform.exec : found.create(reach?.[found.kind], platform.host).exec;
}
