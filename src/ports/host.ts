import type { StorageStack } from '../model/storage.ts';
import type { Exec } from '../platform/exec.ts';

/** Where an engine and its files live: this machine, or a place that is reached through it. */
export interface Host {
  readonly name: string;
  /** Starts programs there. */
  readonly exec: Exec;
  /**
   * Where an existing file of that place lies on this machine; undefined when it cannot be seen from here, or when that is not proved.
   * The path must hold no symbolic links. The place itself is asked: never call this in a hold.
   */
  pathHere(path: string): Promise<string | undefined>;
  /**
   * From an existing path down to its lowest volume. Throws `io` when the path is missing, `path-outside-group` when it cannot be seen
   * from this machine.
   */
  stackOf(path: string, signal: AbortSignal): Promise<StorageStack>;
  /** Free bytes for this process on the file system that holds `path` (the nearest existing parent counts). */
  freeBytes(path: string): Promise<number>;
}
