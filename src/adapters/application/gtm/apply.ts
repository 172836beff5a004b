import { chmod, chown, copyFile, mkdir, open, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { Copy } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import type { AppliedLevel } from '../../../ports/online.ts';
import { rundownArguments, segmentCommands } from './commands.ts';
import type { GtmConfig } from './config.ts';
import { type CopyFiles, filesOf, isolatedGtm, makeGlobalDirectory } from './copy.ts';
import { type Answer, complaintOf, type Gtm, has, wentWell } from './engine.ts';
import { mark } from './marks.ts';
import {
  parseCurrent,
  parseStreamHead,
  parseUnchanged,
  type StreamHead,
  streamHeadBytes,
  type Unchanged,
} from './parse-backup.ts';
import { parseFileHeader, type Region } from './parse.ts';

/** Streams of a full that are not the engine's: what `mupip restore` does not bring back. */
export const globalDirectoryStream = 'global-directory';
export const modesStream = 'file-modes.json';

const quickMs = 60_000;
const restoreMs = 24 * 3_600_000;

type Piece = { readonly path: string } & (
  | { readonly kind: 'blocks'; readonly head: StreamHead }
  | { readonly kind: 'unchanged'; readonly unchanged: Unchanged }
);

interface Work {
  readonly gtm: Gtm;
  readonly files: CopyFiles;
  readonly copy: Copy;
  readonly signal: AbortSignal;
}

/**
 * Puts one level into the copy, away from the living database. A level that begins before the state of the copy and ends after it is as
 * good as one that begins exactly there: the images in it are whole blocks, those of blocks that have not changed since are equal to what
 * is there, and all others replace what is there. `mupip restore` only takes a level that begins exactly at the file's own current
 * transaction, so that number is set down first; it never is set up, which is what a gap would need.
 */
export async function applyLevel(
  config: GtmConfig,
  platform: Platform,
  level: AppliedLevel,
  copy: Copy,
  signal: AbortSignal,
): Promise<void> {
  const files = filesOf(copy);
  const gtm = isolatedGtm(copy, config, platform, join(copy.scratch, 'level.gld'));
  const work: Work = { gtm, files, copy, signal };
  const pieces = await piecesOf(level, files);
  if (level.level === 'full') await bringGlobalDirectory(level, work);
  for (const region of files.regions) {
    signal.throwIfAborted();
    const piece = pieces.get(region.name);
    if (piece === undefined) throw misfit(`the level holds nothing of region ${region.name}`);
    await useRegion(work, region, piece.kind === 'blocks' ? piece.head.blockBytes : undefined);
    if (level.level === 'full') await createRegion(work, level, region, piece);
    else if (level.dirtySince !== undefined) await closeDirty(work, region, piece, level.dirtySince[region.name]);
    else await stack(work, region, piece);
  }
}

async function piecesOf(level: AppliedLevel, files: CopyFiles): Promise<ReadonlyMap<string, Piece>> {
  const pieces = new Map<string, Piece>();
  for (const [name, path] of level.streams) {
    if (name === globalDirectoryStream || name === modesStream) continue;
    if (/[\s,"|]/.test(path)) {
      throw new StillpointError(
        'io',
        `mupip cannot take ${path}: there is a blank, comma, quotation mark or bar in it`,
        {
          hint: 'choose a state directory and a target without them',
        },
      );
    }
    const bytes = await beginningOf(path, streamHeadBytes);
    const head = parseStreamHead(bytes);
    const unchanged = parseUnchanged(bytes.toString('latin1'));
    if (head !== undefined) pieces.set(head.region, { path, kind: 'blocks', head });
    else if (unchanged !== undefined) pieces.set(unchanged.region, { path, kind: 'unchanged', unchanged });
    else throw misfit(`${name} is no file of GT.M's bytestream format`);
  }
  const strangers = [...pieces.keys()].filter((name) => !files.originals.has(name));
  if (strangers.length > 0) throw misfit(`the copy has no region ${strangers.join(', ')}`);
  return pieces;
}

/** The global directory is no database file, so the engine's backup does not hold it; without it there is no way in. */
async function bringGlobalDirectory(level: AppliedLevel, { files, copy }: Work): Promise<void> {
  const stream = level.streams.get(globalDirectoryStream);
  if (stream === undefined) throw misfit('the full backup lacks its global directory');
  await mkdir(dirname(files.globalDirectory), { recursive: true });
  await copyFile(stream, files.globalDirectory);
  await chmod(files.globalDirectory, 0o644);
  await giveToOwner(copy, files.globalDirectory);
}

/** A global directory with one region, the file of this one. dse and `mupip create` need one; restore asks for none. */
async function useRegion({ gtm, signal }: Work, region: Region, blockBytes: number | undefined): Promise<void> {
  const [bend = ''] = segmentCommands(new Map([['DEFAULT', region.file]]));
  const size = blockBytes === undefined ? '' : ` -block_size=${blockBytes}`;
  const answer = await gtm.gde([`${bend}${size}`], { limitMs: quickMs, signal });
  if (!wentWell(answer)) throw misfit(`GDE cannot name ${region.file}: ${complaintOf(answer)}`);
}

async function createRegion(work: Work, level: AppliedLevel, region: Region, piece: Piece): Promise<void> {
  const { gtm, files, copy, signal } = work;
  await mkdir(dirname(region.file), { recursive: true });
  if (piece.kind === 'blocks') {
    succeeded(await gtm.mupip(['create'], { limitMs: quickMs, signal }), 'DBFILECREATED', region.name);
    await restore(work, region, piece.path, piece.head);
  } else {
    // Never written to: the engine had nothing to save, and the global directory says how it was made.
    const bent = join(copy.scratch, 'whole.gld');
    await makeGlobalDirectory(gtm, files, files.globalDirectory, bent);
    const create = ['create', `-region=${region.name}`];
    succeeded(
      await gtm.at({ globalDirectory: bent }).mupip(create, { limitMs: quickMs, signal }),
      'DBFILECREATED',
      region.name,
    );
  }
  const stream = level.streams.get(modesStream);
  const modes: Record<string, number> = stream === undefined ? {} : JSON.parse(await readFile(stream, 'utf8'));
  await giveToOwner(copy, region.file);
  await chmod(region.file, modes[region.name] ?? 0o660);
}

async function stack(work: Work, region: Region, piece: Piece): Promise<void> {
  const current = await currentOf(work, region);
  if (piece.kind === 'unchanged') {
    if (piece.unchanged.at === current) return;
    throw misfit(`region ${region.name} is at ${mark(current)}, the level was made at ${mark(piece.unchanged.at)}`);
  }
  refuseGap(region, piece.head, current);
  if (piece.head.from < current) await setDown(work, region, piece.head.from);
  await restore(work, region, piece.path, piece.head);
}

/** The file was copied while it changed: only blocks that were written before `since` are certain, and the level holds all others. */
async function closeDirty(work: Work, region: Region, piece: Piece, since: string | undefined): Promise<void> {
  const { gtm, signal } = work;
  if (since === undefined) throw misfit(`nothing is known of when region ${region.name} was marked`);
  const ask = async (args: readonly string[], mnemonic: string): Promise<void> =>
    succeeded(await gtm.mupip(args, { limitMs: quickMs, signal }), mnemonic, region.name);
  const { journaled } = parseFileHeader(
    (await gtm.mupip(['dumpfhead', '-file', region.file], { limitMs: quickMs, signal })).text,
  );
  await ask(rundownArguments(region.file), 'MUFILRNDWNSUC');
  // Not `disable`: that opens the journal that the header names, the living one.
  if (journaled) await ask(['set', '-file', region.file, '-journal=off'], 'JNLSTATE');
  if (piece.kind === 'unchanged') {
    if (piece.unchanged.at === BigInt(since)) return;
    throw misfit(`region ${region.name} was marked at ${since}, the level was made at ${mark(piece.unchanged.at)}`);
  }
  refuseGap(region, piece.head, BigInt(since));
  await setDown(work, region, piece.head.from);
  await restore(work, region, piece.path, piece.head);
}

function refuseGap(region: Region, head: StreamHead, current: bigint): void {
  if (head.from <= current && current <= head.to) return;
  const what = head.from > current ? 'a level between is missing' : 'the copy is newer';
  throw misfit(
    `region ${region.name} is at ${mark(current)}, the level goes from ${mark(head.from)} to ${mark(head.to)}: ${what}`,
  );
}

async function setDown({ gtm, signal }: Work, region: Region, to: bigint): Promise<void> {
  const answer = await gtm.dse(['change', '-fileheader', `-current_tn=${mark(to)}`], { limitMs: quickMs, signal });
  if (!wentWell(answer)) throw misfit(`dse cannot open region ${region.name} of the copy: ${complaintOf(answer)}`);
}

async function restore(work: Work, region: Region, path: string, head: StreamHead): Promise<void> {
  const answer = await work.gtm.mupip(['restore', region.file, path], { limitMs: restoreMs, signal: work.signal });
  succeeded(answer, 'RESTORESUCCESS', region.name);
  const current = await currentOf(work, region);
  if (current === head.to) return;
  throw misfit(`after the restore, region ${region.name} is at ${mark(current)} instead of ${mark(head.to)}`);
}

/** From the file's header: nobody has the copy open, so nothing newer is in memory. */
async function currentOf({ gtm, signal }: Work, region: Region): Promise<bigint> {
  const answer = await gtm.mupip(['dumpfhead', '-file', region.file], { limitMs: quickMs, signal });
  const found = parseCurrent(answer.text);
  if (found === undefined) throw misfit(`the header of ${region.file} cannot be read: ${complaintOf(answer)}`);
  return found;
}

function succeeded(answer: Answer, mnemonic: string, region: string): void {
  if (wentWell(answer) && has(answer, mnemonic)) return;
  throw misfit(`${answer.span.what} of region ${region}: ${complaintOf(answer)}`);
}

/** As root the files come into being as root's. */
async function giveToOwner(copy: Copy, file: string): Promise<void> {
  const { ownerUid, ownerGid } = copy.facts;
  if (process.getuid?.() === 0 && ownerUid !== undefined)
    await chown(file, Number(ownerUid), Number(ownerGid ?? ownerUid));
}

async function beginningOf(path: string, bytes: number): Promise<Buffer> {
  await using file = await open(path, 'r');
  const { bytesRead, buffer } = await file.read(Buffer.alloc(bytes), 0, bytes, 0);
  return buffer.subarray(0, bytesRead);
}

function misfit(said: string): StillpointError {
  return new StillpointError('level-misfit', said, {
    hint: 'the copy is worth nothing now; choose another point with stillpoint points, or make a full backup',
  });
}
