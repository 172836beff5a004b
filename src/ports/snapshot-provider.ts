import type { GroupCut } from '../model/evidence.ts';
import type { HoldKind } from '../model/hold.ts';
import type { Finding } from '../model/point.ts';
import type { RequiredPath, SnapshotRef, Volume } from '../model/storage.ts';

/** A source file's identity at the cut. Nanoseconds since 1970 as bigint; as lstat gives them. */
export interface FileStat {
  readonly type: 'file' | 'directory' | 'symlink' | 'other';
  readonly size: bigint;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly inode: bigint;
  readonly device: bigint;
  readonly links: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly atimeNs: bigint;
}

/** A snapshot made readable. Closing it removes nothing but what opening it made. */
export interface OpenSnapshot extends AsyncDisposable {
  /** Where the copy of an original absolute path can be read, or undefined if this snapshot does not hold it. */
  at(original: string): string | undefined;
  /**
   * The original's own metadata at the cut, by original absolute path. A provider whose copies keep inode and ctime leaves this
   * absent and the copy's own metadata counts.
   */
  statOf?(original: string): FileStat | undefined;
}

export interface Prediction {
  readonly cutMs: number;
  /** Free space that the cut needs, by directory. */
  readonly spaceBytes: readonly { readonly directory: string; readonly bytes: number }[];
  readonly findings: readonly Finding[];
}

/**
 * Cuts volumes. Instances hold no state between calls; everything is found again from plain data (`Volume`, `SnapshotRef`), also by
 * another process after a crash.
 */
export interface SnapshotProvider {
  readonly kind: string;

  /** The weakest hold under which this provider's cut of several files or volumes is sound. */
  readonly needs: 'any' | 'hold';

  /**
   * Claims those of `paths` that this provider can cut whole, grouped into volumes; a path that it cannot cut is simply not
   * claimed. Throws `volume-unsafe` only for a path that it owns but must not cut (a degraded layer). Changes nothing.
   */
  locate(paths: readonly RequiredPath[], signal: AbortSignal): Promise<readonly Volume[]>;

  /** How the group would be cut: one instant, or one volume or file after the other; and why. Pure. */
  atomicity(group: readonly Volume[]): { readonly atomicity: GroupCut['atomicity']; readonly how: string };

  /** Time and space that the cut will take, and warnings (extent counts...). Changes nothing. */
  predict(group: readonly Volume[], hold: HoldKind, signal: AbortSignal): Promise<Prediction>;

  /** Everything slow before the hold: sync the file systems, make target directories. Safe to repeat. */
  prepare(group: readonly Volume[], signal: AbortSignal): Promise<void>;

  /** The snapshots that `cut` will make for this label. Pure, so that they can be journaled before. */
  refs(group: readonly Volume[], label: string): readonly SnapshotRef[];

  /**
   * Cuts the whole group inside the hold and returns when the instant is fixed, or throws `cut-failed` after removing what it had
   * made. The signal dies with the hold: a cut that goes on after it is worthless.
   */
  cut(group: readonly Volume[], label: string, signal: AbortSignal): Promise<GroupCut>;

  /** All snapshots of ours on these volumes, by tag, whatever run made them. */
  list(group: readonly Volume[]): AsyncIterable<SnapshotRef>;

  open(ref: SnapshotRef): Promise<OpenSnapshot>;

  /** Missing = success. Refuses a reference whose label is not ours. */
  delete(ref: SnapshotRef): Promise<void>;
}
