import { randomBytes } from 'node:crypto';
import { StillpointError } from '../../../model/errors.ts';
import type { CommandResult, Exec } from '../../../platform/exec.ts';
import type { Config } from './config.ts';
import {
  aliasOf,
  deleteScript,
  existsWord,
  listLogs,
  listShadows,
  listWriters,
  prepareDirectory,
  removeLogs,
  runScript,
  unexposeScript,
} from './commands.ts';
import {
  parseLog,
  parseLogs,
  parseShadows,
  parseWriters,
  whyNot,
  type KeptLog,
  type Shadow,
  type Writer,
} from './parse.ts';

const lookMs = 60_000;
/** VSS itself gives up earlier: writers have 60 s from freeze to thaw, and each of its own steps has a limit. */
const scriptMs = 10 * 60_000;

/** What is asked of the Windows machine, in the words of the provider. */
export class Windows {
  readonly #exec: Exec;
  readonly #directory: string;

  constructor(exec: Exec, config: Pick<Config, 'directory'>) {
    this.#exec = exec;
    this.#directory = config.directory;
  }

  async prepare(signal: AbortSignal): Promise<void> {
    const result = await this.#exec.run({ argv: prepareDirectory(this.#directory), timeoutMs: lookMs, signal });
    if (result.exitCode === 0) return;
    throw new StillpointError(
      'command-failed',
      `${this.#directory} could not be made for administrators alone: ${said(result)}`,
      {
        hint: 'log in as a member of Administrators; scripts are run from there with all rights',
      },
    );
  }

  async writers(signal?: AbortSignal): Promise<readonly Writer[]> {
    const result = await this.#exec.run({
      argv: listWriters,
      timeoutMs: lookMs,
      ...(signal === undefined ? {} : { signal }),
    });
    if (result.exitCode !== 0) throw refused('vssadmin list writers', result);
    return parseWriters(result.stdout);
  }

  async shadows(): Promise<readonly Shadow[]> {
    const result = await this.#exec.run({ argv: listShadows, timeoutMs: lookMs });
    const found = parseShadows(result.stdout);
    // Without any it may end with 1, and says so in words.
    const none = result.exitCode === 1 && /No items found/.test(result.stdout);
    if (result.exitCode !== 0 && !none) throw refused('vssadmin list shadows', result);
    return found;
  }

  /** Runs a set's script whose log is kept. Throws an Error in words for any end but success. */
  async create(label: string, attempt: string, script: string, signal: AbortSignal): Promise<CommandResult> {
    const result = await this.#exec.run({
      argv: runScript(this.#directory, label, attempt),
      stdin: script,
      timeoutMs: scriptMs,
      signal,
    });
    if (result.exitCode === 0) return result;
    if (result.cancelled) throw new Error('diskshadow was cancelled');
    if (result.stdout.includes(existsWord)) throw new Error(`there is a log of ${label} already in ${this.#directory}`);
    const why = whyNot(result.stdout);
    throw new StillpointError('cut-failed', `diskshadow made no shadow copies: ${why.said}${more(result)}`, {
      hint: why.hint,
    });
  }

  /** Throws `command-failed` in words. */
  async run(script: string): Promise<void> {
    // A name that nobody can foresee, so that nobody can have put a file of it there.
    const name = `run-${randomBytes(8).toString('hex')}`;
    const result = await this.#exec.run({
      argv: runScript(this.#directory, name, undefined),
      stdin: script,
      timeoutMs: scriptMs,
    });
    if (result.exitCode === 0) return;
    const why = whyNot(result.stdout);
    throw new StillpointError('command-failed', `diskshadow failed: ${why.said}${more(result)}`, { hint: why.hint });
  }

  async logs(): Promise<readonly KeptLog[]> {
    return parseLogs((await this.#exec.check({ argv: listLogs(this.#directory), timeoutMs: lookMs })).stdout);
  }

  /** The id of the shadow copy that a label has of a volume, while it exists. */
  async shadowOf(label: string, volumeId: string): Promise<string | undefined> {
    const log = (await this.logs()).find((each) => each.label === label);
    const id = parseLog(log?.log ?? '').get(aliasOf(volumeId));
    if (id === undefined) return undefined;
    return (await this.shadows()).some((shadow) => shadow.id === id) ? id : undefined;
  }

  /**
   * Deletes shadow copies that the log of a label names, and the log when none of them is left. Without a log there is nothing: the ids are
   * known from nowhere else. `choose` gives undefined for a log that is not to be touched.
   */
  async remove(
    label: string,
    choose: (log: KeptLog, shadows: ReadonlyMap<string, string>) => readonly string[] | undefined,
  ): Promise<void> {
    const log = (await this.logs()).find((each) => each.label === label);
    if (log === undefined) return;
    const named = parseLog(log.log);
    const chosen = choose(log, named);
    if (chosen === undefined) return;
    const existing = new Set((await this.shadows()).map(({ id }) => id));
    for (const id of chosen.filter((each) => existing.has(each))) {
      // After a crash nobody else takes its drive letter away. It fails for one that has none.
      await this.run(unexposeScript(id)).catch(() => undefined);
      await this.run(deleteScript(id));
      existing.delete(id);
    }
    if (chosen.length === named.size || ![...named.values()].some((id) => existing.has(id)))
      await this.#removeLogs(label);
  }

  async #removeLogs(label: string): Promise<void> {
    await this.#exec.check({ argv: removeLogs(this.#directory, label), timeoutMs: lookMs });
  }
}

function refused(command: string, result: CommandResult): StillpointError {
  return new StillpointError('command-failed', `\`${command}\` failed: ${said(result)}`, {
    hint: 'log in as a member of Administrators, and see that the service VSS is not disabled',
  });
}

function said(result: CommandResult): string {
  const text = `${result.stdout}\n${result.stderr}`.trim().split(/\r?\n/).slice(-3).join('; ');
  return text === '' ? `exit code ${result.exitCode ?? 'unknown'}` : text;
}

function more(result: CommandResult): string {
  return result.stderr.trim() === '' ? '' : ` (${result.stderr.trim().slice(-300)})`;
}

/** The hint of a foreseen error, for whoever wraps it. */
export function hintOf(error: unknown): string | undefined {
  return error instanceof StillpointError ? error.hint : undefined;
}

export function inWords({ name, state, lastError }: Writer): string {
  return `the VSS writer ${name} is in state ${state} (${lastError})`;
}
