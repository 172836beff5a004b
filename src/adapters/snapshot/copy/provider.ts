import { access, constants, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { RequiredPath, SnapshotRef, Volume } from '../../../model/storage.ts';
import { openTree, plainFile, walkTree } from '../../../platform/copy-tree.ts';
import { pathExists } from '../../../platform/files.ts';
import { detailOf, refIn, refsIn } from '../../../platform/snapshot-place.ts';
import { cutTrees, deleteTree, requiredOf, treeVolume } from '../../../platform/tree-snapshot.ts';
import type { Platform, SnapshotModule } from '../../../ports/module.ts';
import type { SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { config, parseRate, type Config } from './config.ts';

const kind = 'copy';
/** More would make a single disk slower, not faster. */
const width = 4;
const baseMs = 5;
const msPerFile = 0.3;
/** Room for directories and the list of files. */
const bytesPerFile = 4096n;

class Copy implements SnapshotProvider {
  readonly kind = kind;
  readonly needs = 'hold';
  readonly cutsBy = 'copy';
  readonly #staging: string;
  readonly #bytesPerMs: number;
  readonly #platform: Platform;

  constructor(settings: Config, platform: Platform) {
    this.#staging = settings.staging ?? join(platform.stateDirectory, 'staging');
    this.#bytesPerMs = parseRate(settings.rate) / 1000;
    this.#platform = platform;
  }

  async locate(paths: readonly RequiredPath[]): Promise<readonly Volume[]> {
    const volumes: Volume[] = [];
    for (const required of paths) {
      if (!(await pathExists(required.path))) continue;
      try {
        await access(required.path, required.kind === 'directory' ? constants.R_OK | constants.X_OK : constants.R_OK);
        volumes.push(treeVolume(kind, `${kind}:${required.path}`, required, this.#staging));
      } catch {
        this.#platform.log.info(`copy does not take ${required.path}: this user may not read it`);
      }
    }
    return volumes;
  }

  atomicity(): ReturnType<SnapshotProvider['atomicity']> {
    return { atomicity: 'sequential', how: 'files are copied one after the other' };
  }

  async predict(
    group: readonly Volume[],
    _hold: unknown,
    signal: AbortSignal,
  ): ReturnType<SnapshotProvider['predict']> {
    let bytes = 0n;
    let files = 0;
    for (const volume of group) {
      for await (const { stat } of walkTree(requiredOf(volume), [detailOf(volume, 'snapshotDirectory')], signal)) {
        files += 1;
        bytes += bytesPerFile + (stat.type === 'file' ? stat.size : 0n);
      }
    }
    return {
      cutMs: Math.round(baseMs + files * msPerFile + Number(bytes) / this.#bytesPerMs),
      spaceBytes: [{ directory: this.#staging, bytes: Number(bytes) }],
      findings: [],
    };
  }

  async prepare(group: readonly Volume[]): Promise<readonly Volume[]> {
    await mkdir(this.#staging, { recursive: true, mode: 0o700 });
    return group;
  }

  refs(group: readonly Volume[], label: string): readonly SnapshotRef[] {
    return group.map((volume) => refIn(detailOf(volume, 'snapshotDirectory'), kind, volume.id, label));
  }

  async cut(group: readonly Volume[], label: string, signal: AbortSignal): ReturnType<SnapshotProvider['cut']> {
    const refFor = (volume: Volume): SnapshotRef =>
      refIn(detailOf(volume, 'snapshotDirectory'), kind, volume.id, label);
    const { clock } = this.#platform;
    const hintFor = (code: string | undefined): string =>
      code === 'ENOSPC' || code === 'EDQUOT'
        ? `free some space in ${this.#staging}, or set \`staging\` under the provider \`copy\` to a larger disk`
        : '`stillpoint check` looks at the storage; what was copied is removed';
    const cut = await cutTrees({ group, refFor, copyFile: plainFile, width, clock, hintFor, signal });
    return { ...this.atomicity(), ...cut };
  }

  async *list(group: readonly Volume[]): AsyncIterable<SnapshotRef> {
    for (const volume of group) yield* refsIn(detailOf(volume, 'snapshotDirectory'), kind, volume);
  }

  async open(ref: SnapshotRef): ReturnType<SnapshotProvider['open']> {
    const { at, statOf } = await openTree(ref.at);
    return {
      at,
      statOf,
      async [Symbol.asyncDispose]() {
        // Readable where it lies: nothing was opened.
      },
    };
  }

  async delete(ref: SnapshotRef): Promise<void> {
    await deleteTree(ref);
  }
}

export const copy = {
  kind,
  config,
  create: (settings: Config, platform: Platform): SnapshotProvider => new Copy(settings, platform),
} satisfies SnapshotModule<Config>;
