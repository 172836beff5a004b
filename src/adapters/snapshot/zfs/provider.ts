import { randomBytes } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import type { VolumeCut } from '../../../model/evidence.ts';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { CommandSpan } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import { layerOf } from '../../../model/stack.ts';
import type { RequiredPath, SnapshotRef, Volume } from '../../../model/storage.ts';
import { isWithin } from '../../../platform/files.ts';
import { detailOf } from '../../../platform/snapshot-place.ts';
import type { Platform, SnapshotModule } from '../../../ports/module.ts';
import type { ChangedBlocks, OpenSnapshot, SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { changedFiles } from './changed.ts';
import { destroy, diff, list, snapshot, status, sync } from './commands.ts';
import { config, type Config } from './config.ts';
import { kind, placeOf, poolOf, snapshotName, volumeId, whatToDo } from './names.ts';
import { closeSnapshot, mountsInside, openSnapshot } from './open.ts';
import { parseDiff, parseList, parseStatus, whyNotDestroyed, type ListedSnapshot } from './parse.ts';

const lookMs = 30_000;
const syncMs = 10 * 60_000;
/** Longer than any hold: the hold's own signal ends a cut. */
const cutMs = 10 * 60_000;
const removeMs = 120_000;
const diffMs = 30 * 60_000;
/** Not measured. A snapshot waits for the sync of its transaction group, which is short after `zpool sync`. */
const expectedMs = 250;

class Zfs implements SnapshotProvider {
  readonly kind = kind;
  readonly needs = 'any';
  readonly cutsBy = 'zfs';
  readonly #platform: Platform;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  async locate(paths: readonly RequiredPath[], signal: AbortSignal): Promise<readonly Volume[]> {
    const volumes = new Map<string, { readonly mountPoint: string; readonly holds: string[] }>();
    for (const required of paths) {
      const place = await this.#place(required, signal);
      if (place === undefined) continue;
      const known = volumes.get(place.dataset);
      if (known === undefined) {
        volumes.set(place.dataset, { mountPoint: place.mountPoint, holds: [required.name] });
      } else if (known.mountPoint === place.mountPoint) {
        known.holds.push(required.name);
      } else {
        this.#passed(required, `${place.dataset} is mounted twice, at ${known.mountPoint} and ${place.mountPoint}`);
      }
    }
    return [...volumes].map(([dataset, { mountPoint, holds }]) => ({
      id: volumeId(dataset, mountPoint),
      provider: kind,
      holds,
      details: { dataset, mountPoint },
    }));
  }

  async #place(
    required: RequiredPath,
    signal: AbortSignal,
  ): Promise<{ readonly dataset: string; readonly mountPoint: string } | undefined> {
    const { host, exec } = this.#platform;
    const stack = await host.stackOf(required.path, signal);
    if (stack.fileSystem !== 'zfs') return undefined;
    const { mountPoint, device } = stack;
    if (process.geteuid?.() !== 0) return this.#passed(required, 'only root may mount and destroy snapshots');
    for (const program of ['zfs', 'zpool']) {
      if ((await exec.which(program)) === undefined) return this.#passed(required, `the program ${program} is missing`);
    }
    const root = layerOf(stack, 'mount')?.details['root'] ?? '/';
    if (root !== '/') return this.#passed(required, `the mount ${mountPoint} shows only a part of ${device}`);
    if (device.includes('@')) return this.#passed(required, `${device} is a snapshot itself`);
    if (!required.companions.every((companion) => isWithin(companion, mountPoint))) {
      return this.#passed(required, 'a companion file lies outside the dataset');
    }
    const mounts = required.kind === 'directory' ? await mountsInside(required.path, mountPoint) : [];
    // A dataset below is a mount of its own, and an empty directory in the snapshot of this one.
    if (mounts.length > 0)
      return this.#passed(required, `another file system is mounted below it at ${mounts.join(', ')}`);
    return { dataset: device, mountPoint };
  }

  #passed(required: RequiredPath, why: string): undefined {
    this.#platform.log.info(`zfs does not take ${required.path}: ${why}`);
  }

  atomicity(group: readonly Volume[]): ReturnType<SnapshotProvider['atomicity']> {
    const pools = new Set(group.map((volume) => poolOf(detailOf(volume, 'dataset'))));
    return pools.size <= 1
      ? {
          atomicity: 'one-instant',
          how: 'one `zfs snapshot` of all datasets of one pool: one transaction group (zfs-snapshot(8)); not yet seen on a real pool',
        }
      : {
          atomicity: 'sequential',
          how: `${pools.size} ZFS pools, each by a command and a transaction group of its own`,
        };
  }

  async predict(group: readonly Volume[]): ReturnType<SnapshotProvider['predict']> {
    const findings: Finding[] = [];
    const pools = new Set(group.map((volume) => poolOf(detailOf(volume, 'dataset'))));
    for (const pool of pools) {
      // A suspended pool lets commands hang.
      const result = await this.#platform.exec.check({ argv: status(pool), timeoutMs: lookMs });
      findings.push(...parseStatus(result.stdout, pool));
    }
    return { cutMs: expectedMs * pools.size, spaceBytes: [], findings };
  }

  async prepare(group: readonly Volume[], signal: AbortSignal): Promise<readonly Volume[]> {
    for (const pool of new Set(group.map((volume) => poolOf(detailOf(volume, 'dataset'))))) {
      await this.#platform.exec.check({ argv: sync(pool), timeoutMs: syncMs, signal });
    }
    return group;
  }

  refs(group: readonly Volume[], label: string): readonly SnapshotRef[] {
    return group.map((volume) => ({
      provider: kind,
      volume: volume.id,
      label,
      at: snapshotName(detailOf(volume, 'dataset'), label),
    }));
  }

  async cut(group: readonly Volume[], label: string, signal: AbortSignal): ReturnType<SnapshotProvider['cut']> {
    const refs = this.refs(group, label);
    const attempt = randomBytes(8).toString('hex');
    const pools = Map.groupBy(refs, (ref) => poolOf(ref.at));
    const results = await Promise.allSettled([...pools.values()].map((some) => this.#cutPool(some, attempt, signal)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) {
      const left = await this.#undo(refs, attempt);
      throw new StillpointError('cut-failed', [messageOf(failed.reason), ...left].join('; and '), {
        hint: '`stillpoint check` looks at the storage; nothing was copied',
        cause: failed.reason,
      });
    }
    const done = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const cuts = done.flatMap(({ cuts: some }) => some);
    return {
      ...this.atomicity(group),
      cuts: group.flatMap((volume) => cuts.filter((cut) => cut.volume === volume.id)),
      spans: done.map(({ span }) => span),
    };
  }

  async #cutPool(
    refs: readonly SnapshotRef[],
    attempt: string,
    signal: AbortSignal,
  ): Promise<{ readonly cuts: readonly VolumeCut[]; readonly span: CommandSpan }> {
    const { clock, exec } = this.#platform;
    const [first] = refs;
    const argv = snapshot(
      refs.map(({ at }) => at),
      first?.label ?? '',
      attempt,
    );
    const called = clock.now();
    const result = await exec.run({ argv, timeoutMs: cutMs, signal });
    const fixed = clock.now();
    if (result.exitCode !== 0) {
      throw new Error(`${argv.join(' ')} ${result.cancelled ? 'was cancelled' : 'failed'}: ${result.stderr.trim()}`);
    }
    return {
      cuts: refs.map((ref) => ({ volume: ref.volume, snapshot: ref, called, fixed })),
      span: { party: 'provider', what: argv.join(' '), startMs: result.startedMs, endMs: result.endedMs },
    };
  }

  /** Destroys what this attempt made, also by a command that was ended; a snapshot of that name that was there before is another one's. */
  async #undo(refs: readonly SnapshotRef[], attempt: string): Promise<readonly string[]> {
    const left: string[] = [];
    for (const ref of refs) {
      try {
        if ((await this.#look(ref.at))?.cut === attempt) await this.delete(ref);
      } catch (error) {
        left.push(messageOf(error));
      }
    }
    return left;
  }

  async #look(name: string): Promise<ListedSnapshot | undefined> {
    const result = await this.#platform.exec.run({ argv: list(name), timeoutMs: lookMs });
    if (result.exitCode === 0) return parseList(result.stdout)[0];
    if (whyNotDestroyed(result.stderr) === 'missing') return undefined;
    throw new StillpointError('command-failed', `the snapshot ${name} cannot be looked up: ${result.stderr.trim()}`, {
      hint: 'see whether `zpool status` shows the pool as imported and working',
    });
  }

  async *list(group: readonly Volume[]): AsyncIterable<SnapshotRef> {
    for (const volume of group) {
      const dataset = detailOf(volume, 'dataset');
      const { stdout } = await this.#platform.exec.check({ argv: list(dataset), timeoutMs: lookMs });
      const labels = parseList(stdout)
        .filter(({ name, run }) => run !== undefined && name === `${dataset}@${run}`)
        .map(({ run = '' }) => run);
      for (const label of labels.toSorted((a, b) => (a < b ? -1 : 1))) yield* this.refs([volume], label);
    }
  }

  async open(ref: SnapshotRef): ReturnType<SnapshotProvider['open']> {
    const { dataset, mountPoint } = placeOf(ref);
    if ((await this.#look(ref.at)) === undefined) {
      throw new StillpointError('io', `the snapshot ${ref.at} is gone`, { hint: 'make a new point' });
    }
    const opened = await openSnapshot(this.#platform, ref, mountPoint);
    // Other file systems mounted in the dataset are empty directories in its snapshot.
    const others = await mountsInside(mountPoint, mountPoint);
    const at: OpenSnapshot['at'] = (original) => {
      if (!isWithin(original, mountPoint) || others.some((other) => isWithin(original, other))) return undefined;
      const copy = join(opened.directory, original.slice(mountPoint.length));
      return lstatSync(copy, { throwIfNoEntry: false }) === undefined ? undefined : copy;
    };
    return {
      at,
      changedSince: (base, signal) => this.#changedSince(ref, base, { dataset, mountPoint, at }, signal),
      [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
    };
  }

  async #changedSince(
    ref: SnapshotRef,
    base: SnapshotRef,
    place: { readonly dataset: string; readonly mountPoint: string; readonly at: OpenSnapshot['at'] },
    signal: AbortSignal,
  ): Promise<ChangedBlocks | undefined> {
    const { exec, log } = this.#platform;
    const unknown = (why: string): undefined => {
      log.info(`zfs cannot tell what changed from ${base.at} to ${ref.at}: ${why}`);
    };
    if (base.provider !== kind || base.volume !== ref.volume) return unknown('they are of two volumes');
    placeOf(base);
    if ((await this.#look(base.at)) === undefined) return unknown('the older snapshot is gone');
    const result = await exec.run({
      argv: diff(base.at, ref.at),
      timeoutMs: diffMs,
      signal,
      maxOutputBytes: 256 * 1024 * 1024,
    });
    // It may list less than there is when it complains (an object whose path it cannot find), and exit with 0.
    if (result.exitCode !== 0 || result.stderr.trim() !== '') return unknown(result.stderr.trim());
    const older = await openSnapshot(this.#platform, base, place.mountPoint);
    try {
      const found = changedFiles(parseDiff(result.stdout), place.mountPoint, {
        newer: place.at,
        older: older.directory,
      });
      if (found === undefined) {
        await older[Symbol.asyncDispose]();
        return unknown('its list names paths outside the mount point');
      }
      return {
        source: found.source,
        of: (original) => found.of(original),
        [Symbol.asyncDispose]: () => older[Symbol.asyncDispose](),
      };
    } catch (error) {
      await older[Symbol.asyncDispose]();
      return unknown(messageOf(error));
    }
  }

  async delete(ref: SnapshotRef): Promise<void> {
    placeOf(ref);
    const found = await this.#look(ref.at);
    if (found === undefined) return;
    const failed = (why: string, hint: string): StillpointError =>
      new StillpointError('undo-failed', `the snapshot ${ref.at} could not be deleted: ${why}`, { hint });
    if (found.run !== ref.label) {
      throw failed(
        'its property stillpoint:run does not say that it is ours',
        `this snapshot was left alone; look at it by hand: zfs get all ${ref.at}`,
      );
    }
    if (found.holds > 0) {
      throw failed('somebody holds it', `see who: zfs holds ${ref.at}; then zfs release TAG ${ref.at}`);
    }
    await closeSnapshot(this.#platform, ref);
    const result = await this.#platform.exec.run({ argv: destroy(ref), timeoutMs: removeMs });
    if (result.exitCode === 0) return;
    const why = whyNotDestroyed(result.stderr);
    if (why === 'missing') return;
    throw failed(result.stderr.trim(), whatToDo(why, ref));
  }
}

export const zfs = {
  kind,
  config,
  create: (_settings: Config, platform: Platform): SnapshotProvider => new Zfs(platform),
} satisfies SnapshotModule<Config>;
