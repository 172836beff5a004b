import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { CommandSpan } from '../../../model/hold.ts';
import type { Command, CommandResult } from '../../../platform/exec.ts';
import type { Platform } from '../../../ports/module.ts';
import {
  createdCode,
  dseArgv,
  environmentOf,
  isolatedArgv,
  markVariable,
  mumpsArgv,
  mupipArgv,
  stateArguments,
  updatesDisabledCode,
  versionCode,
  type Argv,
  type GtmPlace,
} from './commands.ts';
import type { GtmConfig } from './config.ts';
import {
  type Message,
  parseCreated,
  parseMessages,
  parseRegions,
  parseStates,
  type Region,
  type RegionState,
} from './parse.ts';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** `limitMs`: TERM at that time, which GT.M's programs take safely (FORCEDHALT). */
export interface Limits {
  readonly limitMs: number;
  readonly signal?: AbortSignal;
}

/** What one program of GT.M said. Exit codes are not in it on purpose: 0 is no proof, and others collide. */
export interface Answer {
  /** stderr and stdout: nearly everything, success too, is on stderr, but not all. */
  readonly text: string;
  readonly stdout: string;
  readonly messages: readonly Message[];
  /** Ended at its limit or by a signal: whatever it said, it did not finish. */
  readonly unfinished: boolean;
  /** Exit code 0: necessary, never enough. */
  readonly exitedWell: boolean;
  readonly pid: number | undefined;
  readonly span: CommandSpan;
}

/** Finished, exit code 0, and no message of severity E or F. */
export function wentWell(answer: Answer): boolean {
  return answer.exitedWell && !answer.unfinished && !answer.messages.some((each) => /[EF]/.test(each.severity));
}

export function has(answer: Answer, mnemonic: string): boolean {
  return answer.messages.some((each) => each.mnemonic === mnemonic);
}

/** The complaints of an answer in one line, or its last words if it made none. */
export function complaintOf(answer: Answer): string {
  const bad = answer.messages.filter((each) => each.severity !== 'I' && each.severity !== 'S');
  const lines = bad.map((each) => `%GTM-${each.severity}-${each.mnemonic}, ${each.said}`);
  if (answer.unfinished) lines.push(`${answer.span.what} was ended at its limit`);
  if (lines.length > 0) return lines.slice(0, 6).join('; ');
  return answer.text.trim().split('\n').slice(-3).join('; ') || `${answer.span.what} said nothing`;
}

/**
 * GT.M's programs on one global directory: each call has a limit, an empty standard input (with a missing argument they prompt), both
 * outputs captured, an environment of its own, and runs as the owner of the database files. That last one is not politeness: a freeze
 * belongs to a uid, and `mupip freeze` of any other uid, root included, hangs for ever.
 */
export class Gtm {
  readonly place: GtmPlace;
  /** Undefined: as whoever we are. */
  readonly owner: Owner | undefined;
  readonly #platform: Platform;
  readonly #isolated: boolean;

  constructor(platform: Platform, place: GtmPlace, owner: Owner | undefined, isolated = false) {
    this.#platform = platform;
    this.place = place;
    this.owner = owner;
    this.#isolated = isolated;
  }

  /** For a copy: every command in namespaces of its own (isolatedArgv), on its own global directory. */
  static isolated(platform: Platform, place: GtmPlace, owner?: Owner): Gtm {
    return new Gtm(platform, place, owner, true);
  }

  /** The live database. Finds the programs, the regions and the owner of their files; opens no database. */
  static async open(config: GtmConfig, platform: Platform, limits: Limits = { limitMs: 15_000 }): Promise<Gtm> {
    const place: GtmPlace = {
      distribution: config.distribution ?? findDistribution(),
      globalDirectory: config.globalDirectory,
      variables: config.environment,
      replicationInstance: config.replicationInstance,
      routines: config.routines,
    };
    if (!existsSync(config.globalDirectory)) {
      throw new StillpointError('database-file', `there is no global directory ${config.globalDirectory}`, {
        hint: 'set application.gtm.globalDirectory to the value of gtmgbldir of the application',
      });
    }
    const anybody = new Gtm(platform, place, undefined);
    const regions = await anybody.regions(limits);
    return anybody.as(ownerOf(regions.map((each) => each.file)));
  }

  as(owner: Owner | undefined): Gtm {
    return new Gtm(this.#platform, this.place, owner, this.#isolated);
  }

  /** The same programs elsewhere: a copy with its own global directory. */
  at(place: Partial<GtmPlace>): Gtm {
    return new Gtm(this.#platform, { ...this.place, ...place }, this.owner, this.#isolated);
  }

  /** The uid that the engine writes into the header when one of our commands freezes. */
  get uid(): number {
    return this.owner?.uid ?? process.getuid?.() ?? 0;
  }

  async mupip(args: readonly string[], limits: Limits): Promise<Answer> {
    return this.#run(`mupip ${args[0] ?? ''}`, mupipArgv(this.place.distribution, args), limits);
  }

  async dse(args: readonly string[], limits: Limits): Promise<Answer> {
    return this.#run(`dse ${args[0] ?? ''}`, dseArgv(this.place.distribution, args), limits);
  }

  /** Runs one line of M. */
  async xecute(code: string, limits: Limits): Promise<Answer> {
    return this.#run('mumps', mumpsArgv(this.place.distribution, ['-run', '^%XCMD', code]), limits);
  }

  async routine(entry: string, limits: Limits): Promise<Answer> {
    return this.#run(`mumps -run ${entry}`, mumpsArgv(this.place.distribution, ['-run', entry]), limits);
  }

  /** The global directory editor, with its commands as lines. Opens no database; only `show` leaves the global directory as it is. */
  async gde(lines: readonly string[], limits: Limits): Promise<Answer> {
    const argv = mumpsArgv(this.place.distribution, ['-run', '^GDE']);
    return this.#run('mumps -run ^GDE', argv, limits, {
      stdin: `${[...lines, lines.some((line) => !line.startsWith('show')) ? 'exit' : 'quit'].join('\n')}\n`,
    });
  }

  /** Regions and files by the global directory; opens no database. Throws `database-unreachable`, `database-file`. */
  async regions(limits: Limits): Promise<readonly Region[]> {
    // `$view("GVFILE")` would tell the same, but it opens every database that it names.
    const answer = await this.gde(['show -commands'], limits);
    const regions = parseRegions(answer.text, environmentOf(this.place));
    if (answer.unfinished || regions.length === 0) throw unreachable('the regions cannot be listed', answer);
    const relative = regions.find((each) => !isAbsolute(each.file));
    if (relative !== undefined) {
      throw new StillpointError(
        'database-file',
        `${this.place.globalDirectory} names the file of region ${relative.name} as ${relative.file}, which is not absolute`,
        { hint: 'set the variable in that name with application.gtm.environment, or give an absolute name with GDE' },
      );
    }
    return regions;
  }

  /** When each database was created, in seconds since 1970. Opens the databases. */
  async created(regions: readonly Region[], limits: Limits): Promise<ReadonlyMap<string, string>> {
    const answer = await this.xecute(createdCode(regions.map((region) => region.name)), limits);
    const created = parseCreated(answer.stdout);
    if (!wentWell(answer) || created.size < regions.length) throw unreachable('the databases cannot be opened', answer);
    return created;
  }

  /**
   * Which side of a replicated pair this instance is: whether the journal pool lets users update. `standalone` when replication is off
   * or nobody runs it. Throws `database-unreachable`.
   */
  async role(states: readonly RegionState[], limits: Limits): Promise<'standalone' | 'primary' | 'replica'> {
    if (!states.some((state) => state.replication === 'ON')) return 'standalone';
    const answer = await this.xecute(updatesDisabledCode, limits);
    const said = answer.stdout.trim();
    if (wentWell(answer) && said === '0') return 'primary';
    if (wentWell(answer) && said === '1') return 'replica';
    if (has(answer, 'ZPEEKNORPLINFO') || answer.text.includes('ZPEEKNORPLINFO')) return 'standalone';
    throw unreachable('the side of replication cannot be read', answer);
  }

  async version(limits: Limits): Promise<string> {
    const answer = await this.xecute(versionCode, limits);
    if (!wentWell(answer)) throw unreachable('mumps does not run', answer);
    return answer.stdout.trim();
  }

  /**
   * Headers of all regions from one process, which neither waits for a freeze nor touches it. Throws `database-unreachable` unless
   * each of `expected` is in the answer: what the engine did not show is unknown, never "not frozen".
   */
  async states(
    limits: Limits,
    expected: readonly string[],
  ): Promise<{ readonly states: readonly RegionState[]; readonly span: CommandSpan }> {
    const answer = await this.dse(stateArguments, limits);
    let states: readonly RegionState[];
    try {
      states = parseStates(answer.text);
    } catch (cause) {
      throw unreachable(messageOf(cause), answer);
    }
    const missing = expected.filter((name) => !states.some((each) => each.region === name));
    if (answer.unfinished || missing.length > 0) {
      throw unreachable(`the state of region ${missing.join(', ') || 'all'} cannot be read`, answer);
    }
    return { states, span: answer.span };
  }

  /**
   * Like mupip, but tells its process id, which the engine writes into the header of what this process freezes, and carries `mark` in
   * its environment: it outlives a killed parent, and whoever thaws then must find it first.
   */
  async mupipMarked(args: readonly string[], limits: Limits, mark: string): Promise<Answer> {
    const { exec, clock } = this.#platform;
    const what = `mupip ${args[0] ?? ''}`;
    const startMs = clock.monoMs();
    const base = this.#base(mupipArgv(this.place.distribution, args));
    const child = exec.start({ ...base, env: { ...base.env, [markVariable]: mark } });
    child.closeInput();
    const ending = { unfinished: false };
    const stops: (() => void)[] = [];
    const end = (): void => {
      ending.unfinished = true;
      child.kill('SIGTERM');
      stops.push(clock.after(killMs, () => child.kill('SIGKILL')));
    };
    stops.push(clock.after(limits.limitMs, end));
    limits.signal?.addEventListener('abort', end, { once: true });
    if (limits.signal?.aborted === true) end();
    const lost = Promise.withResolvers<{ exitCode: null; killedBy: null }>();
    // A process that is blocked in the kernel takes no signal; waiting for it would hang us too.
    stops.push(clock.after(limits.limitMs + 2 * killMs, () => lost.resolve({ exitCode: null, killedBy: null })));
    const exit = await Promise.race([child.exited, lost.promise]);
    const endMs = clock.monoMs();
    for (const stop of stops) stop();
    limits.signal?.removeEventListener('abort', end);
    // Its last words may still be in the pipe.
    await child.firstLine(() => false, drainMs).catch(() => undefined);
    const text = child.stderrTail();
    return {
      text,
      stdout: '',
      messages: parseMessages(text),
      unfinished: ending.unfinished || exit.exitCode === null,
      exitedWell: exit.exitCode === 0,
      pid: child.pid,
      span: { party: 'engine', what, startMs, endMs },
    };
  }

  #base(argv: Argv): Pick<Command, 'argv' | 'env' | 'uid' | 'gid'> {
    const env = environmentOf(this.place);
    if (!this.#isolated) return { argv, env, ...this.owner };
    return { argv: isolatedArgv(argv, process.getuid?.() === 0, this.owner), env };
  }

  async #run(what: string, argv: Argv, limits: Limits, more: Pick<Command, 'stdin'> = {}): Promise<Answer> {
    const result: CommandResult = await this.#platform.exec.run({
      ...this.#base(argv),
      ...more,
      timeoutMs: limits.limitMs,
      ...(limits.signal === undefined ? {} : { signal: limits.signal }),
    });
    const text = [result.stdout, result.stderr].filter((part) => part !== '').join('\n');
    return {
      text,
      stdout: result.stdout,
      messages: parseMessages(text),
      unfinished: result.timedOut || result.cancelled || result.exitCode === null,
      exitedWell: result.exitCode === 0,
      pid: undefined,
      span: { party: 'engine', what, startMs: result.startedMs, endMs: result.endedMs },
    };
  }
}

const killMs = 2_000;
const drainMs = 500;

export function unreachable(what: string, answer: Answer): StillpointError {
  return new StillpointError('database-unreachable', `${what}: ${complaintOf(answer)}`, {
    hint: 'see the settings of application.gtm, and try the same command by hand: dse all -dump',
    details: { messages: answer.messages.map((each) => each.mnemonic) },
  });
}

/** Whom to be: as root, the owner of the files; else ourselves. Throws `database-file` when the files have several owners. */
export function ownerOf(files: readonly string[]): Owner | undefined {
  const owners = files.map((file) => {
    try {
      const { uid, gid } = statSync(file);
      return { uid, gid };
    } catch (cause) {
      throw new StillpointError('database-file', `the database file cannot be found: ${messageOf(cause)}`, {
        hint: 'see application.gtm.globalDirectory and application.gtm.environment; `mupip create` makes missing files',
        cause,
      });
    }
  });
  const [first] = owners;
  const other = owners.find((each) => each.uid !== first?.uid);
  if (other !== undefined) {
    throw new StillpointError('database-file', `the database files belong to several users: ${files.join(', ')}`, {
      hint: 'give all files of one global directory to one user: a freeze belongs to one uid',
    });
  }
  if (process.getuid?.() !== 0 || first?.uid === 0) return undefined;
  return first;
}

const roots = ['/usr/lib', '/usr/local/lib', '/opt'];

/** Directories with a mumps and a mupip, newest name last: Debian's, FIS's and YottaDB's usual places. */
export function findDistributions(): readonly string[] {
  const below = (directory: string): readonly string[] => {
    try {
      return readdirSync(directory).map((name) => join(directory, name));
    } catch {
      return [];
    }
  };
  const homes = roots
    .flatMap((root) => [root, ...below(root).filter((each) => each.endsWith('-linux-gnu'))])
    .flatMap(below)
    .filter((each) => /\/(fis-gtm|gtm|yottadb)[^/]*$/.test(each));
  const found = homes
    .flatMap((home) => [home, ...below(home)])
    .filter((each) => existsSync(join(each, 'mumps')) && existsSync(join(each, 'mupip')));
  return [...new Set(found.map((each) => realpathSync(each)))].toSorted();
}

export function findDistribution(): string {
  const found = findDistributions().at(-1);
  if (found !== undefined) return found;
  throw new StillpointError('database-unreachable', 'no GT.M programs were found', {
    hint: 'set application.gtm.distribution to the value of gtm_dist of the application',
  });
}
