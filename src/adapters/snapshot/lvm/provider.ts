import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { VolumeCut } from '../../../model/evidence.ts';
import type { CommandSpan } from '../../../model/hold.ts';
import type { RequiredPath, SnapshotRef, Volume } from '../../../model/storage.ts';
import { closeBlockClone } from '../../../platform/block-clone.ts';
import { pathExists } from '../../../platform/files.ts';
import { assertOwn, detailOf } from '../../../platform/snapshot-place.ts';
import { releaseDeadHolds } from '../../../platform/thin-delta.ts';
import type { Platform, SnapshotModule } from '../../../ports/module.ts';
import type { SnapshotProvider } from '../../../ports/snapshot-provider.ts';
import { createSnapshot, remove, syncFileSystem } from './commands.ts';
import { thickConfig, thinConfig, type ThickConfig, type ThinConfig } from './config.ts';
import { locate } from './locate.ts';
import { byVolumeGroup, listed, lvmEnvironment, snapshotIn } from './lvs.ts';
import { isHalfMade, labelIn, ownTag, placeOf, refOf, tagsFor, uuidsOf, type MountedAt } from './names.ts';
import { openSnapshot } from './open.ts';
import type { LogicalVolume } from './parse.ts';
import { resumeLeftovers } from './release.ts';
import { thickWay } from './thick.ts';
import { thinWay } from './thin.ts';
import type { Way } from './way.ts';

/** A sync of a slow disk with gigabytes of dirty pages takes minutes, and is outside the hold. */
const syncMs = 10 * 60_000;
/** Longer than any hold: the hold's own signal ends a cut. */
const cutMs = 10 * 60_000;
const removeMs = 2 * 60_000;

interface CutOne {
  readonly cut: VolumeCut;
  readonly span: CommandSpan;
}

class Lvm implements SnapshotProvider {
  readonly kind: Way['kind'];
  readonly needs = 'any';
  readonly cutsBy: Way['kind'];
  readonly #way: Way;
  readonly #platform: Platform;

  constructor(way: Way, platform: Platform) {
    this.kind = way.kind;
    this.cutsBy = way.kind;
    this.#way = way;
    this.#platform = platform;
  }

  async locate(paths: readonly RequiredPath[], signal: AbortSignal): Promise<readonly Volume[]> {
    return await locate(this.#platform, this.#way, paths, signal);
  }

  atomicity(group: readonly Volume[]): ReturnType<SnapshotProvider['atomicity']> {
    return group.length <= 1
      ? {
          atomicity: 'one-instant',
          how: 'LVM freezes the file system of the volume while it puts the snapshot beside it',
        }
      : { atomicity: 'sequential', how: `${group.length} logical volumes, each by a command of its own` };
  }

  async predict(
    group: readonly Volume[],
    _hold: unknown,
    signal: AbortSignal,
  ): ReturnType<SnapshotProvider['predict']> {
    const { volumes } = await listed(this.#platform.exec, signal);
    // Volume groups at the same time, the volumes of one after the other.
    const longest = Math.max(0, ...byVolumeGroup(group).map((volumesOfGroup) => volumesOfGroup.length));
    return { cutMs: longest * this.#way.expectedMs, spaceBytes: [], findings: this.#way.findings(group, volumes) };
  }

  async prepare(group: readonly Volume[], signal: AbortSignal, keepMs?: number): Promise<readonly Volume[]> {
    const prepared = await this.#way.prepare(this.#platform, group, signal, keepMs);
    for (const volume of group) {
      for (const { at } of mountsOf(volume)) {
        await this.#platform.exec.check({ argv: syncFileSystem(at), timeoutMs: syncMs, signal });
      }
    }
    return prepared;
  }

  refs(group: readonly Volume[], label: string): readonly SnapshotRef[] {
    return group.map((volume) => this.#ref(volume, label));
  }

  #ref(volume: Volume, label: string): SnapshotRef {
    return refOf(this.kind, detailOf(volume, 'vg'), volume.id, label);
  }

  async cut(group: readonly Volume[], label: string, signal: AbortSignal): ReturnType<SnapshotProvider['cut']> {
    const done = new Map<string, CutOne>();
    // LVM locks the whole volume group: a second command there would only wait for the first.
    const chains = await Promise.allSettled(
      byVolumeGroup(group).map(async (volumes) => {
        for (const volume of volumes) done.set(volume.id, await this.#cutOne(volume, label, signal));
      }),
    );
    const failed = chains.find((chain) => chain.status === 'rejected');
    if (failed !== undefined) {
      const left: string[] = [];
      for (const { cut } of done.values())
        await this.delete(cut.snapshot).catch((error: unknown) => left.push(messageOf(error)));
      const reason = messageOf(failed.reason);
      throw new StillpointError('cut-failed', left.length === 0 ? reason : `${reason}; and ${left.join('; ')}`, {
        hint: '`stillpoint check` looks at the storage; nothing was copied',
        cause: failed.reason,
      });
    }
    const all = group.flatMap((volume) => done.get(volume.id) ?? []);
    return { ...this.atomicity(group), cuts: all.map(({ cut }) => cut), spans: all.map(({ span }) => span) };
  }

  async #cutOne(volume: Volume, label: string, signal: AbortSignal): Promise<CutOne> {
    const { clock, exec } = this.#platform;
    const ref = this.#ref(volume, label);
    const { vg, name } = placeOf(ref);
    // lvcreate refuses that too, but then its failure could not be told from one that left a part of ours.
    if (await pathExists(ref.at)) throw new Error(`${ref.at} exists already`);
    const bytes = this.#way.sizeOf(volume);
    const tags = tagsFor(label, detailOf(volume, 'fileSystem'), mountsOf(volume));
    const lv = detailOf(volume, 'lv');
    const argv = createSnapshot({ vg, lv, name, tags, ...(bytes === undefined ? {} : { bytes }) });
    const what = `lvcreate -s ${vg}/${lv}`;
    const called = clock.now();
    const result = await exec.run({ argv, env: lvmEnvironment, timeoutMs: cutMs, signal });
    const fixed = clock.now();
    if (result.exitCode === 0) {
      const span = { party: 'provider', what, startMs: result.startedMs, endMs: result.endedMs } as const;
      return { cut: { volume: volume.id, snapshot: ref, called, fixed }, span };
    }
    await this.#undo(ref, result.stderr);
    const how = result.cancelled
      ? 'was cancelled'
      : result.killedBy === null
        ? 'failed'
        : `was ended by ${result.killedBy}`;
    const said = withoutWarnings(result.stderr);
    throw new Error(`${what} ${how}${said === '' ? '' : `: ${said}`}`);
  }

  /** Ended by the signal, or failed half-way, it may have left the origin suspended, the snapshot, or a part of it. */
  async #undo(ref: SnapshotRef, stderr: string): Promise<void> {
    await this.release([ref]);
    if (!/already exists in volume group/i.test(stderr)) await this.delete(ref);
  }

  async release(refs: readonly SnapshotRef[]): Promise<void> {
    await resumeLeftovers(this.#platform, refs);
  }

  async *list(group: readonly Volume[]): AsyncIterable<SnapshotRef> {
    const { volumes } = await listed(this.#platform.exec);
    for (const volume of group) {
      const { vg } = uuidsOf(volume.id);
      const labels = volumes
        .filter((one) => one.vgUuid === vg && (one.tags.includes(ownTag) || isHalfMade(one)))
        .flatMap((one) => labelIn(one.name, this.kind, volume.id) ?? []);
      // By label, which begins with the time.
      for (const label of labels.toSorted((a, b) => (a < b ? -1 : 1))) yield this.#ref(volume, label);
    }
  }

  async open(ref: SnapshotRef): ReturnType<SnapshotProvider['open']> {
    return await openSnapshot(this.#platform, this.#way, ref);
  }

  async delete(ref: SnapshotRef): Promise<void> {
    assertOwn(ref);
    const { exec, stateDirectory, log } = this.#platform;
    await closeBlockClone({ exec, stateDirectory, name: placeOf(ref).name });
    // It makes a pool's metadata grow, but is no reason to keep the snapshot.
    await releaseDeadHolds({ exec, stateDirectory }).catch((error: unknown) => log.warn(messageOf(error)));
    const { volumes, complete, said } = await listed(exec);
    const found = snapshotIn(volumes, ref);
    if (found === undefined) {
      if (complete) return;
      throw new StillpointError('undo-failed', `it cannot be told whether ${ref.at} is still there: ${said}`, {
        hint: 'run `lvs` by hand; a volume group that cannot be read hides its volumes',
      });
    }
    assertRemovable(found, ref);
    const argv = remove(found.vg, found.name);
    const result = await exec.run({ argv, env: lvmEnvironment, timeoutMs: removeMs });
    if (result.exitCode === 0 || snapshotIn((await listed(exec)).volumes, ref) === undefined) return;
    log.warn(`${argv.join(' ')}: ${result.stderr.trim()}`);
    throw new StillpointError(
      'undo-failed',
      `the snapshot ${ref.at} could not be deleted: ${withoutWarnings(result.stderr)}`,
      { hint: `see who uses it (fuser -vm ${ref.at}), then delete it by hand: ${argv.join(' ')}` },
    );
  }
}

/** The name says it is ours already; so must the tag, and it must still be a snapshot of that volume. */
function assertRemovable(found: LogicalVolume, ref: SnapshotRef): void {
  const { lv } = uuidsOf(ref.volume);
  // Without an origin if that was removed meanwhile, which a thin snapshot survives.
  const ofOrigin = found.originUuid === lv || found.originUuid === '';
  const ours = found.tags.includes(ownTag) && found.tags.includes(ref.label) && ofOrigin;
  if ((ours || isHalfMade(found)) && !found.merging) return;
  const why = found.merging
    ? 'it is being merged into its origin'
    : 'its tags or its origin are not those that we gave';
  throw new StillpointError('undo-failed', `the logical volume ${found.vg}/${found.name} is left alone: ${why}`, {
    hint: `look at it by hand: lvs -o +lv_tags,origin ${found.vg}/${found.name}`,
  });
}

/** LVM warns with every command of what has nothing to do with it. */
function withoutWarnings(stderr: string): string {
  const lines = stderr.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('WARNING:')).join('; ');
}

function mountsOf(volume: Volume): readonly MountedAt[] {
  return JSON.parse(detailOf(volume, 'mounts')) as readonly MountedAt[];
}

export const lvmThin = {
  kind: 'lvm-thin',
  config: thinConfig,
  create: (_settings: ThinConfig, platform: Platform): SnapshotProvider => new Lvm(thinWay, platform),
} satisfies SnapshotModule<ThinConfig>;

export const lvmThick = {
  kind: 'lvm-thick',
  config: thickConfig,
  create: (settings: ThickConfig, platform: Platform): SnapshotProvider => new Lvm(thickWay(settings), platform),
} satisfies SnapshotModule<ThickConfig>;
