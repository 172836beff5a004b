import type { JournalSpan } from '../../../model/hold.ts';

/** Why a text of the engine was not understood. The callers turn it into a StillpointError with their own code and hint. */
export class Unreadable extends Error {}

/** `server_version_num`: 150018 -> 15. */
export function majorOf(serverVersionNumber: number): number {
  return Math.trunc(serverVersionNumber / 10_000);
}

/** `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` -> 15. */
export function majorOfProgram(output: string): number | undefined {
  const found = /\(PostgreSQL\) (\d+)/.exec(output);
  return found?.[1] === undefined ? undefined : Number(found[1]);
}

/** A log sequence number as the engine prints it, `16/B374D848`. */
export function parseLsn(text: string): bigint {
  const found = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text);
  if (found?.[1] === undefined || found[2] === undefined) throw new Unreadable(`${text} is no log sequence number`);
  return (BigInt(`0x${found[1]}`) << 32n) | BigInt(`0x${found[2]}`);
}

function hex8(value: bigint): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}

/** Name of WAL segment `number` (counted from the beginning of the WAL). */
export function segmentName(timeline: bigint, number: bigint, segmentBytes: bigint): string {
  const perId = 0x1_0000_0000n / segmentBytes;
  return hex8(timeline) + hex8(number / perId) + hex8(number % perId);
}

export interface Segment {
  readonly timeline: bigint;
  readonly number: bigint;
}

export function parseSegment(name: string, segmentBytes: bigint): Segment {
  const found = /^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$/.exec(name);
  if (found?.[1] === undefined || found[2] === undefined || found[3] === undefined) {
    throw new Unreadable(`${name} is no name of a WAL segment`);
  }
  const perId = 0x1_0000_0000n / segmentBytes;
  return {
    timeline: BigInt(`0x${found[1]}`),
    number: BigInt(`0x${found[2]}`) * perId + BigInt(`0x${found[3]}`),
  };
}

export interface Label {
  readonly startLsn: string;
  readonly startFile: string;
}

/** The first line of `backup_label`: `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)`. */
export function parseLabel(label: string): Label {
  const found = /^START WAL LOCATION: ([0-9A-F]+\/[0-9A-F]+) \(file ([0-9A-F]{24})\)$/m.exec(label);
  if (found?.[1] === undefined || found[2] === undefined) {
    throw new Unreadable('the backup label has no START WAL LOCATION');
  }
  return { startLsn: found[1], startFile: found[2] };
}

/** All WAL that recovery of a base backup reads. `stopLsn` points behind the backup-end record, so its segment is that of the byte before. */
export function journalSpan(label: Label, stopLsn: string, segmentBytes: bigint, directory: string): JournalSpan {
  const first = parseSegment(label.startFile, segmentBytes);
  const lastNumber = (parseLsn(stopLsn) - 1n) / segmentBytes;
  if (lastNumber < first.number) throw new Unreadable(`the backup ends at ${stopLsn}, before ${label.startFile}`);
  const files: string[] = [];
  for (let number = first.number; number <= lastNumber; number += 1n) {
    files.push(segmentName(first.timeline, number, segmentBytes));
  }
  return {
    from: { file: label.startFile, position: label.startLsn },
    to: { file: segmentName(first.timeline, lastNumber, segmentBytes), position: stopLsn },
    files,
    directory,
  };
}

export interface SegmentFacts {
  readonly name: string;
  readonly systemIdentifier: bigint;
  readonly segmentBytes: bigint;
  /**
   * The stop position: pages of the last segment in front of it must be whole. What lies behind it is of no use to recovery, and on a
   * standby, which switches no segment at the stop, it is what the file held before it was recycled.
   */
  readonly until: bigint;
}

const longHeader = 0x0002;

/**
 * Proves page by page that a WAL segment holds what its name says: a recycled or preallocated file still has its old content.
 * Feed the file from its beginning, in chunks that are multiples of 64 KiB; the answer is the first complaint, or undefined.
 * Source: src/include/access/xlog_internal.h, XLogPageHeaderData and XLogLongPageHeaderData; integers are in the machine's order,
 * little-endian on every machine this runs on.
 */
export function segmentProof(facts: SegmentFacts): (chunk: Uint8Array) => string | undefined {
  const { timeline, number } = parseSegment(facts.name, facts.segmentBytes);
  const start = number * facts.segmentBytes;
  let offset = 0n;
  let blockBytes = 0;
  let magic = 0;
  let empty = false;

  const first = (view: DataView): string | undefined => {
    if (view.byteLength < 40 || (view.getUint16(2, true) & longHeader) === 0) return 'it has no WAL header';
    const systemIdentifier = view.getBigUint64(24, true);
    if (systemIdentifier !== facts.systemIdentifier) return `it belongs to system ${systemIdentifier}`;
    const segmentBytes = view.getUint32(32, true);
    if (BigInt(segmentBytes) !== facts.segmentBytes) return `its header says segments of ${segmentBytes} bytes`;
    blockBytes = view.getUint32(36, true);
    if (blockBytes < 1024 || blockBytes > 65_536 || 65_536 % blockBytes !== 0) {
      return `its header says pages of ${blockBytes} bytes`;
    }
    magic = view.getUint16(0, true);
    // A segment begins on the timeline of its name even when the history forked in it: the fork copies it under the new name.
    if (BigInt(view.getUint32(4, true)) > timeline) return `it was written on timeline ${view.getUint32(4, true)}`;
    return undefined;
  };

  return (chunk) => {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    if (offset === 0n) {
      const complaint = first(view);
      if (complaint !== undefined) return complaint;
    }
    for (let page = 0; page + 16 <= chunk.byteLength; page += blockBytes) {
      const position = start + offset + BigInt(page);
      if (position >= facts.until) break;
      const address = view.getBigUint64(page + 8, true);
      const pageMagic = view.getUint16(page, true);
      if (pageMagic === 0 && address === 0n) {
        // Behind a segment switch the rest of the segment is empty; anywhere else a page is missing.
        if (start + facts.segmentBytes >= facts.until) {
          return `page ${position - start} is empty, before the end of the backup`;
        }
        empty = true;
      } else if (empty) {
        return `page ${position - start} follows an empty page`;
      } else if (pageMagic !== magic || address !== position) {
        return `page ${position - start} belongs to position ${address.toString(16).toUpperCase()}`;
      }
    }
    offset += BigInt(chunk.byteLength);
    return undefined;
  };
}

/** Record header, data header and the longest path that the engine takes for a tablespace. */
const longestRecord = 24 + 5 + 4 + 1024;
const tablespaceManager = 5;

/**
 * Looks through WAL for records of CREATE TABLESPACE and gives their paths. Feed it whole pages, segment after segment in the order
 * of the WAL; call with nothing at the end. Records before `redo` are passed over. It reads no checksums: a path may be named by WAL that recovery would not reach.
 * Source: src/include/access/xlogrecord.h, XLogRecord; src/include/commands/tablespace.h, xl_tblspc_create_rec.
 */
export function tablespaceScan(blockBytes: number, redo: bigint): (pages?: Uint8Array) => readonly string[] {
  let carried: Buffer = Buffer.alloc(0);
  return (pages) => {
    const parts: Buffer[] = [carried];
    const data = Buffer.from(pages ?? []);
    for (let page = 0; page + blockBytes <= data.byteLength; page += blockBytes) {
      const header = (data.readUInt16LE(page + 2) & longHeader) === 0 ? 24 : 40;
      const before = redo - data.readBigUInt64LE(page + 8);
      if (before >= BigInt(blockBytes)) continue;
      parts.push(data.subarray(page + Math.max(header, Number(before)), page + blockBytes));
    }
    const stream = Buffer.concat(parts);
    // A record may go on behind what is here, unless nothing follows.
    const end = pages === undefined ? stream.byteLength : Math.max(0, stream.byteLength - longestRecord) & ~7;
    const found: string[] = [];
    for (let at = 0; at < end; at += 8) {
      const path = createdAt(stream, at);
      if (path !== undefined) found.push(path);
    }
    carried = stream.subarray(end);
    return found;
  };
}

function createdAt(stream: Buffer, at: number): string | undefined {
  if (at + 40 > stream.byteLength) return undefined;
  if (stream.readUInt8(at + 17) !== tablespaceManager || (stream.readUInt8(at + 16) & 0xf0) !== 0) return undefined;
  const short = stream[at + 24] === 0xff;
  if (!short && stream[at + 24] !== 0xfe) return undefined;
  const length = short ? stream.readUInt8(at + 25) : stream.readUInt32LE(at + 25);
  const from = at + 24 + (short ? 2 : 5);
  if (stream.readUInt32LE(at) !== from - at + length || from + length > stream.byteLength) return undefined;
  const path = stream.subarray(from + 4, from + length);
  const end = path.indexOf(0);
  // An empty path is a tablespace inside the data directory.
  return path[0] === 0x2f && end === path.byteLength - 1 ? path.subarray(0, end).toString('utf8') : undefined;
}

/** Where recovery from a control file begins. Source: src/include/catalog/pg_control.h, ControlFileData of 14 to 18. */
export function redoOf(control: Uint8Array): { readonly position: bigint } | undefined {
  if (control.byteLength < 48) return undefined;
  return { position: new DataView(control.buffer, control.byteOffset).getBigUint64(40, true) };
}

/** One byte of a sum of Castagnoli's polynomial, as PostgreSQL writes it behind its control data. Half a kilobyte needs no table. */
function castagnoli(sum: number, byte: number): number {
  let value = sum ^ byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
}

/** The data of a control file fits into one sector of 512 bytes; where it ends differs between versions. */
const shortestControl = 200;
const sectorBytes = 512;

/**
 * Whether a control file that was read while the server writes it is whole: its checksum stands somewhere behind what it covers. Source:
 * src/include/catalog/pg_control.h, PG_CONTROL_MAX_SAFE_SIZE.
 */
export function isWholeControl(control: Uint8Array): boolean {
  if (control.byteLength < sectorBytes) return false;
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength);
  let sum = 0xffffffff;
  for (let at = 0; at + 4 <= sectorBytes; at += 1) {
    if (at >= shortestControl && at % 4 === 0 && view.getUint32(at, true) === (sum ^ 0xffffffff) >>> 0) return true;
    sum = castagnoli(sum, view.getUint8(at));
  }
  return false;
}

export interface PostmasterPid {
  readonly pid: number;
  readonly dataDirectory: string;
  readonly startedAt: number | undefined;
  readonly port: number | undefined;
  readonly socketDirectory: string | undefined;
  /** `starting`, `stopping`, `ready`, `standby`; undefined while the file is being written. */
  readonly status: string | undefined;
}

/** `postmaster.pid`. Undefined if it is empty or half written. Source: src/include/utils/pidfile.h. */
export function parsePostmasterPid(text: string): PostmasterPid | undefined {
  const [pid = '', dataDirectory = '', started = '', port = '', socket = '', , , status = ''] = text.split('\n');
  // A single-user or bootstrap process writes its number negated.
  if (!/^-?\d+$/.test(pid) || dataDirectory === '') return undefined;
  return {
    pid: Math.abs(Number(pid)),
    dataDirectory,
    startedAt: /^\d+$/.test(started) ? Number(started) : undefined,
    port: /^\d+$/.test(port) ? Number(port) : undefined,
    socketDirectory: socket === '' ? undefined : socket,
    status: status.trim() === '' ? undefined : status.trim(),
  };
}

/**
 * `tablespace_map`: lines `<oid> <path>`, with newline, carriage return and backslash in the path escaped by a backslash. Works on
 * latin1 text so that bytes of any encoding survive.
 */
export function rewriteTablespaceMap(map: string, place: (oid: string, path: string) => string): string {
  let result = '';
  for (const line of mapLines(map)) {
    const space = line.indexOf(' ');
    if (space < 1) throw new Unreadable(`tablespace_map has the line ${JSON.stringify(line)}`);
    const oid = line.slice(0, space);
    const path = line.slice(space + 1).replace(/\\([\s\S])/g, '$1');
    result += `${oid} ${place(oid, path).replace(/[\n\r\\]/g, String.raw`\$&`)}\n`;
  }
  return result;
}

function mapLines(map: string): readonly string[] {
  const lines = map.match(/(?:\\[\s\S]|[^\n\\])+/g);
  return lines ?? [];
}

/** What the server said when it ended: the last line of the worst kind in its log. */
export function lastComplaint(log: string): string {
  const lines = log.trim().split('\n');
  const worst =
    lines.findLast((line) => /\b(PANIC|FATAL):/.test(line)) ?? lines.findLast((line) => /ERROR:/.test(line));
  return (worst ?? log.trim().replace(/^[\s\S]*\n/, '')).replace(/^.*?\b(?=PANIC:|FATAL:|ERROR:)/, '');
}

/** The session name by which the engine knows a hold. PostgreSQL keeps 63 bytes and replaces what is not printable ASCII. */
export function sessionName(identity: string): string {
  return identity.replace(/[^ -~]/g, '?').slice(0, 63);
}

/** Session name between the thaw and the end of the session, while only the journal is still protected. */
export function thawedName(identity: string): string {
  return `thawed:${sessionName(identity)}`.slice(0, 63);
}

/** The line `data_directory = '/path'` of a postgresql.conf. Undefined if it has none. */
export function settingOf(configuration: string, key: string): string | undefined {
  const pattern = new RegExp(String.raw`^\s*${key}\s*(?:=|\s)\s*(?:'((?:[^']|'')*)'|([^\s#]+))`, 'gim');
  const last = [...configuration.matchAll(pattern)].at(-1);
  return last?.[1]?.replaceAll("''", "'") ?? last?.[2];
}

/** True if the canary's numbers are 1, 2, 3... without a gap; `numbers` need not be sorted. */
export function prefixLength(count: number, lowest: number, highest: number): number | undefined {
  if (count === 0) return 0;
  return lowest === 1 && highest === count ? count : undefined;
}
