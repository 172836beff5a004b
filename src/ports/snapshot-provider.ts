import type { GroupCut } from '../model/evidence.ts';
import type { HoldKind } from '../model/hold.ts';
import type { CutBy } from '../model/layer-rules.ts';
import type { Finding } from '../model/point.ts';
import type { ByteRange, FileStat, RequiredPath, SnapshotRef, Volume } from '../model/storage.ts';

export type { FileStat };

/** A snapshot made readable. Closing it removes nothing but what opening it made. */
export interface OpenSnapshot extends AsyncDisposable {
  /** Where the copy of an original absolute path can be read, or undefined if this snapshot does not hold it. */
  at(original: string): string | undefined;
  /**
   * The original's own metadata at the cut, by original absolute path. A provider whose copies keep inode and ctime leaves this
   * absent and the copy's own metadata counts.
   */
  statOf?(original: string): FileStat | undefined;
  /**
   * Throws `cut-failed` if the snapshot has stopped showing the cut (an overflow of its space). Called after the last byte is read and
   * before the point counts. Absent: it cannot happen.
   */
  proveWhole?(): Promise<void>;
  /**
   * What changed since an older snapshot of the same volume, which still exists. Undefined, with the reason logged, if this cannot be
   * told for certain: everything is read then. Reads no file's content. Absent: the provider cannot tell.
   */
  changedSince?(base: SnapshotRef, signal: AbortSignal): Promise<ChangedBlocks | undefined>;
}

/**
 * The changed blocks of one volume between two snapshots that both exist and are both read-only. A range too many costs reading; a
 * range too few is silent corruption, so whatever is not certain counts as changed.
 */
export interface ChangedBlocks extends AsyncDisposable {
  /** How it was found out, for the evidence: `btrfs send --no-data`, `thin_delta and FIEMAP`... */
  readonly source: string;
  /**
   * By original absolute path: the older snapshot's own metadata of the file, and which bytes of the newer one may differ from it, in
   * ascending order and not overlapping; bytes behind the older end count as changed. An empty list: no byte differs. Undefined: read
   * it whole. Asked once for each file.
   */
  of(original: string): Promise<FileChanges | undefined>;
}

export interface FileChanges {
  /** In the base, as its `statOf` or its own metadata tell: by this the caller proves that it holds the content of that very file. */
  readonly base: FileStat;
  readonly ranges: readonly ByteRange[];
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

  /** By what it cuts: which freezes of the layers above must, may and must not be in force then (model/layer-rules.ts). */
  readonly cutsBy: CutBy;

  /**
   * Claims those of `paths` that this provider can cut whole, grouped into volumes; a path that it cannot cut is simply not
   * claimed. Throws `volume-unsafe` only for a path that it owns but must not cut. What is wrong with the layers below is not its
   * concern: the flow looks at the findings of the storage stack. Changes nothing.
   */
  locate(paths: readonly RequiredPath[], signal: AbortSignal): Promise<readonly Volume[]>;

  /** How the group would be cut: one instant, or one volume or file after the other; and why. Pure. */
  atomicity(group: readonly Volume[]): { readonly atomicity: GroupCut['atomicity']; readonly how: string };

  /** Time and space that the cut will take, and warnings (extent counts...). Changes nothing. */
  predict(group: readonly Volume[], hold: HoldKind, signal: AbortSignal): Promise<Prediction>;

  /**
   * Everything slow before the hold: sync the file systems, make target directories. Safe to repeat. Returns the group as it will be
   * cut: the same volumes in the same order with the same ids, their details possibly with what was found out (a size).
   * `keepMs` is how long snapshots of this workload had to live at most of late, undefined if nothing is known.
   */
  prepare(group: readonly Volume[], signal: AbortSignal, keepMs?: number): Promise<readonly Volume[]>;

  /** The snapshots that `cut` will make for this label. Pure, so that they can be journaled before. */
  refs(group: readonly Volume[], label: string): readonly SnapshotRef[];

  /**
   * Cuts the whole group inside the hold and returns when the instant is fixed, or throws `cut-failed` after removing what it had
   * made. The signal dies with the hold: a cut that goes on after it is worthless.
   */
  cut(group: readonly Volume[], label: string, signal: AbortSignal): Promise<GroupCut>;

  /**
   * Resumes and thaws what a cut of these may have left suspended or frozen, by this or a dead process. Never fails for what is not
   * suspended; throws `thaw-unproven`. Called before any thaw of the application, which may have to write. Absent: the cut suspends nothing.
   */
  release?(refs: readonly SnapshotRef[]): Promise<void>;

  /** All snapshots of ours on these volumes, by tag, whatever run made them. */
  list(group: readonly Volume[]): AsyncIterable<SnapshotRef>;

  open(ref: SnapshotRef): Promise<OpenSnapshot>;

  /**
   * Missing = success. Refuses a reference whose label is not ours. First closes what any process opened of it (mounts, overlays, devices):
   * after a crash nobody else will.
   */
  delete(ref: SnapshotRef): Promise<void>;
}
