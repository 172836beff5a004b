import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { StillpointError } from '../model/errors.ts';
import type { FileStat } from '../ports/snapshot-provider.ts';
import type { SaveReport, SaveRequest, SnapshotInfo } from './api.ts';
import { readTree } from './blobs.ts';
import { chunksToRead, isBase, samplesOf } from './changed-chunks.ts';
import { chunkSizeFor } from './chunk.ts';
import { defaultLevel } from './compress.ts';
import { throwIfCancelled, username, type Context } from './context.ts';
import { sha256 } from './crypto.ts';
import { putFile } from './files.ts';
import { plainBytes, type BlobIndex } from './index.ts';
import type { HeldLock } from './lock.ts';
import { pathBytes } from './names.ts';
import { encodeSnapshot } from './snapshot.ts';
import { overlayOf, readDirectory, unreadable, type Overlay, type Source, type SourceNode } from './source.ts';
import { parseNs } from './timestamp.ts';
import { goMode, TreeEncoder, type TreeNode } from './tree.ts';
import { BlobWriter } from './writer.ts';

/** One read call takes this much, whatever the chunk size: a call costs 50 to 100 µs. */
const readSize = 1024 * 1024;
/** A write in the clock tick of the parent's cut would leave the same times behind. */
const racyNs = 2_000_000_000n;

/** Walks the nodes of one directory of the parent beside ours: both are sorted by name, so neither is held in memory. */
class ParentDirectory {
  readonly #nodes: AsyncGenerator<TreeNode> | undefined;
  #next: { readonly bytes: Buffer; readonly node: TreeNode } | undefined;
  #started = false;

  constructor(nodes: AsyncGenerator<TreeNode> | undefined) {
    this.#nodes = nodes;
  }

  /** Names must be asked for in ascending order. */
  async find(name: string): Promise<TreeNode | undefined> {
    if (!this.#started) await this.#advance();
    this.#started = true;
    const bytes = pathBytes(name);
    while (this.#next !== undefined && Buffer.compare(this.#next.bytes, bytes) < 0) await this.#advance();
    return this.#next?.bytes.equals(bytes) === true ? this.#next.node : undefined;
  }

  async close(): Promise<void> {
    await this.#nodes?.return(undefined);
  }

  async #advance(): Promise<void> {
    const step = await this.#nodes?.next();
    this.#next =
      step === undefined || step.done === true ? undefined : { bytes: pathBytes(step.value.name), node: step.value };
  }
}

export class Save {
  readonly #context: Context;
  readonly #request: SaveRequest;
  readonly #index: BlobIndex;
  readonly #writer: BlobWriter;
  readonly #level: number;
  readonly #timeNs: bigint;
  readonly #parentCutNs: bigint;
  readonly #startedAt: string;
  readonly #files = { total: 0, unchanged: 0, read: 0 };
  readonly #seen = { byChanges: 0, sampledBytes: 0 };
  #logical = 0;
  #read = 0;
  #special = 0;
  #bytesTotal = 0;

  constructor(context: Context, index: BlobIndex, request: SaveRequest) {
    this.#context = context;
    this.#request = request;
    this.#index = index;
    this.#writer = new BlobWriter(context, index);
    this.#startedAt = context.deps.clock.now().wall;
    this.#level = context.deps.compressionLevel ?? defaultLevel;
    this.#timeNs = parseNs(request.time) ?? 0n;
    this.#parentCutNs = parseNs(request.parent?.cutAt ?? '') ?? 0n;
  }

  /** Packs, then index, then snapshot: a crash at any point leaves only data that nothing refers to. */
  async run(parent: SnapshotInfo | undefined, lock: HeldLock): Promise<SaveReport> {
    const overlay = overlayOf(this.#request.entries);
    const source = rootSource(overlay);
    try {
      if (this.#request.onProgress !== undefined) this.#bytesTotal = await this.#sizeBelow('', source, overlay);
      const tree = await this.#root(source, overlay, parent?.tree);
      throwIfCancelled(this.#request.signal);
      await this.#writer.flush();
      throwIfCancelled(this.#request.signal);
      lock.assertHeld();
      return await this.#seal(tree, parent);
    } catch (error) {
      await this.#writer.abandon();
      throw error;
    }
  }

  async #seal(tree: string, parent: SnapshotInfo | undefined): Promise<SaveReport> {
    const { store, key, deps } = this.#context;
    const { changedBytes: changed, storedBytes: stored } = this.#writer;
    const bytes = { logical: this.#logical, read: this.#read, changed, stored };
    const files = { ...this.#files };
    const json = encodeSnapshot({
      time: this.#request.time,
      parent: parent?.id,
      tree,
      paths: this.#request.paths,
      hostname: this.#request.hostname,
      username: username(),
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
      tags: this.#request.tags,
      programVersion: deps.version === undefined ? 'stillpoint' : `stillpoint ${deps.version}`,
      bytes,
      files,
      startedAt: this.#startedAt,
      endedAt: deps.clock.now().wall,
    });
    const snapshot = await putFile(store, key, 'snapshots', json);
    if (this.#special > 0) deps.log.info('sockets, pipes and devices were left out', { count: this.#special });
    return { snapshot: snapshot.id, bytes: { ...bytes, stored: stored + snapshot.bytes }, files };
  }

  /** Sizes only, for progress. */
  async #sizeBelow(at: string, source: Source | undefined, overlay: Overlay | undefined): Promise<number> {
    let sum = 0;
    for await (const node of readDirectory(at, source, overlay, this.#timeNs)) {
      throwIfCancelled(this.#request.signal);
      if (node.what.type === 'directory') sum += await this.#sizeBelow(node.at, node.what.source, node.what.overlay);
      else if (node.stat.type === 'file') sum += Number(node.stat.size);
    }
    return sum;
  }

  /** The root's few nodes are kept until `last` has given its own, which sort among them. */
  async #root(source: Source | undefined, overlay: Overlay, parentTree: string | undefined): Promise<string> {
    const { last } = this.#request;
    if (last === undefined) return await this.#directory('', source, overlay, parentTree);
    const nodes = await this.#nodes('', source, overlay, parentTree);
    const added = await this.#nodes('', undefined, overlayOf(await last({ ...this.#seen })), undefined);
    const names = new Set(nodes.map((node) => node.name));
    for (const { name } of added) if (names.has(name)) throw new Error(`last gives ${name}, which is there already`);
    const encoder = new TreeEncoder(this.#level);
    for (const node of [...nodes, ...added].sort((a, b) => Buffer.compare(pathBytes(a.name), pathBytes(b.name))))
      await encoder.add(node);
    return await this.#writer.tree(await encoder.finish());
  }

  async #nodes(
    at: string,
    source: Source | undefined,
    overlay: Overlay,
    parentTree: string | undefined,
  ): Promise<TreeNode[]> {
    const nodes: TreeNode[] = [];
    const parent = new ParentDirectory(
      parentTree === undefined ? undefined : readTree(this.#context, this.#index, parentTree),
    );
    try {
      for await (const node of readDirectory(at, source, overlay, this.#timeNs)) {
        throwIfCancelled(this.#request.signal);
        const written = await this.#node(node, await parent.find(node.name));
        if (written !== undefined) nodes.push(written);
      }
    } finally {
      await parent.close();
    }
    return nodes;
  }

  async #directory(
    at: string,
    source: Source | undefined,
    overlay: Overlay | undefined,
    parentTree: string | undefined,
  ): Promise<string> {
    const encoder = new TreeEncoder(this.#level);
    const parent = new ParentDirectory(
      parentTree === undefined ? undefined : readTree(this.#context, this.#index, parentTree),
    );
    try {
      for await (const node of readDirectory(at, source, overlay, this.#timeNs)) {
        throwIfCancelled(this.#request.signal);
        const written = await this.#node(node, await parent.find(node.name));
        if (written !== undefined) await encoder.add(written);
      }
    } finally {
      await parent.close();
    }
    return await this.#writer.tree(await encoder.finish());
  }

  async #node(node: SourceNode, parent: TreeNode | undefined): Promise<TreeNode | undefined> {
    const { stat, what } = node;
    switch (what.type) {
      case 'other':
        this.#special += 1;
        return undefined;
      case 'symlink':
        return { ...metadata(node), size: 0, linkTarget: what.target };
      case 'directory': {
        const below = parent?.type === 'dir' ? parent.subtree : undefined;
        return {
          ...metadata(node),
          size: 0,
          subtree: await this.#directory(node.at, what.source, what.overlay, below),
        };
      }
      case 'bytes': {
        const content = await this.#bytes(Buffer.from(what.data));
        this.#count(stat.size);
        return { ...metadata(node), size: what.data.length, content };
      }
      case 'stream': {
        const { content, size } = await this.#stream(what.open());
        this.#files.total += 1;
        return { ...metadata(node), size, content };
      }
      case 'file': {
        const known = parent?.type === 'file' ? parent : undefined;
        if (known?.content !== undefined && this.#unchanged(stat, known, known.content)) {
          this.#files.unchanged += 1;
          this.#count(stat.size);
          return { ...metadata(node), size: known.size, content: known.content };
        }
        const { content, size } =
          (await this.#byChanges(what, stat, known)) ?? (await this.#file(what.from, stat, known));
        this.#files.read += 1;
        this.#files.total += 1;
        return { ...metadata(node), size, content };
      }
      default:
        return what satisfies never;
    }
  }

  #count(size: bigint): void {
    this.#files.total += 1;
    this.#logical += Number(size);
    this.#report();
  }

  #report(): void {
    const { onProgress } = this.#request;
    const bytesTotal = Math.max(this.#bytesTotal, this.#logical);
    onProgress?.({ files: this.#files.total, bytesDone: this.#logical, bytesTotal });
  }

  #unchanged(stat: FileStat, parent: TreeNode, content: Buffer): boolean {
    const same =
      BigInt(parent.size) === stat.size &&
      parent.inode === stat.inode &&
      parent.mtimeNs === stat.mtimeNs &&
      parent.ctimeNs === stat.ctimeNs;
    if (!same || stat.ctimeNs >= this.#parentCutNs - racyNs) return false;
    // A prune or a repair may have dropped what the parent still names.
    for (let at = 0; at < content.length; at += 32) if (this.#index.data.find(content, at) < 0) return false;
    return true;
  }

  #parentChunk(parent: TreeNode | undefined): number | undefined {
    if (parent?.content === undefined || parent.content.length <= 32) return undefined;
    const first = this.#index.find('data', parent.content);
    return first === undefined ? undefined : plainBytes(first);
  }

  /** Small enough to be in memory already. */
  async #bytes(data: Buffer): Promise<Buffer> {
    const size = chunkSizeFor(data.length, undefined);
    const ids: Buffer[] = [];
    for (let at = 0; at < data.length; at += size) {
      ids.push(await this.#writer.data(data.subarray(at, at + size)));
    }
    return Buffer.concat(ids);
  }

  /** Pieces come in any length and may be reused by their maker, so they are copied into chunks of our own. */
  async #stream(pieces: AsyncIterable<Uint8Array>): Promise<{ content: Buffer; size: number }> {
    const chunk = chunkSizeFor(0, undefined);
    const ids: Buffer[] = [];
    let size = 0;
    let buffer = Buffer.allocUnsafeSlow(chunk);
    let filled = 0;
    for await (const piece of pieces) {
      throwIfCancelled(this.#request.signal);
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
      this.#read += piece.length;
      this.#logical += piece.length;
      this.#report();
    }
    if (filled > 0) ids.push(await this.#writer.data(buffer.subarray(0, filled)));
    return { content: Buffer.concat(ids), size };
  }

  /** Only the chunks that changed, and a sample of the others; undefined if this file cannot be told by its changes. */
  async #byChanges(
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
      throwIfCancelled(this.#request.signal);
      const wanted = Math.min(chunks * chunk, size - index * chunk);
      const buffer = Buffer.allocUnsafeSlow(wanted);
      const length = await fill(file, buffer, index * chunk, what.from);
      if (length < wanted) throw unreadable(what.from, new Error(`it ends ${wanted - length} bytes early`));
      this.#read += wanted;
      return buffer;
    };
    for (let index = 0; index < count;) {
      const old = content.subarray(index * 32, index * 32 + 32);
      if (samples.has(index)) {
        if (!sha256(await read(index, 1)).equals(old)) throw liedAbout(what.from, index * chunk, lengthOf(index));
        this.#seen.sampledBytes += lengthOf(index);
      }
      if (!toRead.has(index)) {
        ids.push(old);
        this.#logical += lengthOf(index);
        index += 1;
        continue;
      }
      let run = 1;
      while (toRead.has(index + run) && (run + 1) * chunk <= readSize) run += 1;
      const buffer = await read(index, run);
      for (let at = 0; at < buffer.length; at += chunk) {
        ids.push(await this.#writer.data(buffer.subarray(at, Math.min(at + chunk, buffer.length))));
      }
      this.#logical += buffer.length;
      index += run;
      this.#report();
    }
    this.#seen.byChanges += 1;
    return { content: Buffer.concat(ids), size };
  }

  async #file(from: Buffer, stat: FileStat, parent: TreeNode | undefined): Promise<{ content: Buffer; size: number }> {
    const chunk = chunkSizeFor(Number(stat.size), this.#parentChunk(parent));
    const batch = batchFor(Number(stat.size), chunk);
    await using file = await openFile(from);
    const ids: Buffer[] = [];
    let size = 0;
    for (;;) {
      throwIfCancelled(this.#request.signal);
      // A fresh buffer each time: its chunks are compressed while the next one is being filled.
      const buffer = Buffer.allocUnsafeSlow(batch);
      const length = await fill(file, buffer, size, from);
      for (let at = 0; at < length; at += chunk) {
        const plain = buffer.subarray(at, Math.min(at + chunk, length));
        ids.push(await this.#writer.data(plain));
      }
      size += length;
      this.#read += length;
      this.#logical += length;
      this.#report();
      if (length < batch) return { content: Buffer.concat(ids), size };
    }
  }
}

function rootSource(overlay: Overlay): Source | undefined {
  return overlay.entry?.kind === 'path'
    ? { entry: overlay.entry, from: pathBytes(overlay.entry.from), relative: '' }
    : undefined;
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

function metadata(node: SourceNode): Omit<TreeNode, 'size' | 'content' | 'subtree' | 'linkTarget'> {
  const { stat } = node;
  const type = stat.type === 'directory' ? 'dir' : stat.type;
  return {
    name: node.name,
    type,
    mode: goMode(stat.type, stat.mode),
    mtimeNs: stat.mtimeNs,
    // As restic without --with-atime: else reading a file would make its whole directory's tree a new one.
    atimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    uid: stat.uid,
    gid: stat.gid,
    inode: stat.inode,
    deviceId: stat.device,
    // restic counts links of files and links only; a directory's changes whenever one below it comes or goes.
    links: type === 'dir' ? 0 : Number(stat.links),
  };
}
