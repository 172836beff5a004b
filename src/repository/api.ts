import type { Bytes, Finding } from '../model/point.ts';
import type { FileChanges, FileStat } from '../ports/snapshot-provider.ts';

/** One thing to put into a snapshot's tree. Later entries replace earlier ones at the same path; directories above are made. */
export type TreeEntry =
  | {
      readonly kind: 'path';
      /** Absolute original path: the path inside the snapshot. */
      readonly at: string;
      /** Where to read it now: a file, or a directory taken with everything below it. */
      readonly from: string;
      /** True for what is to be left out: `relative` is the path below `at`, without a leading slash. */
      readonly leaveOut?: (relative: string) => 'keep' | 'entry' | 'contents';
      /** The original's metadata, by original absolute path, where the copy's own differs (SnapshotProvider's OpenSnapshot.statOf). */
      readonly statOf?: (original: string) => FileStat | undefined;
      /**
       * What changed of a file since the parent's snapshot was read, by original absolute path; undefined: not known. Content outside of
       * the ranges is taken from the parent without being read, but for a sample.
       */
      readonly changesOf?: (original: string) => Promise<FileChanges | undefined>;
    }
  | {
      /** Read once, when the walk comes to it: names of one directory are walked in the order of their bytes. */
      readonly kind: 'stream';
      readonly at: string;
      readonly open: () => AsyncIterable<Uint8Array>;
      readonly mode: number;
      readonly mtimeNs: bigint;
      readonly uid: number;
      readonly gid: number;
    }
  | {
      readonly kind: 'bytes';
      readonly at: string;
      readonly data: Uint8Array;
      readonly mode: number;
      readonly mtimeNs: bigint;
      readonly uid: number;
      readonly gid: number;
    };

export interface Progress {
  readonly files: number;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export interface SaveRequest {
  readonly entries: readonly TreeEntry[];
  readonly paths: readonly string[];
  readonly tags: readonly string[];
  readonly hostname: string;
  /** RFC 3339: the cut. */
  readonly time: string;
  /**
   * The snapshot to compare with. A file is taken as unchanged, and not read, only if type, size, inode, mtime and ctime (ns) equal
   * the parent's and its ctime is older than `parentCutAt` minus 2 s: a write in the clock tick of the parent's cut would leave the
   * same times behind. `parentCutAt` is when that cut was called, not when it was done.
   */
  readonly parent?: { readonly snapshot: string; readonly cutAt: string };
  /**
   * Called once, after all of `entries` is read and before the trees above them and the snapshot are written: what is known only then
   * (evidence). A throw aborts the save; no snapshot is left.
   */
  readonly last?: (seen: SaveSeen) => Promise<readonly TreeEntry[]>;
  readonly onProgress?: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** What a save did with `changesOf`. */
export interface SaveSeen {
  /** Files of which only the changed blocks were read. */
  readonly byChanges: number;
  /** Bytes that were called unchanged, and were read and compared all the same. */
  readonly sampledBytes: number;
}

export interface SaveReport {
  readonly snapshot: string;
  readonly bytes: Bytes;
  readonly files: { readonly total: number; readonly unchanged: number; readonly read: number };
}

export interface SnapshotInfo {
  readonly id: string;
  readonly time: string;
  readonly tree: string;
  readonly parent: string | null;
  readonly paths: readonly string[];
  readonly tags: readonly string[];
  readonly hostname: string;
  /** What `save` reported, from the snapshot's summary; null for snapshots written by others. */
  readonly bytes: Bytes | null;
}

export interface NodeInfo {
  /** A byte that is not UTF-8 is the lone surrogate U+DC00 + byte, so that no name is lost; the same in `place`. */
  readonly path: string;
  /** `file`, `dir`, `symlink`; in snapshots written by restic also `fifo`, `socket`, `dev`, `chardev`. */
  readonly type: string;
  readonly size: number;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly linkTarget?: string;
}

export interface RestoreRequest {
  readonly snapshot: string;
  /** Original absolute path (and all below it) -> where to put it, or undefined to leave it out. Called for every node. */
  readonly place: (original: string) => string | undefined;
  readonly onProgress?: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** What a restore would do, with all that is missing named (`missing` empty = possible). Reads no data packs; checks that each is there and whole by size. */
export interface RestorePlan {
  readonly bytes: number;
  readonly files: number;
  readonly missing: readonly string[];
}

export interface CheckRequest {
  /** `structure`: index, trees, pack presence and sizes. `all`: every pack is read, hashed, decrypted, and every blob's id proved. */
  readonly read: 'structure' | 'all';
  readonly onProgress?: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** Error findings name the damaged file and the snapshots (by id) that it hits. */
export interface CheckReport {
  readonly findings: readonly Finding[];
  readonly damagedSnapshots: readonly string[];
  readonly packs: number;
  readonly blobs: number;
  readonly bytesRead: number;
}

export interface Stats {
  readonly snapshots: number;
  readonly packs: number;
  readonly blobs: number;
  readonly storedBytes: number;
  readonly plainBytes: number;
}

/**
 * An open repository in restic's format version 2. One instance a process; methods may run one after the other.
 * Every writer holds a restic-compatible non-exclusive lock for as long as it writes; an exclusive one throws `repository-locked`.
 */
export interface Repository {
  readonly id: string;
  readonly location: string;
  /**
   * Throws `changed-blocks-wrong` when a sample of what `changesOf` called unchanged differs from the parent: nothing of this save may be
   * kept, and the next one must have neither a parent nor `changesOf`.
   */
  save(request: SaveRequest): Promise<SaveReport>;
  snapshots(): Promise<readonly SnapshotInfo[]>;
  /** Deletes the snapshot file alone: undo of a `save`. Data stays until a prune. Missing = success. */
  removeSnapshot(id: string): Promise<void>;
  /** One file of a snapshot, whole, up to 16 MiB. Undefined if the snapshot has no such path. */
  readFile(snapshot: string, path: string): Promise<Uint8Array | undefined>;
  nodes(snapshot: string): AsyncIterable<NodeInfo>;
  plan(snapshot: string, place: RestoreRequest['place']): Promise<RestorePlan>;
  /** Writes files sparse, sets owner (as root), mode and times; every blob's id is proved before it is written. Fsyncs all at the end. */
  restore(request: RestoreRequest): Promise<{ readonly bytes: number; readonly files: number }>;
  check(request: CheckRequest): Promise<CheckReport>;
  stats(): Promise<Stats>;
  /** HMAC-SHA-256, hex, by a key derived (HKDF) from the master key for this purpose. */
  sign(message: Uint8Array): string;
  /** Removes lock files of this host whose process is dead. Returns how many. */
  removeStaleLocks(): Promise<number>;
  close(): Promise<void>;
}
