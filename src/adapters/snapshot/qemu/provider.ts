import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef, Volume } from '../../../model/storage.ts';
import type { RequiredPath } from '../../../model/storage.ts';
import { refsIn, detailOf } from '../../../platform/snapshot-place.ts';
import type { Platform, SnapshotModule } from '../../../ports/module.ts';
import type { SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { addFleece, cutTogether, syncFileSystem, type CutDisk } from './commands.ts';
import { config, type Config } from './config.ts';
import { fillPlace, makeReady, overlayBytes } from './cut.ts';
import { locateVolumes } from './locate.ts';
import { openSnapshot } from './open.ts';
import { Qmp } from './qmp.ts';
import { deleteSnapshot } from './remove.ts';
import { kind, nbdSocket, refOf, shapeOf } from './volume.ts';

/** A sync of a slow disk with gigabytes of dirty pages takes minutes, and is outside the hold. */
const syncMs = 10 * 60_000;
/** Measured: 6 to 12 ms for two disks, of which the transaction itself takes 2 to 6. */
const expectedMs = 15;
const expectedMsPerDisk = 5;

/** It answered at `prepare`; who came in between must not cost the hold more than this. */
const connectInHoldMs = 1000;

class Qemu implements SnapshotProvider {
  readonly kind = kind;
  readonly needs = 'any';
  readonly cutsBy = 'disk';
  readonly #config: Config;
  readonly #platform: Platform;

  constructor(settings: Config, platform: Platform) {
    this.#config = settings;
    this.#platform = platform;
  }

  async locate(paths: readonly RequiredPath[], signal: AbortSignal): Promise<readonly Volume[]> {
    const { qmp } = this.#config;
    if (qmp === undefined) return [];
    const directory = this.#config.overlayDirectory ?? join(this.#platform.stateDirectory, 'qemu');
    return await locateVolumes({ paths, qmp, directory, disks: this.#config.disks ?? {}, signal }, this.#platform);
  }

  atomicity(group: readonly Volume[]): ReturnType<SnapshotProvider['atomicity']> {
    const disks = group.flatMap((volume) => shapeOf(volume).disks).length;
    return {
      atomicity: 'one-instant',
      how: `one QMP transaction over ${disks} disk${disks === 1 ? '' : 's'}: each is drained before the next, and none goes on before the last has its copy-before-write filter`,
    };
  }

  async predict(group: readonly Volume[]): ReturnType<SnapshotProvider['predict']> {
    const disks = group.flatMap((volume) => shapeOf(volume).disks);
    const bytes = disks.reduce((sum, disk) => sum + overlayBytes(disk, this.#reserve), 0);
    const directories = new Set(group.map((volume) => detailOf(volume, 'overlayDirectory')));
    return {
      cutMs: expectedMs + expectedMsPerDisk * disks.length,
      spaceBytes: [...directories].map((directory) => ({ directory, bytes })),
      findings:
        this.#reserve === 1
          ? []
          : [
              {
                severity: 'warning',
                check: 'qemu-overlay-space',
                said: `only ${Math.round(this.#reserve * 100)} % of the disks' size is reserved for the overlays: if their disk runs full, writes of the machine itself fail`,
              },
            ],
    };
  }

  get #reserve(): number {
    return this.#config.reserve ?? 1;
  }

  async prepare(group: readonly Volume[], signal: AbortSignal): Promise<readonly Volume[]> {
    const mountPoints = new Set(group.flatMap((volume) => shapeOf(volume).fileSystems.map((one) => one.mountPoint)));
    for (const mountPoint of mountPoints) {
      await this.#platform.exec.check({ argv: syncFileSystem(mountPoint), timeoutMs: syncMs, signal });
    }
    for (const volume of group) await makeReady(volume, this.#reserve, this.#platform, signal);
    // It must answer now: in the hold there is no time to wait for another client of the monitor to leave.
    using _ = await this.#connect();
    return group;
  }

  async #connect(timeoutMs?: number): Promise<Qmp> {
    return await Qmp.connect(this.#monitor, this.#platform.clock, timeoutMs);
  }

  get #monitor(): string {
    if (this.#config.qmp !== undefined) return this.#config.qmp;
    throw new StillpointError('io', 'the configuration names no QMP monitor any more', {
      hint: 'set `qmp` of the provider `qemu` again, as it was when the snapshot was made',
    });
  }

  refs(group: readonly Volume[], label: string): readonly SnapshotRef[] {
    return group.map((volume) => refOf(volume, label));
  }

  async cut(group: readonly Volume[], label: string, signal: AbortSignal): ReturnType<SnapshotProvider['cut']> {
    const { clock } = this.#platform;
    const made: SnapshotRef[] = [];
    const startMs = clock.monoMs();
    let reached = false;
    try {
      signal.throwIfAborted();
      const place = async (volume: Volume): Promise<readonly CutDisk[]> => {
        const ref = refOf(volume, label);
        // One that is there already is not ours to remove.
        await mkdir(ref.at, { mode: 0o700 });
        made.push(ref);
        return await fillPlace(volume, ref, this.#reserve, this.#platform, signal);
      };
      // All have ended before anything is removed again.
      const [connected, ...placed] = await Promise.allSettled([this.#connect(connectInHoldMs), ...group.map(place)]);
      using qmp = valueOf(connected);
      reached = true;
      const disks = placed.flatMap(valueOf);
      // Asked at once and answered in turn: a busy machine needs several milliseconds for each question.
      await Promise.all(disks.map((disk) => qmp.execute(addFleece(disk))));
      signal.throwIfAborted();
      const called = clock.now();
      await qmp.execute(cutTogether(disks));
      const fixed = clock.now();
      signal.throwIfAborted();
      const what = `QMP transaction over ${disks.map(({ node }) => node).join(', ')}`;
      return {
        ...this.atomicity(group),
        cuts: group.map((volume) => ({ volume: volume.id, snapshot: refOf(volume, label), called, fixed })),
        spans: [{ party: 'provider', what, startMs, endMs: fixed.monoMs }],
      };
    } catch (error) {
      const left: string[] = [];
      // Never reached, the monitor has nothing of it, and the hold must not wait for it again.
      const undo = (ref: SnapshotRef): Promise<void> => (reached ? this.delete(ref) : rm(ref.at, { recursive: true }));
      for (const ref of made) await undo(ref).catch((other: unknown) => left.push(messageOf(other)));
      throw new StillpointError('cut-failed', [messageOf(error), ...left].join('; and '), {
        hint: '`stillpoint check` looks at the storage; nothing was copied',
        cause: error,
      });
    }
  }

  async *list(group: readonly Volume[]): AsyncIterable<SnapshotRef> {
    for (const volume of group) yield* refsIn(detailOf(volume, 'overlayDirectory'), kind, volume);
  }

  async open(ref: SnapshotRef): ReturnType<SnapshotProvider['open']> {
    const socket = nbdSocket(ref, this.#monitor);
    return await openSnapshot(ref, { socket, connect: () => this.#connect(), platform: this.#platform });
  }

  async delete(ref: SnapshotRef): Promise<void> {
    await deleteSnapshot(ref, this.#platform, this.#config.qmp);
  }
}

function valueOf<T>(settled: PromiseSettledResult<T>): T {
  if (settled.status === 'rejected') throw settled.reason;
  return settled.value;
}

export const qemu = {
  kind,
  config,
  create: (settings: Config, platform: Platform): SnapshotProvider => new Qemu(settings, platform),
} satisfies SnapshotModule<Config>;
