import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import type { RequiredPath, SnapshotRef, Volume } from '../../../model/storage.ts';
import { detailOf } from '../../../platform/snapshot-place.ts';
import type { Platform, SnapshotModule } from '../../../ports/module.ts';
import type { SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { changedSince } from './changed.ts';
import { sync } from './commands.ts';
import { config, milliseconds, type Config } from './config.ts';
import { fileSystemNumber, mapperNumber, mounts } from './devices.ts';
import { arm, IdTaken, programsHere, type Done, type Executor } from './executor.ts';
import { assertOwnThin, idOf, Ledger, refOf } from './ledger.ts';
import { closeThin, openThin } from './open.ts';
import { originOf, placeOf, refuseVital, thinOf, volumeOf, type MountedThin } from './place.ts';
import { deleteId, hasId, idsOf, poolState, whyUnsound } from './pool.ts';
import { release } from './release.ts';
import type { CutDevice, Programs } from './script.ts';

const kind = 'dm-thin';
/** A sync of a slow disk with gigabytes of dirty pages takes minutes, and is outside the hold. */
const syncMs = 10 * 60_000;
/** Five programs for each volume, most of them at the same time; the freeze of a synced file system takes up to 70 ms. */
const expectedMs = { fixed: 80, each: 20 };
const fullAt = 0.8;

class DmThin implements SnapshotProvider {
  readonly kind = kind;
  readonly needs = 'any';
  readonly cutsBy = 'dm-thin';
  readonly #config: Config;
  readonly #platform: Platform;
  readonly #ledger: Ledger;

  constructor(settings: Config, platform: Platform) {
    this.#config = settings;
    this.#platform = platform;
    this.#ledger = new Ledger(platform.stateDirectory);
  }

  async locate(paths: readonly RequiredPath[], signal: AbortSignal): Promise<readonly Volume[]> {
    const found = new Map<string, { readonly thin: MountedThin; readonly holds: string[] }>();
    for (const required of paths) {
      const thin = await placeOf(required, this.#platform, signal);
      if (thin === undefined) continue;
      const known = found.get(thin.name) ?? { thin, holds: [] };
      if (known.thin.mountPoint === thin.mountPoint) known.holds.push(required.name);
      else this.#platform.log.info(`${kind} does not take ${required.path}: ${thin.name} is mounted twice`);
      found.set(thin.name, known);
    }
    const all = [...found.values()];
    if (all.length < this.#config.atLeast) return [];
    await refuseVital(
      all.map(({ thin }) => thin),
      this.#platform,
    );
    return all.map(({ thin, holds }) => volumeOf(thin, holds));
  }

  atomicity(group: readonly Volume[]): ReturnType<SnapshotProvider['atomicity']> {
    const what = group.length === 1 ? 'the file system is' : `all ${group.length} file systems are`;
    return {
      atomicity: 'one-instant',
      how: `${what} frozen and the thin volumes suspended before the first snapshot is made, and until after the last`,
    };
  }

  async predict(
    group: readonly Volume[],
    _hold: unknown,
    signal: AbortSignal,
  ): ReturnType<SnapshotProvider['predict']> {
    const findings: Finding[] = [];
    for (const pool of poolsOf(group)) {
      const state = await poolState(pool, this.#platform, signal);
      const unsound = whyUnsound(state);
      if (unsound !== undefined) findings.push({ severity: 'error', check: 'thin-pool', said: `${pool}: ${unsound}` });
      const used = Math.max(state.data, state.metadata);
      if (used < fullAt) continue;
      findings.push({
        severity: 'warning',
        check: 'thin-pool',
        said: `${pool} is ${Math.round(used * 100)} % full, and a snapshot makes every first write to a block take new space`,
      });
    }
    return { cutMs: expectedMs.fixed + expectedMs.each * group.length, spaceBytes: [], findings };
  }

  async prepare(group: readonly Volume[], signal: AbortSignal): Promise<readonly Volume[]> {
    const { exec, log } = this.#platform;
    await this.#ledger.make();
    const known = await this.#ledger.ids();
    const taken = new Map<string, readonly number[]>();
    for (const pool of poolsOf(group)) {
      const unsound = whyUnsound(await poolState(pool, this.#platform, signal));
      if (unsound !== undefined) throw new StillpointError('volume-unsafe', `no snapshot in ${pool}: ${unsound}`);
      const ids = (await idsOf(pool, this.#platform, signal)) ?? [];
      taken.set(pool, ids);
      const unknown = ids.filter((id) => known.get(pool)?.has(id) !== true);
      if (unknown.length > 0) log.warn(`pool ${pool} has ids that no file of ours names: ${unknown.join(', ')}`);
    }
    for (const volume of group) {
      await exec.check({ argv: sync(detailOf(volume, 'mountPoint')), timeoutMs: syncMs, signal });
    }
    return group.map((volume) => ({
      ...volume,
      details: { ...volume.details, taken: (taken.get(detailOf(volume, 'pool')) ?? []).join(' ') },
    }));
  }

  refs(group: readonly Volume[], label: string): readonly SnapshotRef[] {
    return group.map((volume) => refOf(volume, detailOf(volume, 'pool'), label));
  }

  async cut(group: readonly Volume[], label: string, signal: AbortSignal): ReturnType<SnapshotProvider['cut']> {
    const refs = this.refs(group, label);
    const { devices, programs } = await this.#ready(group, label, signal);
    const done = await this.#run(group, refs, devices, programs, label, signal);
    const cuts = refs.map((snapshot) => ({
      volume: snapshot.volume,
      snapshot,
      called: done.called,
      fixed: done.fixed,
    }));
    return { ...this.atomicity(group), cuts, spans: done.spans };
  }

  /** All that can fail before anything is written or started. */
  async #ready(
    group: readonly Volume[],
    label: string,
    signal: AbortSignal,
  ): Promise<{ readonly devices: readonly CutDevice[]; readonly programs: Programs }> {
    if (signal.aborted) throw new StillpointError('cut-failed', 'the cut was cancelled before it began');
    const programs = await programsHere(this.#platform);
    if ('missing' in programs) throw new StillpointError('cut-failed', `the program ${programs.missing} is missing`);
    const table = await mounts();
    const devices: CutDevice[] = [];
    for (const volume of group) {
      const thin = thinOf(volume);
      const id = idOf(label, volume.id);
      const number = await mapperNumber(thin.name);
      const mount = table.findLast(({ mountPoint }) => mountPoint === thin.mountPoint);
      if (number === undefined || mount?.number !== number || (await fileSystemNumber(thin.mountPoint)) !== number) {
        throw new StillpointError('cut-failed', `${thin.name} is not mounted at ${thin.mountPoint} any more`);
      }
      const taken = (volume.details['taken'] ?? '').split(' ').includes(String(id));
      if (taken || devices.some((device) => device.pool === thin.pool && device.id === id)) {
        throw new StillpointError('cut-failed', `id ${id} of pool ${thin.pool} is taken already`, {
          hint: 'run the backup again: its new name gives another id',
        });
      }
      devices.push({ ...thin, number, mountId: mount.id, id });
    }
    return { devices, programs };
  }

  async #run(
    group: readonly Volume[],
    refs: readonly SnapshotRef[],
    devices: readonly CutDevice[],
    programs: Programs,
    label: string,
    signal: AbortSignal,
  ): Promise<Done> {
    const written: SnapshotRef[] = [];
    let executor: Executor | undefined;
    try {
      // Arming takes as long as writing down: both before the first freeze.
      const arming = arm(this.#platform, devices, programs, { label, limitMs: milliseconds(this.#config.limit) });
      const noting = this.#note(group, refs, written);
      const [armed, noted] = await Promise.allSettled([arming, noting]);
      if (armed.status === 'fulfilled') executor = armed.value;
      if (noted.status === 'rejected') throw noted.reason;
      if (executor === undefined) throw armed.status === 'rejected' ? armed.reason : new Error('not armed');
      const run = executor;
      executor = undefined;
      const done = await run.go(signal);
      await this.#settle(refs);
      return done;
    } catch (error) {
      await executor?.cancel();
      throw await this.#failed(error, written);
    }
  }

  async #note(group: readonly Volume[], refs: readonly SnapshotRef[], written: SnapshotRef[]): Promise<void> {
    await this.#ledger.make();
    const results = await Promise.allSettled(
      refs.map(async (ref, index) => {
        const volume = group[index];
        if (volume === undefined) return;
        await this.#ledger.add(ref, { thin: thinOf(volume), id: idOf(ref.label, ref.volume) });
        written.push(ref);
      }),
    );
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #settle(refs: readonly SnapshotRef[]): Promise<void> {
    for (const ref of refs) {
      // Not settled, a later release only asks once more.
      await this.#ledger.settle(ref).catch((error: unknown) => this.#platform.log.warn(messageOf(error)));
    }
  }

  /** Proves that nothing stands still, removes what was made, and gives the error to throw. */
  async #failed(error: unknown, written: readonly SnapshotRef[]): Promise<StillpointError> {
    try {
      await this.release(written);
    } catch (unproven) {
      if (unproven instanceof StillpointError) return unproven;
      throw unproven;
    }
    const left: string[] = [];
    for (const ref of written) {
      try {
        // An id that was there already is somebody else's.
        if (error instanceof IdTaken && error.volume === originOf(ref.volume).name) await this.#ledger.remove(ref);
        else await this.delete(ref);
      } catch (undone) {
        left.push(messageOf(undone));
      }
    }
    const reason = messageOf(error);
    const more = error instanceof StillpointError && error.code === 'cut-failed' ? error.hint : undefined;
    return new StillpointError('cut-failed', left.length === 0 ? reason : `${reason}; and ${left.join('; ')}`, {
      hint: more ?? '`stillpoint check` looks at the storage; nothing was copied',
      cause: error,
    });
  }

  async release(refs: readonly SnapshotRef[]): Promise<void> {
    await release(refs, this.#platform, this.#ledger);
  }

  async *list(group: readonly Volume[]): AsyncIterable<SnapshotRef> {
    for (const volume of group) {
      for (const label of await this.#ledger.labels(volume)) {
        const entry = await this.#ledger.find({ volume: volume.id, label });
        if (entry === undefined || !(await hasId(entry.thin.pool, entry.id, this.#platform))) continue;
        yield refOf(volume, entry.thin.pool, label);
      }
    }
  }

  async open(ref: SnapshotRef): ReturnType<SnapshotProvider['open']> {
    assertOwnThin(ref);
    const entry = await this.#ledger.find(ref);
    if (entry === undefined) return this.#gone(ref);
    const newer = await openThin(ref, entry, this.#platform);
    return {
      ...newer,
      changedSince: async (base, signal) => {
        assertOwnThin(base);
        const older = await this.#ledger.find(base);
        return await changedSince({
          platform: this.#platform,
          base,
          entries: { newer: entry, base: older },
          newer,
          openBase: () => (older === undefined ? this.#gone(base) : openThin(base, older, this.#platform)),
          signal,
        });
      },
    };
  }

  #gone(ref: SnapshotRef): never {
    throw new StillpointError('io', `the snapshot ${ref.at} is gone`, { hint: 'make a new point' });
  }

  async delete(ref: SnapshotRef): Promise<void> {
    const { pool, id } = assertOwnThin(ref);
    const entry = await this.#ledger.find(ref);
    if (entry === undefined) {
      if (!(await hasId(pool, id, this.#platform))) return;
      throw new StillpointError('undo-failed', `pool ${pool} has an id ${id} that no file of ours names`, {
        hint: `if nothing else can have made it, delete it by hand: dmsetup message ${pool} 0 "delete ${id}"`,
      });
    }
    await closeThin(ref, this.#platform);
    await deleteId(entry.thin.pool, entry.id, this.#platform);
    await this.#ledger.remove(ref);
  }
}

function poolsOf(group: readonly Volume[]): ReadonlySet<string> {
  return new Set(group.map((volume) => detailOf(volume, 'pool')));
}

export const dmThin = {
  kind,
  config,
  create: (settings: Config, platform: Platform): SnapshotProvider => new DmThin(settings, platform),
} satisfies SnapshotModule<Config>;
