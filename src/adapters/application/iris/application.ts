import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { FreezeStatus, HoldToken, ThawAnswer } from '../../../model/hold.ts';
import type { Finding, Level } from '../../../model/point.ts';
import type { Application, Copy, EngineEvent, HoldSession, Located } from '../../../ports/application.ts';
import type { Journals } from '../../../ports/journals.ts';
import type { OnlineBackup } from '../../../ports/online.ts';
import type { ApplicationModule, Discovered, Platform, SecretReader } from '../../../ports/module.ts';
import { historyScript } from './commands.ts';
import { sizeScript } from './commands-online.ts';
import { irisConfig, type IrisConfig } from './config.ts';
import { Control } from './control.ts';
import { eventsBetween } from './events.ts';
import { askSuspended } from './freeze.ts';
import { IrisHold } from './hold.ts';
import { IrisJournals } from './journals.ts';
import { locate } from './locate.ts';
import { IrisOnline } from './online.ts';
import { parseAnswers } from './parse.ts';
import type { Instance } from './parse-instances.ts';
import { parseBackupSize } from './parse-online.ts';
import { logDirectoryOf, logName, placesOf } from './places.ts';
import { ask, assertFit, findingsOf } from './questions.ts';
import { IrisStop, startAll } from './stop.ts';
import { type InstanceThaw, thawInstance } from './thaw.ts';
import { verify } from './verify.ts';

/** Together about the 10 s that a thaw from outside may take. */
const listMs = 1_500;
const thawMs = 7_000;
const historyMs = 30_000;

/** An instance as `thaw` and `status` know it: without the list of instances, only its name and a configured log directory. */
interface Known {
  readonly name: string;
  readonly state: Instance['state'];
  readonly logDirectory: string | undefined;
}

/** InterSystems IRIS and Caché by their own commands. README.md says what was never met. */
export class IrisApplication implements Application {
  readonly engine = 'iris';
  readonly journals: Journals;
  readonly online: OnlineBackup;
  readonly #control: Control;

  constructor(config: IrisConfig, workload: string, platform: Platform, secret: SecretReader) {
    this.#control = new Control(config, platform, secret);
    this.online = new IrisOnline(this.#control, workload);
    this.journals = new IrisJournals(this.#control);
  }

  async locate(signal: AbortSignal): Promise<Located> {
    return locate(this.#control, signal);
  }

  async openHold(token: HoldToken, budgetMs: number): Promise<HoldSession> {
    return new IrisHold(this.#control, token, budgetMs);
  }

  async openStop(token: HoldToken, budgetMs: number): Promise<HoldSession> {
    return new IrisStop(this.#control, token, budgetMs);
  }

  /** The instances of a hold, for whoever has only its token. Throws when nobody can say which they are. */
  async #known(): Promise<readonly Known[]> {
    const { config } = this.#control;
    try {
      const all = await this.#control.instances(undefined, listMs);
      const names = config.instances === 'all' ? undefined : config.instances.map((each) => each.toUpperCase());
      return all
        .filter((each) => names === undefined || names.includes(each.name.toUpperCase()))
        .filter((each) => each.name !== config.verify?.instance)
        .map((each) => ({ name: each.name, state: each.state, logDirectory: logDirectoryOf(this.#control, each) }));
    } catch (cause) {
      if (config.instances === 'all') throw cause;
      // qlist hangs together with an instance; the thaw must not.
      return config.instances.map((name) => ({ name, state: 'unknown', logDirectory: config.logDirectory }));
    }
  }

  async status(token: HoldToken): Promise<FreezeStatus> {
    try {
      const known = await this.#known();
      const each = await Promise.all(known.map(async (instance) => this.#statusOf(instance, token)));
      const state = (['frozen', 'unknown'] as const).find((one) => each.some((status) => status.state === one));
      return { state: state ?? 'thawed', said: each.map(({ said }) => said).join('; ') };
    } catch (cause) {
      return { state: 'unknown', said: messageOf(cause) };
    }
  }

  async #statusOf({ name, state, logDirectory }: Known, token: HoldToken): Promise<FreezeStatus> {
    if (token.way === 'stop') return this.#stopStatusOf({ name, state, logDirectory }, token);
    if (state === 'down') return { state: 'thawed', said: `${name} does not run` };
    const asked = await askSuspended(this.#control, name, 3_000);
    if (asked.exit === 'no') return { state: 'thawed', said: `${name} says that it is not suspended` };
    const ours =
      logDirectory === undefined ? undefined : await this.#control.has(logDirectory, logName(token.runId, name));
    if (asked.exit === 'yes' && ours === true) return { state: 'frozen', said: `${name} says that it is suspended` };
    if (asked.exit === 'yes') return { state: 'unknown', said: strange(name) };
    return { state: 'unknown', said: asked.said };
  }

  async #stopStatusOf({ name, state, logDirectory }: Known, token: HoldToken): Promise<FreezeStatus> {
    if (state === 'running') return { state: 'thawed', said: `${name} runs` };
    const ours =
      logDirectory === undefined ? undefined : await this.#control.has(logDirectory, logName(token.runId, name));
    // Somebody else stopped it, on purpose.
    if (ours === false) return { state: 'thawed', said: `${name} is ${state}, and this run did not stop it` };
    if (ours === true && state === 'down') return { state: 'frozen', said: `${name} is down` };
    return { state: 'unknown', said: `${name} is ${state}` };
  }

  async thaw(token: HoldToken): Promise<ThawAnswer> {
    const { clock } = this.#control.platform;
    const answer = (thawed: boolean, said: string, spans: ThawAnswer['spans'] = []): ThawAnswer => ({
      thawed,
      heldThroughout: false,
      said,
      at: clock.now(),
      spans,
      artifacts: [],
    });
    try {
      const known = await this.#known();
      const thaws = await Promise.all(known.map(async (instance) => this.#thawOne(instance, token)));
      return answer(
        thaws.every((each) => each.thawed),
        thaws.map((each) => each.said).join('; '),
        thaws.flatMap((each) => each.spans),
      );
    } catch (cause) {
      return answer(false, messageOf(cause));
    }
  }

  async #thawOne({ name, state, logDirectory }: Known, token: HoldToken): Promise<InstanceThaw> {
    const said = (thawed: boolean, text: string): InstanceThaw => ({ thawed, held: false, said: text, spans: [] });
    if (token.way === 'stop') return this.#startOne({ name, state, logDirectory }, token);
    if (state === 'down') return said(true, `${name} does not run`);
    const file = logName(token.runId, name);
    const ours = logDirectory === undefined ? undefined : await this.#control.has(logDirectory, file, listMs);
    if (ours === false) {
      // No log, no freeze of ours. If it is frozen all the same, that may be somebody else's hold, which is not ours to end.
      const asked = await askSuspended(this.#control, name, 3_000);
      if (asked.exit === 'no') return said(true, `${name} says that it is not suspended`);
      return said(false, asked.exit === 'yes' ? strange(name) : asked.said);
    }
    const log = logDirectory === undefined ? undefined : join(logDirectory, file);
    const thawed = await thawInstance(this.#control, { name, log }, thawMs);
    if (thawed.thawed && log !== undefined) {
      await this.#control.command(['rm', '-f', '--', log], listMs).catch(() => undefined);
    }
    return thawed;
  }

  async #startOne(known: Known, token: HoldToken): Promise<InstanceThaw> {
    const { name, logDirectory } = known;
    const status = await this.#stopStatusOf(known, token);
    const { running, said, spans } =
      status.state === 'thawed'
        ? { running: true, said: status.said, spans: [] }
        : await startAll(this.#control, [name], thawMs);
    if (running && logDirectory !== undefined) {
      const mark = join(logDirectory, logName(token.runId, name));
      await this.#control.command(['rm', '-f', '--', mark], listMs).catch(() => undefined);
    }
    return { thawed: running, held: false, said, spans };
  }

  verify(copy: Copy, signal: AbortSignal): AsyncIterable<Finding> {
    return verify(this.#control, copy, signal);
  }

  async *check(signal: AbortSignal): AsyncGenerator<Finding> {
    for (const instance of await this.#control.wanted(signal)) {
      assertFit(instance);
      const places = await placesOf(this.#control, instance);
      yield* findingsOf(places, await ask(this.#control, places, signal), this.#control.config);
      yield* await this.#checkFiles(instance, places.console);
    }
    if (this.#control.config.verify === undefined) {
      yield {
        severity: 'warning',
        check: 'verify',
        said: 'no instance is configured on which a drill could check a copy',
      };
    }
  }

  async #checkFiles(instance: Instance, console: string): Promise<readonly Finding[]> {
    const directory = logDirectoryOf(this.#control, instance);
    const writable = (await this.#control.command(['test', '-w', directory])).exitCode === 0;
    const readable = (await this.#control.sizeSoFar(console)) !== undefined;
    return [
      writable
        ? { severity: 'info', check: 'log', said: `${directory} can be written` }
        : {
            severity: 'error',
            check: 'log',
            said: `${directory} cannot be written: set application.iris.logDirectory`,
          },
      readable
        ? { severity: 'info', check: 'console', said: `${console} can be read` }
        : {
            severity: 'warning',
            check: 'console',
            said: `${console} cannot be read: a freeze by others goes unnoticed`,
          },
    ];
  }

  async events(fromMs: number, toMs: number, signal: AbortSignal): Promise<readonly EngineEvent[]> {
    return eventsBetween(this.#control, fromMs, toMs, signal);
  }

  /** By the engine's own list of databases and its bitmaps, so `since` does not matter to it. */
  async estimate(
    _since: unknown,
    signal: AbortSignal,
  ): Promise<readonly { readonly level: Level; readonly bytes: number; readonly said: string }[]> {
    const sums = new Map<Level, number>();
    const instances = await this.#control.wanted(signal);
    for (const { name } of instances) {
      const output = await this.#control.script(name, sizeScript(), { signal, timeoutMs: historyMs });
      const answers = parseAnswers(output);
      for (const level of ['full', 'cumulative', 'incremental'] as const) {
        const size = parseBackupSize(answers.get(level) ?? '');
        if (size === undefined) {
          throw new StillpointError('command-failed', `${name} gave no size of a ${level} backup`, {
            hint: 'see the list of databases of its backup (^BACKUP, option 4)',
          });
        }
        sums.set(level, (sums.get(level) ?? 0) + size.fileBytes);
      }
    }
    return [...sums].map(([level, bytes]) => ({ level, bytes, said: `INT^DBSIZE of ${instances.length} instances` }));
  }

  /**
   * Counts for the engine's journal purge, so it comes last: a backup that was never proved must not let journals go. The engine has
   * counted its own backups itself, and an entry more in its history would only cover up what went before.
   */
  async confirm(point: { readonly id: string; readonly cutAt: string; readonly method?: string }): Promise<void> {
    if (point.method === 'online' || point.method === 'concurrent') return;
    for (const instance of await this.#control.wanted()) {
      const description = `stillpoint ${point.id} of ${point.cutAt}`;
      // As an argument of the command its exit code would not be documented; here it answers, or it did not run.
      const output = await this.#control.script(instance.name, historyScript(description), { timeoutMs: historyMs });
      if (parseAnswers(output).get('history') === '1') continue;
      throw new StillpointError('command-failed', `${instance.name} did not take the backup into its history`, {
        hint: 'nothing is lost: journals are kept longer than they need be',
      });
    }
  }

  async running(signal: AbortSignal): Promise<boolean> {
    const { instances } = this.#control.config;
    const all = await this.#control.instances(signal);
    const names = instances === 'all' ? undefined : instances.map((each) => each.toUpperCase());
    return all.some(
      (each) => each.state !== 'down' && (names === undefined || names.includes(each.name.toUpperCase())),
    );
  }
}

function strange(name: string): string {
  return `${name} is suspended, and there is no log of this run: somebody else froze it, or the log was removed; \`iris thaw ${name}\` ends it if nobody needs it`;
}

async function discover(platform: Platform, signal: AbortSignal): Promise<readonly Discovered[]> {
  const config = irisConfig.parse({});
  const control = new Control(config, platform, () => Promise.reject(new Error('no password is configured')));
  let instances: readonly Instance[];
  try {
    instances = await control.instances(signal);
  } catch {
    signal.throwIfAborted();
    return [];
  }
  return instances.map((each) => ({
    name: each.name.toLowerCase(),
    config: { instances: [each.name] },
    said: `${each.product === '' ? 'Caché or IRIS' : each.product} ${each.version} in ${each.directory}, ${each.status}`,
  }));
}

export const iris: ApplicationModule<IrisConfig> = {
  kind: 'iris',
  config: irisConfig,
  reachable: true,
  create: (config, workload, platform, secret) => new IrisApplication(config, workload, platform, secret),
  discover,
};
