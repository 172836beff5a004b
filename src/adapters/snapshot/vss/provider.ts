import { randomBytes } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import type { RequiredPath, SnapshotRef, Volume } from '../../../model/storage.ts';
import { isWithin, mountPointsBelow } from '../../../platform/files.ts';
import { detailOf } from '../../../platform/snapshot-place.ts';
import type { Platform, ReachModule, SnapshotModule } from '../../../ports/module.ts';
import type { SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { aliasOf, createScript, deleteScript, exposeScript, unexposeScript } from './commands.ts';
import { configWith, type Config } from './config.ts';
import { parseLog, type Writer } from './parse.ts';
import { hintOf, inWords, Windows } from './windows.ts';

const kind = 'vss';
/** A guess: PowerShell, diskshadow and the writers' own preparations. Writes stop for less than the 10 s that VSS allows for them. */
const expectedMs = 20_000;
const labelForm = /^stillpoint-[A-Za-z0-9._-]+$/;

type WindowsVolume = Config['volumes'][number];

function volumeId(volume: WindowsVolume): string {
  return `${kind}:${volume.volume}:${volume.here}`;
}

class Vss implements SnapshotProvider {
  readonly kind = kind;
  readonly needs = 'any';
  /**
   * Not `disk`, which would have the mount here frozen, a network file system: Windows itself flushes and freezes its file systems above the
   * volumes, as LVM does for a thick snapshot, and no freeze from outside may be in force.
   */
  readonly cutsBy = 'vss';
  readonly #config: Config;
  readonly #platform: Platform;
  readonly #windows: Windows | undefined;

  constructor(settings: Config, platform: Platform, windows: Windows | undefined) {
    this.#config = settings;
    this.#platform = platform;
    this.#windows = windows;
  }

  async locate(paths: readonly RequiredPath[]): Promise<readonly Volume[]> {
    if (this.#windows === undefined) return [];
    const volumes = new Map<WindowsVolume, string[]>();
    for (const required of paths) {
      const volume = this.#config.volumes.find(({ here }) => isWithin(required.path, here));
      if (volume === undefined) continue;
      const passed = (why: string): void => this.#platform.log.info(`vss does not take ${required.path}: ${why}`);
      if (!required.companions.every((companion) => isWithin(companion, volume.here))) {
        passed('a companion file lies outside the volume');
      } else if ((await mountPointsBelow(required.path)).length > 0) {
        passed('another file system is mounted below it');
      } else {
        volumes.set(volume, [...(volumes.get(volume) ?? []), required.name]);
      }
    }
    return [...volumes].map(([volume, holds]) => ({
      id: volumeId(volume),
      provider: kind,
      holds,
      details: { volume: volume.volume, here: volume.here },
    }));
  }

  /** The limits stand in `how`, which goes into the evidence. */
  atomicity(group: readonly Volume[]): ReturnType<SnapshotProvider['atomicity']> {
    return {
      atomicity: 'one-instant',
      how: `one VSS shadow copy set of ${group.length} volume${group.length === 1 ? '' : 's'}: Windows froze its writers and file systems for it; the image of that instant is the shadow copy and not the live volume, and a cloud or array snapshot, which cannot be taken inside that freeze, holds it only as the shadow copy on its disks${
        this.#config.writers.length === 0
          ? '; no writer was named, so a database without a writer is as after a power cut'
          : ''
      }`,
    };
  }

  async predict(
    group: readonly Volume[],
    _hold: unknown,
    signal: AbortSignal,
  ): ReturnType<SnapshotProvider['predict']> {
    const findings: Finding[] = [];
    const add = (severity: Finding['severity'], said: string): void =>
      void findings.push({ severity, check: 'vss-writers', said });
    const writers = await this.#there().writers(signal);
    for (const id of this.#missing(writers)) add('error', `the Windows machine has no VSS writer ${id}`);
    for (const writer of writers.filter(({ isWell }) => !isWell)) {
      add(this.#isNamed(writer) ? 'error' : 'warning', inWords(writer));
    }
    if (this.#config.writers.length === 0) {
      add('info', 'no VSS writer is named under `writers`: nothing proves that the database took part');
    }
    for (const { id } of group) {
      if (this.#volume(id)?.expose === undefined) {
        add('warning', `${id} has no \`expose\`: its shadow copy can be made but not read from here`);
      }
    }
    return { cutMs: expectedMs, spaceBytes: [], findings };
  }

  async prepare(group: readonly Volume[], signal: AbortSignal): Promise<readonly Volume[]> {
    await this.#there().prepare(signal);
    const busy = (await this.#there().writers(signal)).find(({ state }) => state >= 2 && state <= 4);
    if (busy !== undefined) {
      throw new StillpointError('volume-unsafe', `another backup is at work on the Windows machine: ${inWords(busy)}`, {
        hint: 'wait until it has ended; VSS makes one set at a time',
      });
    }
    return group;
  }

  refs(group: readonly Volume[], label: string): readonly SnapshotRef[] {
    return group.map(({ id }) => ({ provider: kind, volume: id, label, at: this.#at(id, label) }));
  }

  /** A name of ours; the id of the shadow copy is known only afterwards, and stands in the log of that label. */
  #at(id: string, label: string): string {
    if (!labelForm.test(label)) {
      throw new StillpointError('undo-failed', `${label} is no label of a snapshot of ours`, {
        hint: 'labels of ours begin with stillpoint-; this shadow copy was left alone',
      });
    }
    return `${this.#config.directory}\\${label}.log#${aliasOf(id)}`;
  }

  async cut(group: readonly Volume[], label: string, signal: AbortSignal): ReturnType<SnapshotProvider['cut']> {
    const { clock } = this.#platform;
    const windows = this.#there();
    const refs = this.refs(group, label);
    const attempt = randomBytes(8).toString('hex');
    const script = createScript({
      ...this.#config,
      label,
      volumes: group.map((volume) => ({ id: volume.id, volume: detailOf(volume, 'volume') })),
    });
    const called = clock.now();
    try {
      const result = await windows.create(label, attempt, script, signal);
      const fixed = clock.now();
      const shadows = parseLog(result.stdout);
      const missing = group.find(({ id }) => !shadows.has(aliasOf(id)));
      if (missing !== undefined) throw new Error(`diskshadow ended well but names no shadow copy of ${missing.id}`);
      await this.#proveKept(label, shadows);
      await this.#proveWriters(signal);
      return {
        ...this.atomicity(group),
        cuts: refs.map((snapshot) => ({ volume: snapshot.volume, snapshot, called, fixed })),
        spans: [
          {
            party: 'provider',
            what: `diskshadow, ${group.length} volumes`,
            startMs: result.startedMs,
            endMs: result.endedMs,
          },
        ],
      };
    } catch (error) {
      const left = await this.#undo(label, attempt);
      throw new StillpointError('cut-failed', [messageOf(error), ...left].join('; and '), {
        hint: hintOf(error) ?? '`stillpoint check` looks at the storage; nothing was copied',
        cause: error,
      });
    }
  }

  /** Another process must find the same shadow copies by the log, or nobody would ever delete them. */
  async #proveKept(label: string, shadows: ReadonlyMap<string, string>): Promise<void> {
    const kept = (await this.#there().logs()).find((each) => each.label === label);
    const found = parseLog(kept?.log ?? '');
    const lost = [...shadows].find(([alias, id]) => found.get(alias) !== id);
    if (lost === undefined) return;
    for (const id of shadows.values()) await this.#there().run(deleteScript(id));
    throw new Error(`the log of ${label} does not name the shadow copy ${lost[1]}`);
  }

  /** A writer that failed or came too late has not frozen its files, although the shadow copies are there. */
  async #proveWriters(signal: AbortSignal): Promise<void> {
    const writers = await this.#there().writers(signal);
    const [absent] = this.#missing(writers);
    if (absent !== undefined) throw new Error(`the VSS writer ${absent} is gone`);
    const bad = writers.find(
      (writer) => !writer.isWell && (this.#config.writers.length === 0 || this.#isNamed(writer)),
    );
    if (bad !== undefined) throw new Error(`after the cut ${inWords(bad)}`);
  }

  async #undo(label: string, attempt: string): Promise<readonly string[]> {
    try {
      await this.#there().remove(label, (log, named) => (log.attempt === attempt ? [...named.values()] : undefined));
      return [];
    } catch (error) {
      return [`what it made on the Windows machine could not be removed: ${messageOf(error)}`];
    }
  }

  async *list(group: readonly Volume[]): AsyncIterable<SnapshotRef> {
    const existing = new Set((await this.#there().shadows()).map(({ id }) => id));
    const logs = (await this.#there().logs()).toSorted((a, b) => (a.label < b.label ? -1 : 1));
    for (const volume of group) {
      for (const { label, log } of logs) {
        const id = parseLog(log).get(aliasOf(volume.id));
        if (id !== undefined && existing.has(id)) yield* this.refs([volume], label);
      }
    }
  }

  async open(ref: SnapshotRef): ReturnType<SnapshotProvider['open']> {
    const id = await this.#there().shadowOf(ref.label, ref.volume);
    if (id === undefined)
      throw new StillpointError('io', `the shadow copy ${ref.at} is gone`, { hint: 'make a new point' });
    const { expose, exposedHere, here } = this.#volume(ref.volume) ?? {};
    if (expose === undefined || exposedHere === undefined || here === undefined) {
      throw new StillpointError('io', `the shadow copy ${id} cannot be read from this machine`, {
        hint: 'set `expose` and `exposedHere` of that volume; or use it on Windows, where `diskshadow` exposes and reverts to it',
      });
    }
    const windows = this.#there();
    await windows.run(exposeScript(id, expose));
    try {
      await readdir(exposedHere);
    } catch (error) {
      await windows.run(unexposeScript(id));
      throw new StillpointError('io', `${exposedHere} does not show ${expose}: ${messageOf(error)}`, {
        hint: `share ${expose} on the Windows machine and mount it at ${exposedHere}`,
        cause: error,
      });
    }
    return {
      at(original) {
        if (!isWithin(original, here)) return undefined;
        const copy = join(exposedHere, original.slice(here.length));
        return lstatSync(copy, { throwIfNoEntry: false }) === undefined ? undefined : copy;
      },
      async [Symbol.asyncDispose]() {
        await windows.run(unexposeScript(id));
      },
    };
  }

  async delete(ref: SnapshotRef): Promise<void> {
    if (this.#at(ref.volume, ref.label) !== ref.at) {
      throw new StillpointError('undo-failed', `${ref.at} does not belong to label ${ref.label}`, {
        hint: 'this shadow copy was left alone; look at it by hand with `vssadmin list shadows`',
      });
    }
    const windows = this.#there();
    try {
      await windows.remove(ref.label, (_, named) => {
        const id = named.get(aliasOf(ref.volume));
        return id === undefined ? [] : [id];
      });
    } catch (error) {
      throw new StillpointError('undo-failed', `the shadow copy ${ref.at} could not be deleted: ${messageOf(error)}`, {
        hint: hintOf(error) ?? 'delete it by hand with diskshadow: delete shadows id ...',
        cause: error,
      });
    }
  }

  #volume(id: string): WindowsVolume | undefined {
    return this.#config.volumes.find((volume) => volumeId(volume) === id);
  }

  #missing(writers: readonly Writer[]): readonly string[] {
    return this.#config.writers.filter((id) => !writers.some((writer) => writer.id === id.toLowerCase()));
  }

  #isNamed(writer: Writer): boolean {
    return this.#config.writers.some((id) => id.toLowerCase() === writer.id);
  }

  #there(): Windows {
    if (this.#windows !== undefined) return this.#windows;
    throw new StillpointError('config-invalid', 'the provider vss has no Windows machine', {
      hint: 'set `host: { ssh: ... }` under `vss`; its snapshots were made with other settings',
    });
  }
}

/** With the reach by which the Windows machine is called; the registry knows it. */
export function vss<C>(ssh: ReachModule<C>): SnapshotModule<Config> {
  const config = configWith(ssh.config);
  return {
    kind,
    config,
    create(settings, platform) {
      const reached = settings.host === undefined ? undefined : ssh.create(settings.host.ssh as C, platform.host);
      return new Vss(settings, platform, reached === undefined ? undefined : new Windows(reached.exec, settings));
    },
  };
}
