import type { FileStat } from '../ports/snapshot-provider.ts';
import type { SaveReport, SaveRequest, SnapshotInfo } from './api.ts';
import { readTree } from './blobs.ts';
import { defaultLevel } from './compress.ts';
import { ContentWriter } from './content.ts';
import { throwIfCancelled, username, type Context } from './context.ts';
import { putFile } from './files.ts';
import type { BlobIndex } from './index.ts';
import type { HeldLock } from './lock.ts';
import { pathBytes } from './names.ts';
import { encodeSnapshot } from './snapshot.ts';
import { overlayOf, readDirectory, type Overlay, type Source, type SourceNode } from './source.ts';
import { parseNs } from './timestamp.ts';
import { goMode, TreeEncoder, type TreeNode } from './tree.ts';
import { BlobWriter } from './writer.ts';

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
  readonly #content: ContentWriter;
  #logical = 0;
  #read = 0;
  #special = 0;
  #bytesTotal = 0;

  constructor(context: Context, index: BlobIndex, request: SaveRequest) {
    this.#context = context;
    this.#request = request;
    this.#index = index;
    this.#writer = new BlobWriter(context, index);
    this.#content = new ContentWriter({
      index,
      writer: this.#writer,
      signal: request.signal,
      count: (read, logical) => {
        this.#read += read;
        this.#logical += logical;
        if (logical > 0) this.#report();
      },
    });
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
    const added = await this.#nodes('', undefined, overlayOf(await last({ ...this.#content.seen })), undefined);
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
        const content = await this.#content.bytes(Buffer.from(what.data));
        this.#count(stat.size);
        return { ...metadata(node), size: what.data.length, content };
      }
      case 'stream': {
        const { content, size } = await this.#content.stream(what.open());
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
          (await this.#content.byChanges(what, stat, known)) ?? (await this.#content.file(what.from, stat, known));
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
}

function rootSource(overlay: Overlay): Source | undefined {
  return overlay.entry?.kind === 'path'
    ? { entry: overlay.entry, from: pathBytes(overlay.entry.from), relative: '' }
    : undefined;
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
