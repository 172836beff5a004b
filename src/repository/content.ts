import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { StillpointError } from '../model/errors.ts';
import type { FileStat } from '../ports/snapshot-provider.ts';
import { chunksToRead, isBase, samplesOf } from './changed-chunks.ts';
import { chunkSizeFor } from './chunk.ts';
import { throwIfCancelled } from './context.ts';
import { sha256 } from './crypto.ts';
import { plainBytes, type BlobIndex } from './index.ts';
import { unreadable, type SourceNode } from './source.ts';
import type { TreeNode } from './tree.ts';
import type { BlobWriter } from './writer.ts';

/** One read call takes this much, whatever the chunk size: a call costs 50 to 100 µs. */
const readSize = 1024 * 1024;

/** Cuts the content of files into blobs. `content` is the ids of a file's blobs, one after the other. */
export class ContentWriter {
  readonly #index: BlobIndex;
  readonly #writer: BlobWriter;
  readonly #signal: AbortSignal;
  readonly #count: (read: number, logical: number) => void;
  readonly seen = { byChanges: 0, sampledBytes: 0 };

  /** `count` hears of bytes that were read, and of bytes of files that are done. */
  constructor(parts: {
    readonly index: BlobIndex;
    readonly writer: BlobWriter;
    readonly signal: AbortSignal;
    readonly count: (read: number, logical: number) => void;
  }) {
    this.#index = parts.index;
    this.#writer = parts.writer;
    this.#signal = parts.signal;
    this.#count = parts.count;
  }

  #parentChunk(parent: TreeNode | undefined): number | undefined {
    if (parent?.content === undefined || parent.content.length <= 32) return undefined;
    const first = this.#index.find('data', parent.content);
    return first === undefined ? undefined : plainBytes(first);
  }

  /** Small enough to be in memory already. */
  async bytes(data: Buffer): Promise<Buffer> {
    const size = chunkSizeFor(data.length, undefined);
    const ids: Buffer[] = [];
    for (let at = 0; at < data.length; at += size) {
      ids.push(await this.#writer.data(data.subarray(at, at + size)));
    }
    return Buffer.concat(ids);
  }

  /** Pieces come in any length and may be reused by their maker, so they are copied into chunks of our own. */
  async stream(pieces: AsyncIterable<Uint8Array>): Promise<{ content: Buffer; size: number }> {
    const chunk = chunkSizeFor(0, undefined);
    const ids: Buffer[] = [];
    let size = 0;
    let buffer = Buffer.allocUnsafeSlow(chunk);
    let filled = 0;
    for await (const piece of pieces) {
      throwIfCancelled(this.#signal);
      for (let at = 0; at < piece.length;) {
        const length = Math.min(chunk - filled, piece.length - at);
        buffer.set(piece.subarray(at, at + length), filled);
        filled += length;
        at += length;
        if (filled < chunk) continue;
        ids.push(await this.#writer.data(buffer));
        buffer = Buffer.allocUnsafeSlow(chunk);
        filled = 0;
      }
      size += piece.length;
      this.#count(piece.length, piece.length);
    }
    if (filled > 0) ids.push(await this.#writer.data(buffer.subarray(0, filled)));
    return { content: Buffer.concat(ids), size };
  }

  /** Only the chunks that changed, and a sample of the others; undefined if this file cannot be told by its changes. */
  async byChanges(
    what: Extract<SourceNode['what'], { readonly type: 'file' }>,
    stat: FileStat,
    parent: TreeNode | undefined,
  ): Promise<{ content: Buffer; size: number } | undefined> {
    const chunk = this.#parentChunk(parent);
    if (what.changes === undefined || parent?.content === undefined || chunk === undefined) return undefined;
    const size = Number(stat.size);
    if (chunkSizeFor(size, chunk) !== chunk) return undefined;
    const changes = await what.changes();
    if (changes === undefined || !isBase(parent, changes.base)) return undefined;
    const { content } = parent;
    const toRead = new Set(chunksToRead(size, chunk, changes));
    const count = Math.ceil(size / chunk);
    const lengthOf = (index: number): number => Math.min(chunk, size - index * chunk);
    for (let index = 0; index < count; index++) {
      if (toRead.has(index)) continue;
      const place = this.#index.find('data', content.subarray(index * 32, index * 32 + 32));
      // A prune or a repair may have dropped what the parent still names.
      if (place === undefined || plainBytes(place) !== lengthOf(index)) toRead.add(index);
    }
    const samples = samplesOf(count, [...toRead]);
    const ids: Buffer[] = [];
    await using file = await openFile(what.from);
    const read = async (index: number, chunks: number): Promise<Buffer> => {
      throwIfCancelled(this.#signal);
      const wanted = Math.min(chunks * chunk, size - index * chunk);
      const buffer = Buffer.allocUnsafeSlow(wanted);
      const length = await fill(file, buffer, index * chunk, what.from);
      if (length < wanted) throw unreadable(what.from, new Error(`it ends ${wanted - length} bytes early`));
      this.#count(wanted, 0);
      return buffer;
    };
    for (let index = 0; index < count;) {
      const old = content.subarray(index * 32, index * 32 + 32);
      if (samples.has(index)) {
        if (!sha256(await read(index, 1)).equals(old)) throw liedAbout(what.from, index * chunk, lengthOf(index));
        this.seen.sampledBytes += lengthOf(index);
      }
      if (!toRead.has(index)) {
        ids.push(old);
        this.#count(0, lengthOf(index));
        index += 1;
        continue;
      }
      let run = 1;
      while (toRead.has(index + run) && (run + 1) * chunk <= readSize) run += 1;
      const buffer = await read(index, run);
      for (let at = 0; at < buffer.length; at += chunk) {
        ids.push(await this.#writer.data(buffer.subarray(at, Math.min(at + chunk, buffer.length))));
      }
      this.#count(0, buffer.length);
      index += run;
    }
    this.seen.byChanges += 1;
    return { content: Buffer.concat(ids), size };
  }

  async file(from: Buffer, stat: FileStat, parent: TreeNode | undefined): Promise<{ content: Buffer; size: number }> {
    const chunk = chunkSizeFor(Number(stat.size), this.#parentChunk(parent));
    const batch = batchFor(Number(stat.size), chunk);
    await using file = await openFile(from);
    const ids: Buffer[] = [];
    let size = 0;
    for (;;) {
      throwIfCancelled(this.#signal);
      // A fresh buffer each time: its chunks are compressed while the next one is being filled.
      const buffer = Buffer.allocUnsafeSlow(batch);
      const length = await fill(file, buffer, size, from);
      for (let at = 0; at < length; at += chunk) {
        const plain = buffer.subarray(at, Math.min(at + chunk, length));
        ids.push(await this.#writer.data(plain));
      }
      size += length;
      this.#count(length, length);
      if (length < batch) return { content: Buffer.concat(ids), size };
    }
  }
}

/** Whole chunks, or for a file of one chunk a byte more than it should have, so that one read also finds its end. */
function batchFor(fileBytes: number, chunk: number): number {
  if (fileBytes < chunk) return fileBytes + 1;
  return Math.min(readSize, Math.ceil((fileBytes + 1) / chunk) * chunk);
}

async function openFile(from: Buffer): Promise<FileHandle> {
  try {
    return await open(from, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    throw unreadable(from, error);
  }
}

function liedAbout(from: Buffer, offset: number, length: number): StillpointError {
  return new StillpointError(
    'changed-blocks-wrong',
    `${from.toString()} changed between byte ${offset} and ${offset + length}, where the storage called it unchanged`,
    { hint: 'drill the newest points of this workload, or set `changedBlocks: false` in it' },
  );
}

/** Reads until the buffer is full or the file ends. */
async function fill(file: FileHandle, buffer: Buffer, position: number, from: Buffer): Promise<number> {
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file
      .read(buffer, length, buffer.length - length, position + length)
      .catch((error: unknown) => {
        throw unreadable(from, error);
      });
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return length;
}
