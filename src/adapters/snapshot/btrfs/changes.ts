import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../../model/errors.ts';
import { clip, union, type Ranges } from '../../../model/ranges.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { changedByFiemap } from '../../../platform/fiemap.ts';
import { fileStatOf, isWithin } from '../../../platform/files.ts';
import { identify } from '../../../platform/process.ts';
import type { Platform } from '../../../ports/module.ts';
import type { ChangedBlocks, FileChanges, FileStat } from '../../../ports/snapshot-provider.ts';
import { sendChanges, show } from './commands.ts';
import { SendStream, type SendChanges } from './parse-send.ts';
import { parseSnapshot } from './parse.ts';

const lookMs = 15_000;
/** It reads metadata only, but all of what changed. */
const sendMs = 30 * 60_000;
const fileName = /^btrfs-send-(\d+)-[0-9a-f]+$/;

/**
 * What differs between two snapshots of one subvolume; undefined, with the reason logged, if that cannot be told. `root` is where the
 * subvolume's own top lies.
 */
export async function changesOf(
  platform: Platform,
  now: SnapshotRef,
  root: string,
  base: SnapshotRef,
  signal: AbortSignal,
): Promise<ChangedBlocks | undefined> {
  const { exec, log } = platform;
  const unknown = (what: string, why: string): undefined => {
    log.info(`what changed in ${what} since ${base.label} is not known: ${why}`);
    return undefined;
  };
  const why = await whyNotRelated(platform, now, base, signal);
  if (why !== undefined) return unknown(now.at, why);
  const fiemap = (await exec.which('filefrag')) !== undefined;
  let sent: SendChanges | undefined;
  try {
    sent = await send(platform, now, base, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!fiemap) return unknown(now.at, messageOf(error));
    log.info(`the difference to ${base.label} is taken from the maps of its files: ${messageOf(error)}`);
  }
  return {
    source: sent === undefined ? 'FIEMAP of two btrfs snapshots' : 'btrfs send --no-data',
    async of(original): Promise<FileChanges | undefined> {
      if (!isWithin(original, root)) return undefined;
      const path = original.slice(root === '/' ? 1 : root.length + 1);
      const [from, to] = [join(base.at, path), join(now.at, path)];
      const [was, is] = [await fileStat(from), await fileStat(to)];
      if (was === undefined || is === undefined) return undefined;
      const told = sent === undefined ? undefined : toldBy(sent, path, was, is);
      if (told !== undefined) return { base: was, ranges: told };
      if (!fiemap) return unknown(original, 'it was made, renamed or linked in between, and filefrag is missing');
      const pair = { base: { path: from, size: Number(was.size) }, now: { path: to, size: Number(is.size) } };
      const { changed, said } = await changedByFiemap(exec, [pair], signal);
      const [ranges] = changed;
      return ranges === undefined ? unknown(original, `filefrag showed no map: ${said}`) : { base: was, ranges };
    },
    async [Symbol.asyncDispose]() {
      // The stream was removed as soon as it had been read.
    },
  };
}

/** Undefined where the stream's path may not mean this file on both sides, or may not be the only one that it has. */
function toldBy(sent: SendChanges, path: string, was: FileStat, is: FileStat): Ranges | undefined {
  if (was.inode !== is.inode || was.links !== 1n || is.links !== 1n || sent.moved(path)) return undefined;
  const ranges = sent.ranges(path);
  // A size cannot change without a word about it.
  if (ranges.length === 0 && was.size !== is.size) return undefined;
  const [before, after] = [Number(was.size), Number(is.size)];
  return clip(union(ranges, [{ offset: before, length: Math.max(0, after - before) }]), after);
}

/** Both read-only snapshots of one and the same subvolume: then inode numbers, and blocks that lie at the same place, mean the same. */
async function whyNotRelated(
  { exec }: Platform,
  now: SnapshotRef,
  base: SnapshotRef,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (base.provider !== now.provider || base.volume !== now.volume) return `${base.at} shows another volume`;
  const look = async (at: string): Promise<ReturnType<typeof parseSnapshot>> =>
    parseSnapshot((await exec.check({ argv: show(at), timeoutMs: lookMs, signal })).stdout);
  try {
    const [older, newer] = [await look(base.at), await look(now.at)];
    if (!older.readonly || !newer.readonly) return `${older.readonly ? now.at : base.at} is not read-only`;
    if (older.parent === undefined || older.parent !== newer.parent) return `${base.at} was made of another subvolume`;
    return older.uuid === newer.uuid ? 'both are the same snapshot' : undefined;
  } catch (error) {
    signal.throwIfAborted();
    return messageOf(error);
  }
}

/** By way of a file, since the stream is no text and may be larger than what should be held in memory: 40 bytes for each change. */
async function send(
  { exec, stateDirectory }: Platform,
  now: SnapshotRef,
  base: SnapshotRef,
  signal: AbortSignal,
): Promise<SendChanges> {
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
  await sweep(stateDirectory);
  const file = join(stateDirectory, `btrfs-send-${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    await exec.check({ argv: sendChanges(base.at, now.at, file), timeoutMs: sendMs, signal });
    const stream = new SendStream();
    for await (const piece of createReadStream(file, { highWaterMark: 1024 * 1024, signal }) as AsyncIterable<Buffer>) {
      stream.push(piece);
    }
    return stream.end();
  } finally {
    await rm(file, { force: true });
  }
}

/** Removes what a process that was killed left here. */
async function sweep(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const pid = fileName.exec(name)?.[1];
    if (pid !== undefined && identify(Number(pid)) === undefined) await rm(join(directory, name), { force: true });
  }
}

/** Undefined for what is no regular file or not there. */
async function fileStat(path: string): Promise<FileStat | undefined> {
  const stats = await lstat(path, { bigint: true }).catch(() => undefined);
  return stats?.isFile() === true ? fileStatOf(stats) : undefined;
}
