import { randomBytes } from 'node:crypto';
import { access, constants, copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { messageOf } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import { layerOf } from '../../../model/stack.ts';
import type { RequiredPath, SnapshotRef, StorageStack, Volume } from '../../../model/storage.ts';
import { openTree, reflinkFile, walkTree } from '../../../platform/copy-tree.ts';
import { mountPointsBelow, pathExists } from '../../../platform/files.ts';
import { detailOf, refIn, refsIn, snapshotDirectoryName } from '../../../platform/snapshot-place.ts';
import { cutTrees, deleteTree, requiredOf, treeVolume } from '../../../platform/tree-snapshot.ts';
import type { Platform, SnapshotModule } from '../../../ports/module.ts';
import type { SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { changesOf } from './changes.ts';
import { countExtents, syncFileSystem } from './commands.ts';
import { config, type Config } from './config.ts';
import { parseExtents } from './parse.ts';

const kind = 'reflink';
const fileSystems = new Set(['xfs', 'btrfs']);
const width = 8;
const syncMs = 10 * 60_000;
const countMs = 60_000;
/** Measured: 57 000 extents took 3.3 s and 192 000 took 12 s, during which every write to that file waits. */
const msPerExtent = 0.06;
const msPerFile = 0.2;
const baseMs = 5;
const warnExtents = 20_000;
const errorExtents = 200_000;
/** Smaller files have too few extents to count. */
const countedBytes = 8n * 1024n * 1024n;
const filesPerCommand = 200;

class Reflink implements SnapshotProvider {
  readonly kind = kind;
  readonly needs = 'hold';
  readonly cutsBy = 'reflink';
  readonly #config: Config;
  readonly #platform: Platform;

  constructor(settings: Config, platform: Platform) {
    this.#config = settings;
    this.#platform = platform;
  }

  async locate(paths: readonly RequiredPath[], signal: AbortSignal): Promise<readonly Volume[]> {
    const volumes: Volume[] = [];
    const tried = new Map<string, Promise<string | undefined>>();
    for (const required of paths) {
      const stack = await this.#platform.host.stackOf(required.path, signal);
      if (!fileSystems.has(stack.fileSystem)) continue;
      const directory = this.#config.snapshotDirectory ?? join(stack.mountPoint, snapshotDirectoryName);
      const why = await this.#whyNot(required, stack, directory, tried, signal);
      if (why === undefined) volumes.push(treeVolume(kind, idOf(stack), required, directory));
      else this.#platform.log.info(`reflink does not take ${required.path}: ${why}`);
    }
    return volumes;
  }

  async #whyNot(
    required: RequiredPath,
    stack: StorageStack,
    directory: string,
    tried: Map<string, Promise<string | undefined>>,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    if (required.kind === 'directory') {
      const mounts = await mountPointsBelow(required.path);
      if (mounts.length > 0) return `another file system is mounted below it at ${mounts.join(', ')}`;
    }
    for (const companion of required.companions) {
      const other = await this.#platform.host.stackOf(dirname(companion), signal);
      if (other.device !== stack.device) return `its companion ${companion} lies on another file system`;
    }
    const existing = await nearestExisting(directory);
    if ((await this.#platform.host.stackOf(existing, signal)).device !== stack.device) {
      return `the snapshot directory ${directory} lies on another file system`;
    }
    const probe = tried.get(existing) ?? tryReflink(existing);
    tried.set(existing, probe);
    return await probe;
  }

  atomicity(): ReturnType<SnapshotProvider['atomicity']> {
    return { atomicity: 'sequential', how: 'reflinks are made file by file' };
  }

  async predict(
    group: readonly Volume[],
    _hold: unknown,
    signal: AbortSignal,
  ): ReturnType<SnapshotProvider['predict']> {
    const findings: Finding[] = [];
    let cutMs = baseMs;
    const large: string[] = [];
    for (const volume of group) {
      for await (const { path, stat } of walkTree(
        requiredOf(volume),
        [detailOf(volume, 'snapshotDirectory')],
        signal,
      )) {
        cutMs += msPerFile;
        if (stat.type === 'file' && stat.size >= countedBytes) large.push(path);
      }
    }
    for (let first = 0; first < large.length; first += filesPerCommand) {
      const files = large.slice(first, first + filesPerCommand);
      const result = await this.#platform.exec.run({ argv: countExtents(files), timeoutMs: countMs, signal });
      const counts = parseExtents(result.stdout);
      if (counts.size === 0) {
        findings.push({
          severity: 'warning',
          check: 'reflink-extents',
          said: `the extents of ${files.length} large files could not be counted (${result.stderr.trim()}), so the predicted time is too short if they are fragmented`,
        });
      }
      for (const [file, extents] of counts) {
        cutMs += extents * msPerExtent;
        if (extents > warnExtents) findings.push(fragmented(file, extents));
      }
    }
    return { cutMs: Math.round(cutMs), spaceBytes: [], findings };
  }

  async prepare(group: readonly Volume[], signal: AbortSignal): Promise<readonly Volume[]> {
    const directories = new Set(group.map((volume) => detailOf(volume, 'snapshotDirectory')));
    for (const directory of directories) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await this.#platform.exec.check({ argv: syncFileSystem(directory), timeoutMs: syncMs, signal });
    }
    return group;
  }

  refs(group: readonly Volume[], label: string): readonly SnapshotRef[] {
    return group.map((volume) => refIn(detailOf(volume, 'snapshotDirectory'), kind, volume.id, label));
  }

  async cut(group: readonly Volume[], label: string, signal: AbortSignal): ReturnType<SnapshotProvider['cut']> {
    const refFor = (volume: Volume): SnapshotRef =>
      refIn(detailOf(volume, 'snapshotDirectory'), kind, volume.id, label);
    const { clock } = this.#platform;
    const cut = await cutTrees({ group, refFor, copyFile: reflinkFile, width, clock, hintFor, signal });
    return { ...this.atomicity(), ...cut };
  }

  async *list(group: readonly Volume[]): AsyncIterable<SnapshotRef> {
    for (const volume of group) yield* refsIn(detailOf(volume, 'snapshotDirectory'), kind, volume);
  }

  async open(ref: SnapshotRef): ReturnType<SnapshotProvider['open']> {
    const tree = await openTree(ref.at);
    return {
      at: tree.at,
      statOf: tree.statOf,
      changedSince: (base, signal) => changesOf(this.#platform, { ref, tree }, base, signal),
      async [Symbol.asyncDispose]() {
        // Readable where it lies: nothing was opened.
      },
    };
  }

  async delete(ref: SnapshotRef): Promise<void> {
    await deleteTree(ref);
  }
}

function idOf(stack: StorageStack): string {
  const uuid = layerOf(stack, 'filesystem')?.details['uuid'];
  return `${kind}:${uuid ?? stack.device}:${stack.path}`;
}

function fragmented(file: string, extents: number): Finding {
  const seconds = Math.round((extents * msPerExtent) / 100) / 10;
  return {
    severity: extents > errorExtents ? 'error' : 'warning',
    check: 'reflink-extents',
    said: `${file} has ${extents} extents: its reflink takes about ${seconds} s, and every write to it waits for that long`,
  };
}

async function nearestExisting(path: string): Promise<string> {
  let existing = path;
  while (!(await pathExists(existing)) && existing !== dirname(existing)) existing = dirname(existing);
  return existing;
}

/** Undefined if files in this directory can share blocks. Tried for real: an xfs may be made without reflinks. Leaves nothing behind. */
async function tryReflink(directory: string): Promise<string | undefined> {
  const one = join(directory, `.stillpoint-probe-${randomBytes(6).toString('hex')}`);
  const two = `${one}-copy`;
  try {
    await access(directory, constants.W_OK);
    // Small files of btrfs lie inside its metadata, and those can be cloned where larger ones cannot.
    await writeFile(one, new Uint8Array(64 * 1024).fill(1), { flag: 'wx', mode: 0o600 });
    await copyFile(one, two, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return undefined;
  } catch (error) {
    return `no reflink can be made in ${directory}: ${messageOf(error)}`;
  } finally {
    await rm(one, { force: true });
    await rm(two, { force: true });
  }
}

function hintFor(code: string | undefined): string {
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'free some space: even a reflink needs a little for its metadata';
  if (code === 'EINVAL')
    return 'files without copy-on-write (chattr +C) cannot be shared: use the provider btrfs or copy';
  return '`stillpoint check` looks at the storage; nothing was copied';
}

export const reflink = {
  kind,
  config,
  create: (settings: Config, platform: Platform): SnapshotProvider => new Reflink(settings, platform),
} satisfies SnapshotModule<Config>;
