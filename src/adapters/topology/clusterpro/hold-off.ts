import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import { writeDurably } from '../../../platform/files.ts';
import type { Platform } from '../../../ports/module.ts';
import type { HoldOffToken } from '../../../ports/topology.ts';
import { manager, nothing, Told, type ViewSettings } from './view.ts';
import type { Way } from './way.ts';

/** What this token changed, or was about to: all of it was otherwise before. The cluster itself does not know whose it is. */
const record = z.strictObject({
  identity: z.string(),
  monitors: z.array(z.strictObject({ monitor: z.string(), server: z.string() })),
  ratio: z.number().nullable(),
});
type Changes = z.output<typeof record>;

type HoldOffSettings = NonNullable<ViewSettings['holdOff']>;

export class HoldOff {
  readonly #settings: HoldOffSettings;
  readonly #way: Way;
  readonly #platform: Platform;

  constructor(settings: HoldOffSettings, way: Way, platform: Platform) {
    this.#settings = settings;
    this.#way = way;
    this.#platform = platform;
  }

  async begin(token: HoldOffToken, signal: AbortSignal): Promise<void> {
    const { ratio } = this.#settings;
    const told = new Told(await this.#way.ask(signal));
    let changes = await this.#read(token);
    if (changes === undefined) {
      changes = this.#planned(told, token);
      await writeDurably(this.#file(token), JSON.stringify(changes));
    }
    try {
      for (const { monitor, server } of changes.monitors) await this.#way.suspend(monitor, server, signal);
      if (ratio !== undefined) await this.#way.setRatio(ratio.factor, ratio.time, signal);
      const after = new Told(await this.#way.ask(signal));
      const left = changes.monitors
        .map(({ monitor, server }) => ({ monitor, server, word: after.monitor(monitor, server) }))
        .filter(({ word }) => word !== 'Suspend')
        .map(({ monitor, server, word }) => `${monitor} is ${word} on ${server}`);
      if (ratio !== undefined && after.ratio !== ratio.factor)
        left.push(`the time-out ratio is ${after.ratio ?? 'not told'}`);
      if (left.length > 0) throw notHeld(left.join('; '));
    } catch (error) {
      // Throws `undo-failed` where it cannot: that outweighs the first error.
      await this.end(token);
      throw error;
    }
  }

  /** What will be changed, if it is not somebody else's. A monitor that does not run on a server now is left alone there. */
  #planned(told: Told, { identity }: HoldOffToken): Changes {
    const { monitors, ratio } = this.#settings;
    const servers = [...(told.reports[0]?.servers.keys() ?? [])];
    const changed = monitors.flatMap((monitor) => {
      const words = servers.map((server) => ({ server, word: told.monitor(monitor, server) }));
      const suspended = words.find(({ word }) => word === 'Suspend');
      if (suspended !== undefined) throw taken(`${monitor} is suspended on ${suspended.server} already`);
      const running = words.filter(({ word }) => isRunning(word));
      const odd = words.find(({ word }) => !isRunning(word) && word !== 'Offline' && word !== nothing);
      if (odd !== undefined) throw notHeld(`${monitor} is ${odd.word} on ${odd.server}`);
      if (running.length === 0) throw notHeld(`the monitor ${monitor} runs on no server`);
      return running.map(({ server }) => ({ monitor, server }));
    });
    if (ratio !== undefined && told.ratio === undefined) throw notHeld('the servers do not tell the time-out ratio');
    if (ratio !== undefined && told.ratio !== 1) throw taken(`the time-out ratio is ${told.ratio} already`);
    return { identity, monitors: changed, ratio: ratio?.factor ?? null };
  }

  async end(token: HoldOffToken): Promise<void> {
    const changes = await this.#read(token);
    if (changes === undefined) {
      // It is written before anything is done.
      this.#platform.log.info(`the run ${token.runId} held off nothing of the cluster ${token.cluster}`);
      return;
    }
    const failed: string[] = [];
    const resumed = await this.#undo(changes, failed);
    const after = await this.#told(failed);
    const left = after === undefined ? ['nobody tells the state of the cluster'] : stillHeld(after, changes, resumed);
    if (left.length > 0) throw notLetGo(left, failed);
    await rm(this.#file(token), { force: true });
  }

  /** Which monitors took the word. What fails is noted, and the rest is undone all the same. */
  async #undo({ monitors, ratio }: Changes, failed: string[]): Promise<ReadonlySet<string>> {
    const before = await this.#told(failed);
    const resumed = new Set<string>();
    for (const { monitor, server } of monitors) {
      // Where nobody tells, it is resumed too: that does no harm.
      if (before !== undefined && isRunning(before.monitor(monitor, server))) continue;
      try {
        await this.#way.resume(monitor, server);
        resumed.add(`${monitor} ${server}`);
      } catch (error) {
        failed.push(messageOf(error));
      }
    }
    // Another one is somebody else's by now; 1 is what it goes back to by itself.
    const isOurs = before?.ratio === undefined || before.ratio === ratio;
    try {
      if (ratio !== null && isOurs) await this.#way.resetRatio();
    } catch (error) {
      failed.push(messageOf(error));
    }
    return resumed;
  }

  async #told(failed: string[]): Promise<Told | undefined> {
    try {
      return new Told(await this.#way.ask());
    } catch (error) {
      failed.push(messageOf(error));
      return undefined;
    }
  }

  #file({ runId }: HoldOffToken): string {
    return join(this.#platform.stateDirectory, `${manager}-${runId.replaceAll(/[^A-Za-z0-9_-]/g, '_')}.json`);
  }

  async #read(token: HoldOffToken): Promise<Changes | undefined> {
    const file = this.#file(token);
    try {
      return record.parse(JSON.parse(await readFile(file, 'utf8')));
    } catch (cause) {
      if (codeOf(cause) === 'ENOENT') return undefined;
      throw new StillpointError('undo-failed', `${file} cannot be read: ${messageOf(cause)}`, {
        hint: 'it says which monitors were suspended; see `clpstat -m` and resume them by hand, then remove the file',
        cause,
      });
    }
  }
}

function stillHeld(told: Told, { monitors, ratio }: Changes, resumed: ReadonlySet<string>): readonly string[] {
  const left = monitors.flatMap(({ monitor, server }) => {
    const word = told.monitor(monitor, server);
    // The group has moved away meanwhile: there is nothing to watch there now, and it took the word.
    const isIdle = word === 'Offline' && told.server(server) === 'Online' && resumed.has(`${monitor} ${server}`);
    return isRunning(word) || isIdle ? [] : [`${monitor} is ${word} on ${server}`];
  });
  const isExtended = ratio !== null && (told.ratio === undefined || told.ratio === ratio);
  return isExtended ? [...left, `the time-out ratio is ${told.ratio ?? 'not told'}`] : left;
}

/** It watches, well or not. */
function isRunning(word: string): boolean {
  return /^(?:Online|Normal|Caution|Error)$/.test(word);
}

function taken(said: string): StillpointError {
  return new StillpointError('role-unsuitable', `failover is held off by somebody else: ${said}`, {
    hint: 'find out who maintains the cluster; `clpmonctrl -r` and `clptoratio -i` undo it',
  });
}

function notHeld(said: string): StillpointError {
  return new StillpointError('command-failed', `the cluster said that failover is held off, and it is not: ${said}`, {
    hint: 'see `clpstat -m` and `clptoratio -s`; nothing of ours is left',
  });
}

function notLetGo(left: readonly string[], failed: readonly string[]): StillpointError {
  return new StillpointError(
    'undo-failed',
    `it is not proved that the cluster watches again: ${[...left, ...new Set(failed)].join('; ')}`,
    {
      hint: 'by hand: `clpmonctrl -r -h SERVER -m MONITOR` and `clptoratio -i`; a monitor that is Offline comes back with its server. Then `stillpoint recover`',
    },
  );
}
