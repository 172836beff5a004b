import { z } from 'zod';
import { sealOverhead } from './crypto.ts';

export type BlobType = 'data' | 'tree';

/** Where a blob lies. `plainLength` undefined: stored without compression. */
export interface BlobPlace {
  readonly pack: string;
  readonly offset: number;
  /** Sealed length. */
  readonly length: number;
  readonly plainLength: number | undefined;
}

export interface PackedBlob {
  readonly id: Buffer;
  readonly type: BlobType;
  readonly offset: number;
  readonly length: number;
  readonly plainLength: number | undefined;
}

/** One pack as an index file describes it. */
export interface PackRecord {
  readonly id: string;
  readonly blobs: readonly PackedBlob[];
}

/** Size in a pack's header of one entry. */
export function headerEntryBytes(blob: { readonly plainLength: number | undefined }): number {
  return blob.plainLength === undefined ? 37 : 41;
}

/** What the pack file must measure if it holds these blobs: their ends, the sealed header and its length field. */
export function packBytes(blobs: readonly PackedBlob[]): number {
  let end = 0;
  let header = sealOverhead + 4;
  for (const blob of blobs) {
    end = Math.max(end, blob.offset + blob.length);
    header += headerEntryBytes(blob);
  }
  return end + header;
}

export function packName(id: string): string {
  return `data/${id.slice(0, 2)}/${id}`;
}

const segmentBits = 15;
const segmentSize = 1 << segmentBits;
const pending = 0xffffffff;

/** Columns of 32768 blobs: no copy when the table grows, and no object a blob. */
class Segment {
  readonly ids = Buffer.alloc(segmentSize * 32);
  readonly pack = new Uint32Array(segmentSize);
  readonly offset = new Uint32Array(segmentSize);
  readonly length = new Uint32Array(segmentSize);
  /** 0: not compressed. */
  readonly plain = new Uint32Array(segmentSize);
}

/**
 * All blobs of one type: 48 bytes each and 5 to 11 of hash slots. Compares whole ids; the slot is chosen by an id's first bytes, which
 * are as random as SHA-256 makes them.
 */
export class BlobTable {
  readonly #segments: Segment[] = [];
  #slots = new Uint32Array(1 << 12);
  #count = 0;

  get size(): number {
    return this.#count;
  }

  /** The number of the blob whose id begins at `at` in `ids`, or -1. */
  find(ids: Buffer, at = 0): number {
    return (this.#slots[this.#slotOf(ids, at)] ?? 0) - 1;
  }

  /** The number of a new entry without a place yet, or -1 if the blob is known. */
  reserve(id: Buffer, at = 0): number {
    const slot = this.#slotOf(id, at);
    if (this.#slots[slot] !== 0) return -1;
    const entry = this.#count;
    if (entry % segmentSize === 0) this.#segments.push(new Segment());
    const segment = this.#segment(entry);
    const inside = entry & (segmentSize - 1);
    id.copy(segment.ids, inside * 32, at, at + 32);
    segment.pack[inside] = pending;
    this.#count += 1;
    this.#slots[slot] = this.#count;
    if (this.#count * 3 > this.#slots.length * 2) this.#grow();
    return entry;
  }

  settle(entry: number, pack: number, blob: Omit<BlobPlace, 'pack'>): void {
    const segment = this.#segment(entry);
    const inside = entry & (segmentSize - 1);
    segment.pack[inside] = pack;
    segment.offset[inside] = blob.offset;
    segment.length[inside] = blob.length;
    segment.plain[inside] = blob.plainLength ?? 0;
  }

  packOf(entry: number): number {
    return this.#segment(entry).pack[entry & (segmentSize - 1)] ?? pending;
  }

  /** Undefined while the blob is still on its way into a pack. */
  at(entry: number): (Omit<BlobPlace, 'pack'> & { readonly pack: number }) | undefined {
    const segment = this.#segment(entry);
    const inside = entry & (segmentSize - 1);
    const pack = segment.pack[inside] ?? pending;
    if (pack === pending) return undefined;
    const plain = segment.plain[inside] ?? 0;
    return {
      pack,
      offset: segment.offset[inside] ?? 0,
      length: segment.length[inside] ?? 0,
      plainLength: plain === 0 ? undefined : plain,
    };
  }

  idOf(entry: number): Buffer {
    const inside = (entry & (segmentSize - 1)) * 32;
    return this.#segment(entry).ids.subarray(inside, inside + 32);
  }

  #segment(entry: number): Segment {
    const segment = this.#segments[entry >>> segmentBits];
    if (segment === undefined) throw new RangeError(`no blob ${entry} in the index`);
    return segment;
  }

  /** The slot that holds this id, or the free one where it belongs. */
  #slotOf(ids: Buffer, at: number): number {
    const mask = this.#slots.length - 1;
    let slot = ids.readUInt32LE(at) & mask;
    for (;;) {
      const held = this.#slots[slot] ?? 0;
      if (held === 0) return slot;
      const segment = this.#segment(held - 1);
      const inside = ((held - 1) & (segmentSize - 1)) * 32;
      if (segment.ids.compare(ids, at, at + 32, inside, inside + 32) === 0) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #grow(): void {
    this.#slots = new Uint32Array(this.#slots.length * 2);
    const mask = this.#slots.length - 1;
    for (let entry = 0; entry < this.#count; entry++) {
      const inside = (entry & (segmentSize - 1)) * 32;
      let slot = this.#segment(entry).ids.readUInt32LE(inside) & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = entry + 1;
    }
  }
}

/** What the repository holds, by its index files. The same id may exist as data and as tree: two tables. */
export class BlobIndex {
  readonly data = new BlobTable();
  readonly tree = new BlobTable();
  /** Of each pack its id and the bytes that the file must measure. */
  readonly packs: { readonly id: string; bytes: number }[] = [];
  readonly #byId = new Map<string, number>();

  table(type: BlobType): BlobTable {
    return type === 'data' ? this.data : this.tree;
  }

  packNumber(id: string): number | undefined {
    return this.#byId.get(id);
  }

  packId(number: number): string {
    const pack = this.packs[number];
    if (pack === undefined) throw new RangeError(`no pack ${number} in the index`);
    return pack.id;
  }

  addPack(id: string, bytes: number): number {
    const known = this.#byId.get(id);
    if (known !== undefined) {
      const pack = this.packs[known];
      // Two index files may describe one pack after an interrupted repair; the fuller one says how big it is.
      if (pack !== undefined) pack.bytes = Math.max(pack.bytes, bytes);
      return known;
    }
    this.packs.push({ id, bytes });
    this.#byId.set(id, this.packs.length - 1);
    return this.packs.length - 1;
  }

  add(record: PackRecord): void {
    const number = this.addPack(record.id, packBytes(record.blobs));
    for (const blob of record.blobs) {
      const table = this.table(blob.type);
      const entry = table.reserve(blob.id);
      if (entry >= 0) table.settle(entry, number, blob);
    }
  }

  find(type: BlobType, ids: Buffer, at = 0): BlobPlace | undefined {
    const table = this.table(type);
    const entry = table.find(ids, at);
    const place = entry < 0 ? undefined : table.at(entry);
    return place === undefined ? undefined : { ...place, pack: this.packId(place.pack) };
  }
}

/** Plaintext bytes of a stored blob. */
export function plainBytes(place: { readonly length: number; readonly plainLength: number | undefined }): number {
  return place.plainLength ?? place.length - sealOverhead;
}

export function encodeIndex(records: readonly PackRecord[]): string {
  return JSON.stringify({
    packs: records.map((record) => ({
      id: record.id,
      blobs: record.blobs.map((blob) => ({
        id: blob.id.toString('hex'),
        type: blob.type,
        offset: blob.offset,
        length: blob.length,
        ...(blob.plainLength === undefined ? {} : { uncompressed_length: blob.plainLength }),
      })),
    })),
  });
}

const hexId = z.string().regex(/^[0-9a-f]{64}$/);
const uint32 = z.int().min(0).max(0xfffffffe);
const indexFile = z.object({
  packs: z
    .array(
      z.object({
        id: hexId,
        blobs: z.array(
          z.object({
            id: hexId,
            type: z.enum(['data', 'tree']),
            offset: uint32,
            length: uint32,
            uncompressed_length: uint32.optional(),
          }),
        ),
      }),
    )
    .nullable(),
});

/** Throws for anything that is not an index; the caller knows the file's name. */
export function decodeIndex(json: string): PackRecord[] {
  return (indexFile.parse(JSON.parse(json)).packs ?? []).map((pack) => ({
    id: pack.id,
    blobs: pack.blobs.map((blob) => ({
      id: Buffer.from(blob.id, 'hex'),
      type: blob.type,
      offset: blob.offset,
      length: blob.length,
      plainLength: blob.uncompressed_length === 0 ? undefined : blob.uncompressed_length,
    })),
  }));
}
