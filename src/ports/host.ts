import type { StorageStack } from '../model/storage.ts';

/** The machine on which paths are looked up. Only the local one so far; another reach is another adapter. */
export interface Host {
  readonly name: string;
  /** From an existing path down to its lowest volume. Throws `io` when the path is missing. */
  stackOf(path: string, signal: AbortSignal): Promise<StorageStack>;
  /** Free bytes for this process on the file system that holds `path` (the nearest existing parent counts). */
  freeBytes(path: string): Promise<number>;
}
