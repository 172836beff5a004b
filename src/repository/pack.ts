import { createHash } from 'node:crypto';
import { seal, sealOverhead, sealParts, unseal, type MasterKey } from './crypto.ts';
import { headerEntryBytes, type BlobType, type PackedBlob, type PackRecord } from './index.ts';

/** A pack is closed once it holds this much. */
export const packTarget = 16 * 1024 * 1024;
/** restic refuses headers over 16 MiB; this many entries stay far below and keep index files small. */
const maxBlobs = 32768;

export interface SealedPack {
  readonly record: PackRecord;
  readonly content: Buffer;
}

/** Collects blobs of one type. Data and tree blobs never share a pack. */
export class PackBuilder {
  readonly #key: MasterKey;
  readonly #type: BlobType;
  readonly #pieces: Buffer[] = [];
  readonly #blobs: PackedBlob[] = [];
  #bytes = 0;

  constructor(key: MasterKey, type: BlobType) {
    this.#key = key;
    this.#type = type;
  }

  get empty(): boolean {
    return this.#blobs.length === 0;
  }

  get full(): boolean {
    return this.#bytes >= packTarget || this.#blobs.length >= maxBlobs;
  }

  /** `plainLength` undefined: `body` is the plaintext itself, else it is its zstd frame. */
  add(id: Buffer, body: Uint8Array, plainLength: number | undefined): void {
    const length = body.length + sealOverhead;
    this.#pieces.push(...sealParts(this.#key, body));
    this.#blobs.push({ id, type: this.#type, offset: this.#bytes, length, plainLength });
    this.#bytes += length;
  }

  finish(): SealedPack {
    const header = seal(this.#key, encodeHeader(this.#blobs));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(header.length);
    const content = Buffer.concat([...this.#pieces, header, length]);
    const id = createHash('sha256').update(content).digest('hex');
    return { record: { id, blobs: this.#blobs }, content };
  }
}

export function encodeHeader(blobs: readonly PackedBlob[]): Buffer {
  const header = Buffer.alloc(blobs.reduce((sum, blob) => sum + headerEntryBytes(blob), 0));
  let at = 0;
  for (const blob of blobs) {
    const base = blob.type === 'data' ? 0 : 1;
    at = header.writeUInt8(blob.plainLength === undefined ? base : base + 2, at);
    at = header.writeUInt32LE(blob.length, at);
    if (blob.plainLength !== undefined) at = header.writeUInt32LE(blob.plainLength, at);
    at += blob.id.copy(header, at);
  }
  return header;
}

/** The blobs that a whole pack says it holds, or a sentence on why it cannot be read. */
export function readHeader(key: MasterKey, pack: Buffer): PackedBlob[] | string {
  if (pack.length < 4) return 'it has no header';
  const length = pack.readUInt32LE(pack.length - 4);
  if (length + 4 > pack.length) return 'its header is longer than the file';
  const header = unseal(key, pack.subarray(pack.length - 4 - length, pack.length - 4));
  if (header === undefined) return 'its header does not open';
  return decodeHeader(header) ?? 'its header has an unknown entry';
}

export function decodeHeader(header: Buffer): PackedBlob[] | undefined {
  const blobs: PackedBlob[] = [];
  let offset = 0;
  for (let at = 0; at < header.length;) {
    const kind = header.readUInt8(at);
    const compressed = kind >= 2;
    const size = compressed ? 41 : 37;
    if (kind > 3 || at + size > header.length) return undefined;
    const length = header.readUInt32LE(at + 1);
    const plainLength = compressed ? header.readUInt32LE(at + 5) : undefined;
    const id = Buffer.from(header.subarray(at + size - 32, at + size));
    blobs.push({ id, type: kind % 2 === 0 ? 'data' : 'tree', offset, length, plainLength });
    offset += length;
    at += size;
  }
  return blobs;
}
