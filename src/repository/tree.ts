import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { constants, createZstdCompress, type ZstdCompress } from 'node:zlib';
import { z } from 'zod';
import type { FileStat } from '../ports/snapshot-provider.ts';
import { compress } from './compress.ts';
import { pathBytes, pathText, quoteName, unquoteName } from './names.ts';
import { formatNs, parseNs } from './timestamp.ts';

/** One entry of a directory, as restic's trees have it. Names and link targets in the text form of names.ts. */
export interface TreeNode {
  readonly name: string;
  readonly type: string;
  /** Go's os.FileMode, not POSIX bits. */
  readonly mode: number;
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly uid: number;
  readonly gid: number;
  readonly inode: bigint;
  readonly deviceId: bigint;
  readonly size: number;
  readonly links: number;
  readonly linkTarget?: string;
  /** Ids of 32 bytes, one behind the other; only files have it. */
  readonly content?: Buffer;
  /** Hex id; only directories have it. */
  readonly subtree?: string;
}

const goDirectory = 2 ** 31;
const goSymlink = 2 ** 27;
const special = [
  { posix: 0o4000, go: 2 ** 23 },
  { posix: 0o2000, go: 2 ** 22 },
  { posix: 0o1000, go: 2 ** 20 },
] as const;

export function goMode(type: FileStat['type'], posix: number): number {
  const kind = type === 'directory' ? goDirectory : type === 'symlink' ? goSymlink : 0;
  return special.reduce((sum, bit) => ((posix & bit.posix) === 0 ? sum : sum + bit.go), kind + (posix & 0o777));
}

/** Permission, setuid, setgid and sticky bits; the file's type is the node's own. */
export function posixMode(go: number): number {
  return special.reduce((sum, bit) => (Math.floor(go / bit.go) % 2 === 1 ? sum | bit.posix : sum), go % 0o1000);
}

/** As Go's encoding/json writes strings. */
function jsonString(text: string): string {
  return JSON.stringify(text).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const idsAtOnce = 4096;

function* contentPieces(content: Buffer): Generator<string> {
  for (let from = 0; from < content.length; from += idsAtOnce * 32) {
    const hex = content.subarray(from, from + idsAtOnce * 32).toString('hex');
    let text = from === 0 ? '' : ',';
    for (let at = 0; at < hex.length; at += 64) text += `${at === 0 ? '' : ','}"${hex.slice(at, at + 64)}"`;
    yield text;
  }
}

/** The JSON of a node in pieces: a file of a terabyte has a list of ids that is longer than a string can be. */
export function* encodeNode(node: TreeNode): Generator<string> {
  const when = (key: string, value: bigint | number): string => (BigInt(value) === 0n ? '' : `,"${key}":${value}`);
  yield (
    `{"name":${jsonString(quoteName(node.name))},"type":${jsonString(node.type)}${when('mode', node.mode)}` +
      `,"mtime":"${formatNs(node.mtimeNs)}","atime":"${formatNs(node.atimeNs)}","ctime":"${formatNs(node.ctimeNs)}"` +
      `,"uid":${node.uid},"gid":${node.gid}${when('inode', node.inode)}${when('device_id', node.deviceId)}` +
      `${when('size', node.size)}${when('links', node.links)}${linkTarget(node)},"content":`
  );
  if (node.content === undefined) {
    yield 'null';
  } else {
    yield '[';
    yield* contentPieces(node.content);
    yield ']';
  }
  yield node.subtree === undefined ? '}' : `,"subtree":"${node.subtree}"}`;
}

function linkTarget(node: TreeNode): string {
  if (node.linkTarget === undefined) return '';
  const bytes = pathBytes(node.linkTarget);
  const text = `,"linktarget":${jsonString(bytes.toString('utf8'))}`;
  // restic has the second field since 0.17: a target that is not UTF-8 would not survive in the first.
  return node.linkTarget.isWellFormed() ? text : `${text},"linktarget_raw":"${bytes.toString('base64')}"`;
}

/** A tree ready to be sealed. `plainLength` undefined: compression did not help. */
export interface EncodedTree {
  readonly id: Buffer;
  readonly body: Buffer;
  readonly plainLength: number | undefined;
}

const streamAbove = 4 * 1024 * 1024;

/** Writes one directory's tree. Nodes must come sorted by the bytes of their names. Holds at most 4 MiB of it uncompressed. */
export class TreeEncoder {
  readonly #hash = createHash('sha256');
  readonly #level: number;
  #pieces: Buffer[] = [];
  #held = 0;
  #bytes = 0;
  #nodes = 0;
  #stream: ZstdCompress | undefined;
  readonly #compressed: Buffer[] = [];

  constructor(level: number) {
    this.#level = level;
  }

  async add(node: TreeNode): Promise<void> {
    await this.#write(this.#nodes === 0 ? '{"nodes":[' : ',');
    this.#nodes += 1;
    for (const piece of encodeNode(node)) await this.#write(piece);
  }

  async finish(): Promise<EncodedTree> {
    await this.#write(this.#nodes === 0 ? '{"nodes":[]}\n' : ']}\n');
    const id = this.#hash.digest();
    if (this.#stream === undefined) {
      const plain = Buffer.concat(this.#pieces);
      const packed = await compress(plain, this.#level);
      return packed.length < plain.length
        ? { id, body: packed, plainLength: plain.length }
        : { id, body: plain, plainLength: undefined };
    }
    await this.#drain();
    this.#stream.end();
    await once(this.#stream, 'end');
    return { id, body: Buffer.concat(this.#compressed), plainLength: this.#bytes };
  }

  async #write(text: string): Promise<void> {
    const bytes = Buffer.from(text, 'utf8');
    this.#hash.update(bytes);
    this.#bytes += bytes.length;
    this.#held += bytes.length;
    this.#pieces.push(bytes);
    if (this.#held >= streamAbove) await this.#drain();
  }

  async #drain(): Promise<void> {
    this.#stream ??= this.#open();
    const held = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#held = 0;
    if (!this.#stream.write(held)) await once(this.#stream, 'drain');
  }

  #open(): ZstdCompress {
    const stream = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: this.#level } });
    stream.on('data', (piece: Buffer) => this.#compressed.push(piece));
    return stream;
  }
}

const number = z.number().min(0).optional();
const bigNumber = z.union([z.number().transform(BigInt), z.string().regex(/^\d+$/).transform(BigInt)]).optional();
const nodeJson = z.object({
  name: z.string(),
  type: z.string(),
  mode: number,
  mtime: z.string().optional(),
  atime: z.string().optional(),
  ctime: z.string().optional(),
  uid: number,
  gid: number,
  inode: bigNumber,
  device_id: bigNumber,
  size: number,
  links: number,
  linktarget: z.string().optional(),
  linktarget_raw: z.string().optional(),
  subtree: z.string().optional(),
});

/** `json`: one node, its content list replaced by `[]`. */
function decodeNode(json: string, content: Buffer): TreeNode {
  // 64-bit numbers beyond 2^53 would be rounded; within a string of the JSON the quote before the colon is escaped, so this hits keys only.
  const exact = json.replace(/"(inode|device_id)":(\d{16,})/g, '"$1":"$2"');
  const node = nodeJson.parse(JSON.parse(exact));
  const target =
    node.linktarget_raw === undefined ? node.linktarget : pathText(Buffer.from(node.linktarget_raw, 'base64'));
  return {
    name: unquoteName(node.name),
    type: node.type,
    mode: node.mode ?? 0,
    mtimeNs: parseNs(node.mtime ?? '') ?? 0n,
    atimeNs: parseNs(node.atime ?? '') ?? 0n,
    ctimeNs: parseNs(node.ctime ?? '') ?? 0n,
    uid: node.uid ?? 0,
    gid: node.gid ?? 0,
    inode: node.inode ?? 0n,
    deviceId: node.device_id ?? 0n,
    size: node.size ?? 0,
    links: node.links ?? 0,
    ...(target === undefined ? {} : { linkTarget: target }),
    ...(node.type === 'file' ? { content } : {}),
    ...(node.subtree === undefined ? {} : { subtree: node.subtree }),
  };
}

const quote = 0x22;
const backslash = 0x5c;
const open = new Set([0x5b, 0x7b]);
const close = new Set([0x5d, 0x7d]);
const openBrace = 0x7b;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const nodeDepth = 3;
const contentKey = Buffer.from('content');

/**
 * Reads a tree piece by piece and hands out its nodes. Only the text of one node without its content list is ever a string: the ids
 * go straight into bytes.
 */
export class TreeParser {
  #depth = 0;
  #inString = false;
  #escaped = false;
  #inContent = false;
  /** Text of the node being read, from earlier pieces. */
  #text: Buffer[] = [];
  #key: Buffer = Buffer.alloc(0);
  #rest: Buffer = Buffer.alloc(0);
  #ids: Buffer = Buffer.alloc(0);
  #idBytes = 0;

  /** Throws for text that is no tree. */
  *push(piece: Buffer): Generator<TreeNode> {
    const bytes = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    this.#rest = Buffer.alloc(0);
    // Where the part of the node begins that is not in #text yet, and where a string that may be a key began.
    let from = 0;
    let stringFrom = -1;
    let at = 0;
    while (at < bytes.length) {
      if (this.#inContent) {
        at = this.#takeIds(bytes, at);
        if (this.#inContent) return;
        from = at;
      }
      const byte = bytes[at] ?? 0;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === backslash) this.#escaped = true;
        else if (byte === quote) {
          this.#inString = false;
          if (this.#depth === nodeDepth)
            this.#key = Buffer.concat([this.#key, bytes.subarray(Math.max(stringFrom, 0), at)]);
        }
      } else if (byte === quote) {
        this.#inString = true;
        this.#key = Buffer.alloc(0);
        stringFrom = at + 1;
      } else if (open.has(byte)) {
        if (byte === openBrace && this.#depth === nodeDepth - 1) from = at;
        this.#depth += 1;
        if (byte === openBracket && this.#depth === nodeDepth + 1 && this.#key.equals(contentKey)) {
          this.#text.push(bytes.subarray(from, at + 1));
          this.#inContent = true;
        }
      } else if (close.has(byte)) {
        this.#depth -= 1;
        if (this.#depth === nodeDepth - 1) {
          this.#text.push(bytes.subarray(from, at + 1));
          yield this.#finishNode();
        }
      }
      at += 1;
    }
    // Between nodes there is nothing to keep, and up to the bracket that opened a list the text was taken already.
    if (this.#depth < nodeDepth || this.#inContent) return;
    this.#text.push(bytes.subarray(from));
    if (this.#inString && this.#depth === nodeDepth) {
      this.#key = Buffer.concat([this.#key, bytes.subarray(Math.max(stringFrom, 0))]);
    }
  }

  /** Throws if the text ended in the middle. */
  end(): void {
    if (this.#depth !== 0 || this.#inString) throw new SyntaxError('the tree ends in the middle');
  }

  #finishNode(): TreeNode {
    const json = Buffer.concat(this.#text).toString('utf8');
    const content = this.#ids.subarray(0, this.#idBytes);
    this.#text = [];
    this.#ids = Buffer.alloc(0);
    this.#idBytes = 0;
    return decodeNode(json, content);
  }

  /** Takes ids up to the closing bracket, and returns its position; keeps an incomplete id for the next piece. */
  #takeIds(bytes: Buffer, start: number): number {
    let at = start;
    while (at < bytes.length) {
      const byte = bytes[at] ?? 0;
      if (byte === closeBracket) {
        this.#inContent = false;
        return at;
      }
      if (byte !== quote) {
        at += 1;
        continue;
      }
      if (at + 66 > bytes.length) {
        this.#rest = bytes.subarray(at);
        return bytes.length;
      }
      this.#takeId(bytes.toString('latin1', at + 1, at + 65));
      if (bytes[at + 65] !== quote) throw new SyntaxError('a blob id in the tree is malformed');
      at += 66;
    }
    return at;
  }

  #takeId(hex: string): void {
    if (this.#idBytes + 32 > this.#ids.length) {
      const larger = Buffer.alloc(Math.max(32 * 16, this.#ids.length * 2));
      this.#ids.copy(larger);
      this.#ids = larger;
    }
    if (this.#ids.write(hex, this.#idBytes, 'hex') !== 32) throw new SyntaxError('a blob id in the tree is malformed');
    this.#idBytes += 32;
  }
}
