export interface StoredFile {
  readonly name: string;
  readonly bytes: number;
}

/**
 * Where a repository's files lie. Names are relative, with `/`. Implementations are safe for concurrent calls; retry, limits and
 * faults are wrappers of this same interface.
 */
export interface BlobStore {
  /** For messages: never holds a secret. */
  readonly location: string;

  /**
   * Whole or not at all, and durable (file and directory synced) when the promise fulfils. The same name with the same content
   * again is success. Throws `repository-full` on ENOSPC or EDQUOT and leaves no part behind.
   */
  put(name: string, data: Uint8Array, signal?: AbortSignal): Promise<void>;

  /** The file, or `range` of it. A missing file or a short read throws `repository-damaged`. */
  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array>;

  /** Undefined if there is no such file. */
  stat(name: string): Promise<StoredFile | undefined>;

  /** Every file whose name begins with `prefix`, each once, in no order. Leftovers of interrupted puts are not listed. */
  list(prefix: string): AsyncIterable<StoredFile>;

  /** Missing = success. */
  delete(name: string): Promise<void>;
}
