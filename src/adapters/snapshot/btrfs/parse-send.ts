import { StillpointError } from '../../../model/errors.ts';
import { normalize, type Ranges } from '../../../model/ranges.ts';
import type { ByteRange } from '../../../model/storage.ts';

/*
 * The stream of `btrfs send`, version 1 (btrfs documentation, "Send stream format"): a magic and a version; then commands, each of
 * length, number, checksum and attributes; each attribute of number, length and value; all little-endian. Read as it is rather than as
 * `btrfs receive --dump` prints it: paths are exact bytes, a stream that was cut off lacks its last command, and checksums tell the rest.
 */
const magic = Buffer.from('btrfs-stream\0');
const headBytes = magic.length + 4;
const commandHeadBytes = 10;
/** The kernel fills commands up to 64 KiB of data; more is no command. */
const largestCommand = 1024 * 1024;
/** Beyond this many the file had better be read: a range takes some 50 bytes of memory. */
const mostRanges = 4_000_000;

const attributes = { size: 4, path: 15, pathTo: 16, pathLink: 17, fileOffset: 18, data: 19, cloneLength: 24 } as const;
type Values = ReadonlyMap<number, Buffer>;

/** What each command names: paths that come, go or move; or bytes of a file. `nothing`: no file's content or name changes. */
type Effect =
  | { readonly kind: 'names'; readonly paths: readonly number[] }
  | { readonly kind: 'bytes'; readonly from: (values: Values) => ByteRange }
  | { readonly kind: 'begin' | 'end' | 'nothing' };

const oneName: Effect = { kind: 'names', paths: [attributes.path] };
const nothing: Effect = { kind: 'nothing' };
const bytesOf = (length: number): Effect => ({
  kind: 'bytes',
  from: (values) => ({ offset: numberIn(values, attributes.fileOffset), length: numberIn(values, length) }),
});

const effects: ReadonlyMap<number, Effect> = new Map<number, Effect>([
  [2, { kind: 'begin' }], // snapshot
  [3, oneName], // mkfile
  [4, oneName], // mkdir
  [5, oneName], // mknod
  [6, oneName], // mkfifo
  [7, oneName], // mksock
  [8, oneName], // symlink
  [9, { kind: 'names', paths: [attributes.path, attributes.pathTo] }], // rename
  [10, { kind: 'names', paths: [attributes.path, attributes.pathLink] }], // link
  [11, oneName], // unlink
  [12, oneName], // rmdir
  [13, nothing], // set_xattr
  [14, nothing], // remove_xattr
  [
    15, // write: not with --no-data
    {
      kind: 'bytes',
      from: (values) => ({
        offset: numberIn(values, attributes.fileOffset),
        length: valueIn(values, attributes.data).length,
      }),
    },
  ],
  [16, bytesOf(attributes.cloneLength)], // clone
  [
    17, // truncate: what comes behind the new end may be there again at the end of the stream
    {
      kind: 'bytes',
      from: (values) => {
        const offset = numberIn(values, attributes.size);
        return { offset, length: Number.MAX_SAFE_INTEGER - offset };
      },
    },
  ],
  [18, nothing], // chmod
  [19, nothing], // chown
  [20, nothing], // utimes
  [21, { kind: 'end' }],
  [22, bytesOf(attributes.size)], // update_extent
]);

/** By path from the top of the subvolume, in the bytes of the file system: use `pathKey` to ask. */
export interface SendChanges {
  readonly ranges: (path: string) => Ranges;
  /** Whether the path, or a directory above it, was made, removed, renamed or linked: its name then says nothing about its content. */
  readonly moved: (path: string) => boolean;
}

/** Reads a stream piece by piece. Throws `command-failed` at anything that is not understood. */
export class SendStream {
  #rest: Buffer = Buffer.alloc(0);
  #state: 'head' | 'begin' | 'body' | 'ended' = 'head';
  #count = 0;
  readonly #mostRanges: number;
  readonly #names = new Set<string>();
  readonly #ranges = new Map<string, ByteRange[]>();

  constructor(limit = mostRanges) {
    this.#mostRanges = limit;
  }

  push(piece: Buffer): void {
    const all = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    let at = 0;
    if (this.#state === 'head' && all.length >= headBytes) {
      if (!all.subarray(0, magic.length).equals(magic)) fail('it does not begin like one');
      const version = all.readUInt32LE(magic.length);
      if (version !== 1) fail(`it is of version ${version}`);
      at = headBytes;
      this.#state = 'begin';
    }
    while (this.#state !== 'head' && all.length - at >= commandHeadBytes) {
      const length = commandHeadBytes + all.readUInt32LE(at);
      if (length > largestCommand) fail(`a command of ${length} bytes`);
      if (all.length - at < length) break;
      this.#take(all.subarray(at, at + length));
      at += length;
    }
    this.#rest = all.subarray(at);
  }

  end(): SendChanges {
    if (this.#state !== 'ended' || this.#rest.length > 0) fail('it was cut off');
    const [names, ranges] = [this.#names, this.#ranges];
    return {
      ranges: (path) => normalize(ranges.get(pathKey(path)) ?? []),
      moved(path) {
        const key = pathKey(path);
        for (let end = key.length; end !== -1; end = key.lastIndexOf('/', end - 1)) {
          if (names.has(key.slice(0, end))) return true;
        }
        return false;
      },
    };
  }

  #take(command: Buffer): void {
    const number = command.readUInt16LE(4);
    if (checksum(command) !== command.readUInt32LE(6)) fail(`command ${number} has a wrong checksum`);
    const effect = effects.get(number);
    if (effect === undefined) return fail(`command ${number} is not known`);
    if ((effect.kind === 'begin') !== (this.#state === 'begin')) fail(`command ${number} is out of place`);
    const values = valuesOf(command);
    if (effect.kind === 'begin') this.#state = 'body';
    else if (effect.kind === 'end') this.#state = 'ended';
    else if (effect.kind === 'names') {
      for (const path of effect.paths) this.#names.add(valueIn(values, path).toString('latin1'));
    } else if (effect.kind === 'bytes') this.#changed(valueIn(values, attributes.path), effect.from(values));
  }

  #changed(path: Buffer, range: ByteRange): void {
    const key = path.toString('latin1');
    const known = this.#ranges.get(key) ?? [];
    this.#ranges.set(key, known);
    const last = known.at(-1);
    if (last !== undefined && last.offset + last.length === range.offset) {
      known[known.length - 1] = { offset: last.offset, length: last.length + range.length };
      return;
    }
    known.push(range);
    this.#count += 1;
    if (this.#count > this.#mostRanges) fail(`it tells of more than ${this.#mostRanges} changes`);
  }
}

/** One character for each byte, so that names that are no UTF-8 stay apart. */
function pathKey(path: string): string {
  return Buffer.from(path).toString('latin1');
}

function fail(why: string): never {
  throw new StillpointError('command-failed', `the stream of \`btrfs send\` is not understood: ${why}`, {
    hint: 'all files are read instead; `btrfs receive --dump` shows such a stream',
  });
}

function valuesOf(command: Buffer): Values {
  const values = new Map<number, Buffer>();
  let at = commandHeadBytes;
  while (at < command.length) {
    if (command.length - at < 4) fail('an attribute was cut off');
    const end = at + 4 + command.readUInt16LE(at + 2);
    if (end > command.length) fail('an attribute was cut off');
    values.set(command.readUInt16LE(at), command.subarray(at + 4, end));
    at = end;
  }
  return values;
}

function valueIn(values: Values, attribute: number): Buffer {
  return values.get(attribute) ?? fail(`attribute ${attribute} is missing`);
}

function numberIn(values: Values, attribute: number): number {
  const value = valueIn(values, attribute);
  if (value.length !== 8) fail(`attribute ${attribute} is no number`);
  const number = Number(value.readBigUInt64LE());
  if (!Number.isSafeInteger(number)) fail(`attribute ${attribute} is too large`);
  return number;
}

/** CRC-32C as the kernel takes it here: neither inverted before nor after, and the field itself counts as zero. */
function checksum(command: Buffer): number {
  let sum = 0;
  for (let at = 0; at < command.length; at += 1) {
    const byte = at >= 6 && at < commandHeadBytes ? 0 : command.readUInt8(at);
    sum = (sum >>> 8) ^ (crcTable[(sum ^ byte) & 0xff] as number);
  }
  return sum >>> 0;
}

const crcTable = Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = (value >>> 1) ^ ((value & 1) * 0x82f63b78);
  return value;
});
