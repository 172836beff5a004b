import type { Finding } from './point.ts';

/** What a required path holds. `journal`: WAL, redo, binlog. `external`: files outside the data directory that recovery reads. */
export type PathRole = 'data' | 'journal' | 'tablespace' | 'configuration' | 'external';

/**
 * A path that recovery needs, as the engine itself names it.
 * `companions` are absolute paths of files that belong to the same cut when they exist at that moment (SQLite's `-wal`).
 */
export interface RequiredPath {
  readonly path: string;
  readonly role: PathRole;
  /** Unique within the workload and stable over time: `data`, `wal`, `tablespace-16390`, `main.db`. */
  readonly name: string;
  readonly kind: 'directory' | 'file';
  readonly companions: readonly string[];
  /** What below a directory recovery does not need, as paths relative to it. Recorded in the evidence. */
  readonly leftOut: readonly LeftOut[];
}

/** `match: 'contents'` leaves a directory itself in place but not what is below it. */
export interface LeftOut {
  /** Below the directory; `.` is the directory itself. */
  readonly relative: string;
  readonly match: 'entry' | 'contents';
  readonly why: string;
  /**
   * True: left out only from a copy that a hold made recoverable without it (old WAL under backup mode, where the WAL from start to
   * stop is collected apart). A crash-consistent copy needs it.
   */
  readonly onlyHeld?: boolean;
}

export type LayerType =
  | 'mount'
  | 'filesystem'
  | 'subvolume'
  | 'lv'
  | 'thin-pool'
  | 'vg'
  | 'pv'
  | 'md'
  | 'crypt'
  | 'partition'
  | 'loop'
  | 'disk'
  | 'other';

/** One layer of a storage stack, with what it lies on: one layer, or several for an array or a volume over several disks. */
export interface StorageLayer {
  /** Unique on the machine: two paths share this layer if and only if they name the same id (`lv:UUID`, `md:UUID`, `block:8:1`). */
  readonly id: string;
  readonly type: LayerType;
  /** As its own tools call it: `/dev/md0`, `vg0/data`, `/srv`. */
  readonly name: string;
  readonly details: Readonly<Record<string, string>>;
  /** What was seen of its health: an error speaks against any cut through this layer, a warning is worth telling. */
  readonly findings: readonly Finding[];
  readonly below: readonly StorageLayer[];
}

/** From a path down to its lowest volumes. */
export interface StorageStack {
  readonly path: string;
  /** Where the file system is mounted, and the absolute path of `path` in it. */
  readonly mountPoint: string;
  readonly device: string;
  readonly fileSystem: string;
  /** The mount. */
  readonly top: StorageLayer;
}

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

/** Part of a file, in bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** What one provider can cut by one command. Plain data: it goes into the intent journal and the evidence. */
export interface Volume {
  /** Unique and stable: provider, device and place. */
  readonly id: string;
  readonly provider: string;
  /** Names of the required paths (RequiredPath.name) that this volume holds. */
  readonly holds: readonly string[];
  readonly details: Readonly<Record<string, string>>;
}

/** Identity of a snapshot that is ours: known before it is cut, so that a dead run's snapshot can be found and deleted. */
export interface SnapshotRef {
  readonly provider: string;
  readonly volume: string;
  /** `stillpoint-<run id>`: own tag and run id. */
  readonly label: string;
  /** Where the provider puts it (a path, a snapshot id that the provider derives from the label...). */
  readonly at: string;
}
