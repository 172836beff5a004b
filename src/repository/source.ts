import type { BigIntStats } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import { fileStatOf } from '../platform/files.ts';
import type { FileChanges, FileStat } from '../ports/snapshot-provider.ts';
import type { TreeEntry } from './api.ts';
import { pathBytes, pathText } from './names.ts';

type PathEntry = Extract<TreeEntry, { kind: 'path' }>;
type MadeEntry = Extract<TreeEntry, { kind: 'bytes' | 'stream' }>;

/** The wanted tree as far as entries name it; what a directory on disk adds is found while walking. */
export interface Overlay {
  entry: TreeEntry | undefined;
  readonly children: Map<string, Overlay>;
}

/** A place on disk, and below which entry it was found. */
export interface Source {
  readonly entry: PathEntry;
  readonly from: Buffer;
  /** Path below the entry, '' for the entry itself. */
  readonly relative: string;
}

/** One name in a directory of the new snapshot, ready to be written. */
export interface SourceNode {
  readonly name: string;
  readonly at: string;
  readonly stat: FileStat;
  readonly what:
    | {
        readonly type: 'file';
        readonly from: Buffer;
        readonly changes?: (() => Promise<FileChanges | undefined>) | undefined;
      }
    | { readonly type: 'bytes'; readonly data: Uint8Array }
    | { readonly type: 'stream'; readonly open: () => AsyncIterable<Uint8Array> }
    | { readonly type: 'symlink'; readonly target: string }
    | { readonly type: 'directory'; readonly source: Source | undefined; readonly overlay: Overlay | undefined }
    | { readonly type: 'other' };
}

function newOverlay(): Overlay {
  return { entry: undefined, children: new Map() };
}

export function overlayOf(entries: readonly TreeEntry[]): Overlay {
  const root = newOverlay();
  for (const entry of entries) {
    let at = root;
    const parts = entry.at.split('/').filter((part) => part !== '');
    if (!entry.at.startsWith('/') || parts.includes('..') || parts.includes('.')) {
      throw new StillpointError('io', `${entry.at} is no absolute path`, {
        hint: 'name paths from the root, without . and ..',
      });
    }
    for (const part of parts) {
      let next = at.children.get(part);
      if (next === undefined) {
        next = newOverlay();
        at.children.set(part, next);
      }
      at = next;
    }
    at.entry = entry;
  }
  return root;
}

export function unreadable(path: Buffer, error: unknown): StillpointError {
  return new StillpointError('io', `cannot read ${pathText(path)}: ${messageOf(error)}`, {
    hint: 'look whether the snapshot is still mounted and readable by this user',
    details: { path: pathText(path), code: codeOf(error) },
    cause: error,
  });
}

export function toFileStat(stat: BigIntStats): FileStat {
  return { ...fileStatOf(stat), mode: Number(stat.mode) & 0o7777 };
}

async function statCopy(from: Buffer): Promise<FileStat> {
  try {
    return toFileStat(await lstat(from, { bigint: true }));
  } catch (error) {
    throw unreadable(from, error);
  }
}

/** Metadata for a directory that only exists because entries lie below it: the live one's, or made up. */
async function statAbove(at: string, below: Overlay, timeNs: bigint): Promise<FileStat> {
  const madeUp = (uid: number, gid: number): FileStat => ({
    type: 'directory',
    size: 0n,
    mode: 0o755,
    uid,
    gid,
    inode: 0n,
    device: 0n,
    links: 1n,
    mtimeNs: timeNs,
    ctimeNs: timeNs,
    atimeNs: timeNs,
  });
  try {
    const live = toFileStat(await lstat(pathBytes(at), { bigint: true }));
    if (live.type === 'directory') return live;
  } catch {
    // It need not exist here: the entries may come from another machine, or lie at a path that is only a name.
  }
  const made = [...below.children.values()].flatMap(({ entry }) =>
    entry === undefined || entry.kind === 'path' ? [] : [entry],
  );
  const owner = made[0];
  return owner !== undefined ? madeUp(owner.uid, owner.gid) : madeUp(process.getuid?.() ?? 0, process.getgid?.() ?? 0);
}

function madeStat(entry: MadeEntry): FileStat {
  return {
    type: 'file',
    // A stream's size is known only at its end.
    size: entry.kind === 'bytes' ? BigInt(entry.data.length) : 0n,
    mode: entry.mode & 0o7777,
    uid: entry.uid,
    gid: entry.gid,
    inode: 0n,
    device: 0n,
    links: 1n,
    mtimeNs: entry.mtimeNs,
    ctimeNs: entry.mtimeNs,
    atimeNs: entry.mtimeNs,
  };
}

const slash = Buffer.from('/');

/** What the directory on disk holds, less what is left out. */
async function namesOnDisk(source: Source): Promise<Map<string, Source>> {
  const found = new Map<string, Source>();
  const { entry, from, relative } = source;
  if (entry.leaveOut?.(relative) === 'contents') return found;
  const names = await readdir(from, { encoding: 'buffer' }).catch((error: unknown) => {
    throw unreadable(from, error);
  });
  for (const bytes of names) {
    const name = pathText(bytes);
    const below = relative === '' ? name : `${relative}/${name}`;
    if (entry.leaveOut?.(below) === 'entry') continue;
    found.set(name, { entry, from: Buffer.concat([from, slash, bytes]), relative: below });
  }
  return found;
}

/**
 * One directory of the new snapshot, sorted by the bytes of the names: what is on disk, with the entries laid over it. Yields sockets,
 * pipes and devices as `other`; they are not stored. Throws `io` for what cannot be read: a snapshot does not change meanwhile.
 */
export async function* readDirectory(
  at: string,
  source: Source | undefined,
  overlay: Overlay | undefined,
  timeNs: bigint,
): AsyncGenerator<SourceNode> {
  const onDisk = source === undefined ? new Map<string, Source>() : await namesOnDisk(source);
  const names = [...new Set([...onDisk.keys(), ...(overlay?.children.keys() ?? [])])]
    .map((name) => ({ name, bytes: pathBytes(name) }))
    .toSorted((left, right) => Buffer.compare(left.bytes, right.bytes));
  for (const { name } of names) {
    yield await resolve(name, `${at}/${name}`, onDisk.get(name), overlay?.children.get(name), timeNs);
  }
}

/** A name that is not UTF-8 is no text that a provider could have been told. */
function changesOf(entry: PathEntry, at: string): (() => Promise<FileChanges | undefined>) | undefined {
  const ask = entry.changesOf;
  return ask === undefined || !at.isWellFormed() ? undefined : () => ask(at);
}

async function resolve(
  name: string,
  at: string,
  onDisk: Source | undefined,
  overlay: Overlay | undefined,
  timeNs: bigint,
): Promise<SourceNode> {
  const entry = overlay?.entry;
  const below = overlay !== undefined && overlay.children.size > 0 ? overlay : undefined;
  if (entry?.kind === 'bytes') {
    if (below !== undefined) throw notDirectory(at);
    return { name, at, stat: madeStat(entry), what: { type: 'bytes', data: entry.data } };
  }
  if (entry?.kind === 'stream') {
    if (below !== undefined) throw notDirectory(at);
    return { name, at, stat: madeStat(entry), what: { type: 'stream', open: entry.open } };
  }
  const source = entry === undefined ? onDisk : { entry, from: pathBytes(entry.from), relative: '' };
  if (source === undefined) {
    const stat = await statAbove(at, overlay ?? newOverlay(), timeNs);
    return { name, at, stat, what: { type: 'directory', source: undefined, overlay: below } };
  }
  const copy = await statCopy(source.from);
  const stat = source.entry.statOf?.(at) ?? copy;
  if (below !== undefined && copy.type !== 'directory') throw notDirectory(at);
  switch (copy.type) {
    case 'file':
      return {
        name,
        at,
        stat: { ...stat, type: 'file' },
        what: { type: 'file', from: source.from, changes: changesOf(source.entry, at) },
      };
    case 'directory':
      return { name, at, stat: { ...stat, type: 'directory' }, what: { type: 'directory', source, overlay: below } };
    case 'symlink': {
      const target = await readlink(source.from, { encoding: 'buffer' }).catch((error: unknown) => {
        throw unreadable(source.from, error);
      });
      return { name, at, stat: { ...stat, type: 'symlink' }, what: { type: 'symlink', target: pathText(target) } };
    }
    case 'other':
      return { name, at, stat, what: { type: 'other' } };
    default:
      return copy.type satisfies never;
  }
}

function notDirectory(at: string): StillpointError {
  return new StillpointError('io', `${at} is a file, but other entries lie below it`, { details: { path: at } });
}
