import { StillpointError } from '../../src/model/errors.ts';
import type { BlobStore, StoredFile } from '../../src/ports/blob-store.ts';

/** A repository in memory. `files` is open to tests that damage it; `capacity` in bytes makes it full. */
export class MemoryStore implements BlobStore {
  readonly location = 'memory';
  readonly files = new Map<string, Uint8Array>();
  /** Every call that reads, for tests that count them. */
  readonly gets: string[] = [];
  capacity = Number.POSITIVE_INFINITY;

  put(name: string, data: Uint8Array, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(new StillpointError('cancelled', 'writing was cancelled'));
    const before = this.files.get(name)?.length ?? 0;
    let used = data.length - before;
    for (const content of this.files.values()) used += content.length;
    if (used > this.capacity) {
      return Promise.reject(
        new StillpointError('repository-full', `no space is left for ${name}`, { details: { file: name } }),
      );
    }
    this.files.set(name, Buffer.from(data));
    return Promise.resolve();
  }

  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    this.gets.push(name);
    const content = this.files.get(name);
    const offset = range?.offset ?? 0;
    const length = range?.length ?? content?.length ?? 0;
    if (content === undefined || offset + length > content.length) {
      const why = content === undefined ? 'it is missing' : 'it ends too early';
      return Promise.reject(
        new StillpointError('repository-damaged', `${name} is damaged: ${why}`, { details: { file: name } }),
      );
    }
    return Promise.resolve(Buffer.from(content.subarray(offset, offset + length)));
  }

  stat(name: string): Promise<StoredFile | undefined> {
    const content = this.files.get(name);
    return Promise.resolve(content === undefined ? undefined : { name, bytes: content.length });
  }

  async *list(prefix: string): AsyncIterable<StoredFile> {
    for (const [name, content] of [...this.files])
      if (name.startsWith(prefix)) yield await Promise.resolve({ name, bytes: content.length });
  }

  delete(name: string): Promise<void> {
    this.files.delete(name);
    return Promise.resolve();
  }
}
