import { lstatSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { VolumeCut } from '../../../model/evidence.ts';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { CommandSpan } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import { layerOf } from '../../../model/stack.ts';
import type { RequiredPath, SnapshotRef, StorageStack, Volume } from '../../../model/storage.ts';
import { isWithin, mountPointsBelow, pathExists } from '../../../platform/files.ts';
import { assertOwn, detailOf, refIn, refsIn, snapshotDirectoryName } from '../../../platform/snapshot-place.ts';
import type { Platform, SnapshotModule } from '../../../ports/module.ts';
import type { SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { changesOf } from './changes.ts';
import { listNested, remove, show, snapshot, sync } from './commands.ts';
import { config, type Config } from './config.ts';
import { parseDirtyBytes, parseList, parseShow } from './parse.ts';

const kind = 'btrfs';
const lookMs = 15_000;
/** A sync of a slow disk with gigabytes of dirty pages takes minutes, and is outside the hold. */
const syncMs = 10 * 60_000;
/** Longer than any hold: the hold's own signal ends a cut. */
const cutMs = 10 * 60_000;
const removeMs = 60_000;
/** Measured: a snapshot of a synced subvolume under load takes 11 to 21 ms. */
const expectedMs = 25;
const dirtyWarnBytes = 256 * 1024 * 1024;
/** Inode of the empty directory that stands in a snapshot for a nested subvolume (BTRFS_EMPTY_SUBVOL_DIR_OBJECTID). */
const placeholderInode = 2n;

/** Everything that open needs stands in the id, since a dead run leaves only the reference: kind, file system, subvolume's root. */
function volumeId(fileSystem: string, root: string): string {
  return `${kind}:${fileSystem}:${root}`;
}

function rootOf(volume: string): string {
  const found = /^btrfs:[^:]*:(\/.*)$/.exec(volume)?.[1];
  if (found === undefined) throw new Error(`${volume} is no btrfs volume`);
  return found;
}

interface Placed {
  readonly required: RequiredPath;
  readonly root: string;
  readonly fileSystem: string;
  readonly directory: string;
}

class Btrfs implements SnapshotProvider {
  readonly kind = kind;
  readonly needs = 'any';
  readonly cutsBy = 'btrfs';
  readonly #config: Config;
  readonly #platform: Platform;

  constructor(settings: Config, platform: Platform) {
    this.#config = settings;
    this.#platform = platform;
  }

  async locate(paths: readonly RequiredPath[], signal: AbortSignal): Promise<readonly Volume[]> {
    const placed: Placed[] = [];
    for (const required of paths) {
      const one = await this.#place(required, signal);
      if (one !== undefined) placed.push(one);
    }
    const volumes = new Map<string, Placed[]>();
    for (const one of placed) {
      const id = volumeId(one.fileSystem, one.root);
      volumes.set(id, [...(volumes.get(id) ?? []), one]);
    }
    const found: Volume[] = [];
    for (const [id, ones] of volumes) {
      const [first] = ones;
      if (first === undefined) continue;
      await this.#refuseNested(first, ones, signal);
      found.push({
        id,
        provider: kind,
        holds: ones.map(({ required }) => required.name),
        details: { subvolume: first.root, snapshotDirectory: first.directory },
      });
    }
    return found;
  }

  async #place(required: RequiredPath, signal: AbortSignal): Promise<Placed | undefined> {
    const { host, exec, log } = this.#platform;
    const stack = await host.stackOf(required.path, signal);
    if (stack.fileSystem !== 'btrfs') return undefined;
    const passed = (why: string): undefined => {
      log.info(`btrfs does not take ${required.path}: ${why}`);
      return undefined;
    };
    if (process.geteuid?.() !== 0) return passed('only root may delete the snapshots again');
    if ((await exec.which('btrfs')) === undefined) return passed('the program btrfs is missing (package btrfs-progs)');
    const root = layerOf(stack, 'subvolume')?.details['root'];
    if (root === undefined) return passed(`the mount ${stack.mountPoint} shows only a part of the subvolume`);
    if (!required.companions.every((companion) => isWithin(companion, root))) {
      return passed('a companion file lies outside the subvolume');
    }
    const mounts = required.kind === 'directory' ? await mountPointsBelow(required.path) : [];
    if (mounts.length > 0) return passed(`another file system is mounted below it at ${mounts.join(', ')}`);
    return { required, root, fileSystem: fileSystemOf(stack), directory: this.#directoryFor(stack) };
  }

  #directoryFor(stack: StorageStack): string {
    return this.#config.snapshotDirectory ?? join(stack.mountPoint, snapshotDirectoryName);
  }

  /** In a snapshot a nested subvolume is an empty directory: the point would lack its files without anybody noticing. */
  async #refuseNested(volume: Placed, ones: readonly Placed[], signal: AbortSignal): Promise<void> {
    const directories = ones.map(({ required }) => required).filter((required) => required.kind === 'directory');
    if (directories.length === 0) return;
    const { exec } = this.#platform;
    const top = parseShow((await exec.check({ argv: show(volume.root), timeoutMs: lookMs, signal })).stdout);
    const listed = parseList((await exec.check({ argv: listNested(volume.root), timeoutMs: lookMs, signal })).stdout);
    for (const nested of listed) {
      const below = top === '' ? nested : nested.slice(top.length + 1);
      const path = join(volume.root, below);
      if (isWithin(path, volume.directory)) continue;
      const owner = directories.find((required) => isWithin(path, required.path) && !isLeftOut(required, path));
      if (owner === undefined) continue;
      throw new StillpointError('volume-unsafe', `${path} is a btrfs subvolume of its own inside ${owner.path}`, {
        hint: `a snapshot would hold it as an empty directory: turn it into a plain directory, or list only \`copy\` under \`storage\``,
        details: { nested: path, path: owner.path },
      });
    }
  }

  atomicity(group: readonly Volume[]): ReturnType<SnapshotProvider['atomicity']> {
    return group.length <= 1
      ? { atomicity: 'one-instant', how: 'a btrfs snapshot of one subvolume is one transaction commit' }
      : { atomicity: 'sequential', how: `${group.length} btrfs subvolumes, each by a commit of its own` };
  }

  async predict(group: readonly Volume[]): ReturnType<SnapshotProvider['predict']> {
    const findings: Finding[] = [];
    const dirty = parseDirtyBytes(await readFile('/proc/meminfo', 'utf8'));
    if (dirty > dirtyWarnBytes) {
      findings.push({
        severity: 'info',
        check: 'btrfs-dirty-pages',
        said: `the machine holds ${Math.round(dirty / 1024 / 1024)} MiB of unwritten pages; they are synced before the hold, what is written until the cut is flushed inside it`,
      });
    }
    return { cutMs: expectedMs * group.length, spaceBytes: [], findings };
  }

  async prepare(group: readonly Volume[], signal: AbortSignal): Promise<readonly Volume[]> {
    for (const volume of group) {
      await mkdir(detailOf(volume, 'snapshotDirectory'), { recursive: true, mode: 0o700 });
      const argv = sync(detailOf(volume, 'subvolume'));
      await this.#platform.exec.check({ argv, timeoutMs: syncMs, signal });
    }
    return group;
  }

  refs(group: readonly Volume[], label: string): readonly SnapshotRef[] {
    return group.map((volume) => this.#ref(volume, label));
  }

  #ref(volume: Volume, label: string): SnapshotRef {
    return refIn(detailOf(volume, 'snapshotDirectory'), kind, volume.id, label);
  }

  async cut(group: readonly Volume[], label: string, signal: AbortSignal): ReturnType<SnapshotProvider['cut']> {
    const results = await Promise.allSettled(group.map((volume) => this.#cutOne(volume, label, signal)));
    const done = results.filter((result) => result.status === 'fulfilled').map((result) => result.value);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) {
      const left: string[] = [];
      for (const { cut } of done)
        await this.delete(cut.snapshot).catch((error: unknown) => left.push(messageOf(error)));
      const reason = messageOf(failed.reason);
      throw new StillpointError('cut-failed', left.length === 0 ? reason : `${reason}; and ${left.join('; ')}`, {
        hint: '`stillpoint check` looks at the storage; nothing was copied',
        cause: failed.reason,
      });
    }
    return { ...this.atomicity(group), cuts: done.map(({ cut }) => cut), spans: done.map(({ span }) => span) };
  }

  async #cutOne(
    volume: Volume,
    label: string,
    signal: AbortSignal,
  ): Promise<{ readonly cut: VolumeCut; readonly span: CommandSpan }> {
    const { clock, exec } = this.#platform;
    const ref = this.#ref(volume, label);
    // btrfs would put the snapshot inside an existing directory, under another name.
    if (await pathExists(ref.at)) throw new Error(`${ref.at} exists already`);
    const argv = snapshot(detailOf(volume, 'subvolume'), ref.at);
    const called = clock.now();
    const result = await exec.run({ argv, timeoutMs: cutMs, signal });
    const fixed = clock.now();
    if (result.exitCode === 0) {
      const span = {
        party: 'provider',
        what: argv.join(' '),
        startMs: result.startedMs,
        endMs: result.endedMs,
      } as const;
      return { cut: { volume: volume.id, snapshot: ref, called, fixed }, span };
    }
    // Ended by the signal, it may have made the snapshot all the same.
    await this.delete(ref);
    throw new Error(`${argv.join(' ')} ${result.cancelled ? 'was cancelled' : 'failed'}: ${result.stderr.trim()}`);
  }

  async *list(group: readonly Volume[]): AsyncIterable<SnapshotRef> {
    for (const volume of group) yield* refsIn(detailOf(volume, 'snapshotDirectory'), kind, volume);
  }

  async open(ref: SnapshotRef): ReturnType<SnapshotProvider['open']> {
    const root = rootOf(ref.volume);
    if (!(await pathExists(ref.at))) {
      throw new StillpointError('io', `the snapshot ${ref.at} is gone`, { hint: 'make a new point' });
    }
    return {
      at(original) {
        if (!isWithin(original, root)) return undefined;
        const copy = join(ref.at, original.slice(root.length));
        const found = lstatSync(copy, { bigint: true, throwIfNoEntry: false });
        return found === undefined || found.ino === placeholderInode ? undefined : copy;
      },
      changedSince: (base, signal) => changesOf(this.#platform, ref, root, base, signal),
      async [Symbol.asyncDispose]() {
        // Readable where it lies: nothing was opened.
      },
    };
  }

  async delete(ref: SnapshotRef): Promise<void> {
    assertOwn(ref);
    if (!(await pathExists(ref.at))) return;
    const result = await this.#platform.exec.run({ argv: remove(ref.at), timeoutMs: removeMs });
    if (result.exitCode === 0 || !(await pathExists(ref.at))) return;
    throw new StillpointError('undo-failed', `the snapshot ${ref.at} could not be deleted: ${result.stderr.trim()}`, {
      hint: `delete it by hand: btrfs subvolume delete ${ref.at}`,
    });
  }
}

function fileSystemOf(stack: StorageStack): string {
  return layerOf(stack, 'filesystem')?.details['uuid'] ?? stack.device;
}

function isLeftOut(required: RequiredPath, path: string): boolean {
  return required.leftOut.some(({ relative, match }) => {
    const at = join(required.path, relative);
    return isWithin(path, at) && (match === 'entry' || path !== at);
  });
}

export const btrfs = {
  kind,
  config,
  create: (settings: Config, platform: Platform): SnapshotProvider => new Btrfs(settings, platform),
} satisfies SnapshotModule<Config>;
