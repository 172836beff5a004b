import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import type { Finding } from '../model/point.ts';
import type { StoredFile } from '../ports/blob-store.ts';
import type { CheckReport, CheckRequest, SnapshotInfo } from './api.ts';
import { openBlob, readTree } from './blobs.ts';
import { throwIfCancelled, type Context } from './context.ts';
import { asBuffer, sha256Hex } from './crypto.ts';
import { listIds } from './files.ts';
import { packName, type BlobType, type PackedBlob } from './index.ts';
import type { LoadedIndex } from './load-index.ts';
import { readHeader } from './pack.ts';
import { readSnapshot } from './snapshot.ts';

/** Keys of damage found in a tree or content list that no single file can be blamed for. */
const noIndex = 'index';

/**
 * One look at the whole repository. Damage never throws: it becomes a finding that names the file and the snapshots that it hits.
 * Packs go first, so that the walk over the trees knows which blobs are bad.
 */
export class Check {
  readonly #context: Context;
  readonly #loaded: LoadedIndex;
  readonly #request: CheckRequest;
  /** Damaged file -> what is wrong with it. */
  readonly #damage = new Map<string, string>();
  /** Damaged file -> the snapshots that need something of it. */
  readonly #hits = new Map<string, Set<string>>();
  readonly #badPacks = new Map<number, string>();
  /** Single bad blobs (hex, with type) -> file. */
  readonly #badBlobs = new Map<string, string>();
  readonly #cleanTrees = new Set<string>();
  readonly #hitTrees = new Map<string, ReadonlySet<string>>();
  readonly #notes: Finding[] = [];
  #bytesRead = 0;

  constructor(context: Context, loaded: LoadedIndex, request: CheckRequest) {
    this.#context = context;
    this.#loaded = loaded;
    this.#request = request;
  }

  async run(): Promise<CheckReport> {
    for (const { file, why } of this.#loaded.damage) this.#damage.set(file, why);
    await this.#keys();
    await this.#packs();
    await this.#snapshots();
    const damagedSnapshots = new Set<string>();
    for (const snapshots of this.#hits.values()) for (const id of snapshots) damagedSnapshots.add(id);
    const { index } = this.#loaded;
    return {
      findings: [...this.#errors(), ...this.#notes],
      damagedSnapshots: [...damagedSnapshots],
      packs: index.packs.length,
      blobs: index.data.size + index.tree.size,
      bytesRead: this.#bytesRead,
    };
  }

  #errors(): Finding[] {
    return [...this.#damage].map(([file, why]) => {
      const hits = [...(this.#hits.get(file) ?? [])];
      const effect = hits.length === 0 ? 'it hits no snapshot' : `it hits the snapshots ${hits.join(', ')}`;
      return {
        severity: 'error',
        check: 'repository',
        said: `${why.includes(file) ? why : `${file}: ${why}`}; ${effect}`,
      };
    });
  }

  #note(severity: Finding['severity'], said: string): void {
    this.#notes.push({ severity, check: 'repository', said });
  }

  async #keys(): Promise<void> {
    for await (const { name } of this.#context.store.list('keys/')) {
      await this.#guarded(name, async () => {
        const content = await this.#context.store.get(name);
        if (!name.endsWith(sha256Hex(content))) this.#damage.set(name, 'its content does not fit its name');
      });
    }
  }

  /** Runs what may meet damage; damage goes to the given file. Everything else (an unreachable store) is thrown. */
  async #guarded(file: string, look: () => Promise<void>): Promise<void> {
    try {
      await look();
    } catch (error) {
      if (codeOf(error) !== 'repository-damaged') throw error;
      this.#damage.set(file, messageOf(error));
    }
  }

  async #packs(): Promise<void> {
    const { index } = this.#loaded;
    const there = new Map<string, StoredFile>();
    let bytesTotal = 0;
    for await (const file of this.#context.store.list('data/')) {
      there.set(file.name, file);
      bytesTotal += file.bytes;
    }
    let files = 0;
    for (const [number, pack] of index.packs.entries()) {
      throwIfCancelled(this.#request.signal);
      const name = packName(pack.id);
      const file = there.get(name);
      there.delete(name);
      if (file === undefined) this.#blamePack(number, name, 'it is missing');
      else if (file.bytes !== pack.bytes)
        this.#blamePack(number, name, `it has ${file.bytes} bytes instead of ${pack.bytes}`);
      else if (this.#request.read === 'all') await this.#pack(number, name, file.bytes);
      files += 1;
      this.#request.onProgress?.({ files, bytesDone: this.#bytesRead, bytesTotal });
    }
    for (const name of there.keys()) {
      this.#note('info', `${name} is in no index: data of an interrupted run, or of a lost index file`);
    }
  }

  #blamePack(number: number, name: string, why: string): void {
    this.#badPacks.set(number, name);
    this.#damage.set(name, why);
  }

  async #pack(number: number, name: string, bytes: number): Promise<void> {
    this.#bytesRead += bytes;
    let content: Buffer;
    try {
      content = asBuffer(await this.#context.store.get(name));
    } catch (error) {
      if (codeOf(error) !== 'repository-damaged') throw error;
      this.#blamePack(number, name, messageOf(error));
      return;
    }
    if (!name.endsWith(sha256Hex(content))) {
      this.#damage.set(name, 'its content does not fit its name');
      // Most blobs of a pack with one flipped bit are whole; only those that are not hit a snapshot.
      await this.#blobs(name, content, this.#indexed(number));
      return;
    }
    const blobs = readHeader(this.#context.key, content);
    if (typeof blobs === 'string') this.#blamePack(number, name, blobs);
    else {
      this.#compare(number, name, blobs);
      await this.#blobs(name, content, blobs);
    }
  }

  /** What the index says of a whole pack against the pack's own header. */
  #compare(number: number, name: string, blobs: readonly PackedBlob[]): void {
    for (const blob of blobs) {
      const table = this.#loaded.index.table(blob.type);
      const entry = table.find(blob.id);
      const place = entry < 0 ? undefined : table.at(entry);
      const elsewhere = place !== undefined && place.pack !== number;
      if (elsewhere || (place?.offset === blob.offset && place.length === blob.length)) continue;
      this.#damage.set(
        name,
        `the index does not describe its ${blob.type} blob ${blob.id.toString('hex')} as its header does`,
      );
    }
  }

  #indexed(number: number): PackedBlob[] {
    const found: PackedBlob[] = [];
    for (const type of ['data', 'tree'] as const) {
      const table = this.#loaded.index.table(type);
      for (let entry = 0; entry < table.size; entry++) {
        if (table.packOf(entry) !== number) continue;
        const place = table.at(entry);
        if (place !== undefined) found.push({ ...place, id: table.idOf(entry), type });
      }
    }
    return found;
  }

  async #blobs(name: string, content: Buffer, blobs: readonly PackedBlob[]): Promise<void> {
    const pack = name.slice(-64);
    // A few at a time: all of a pack of highly compressible blobs would be gigabytes of plaintext.
    for (let from = 0; from < blobs.length; from += 16) {
      throwIfCancelled(this.#request.signal);
      await Promise.all(
        blobs.slice(from, from + 16).map(async (blob) => {
          try {
            const sealed = content.subarray(blob.offset, blob.offset + blob.length);
            await openBlob(this.#context, { ...blob, pack }, blob.id, sealed);
          } catch (error) {
            if (codeOf(error) !== 'repository-damaged') throw error;
            this.#badBlobs.set(blobKey(blob.type, blob.id.toString('hex')), name);
            if (!this.#damage.has(name)) this.#damage.set(name, messageOf(error));
          }
        }),
      );
    }
  }

  async #snapshots(): Promise<void> {
    for await (const { name, id } of listIds(this.#context.store, 'snapshots')) {
      throwIfCancelled(this.#request.signal);
      let snapshot: SnapshotInfo;
      try {
        snapshot = await readSnapshot(this.#context.store, this.#context.key, id);
      } catch (error) {
        if (codeOf(error) !== 'repository-damaged') throw error;
        this.#damage.set(name, messageOf(error));
        this.#hits.set(name, new Set([id]));
        continue;
      }
      for (const file of await this.#tree(snapshot.tree)) {
        const hit = this.#hits.get(file) ?? new Set();
        this.#hits.set(file, hit.add(id));
      }
    }
  }

  /** The damaged files that a tree or anything below it needs. Each tree is walked once, however many snapshots share it. */
  async #tree(id: string): Promise<ReadonlySet<string>> {
    if (this.#cleanTrees.has(id)) return new Set();
    const known = this.#hitTrees.get(id);
    if (known !== undefined) return known;
    throwIfCancelled(this.#request.signal);
    const hit = new Set<string>();
    const bad = this.#badFile('tree', Buffer.from(id, 'hex'), 0);
    if (bad === undefined) await this.#nodes(id, hit);
    else hit.add(bad);
    if (hit.size === 0) this.#cleanTrees.add(id);
    else this.#hitTrees.set(id, hit);
    return hit;
  }

  async #nodes(id: string, hit: Set<string>): Promise<void> {
    try {
      for await (const node of readTree(this.#context, this.#loaded.index, id)) {
        if (node.subtree !== undefined) for (const file of await this.#tree(node.subtree)) hit.add(file);
        const ids = node.content ?? Buffer.alloc(0);
        for (let at = 0; at < ids.length; at += 32) {
          const bad = this.#badFile('data', ids, at);
          if (bad !== undefined) hit.add(bad);
        }
      }
    } catch (error) {
      if (codeOf(error) !== 'repository-damaged') throw error;
      const file = error instanceof StillpointError ? String(error.details['file']) : noIndex;
      hit.add(file);
      if (!this.#damage.has(file)) this.#damage.set(file, messageOf(error));
    }
  }

  #badFile(type: BlobType, ids: Buffer, at: number): string | undefined {
    const table = this.#loaded.index.table(type);
    const entry = table.find(ids, at);
    if (entry < 0) return this.#blameIndex(type, ids.toString('hex', at, at + 32));
    const pack = this.#badPacks.get(table.packOf(entry));
    if (pack !== undefined || this.#badBlobs.size === 0) return pack;
    return this.#badBlobs.get(blobKey(type, ids.toString('hex', at, at + 32)));
  }

  /** A blob that no index knows: by a damaged index file if there is one, else an index file must be gone. */
  #blameIndex(type: BlobType, id: string): string {
    const [first] = this.#loaded.damage;
    if (first !== undefined) return first.file;
    if (!this.#damage.has(noIndex)) {
      this.#damage.set(
        noIndex,
        `no index file knows ${type} blob ${id} (and perhaps others): an index file is missing`,
      );
    }
    return noIndex;
  }
}

function blobKey(type: BlobType, id: string): string {
  return `${type}:${id}`;
}
