import { compress, defaultLevel } from './compress.ts';
import type { Context } from './context.ts';
import { sha256 } from './crypto.ts';
import { putFile } from './files.ts';
import { Gate, Tasks } from './gate.ts';
import { encodeIndex, packName, type BlobIndex, type BlobType, type PackRecord } from './index.ts';
import { PackBuilder } from './pack.ts';
import type { EncodedTree } from './tree.ts';

/** Index files are written this often, so that an interrupted save leaves at most this much to be stored again. */
const packsAnIndex = 8;
/** restic's own limit of blobs in one index file. */
const blobsAnIndex = 50_000;
/** Chunks between hashing and pack: enough for zstd to keep libuv's four threads busy. */
const chunksInFlight = 6;
/** Packs on their way to the store. */
const packsInFlight = 2;

/**
 * Takes blobs, leaves out those that the repository has, and writes the others into packs. Order of durability: packs, then the index
 * that names them. Blobs are written as compressed, without opening them again for proof. After a failure the index object must not
 * be used any more: it knows blobs that were never stored.
 */
export class BlobWriter {
  readonly #context: Context;
  readonly #index: BlobIndex;
  readonly #level: number;
  readonly #packs: Record<BlobType, PackBuilder>;
  readonly #tasks = new Tasks(chunksInFlight);
  readonly #putting = new Gate(packsInFlight);
  #unindexed: PackRecord[] = [];
  /** Plaintext bytes of file content that were new. */
  changedBytes = 0;
  storedBytes = 0;

  constructor(context: Context, index: BlobIndex) {
    this.#context = context;
    this.#index = index;
    this.#level = context.deps.compressionLevel ?? defaultLevel;
    this.#packs = { data: new PackBuilder(context.key, 'data'), tree: new PackBuilder(context.key, 'tree') };
  }

  /** Hashes at once and returns the id; compression and writing go on beside, so `plain` must not change any more. */
  async data(plain: Buffer): Promise<Buffer> {
    const id = sha256(plain);
    const entry = this.#index.data.reserve(id);
    if (entry < 0) return id;
    this.changedBytes += plain.length;
    await this.#tasks.start(async () => {
      const packed = await compress(plain, this.#level);
      if (packed.length < plain.length) await this.#add('data', id, packed, plain.length);
      else await this.#add('data', id, plain, undefined);
    });
    return id;
  }

  async tree(tree: EncodedTree): Promise<string> {
    const entry = this.#index.tree.reserve(tree.id);
    if (entry >= 0) {
      await this.#tasks.start(() => this.#add('tree', tree.id, tree.body, tree.plainLength));
    }
    return tree.id.toString('hex');
  }

  /** All that was given is durable and indexed when it fulfils. */
  async flush(): Promise<void> {
    await this.#tasks.settled();
    for (const type of ['data', 'tree'] as const) await this.#close(type);
    await this.#writeIndex();
  }

  /** Waits until nothing runs any more; for the way out after a failure, so it throws nothing. */
  async abandon(): Promise<void> {
    await this.#tasks.settled().catch(() => undefined);
  }

  async #add(type: BlobType, id: Buffer, body: Buffer, plainLength: number | undefined): Promise<void> {
    const pack = this.#packs[type];
    pack.add(id, body, plainLength);
    if (pack.full) await this.#close(type);
    if (this.#indexDue()) await this.#writeIndex();
  }

  async #close(type: BlobType): Promise<void> {
    const pack = this.#packs[type];
    if (pack.empty) return;
    this.#packs[type] = new PackBuilder(this.#context.key, type);
    await this.#putting.enter();
    try {
      const { record, content } = pack.finish();
      await this.#context.store.put(packName(record.id), content);
      this.storedBytes += content.length;
      this.#index.add(record);
      this.#settle(record);
      this.#unindexed.push(record);
    } finally {
      this.#putting.leave();
    }
  }

  #settle(record: PackRecord): void {
    const number = this.#index.packNumber(record.id);
    if (number === undefined) return;
    for (const blob of record.blobs) {
      const table = this.#index.table(blob.type);
      table.settle(table.find(blob.id), number, blob);
    }
  }

  #indexDue(): boolean {
    const blobs = this.#unindexed.reduce((sum, record) => sum + record.blobs.length, 0);
    return this.#unindexed.length >= packsAnIndex || blobs >= blobsAnIndex;
  }

  async #writeIndex(): Promise<void> {
    if (this.#unindexed.length === 0) return;
    const records = this.#unindexed;
    this.#unindexed = [];
    this.storedBytes += (await putFile(this.#context.store, this.#context.key, 'index', encodeIndex(records))).bytes;
  }
}
