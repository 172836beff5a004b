/** What `mupip backup -bytestream` said of one region. */
export interface BackedUp {
  /** Database file of the region. */
  readonly file: string;
  /** Transaction numbers, as printed. Undefined: nothing has changed since then, and nothing was written to the target. */
  readonly range: { readonly from: string; readonly to: string } | undefined;
  readonly blocks: number;
}

export interface BackupOutput {
  /** In the order in which they were written. */
  readonly regions: readonly BackedUp[];
  /** The engine's last word. */
  readonly succeeded: boolean;
  /** Base names of the journals that were begun at the instant of the backup, by region. */
  readonly journals: Readonly<Record<string, string>>;
}

const number = String.raw`0x[0-9A-Fa-f]+`;
const backedUpLine = /%(?:GTM|YDB)-I-BACKUPDBFILE, DB file (.+?) backed up in file /;
const rangeLine = new RegExp(`%(?:GTM|YDB)-I-BACKUPTN, Transactions from (${number}) to (${number}) are backed up`);
const unchangedLine = /^no blocks backed up from database (.+?) *$/;
const journalLine = /%(?:GTM|YDB)-I-JNLCREATE, Journal file (.+) created for region (\S+) with /;

/** Also for the output so far of a backup that is still at work: a region is in it once it is done. */
export function parseBackup(text: string): BackupOutput {
  const regions: BackedUp[] = [];
  const journals: Record<string, string> = {};
  let file: string | undefined;
  let blocks = 0;
  for (const line of text.split('\n')) {
    const begun = journalLine.exec(line);
    if (begun?.[1] !== undefined && begun[2] !== undefined) journals[begun[2]] = begun[1].replace(/^.*\//, '');
    file = backedUpLine.exec(line)?.[1] ?? file;
    blocks = Number(/^(\d+) blocks saved/.exec(line)?.[1] ?? blocks);
    const unchanged = unchangedLine.exec(line)?.[1];
    if (unchanged !== undefined) regions.push({ file: unchanged, range: undefined, blocks: 0 });
    const [, from, to] = rangeLine.exec(line) ?? [];
    if (file === undefined || from === undefined || to === undefined) continue;
    regions.push({ file, range: { from, to }, blocks });
    file = undefined;
  }
  return { regions, journals, succeeded: /%(?:GTM|YDB)-I-BACKUPSUCCESS/.test(text) };
}

/** The engine's counters of one region, as `dse all -dump` prints them. */
export interface Counters {
  readonly region: string;
  readonly file: string;
  readonly current: string;
  readonly record: string;
  readonly database: string;
  readonly bytestream: string;
  readonly blockBytes: number;
  readonly totalBlocks: number;
  /** Where block 0 begins, in sectors of 512 bytes, counted from 1. */
  readonly startingSector: number;
}

/** Headers that lack one of these fields are left out; the caller holds the regions against what it expects. */
export function parseCounters(text: string): readonly Counters[] {
  return text.split(/^(?=File {3})/m).flatMap((part) => {
    const field = (name: string, value: string): string | undefined =>
      new RegExp(`${name} +(${value})`, 'm').exec(part)?.[1];
    const found = {
      region: field('^Region', String.raw`\S+`),
      file: /^File {3,}(.+?) *$/m.exec(part)?.[1],
      current: field('Current transaction', number),
      record: field('Last Record Backup', number),
      database: field('Last Database Backup', number),
      bytestream: field('Last Bytestream Backup', number),
    };
    const figures = {
      blockBytes: Number(field(String.raw`Block size \(in bytes\)`, String.raw`\d+`)),
      totalBlocks: Number(field('Total blocks', number)),
      startingSector: Number(field('Starting VBN', String.raw`\d+`)),
    };
    return allThere(found) && Object.values(figures).every((each) => Number.isFinite(each))
      ? [{ ...found, ...figures }]
      : [];
  });
}

function allThere<T extends Readonly<Record<string, string | undefined>>>(
  found: T,
): found is T & Record<keyof T, string> {
  return Object.values(found).every((each) => each !== undefined);
}

/** Current transaction of a file that nobody has open, by `mupip dumpfhead -file`. */
export function parseCurrent(text: string): bigint | undefined {
  const found = /record\("sgmnt_data\.trans_hist\.curr_tn"\)="?(0x[0-9A-F]+|\d+)/.exec(text)?.[1];
  return found === undefined ? undefined : BigInt(found);
}

/** Transaction number of a block, by its first 16 bytes on disk; 0 for one that was never used. */
export function parseBlockTransaction(bytes: Buffer): bigint {
  // Version, level, size of what is in use, then the number: blk_hdr of V5 and later formats.
  return bytes.length < 16 || bytes.readUInt32LE(4) === 0 ? 0n : bytes.readBigUInt64LE(8);
}

/** The beginning of a file in bytestream format. */
export interface StreamHead {
  readonly region: string;
  readonly from: bigint;
  readonly to: bigint;
  readonly blockBytes: number;
}

/** Bytes of a file that are enough for `parseStreamHead`. */
export const streamHeadBytes = 128;

/**
 * Layout of `inc_header` (sr_port/murest.h): label, date, region name of 31 bytes and a zero, then the two transaction numbers and the
 * sizes, little endian on every machine that GT.M 7 runs on. Undefined: not such a file.
 */
export function parseStreamHead(bytes: Buffer): StreamHead | undefined {
  if (bytes.length < streamHeadBytes) return undefined;
  if (!/^GDSV\d {3}INCREMENTAL BACKUP$/.test(bytes.toString('latin1', 0, 26))) return undefined;
  return {
    region: bytes.toString('latin1', 40, 71).replace(/\0.*$/, ''),
    from: bytes.readBigUInt64LE(72),
    to: bytes.readBigUInt64LE(80),
    blockBytes: bytes.readUInt32LE(96),
  };
}

/** What stands for the stream of a region in which nothing has changed: the engine writes none then. */
export interface Unchanged {
  readonly region: string;
  readonly at: bigint;
}

export function unchangedText(region: string, at: string): string {
  return `stillpoint: GT.M region ${region} unchanged at ${at}\n`;
}

export function parseUnchanged(text: string): Unchanged | undefined {
  const [, region, at] = /^stillpoint: GT\.M region (\S+) unchanged at (0x[0-9A-F]+)\n$/.exec(text) ?? [];
  return region === undefined || at === undefined ? undefined : { region, at: BigInt(at) };
}
