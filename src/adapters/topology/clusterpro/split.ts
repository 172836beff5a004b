import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Exec } from '../../../platform/exec.ts';
import type { SeenDisk, Split, SplitPhase, ToldBySplit } from '../../../ports/mirror-split.ts';
import * as commands from './commands.ts';
import type { Argv } from './commands.ts';
import { parseDisks, parseUnit, type Unit } from './parse-split.ts';
import { Told, type ViewSettings } from './view.ts';
import type { Heard, Way } from './way.ts';

const lookMs = 15_000;
const actMs = 60_000;
/** A group stops with its engine, and an engine may have much to write. */
const groupMs = 300_000;

type ServerTold = ToldBySplit['servers'][string];

/** Takes the mirror apart by commands on the servers. The API has no verb for that. */
export class ClusterproSplit implements Split {
  readonly monitors: readonly string[];
  readonly mirrors: readonly string[];
  readonly #settings: ViewSettings;
  readonly #way: Way;
  readonly #servers: ReadonlyMap<string, Exec>;
  readonly #directory: string | undefined;

  constructor(settings: ViewSettings, way: Way, servers: ReadonlyMap<string, Exec>, directory: string | undefined) {
    this.monitors = Object.values(settings.mirrors).map(({ monitor }) => monitor);
    this.mirrors = Object.keys(settings.mirrors);
    this.#settings = settings;
    this.#way = way;
    this.#servers = servers;
    this.#directory = directory;
  }

  async look(signal?: AbortSignal): Promise<ToldBySplit> {
    const [heard, systems] = await Promise.all([
      this.#way.ask(signal),
      Promise.all([...this.#servers].map(async ([name, exec]) => [name, await systemOf(exec, signal)] as const)),
    ]);
    const told = heard.some(({ report }) => report !== undefined) ? new Told(heard) : undefined;
    const group = told?.word((report) => report.groups.get(this.#settings.group)?.status);
    const on = told?.word((report) => report.groups.get(this.#settings.group)?.current) ?? null;
    return {
      servers: Object.fromEntries(systems.map(([name, system]) => [name, this.#server(name, system, heard, told)])),
      group: {
        status: group === 'Online' ? 'online' : group === 'Offline' ? 'offline' : 'unknown',
        on: on !== null && this.#servers.has(on) ? on : null,
      },
      mirror: same(
        this.mirrors.map((mirror) => told?.word((report) => report.mirrors.get(mirror)?.status) ?? 'unknown'),
      ),
    };
  }

  #server(name: string, system: System, heard: readonly Heard[], told: Told | undefined): ServerTold {
    const own = heard.find(({ server }) => server === name);
    return {
      answers: system.bootId !== undefined,
      bootId: system.bootId,
      services: own?.report === undefined ? servicesOf(system, own?.why ?? '') : 'running',
      startup: system.unit.startup,
      word: told?.server(name) ?? 'unknown',
      colour: same(this.mirrors.map((mirror) => told?.colour(mirror, name) ?? 'unknown')),
      suspended: this.monitors.filter((monitor) => told?.monitor(monitor, name) === 'Suspend'),
    };
  }

  async stopGroup(on: string): Promise<void> {
    await this.#act(on, commands.stopGroup(this.#directory, this.#settings.group), groupMs);
  }

  async startGroup(on: string): Promise<void> {
    await this.#act(on, commands.startGroup(this.#directory, this.#settings.group), groupMs);
  }

  async suspend(monitor: string, server: string): Promise<void> {
    await this.#way.suspend(monitor, server);
  }

  async resume(monitor: string, server: string): Promise<void> {
    await this.#way.resume(monitor, server);
  }

  async break(standby: string): Promise<void> {
    for (const mirror of this.mirrors) await this.#act(standby, commands.breakMirror(this.#directory, mirror), actMs);
  }

  async recover(on: string): Promise<void> {
    // One that is whole already refuses it, which must not keep the others from it.
    const told = await Promise.allSettled(
      this.mirrors.map((mirror) => this.#act(on, commands.recoverMirror(this.#directory, mirror), actMs)),
    );
    const failed = told.find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
  }

  async phase(phase: SplitPhase, server: string): Promise<void> {
    await this.#act(server, commands.phaseOf(this.#directory, phase), actMs);
  }

  async disks(server: string): Promise<readonly SeenDisk[]> {
    return parseDisks(await this.#act(server, commands.disksOf, lookMs));
  }

  command(step: Parameters<Split['command']>[0]): string {
    const directory = this.#directory;
    const each = (names: readonly string[], argv: (name: string) => Argv): string =>
      names.map((name) => argv(name).join(' ')).join('; ');
    switch (step) {
      case 'stop-group':
        return commands.stopGroup(directory, this.#settings.group).join(' ');
      case 'start-group':
        return commands.startGroup(directory, this.#settings.group).join(' ');
      case 'suspend':
        return each(this.monitors, (monitor) => commands.suspendMonitor(directory, monitor, 'SERVER'));
      case 'resume':
        return each(this.monitors, (monitor) => commands.resumeMonitor(directory, monitor, 'SERVER'));
      case 'break':
        return each(this.mirrors, (mirror) => commands.breakMirror(directory, mirror));
      case 'recover':
        return each(this.mirrors, (mirror) => commands.recoverMirror(directory, mirror));
      case 'backup-pre':
      case 'backup-post':
      case 'restore-pre':
      case 'restore-post':
        return commands.phaseOf(directory, step).join(' ');
    }
  }

  async #act(server: string, argv: Argv, timeoutMs: number): Promise<string> {
    const exec = this.#servers.get(server);
    if (exec === undefined) throw new Error(`the cluster has no server ${server}`);
    const result = await exec.run({ argv, env: commands.environment, timeoutMs });
    if (result.exitCode === 0 && !result.timedOut) return result.stdout;
    const how = result.timedOut
      ? `did not end within ${timeoutMs} ms`
      : result.exitCode === null
        ? 'ended in a way that is not known'
        : `ended with ${result.exitCode}`;
    const said = `${result.stdout}\n${result.stderr}`.trim().split('\n').slice(-3).join('; ');
    throw new StillpointError(
      'command-failed',
      `\`${argv.join(' ')}\` on ${server} ${how}${said === '' ? '' : `: ${said}`}`,
      {
        hint: `run it by hand on ${server} to see why`,
      },
    );
  }
}

interface System {
  /** Undefined: it does not answer. */
  readonly bootId: string | undefined;
  readonly unit: Unit;
}

const unknownUnit: Unit = { active: 'unknown', startup: 'unknown' };

async function systemOf(exec: Exec, signal: AbortSignal | undefined): Promise<System> {
  const look = async (argv: Argv): Promise<string | undefined> => {
    const result = await exec
      .run({ argv, env: commands.environment, timeoutMs: lookMs, ...(signal === undefined ? {} : { signal }) })
      .catch((error: unknown) => ({ exitCode: null, timedOut: false, stdout: messageOf(error) }));
    return result.exitCode === 0 && !result.timedOut ? result.stdout : undefined;
  };
  const bootId = (await look(commands.bootIdOf))?.trim();
  if (bootId === undefined || bootId === '') return { bootId: undefined, unit: unknownUnit };
  const unit = await look(commands.unitOf);
  return { bootId, unit: unit === undefined ? unknownUnit : parseUnit(unit) };
}

/** Of a server that does not report: a service that does not run says so, and anything else is not known. */
function servicesOf({ bootId, unit }: System, why: string): 'stopped' | 'unknown' {
  if (bootId === undefined) return 'unknown';
  if (unit.active !== 'unknown') return unit.active === 'no' ? 'stopped' : 'unknown';
  return /cluster is stopped|could not connect to the server/i.test(why) ? 'stopped' : 'unknown';
}

function same(words: readonly string[]): string {
  return [...new Set(words)].join(' or ');
}
