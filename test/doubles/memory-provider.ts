import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { StillpointError } from '../../src/model/errors.ts';
import { normalize, type Ranges } from '../../src/model/ranges.ts';
import type { ByteRange, RequiredPath, SnapshotRef, Volume } from '../../src/model/storage.ts';
import type { Clock } from '../../src/platform/clock.ts';
import { pathExists } from '../../src/platform/files.ts';
import { assertOwn, refIn } from '../../src/platform/snapshot-place.ts';
import { requiredOf, treeVolume } from '../../src/platform/tree-snapshot.ts';
import type { ChangedBlocks, FileStat, SnapshotProvider } from '../../src/ports/snapshot-provider.ts';

interface Kept {
  readonly stat: FileStat;
  /** Bytes of a file, target of a link; null for a directory. */
  readonly content: Buffer | string | null;
}

/** What survives a restart of the program: give the same shelf to a new instance. By `SnapshotRef.at`. */
export type Shelf = Map<string, { readonly ref: SnapshotRef; readonly files: ReadonlyMap<string, Kept> }>;

const kind = 'memory';

/**
 * A provider without a disk of its own: the cut is one synchronous look, so that nothing of this process comes between two files. Other
 * processes can; it promises one instant all the same where a test asks for that, to try flows that need it without root.
 */
export function memoryProvider(
  clock: Clock,
  shelf: Shelf,
  promise: 'one-instant' | 'sequential' = 'sequential',
): SnapshotProvider {
  const refOf = (volume: Volume, label: string): SnapshotRef => refIn('/memory', kind, volume.id, label);
  const word = { atomicity: promise, how: 'all files are read in one synchronous step' } as const;
  return {
    kind,
    needs: promise === 'one-instant' ? 'any' : 'hold',
    cutsBy: 'copy',
    async locate(paths) {
      const found: Volume[] = [];
      for (const path of paths) {
        if (await pathExists(path.path)) found.push(treeVolume(kind, `${kind}:${path.path}`, path, '/memory'));
      }
      return found;
    },
    atomicity: () => word,
    predict: async () => ({ cutMs: 1, spaceBytes: [], findings: [] }),
    prepare: async (group) => group,
    refs: (group, label) => group.map((volume) => refOf(volume, label)),
    async cut(group, label, signal) {
      const failed = (why: string): never => {
        throw new StillpointError('cut-failed', why, { hint: 'nothing was kept' });
      };
      if (signal.aborted) failed('the cut was cancelled');
      const refs = group.map((volume) => refOf(volume, label));
      for (const ref of refs) if (shelf.has(ref.at)) failed(`${ref.at} exists already`);
      const called = clock.now();
      const taken = group.map((volume) => look(requiredOf(volume)));
      const fixed = clock.now();
      for (const [index, ref] of refs.entries()) shelf.set(ref.at, { ref, files: taken[index] ?? new Map() });
      const span = { party: 'provider', what: 'read', startMs: called.monoMs, endMs: fixed.monoMs } as const;
      return {
        ...word,
        cuts: refs.map((snapshot) => ({ volume: snapshot.volume, snapshot, called, fixed })),
        spans: [span],
      };
    },
    async *list(group) {
      const ours = new Set(group.map(({ id }) => id));
      yield* [...shelf.values()].map(({ ref }) => ref).filter(({ volume }) => ours.has(volume));
    },
    async open(ref) {
      const kept = shelf.get(ref.at);
      if (kept === undefined) throw new StillpointError('io', `the snapshot ${ref.at} is gone`);
      const directory = await mkdtemp(join(tmpdir(), 'stillpoint-memory-'));
      for (const [path, { content }] of kept.files) {
        const at = join(directory, path);
        await mkdir(content === null ? at : dirname(at), { recursive: true });
        if (typeof content === 'string') await symlink(content, at);
        else if (content !== null) await writeFile(at, content);
      }
      return {
        at: (original) => (kept.files.has(original) ? join(directory, original) : undefined),
        statOf: (original) => kept.files.get(original)?.stat,
        changedSince: async (base) => changesSince(shelf, ref, base),
        [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
      };
    },
    async delete(ref) {
      assertOwn(ref);
      shelf.delete(ref.at);
    },
  };
}

/** By content, which a real provider may not read. */
function changesSince(shelf: Shelf, now: SnapshotRef, base: SnapshotRef): ChangedBlocks | undefined {
  const newer = shelf.get(now.at);
  const older = shelf.get(base.at);
  if (base.provider !== kind || base.volume !== now.volume) return undefined;
  if (newer === undefined || older === undefined) return undefined;
  return {
    source: 'comparison in memory',
    async of(original) {
      const [was, is] = [older.files.get(original), newer.files.get(original)];
      if (!Buffer.isBuffer(was?.content) || !Buffer.isBuffer(is?.content)) return undefined;
      return { base: was.stat, ranges: differing(was.content, is.content) };
    },
    async [Symbol.asyncDispose]() {
      // Nothing was opened.
    },
  };
}

const blockBytes = 4096;

function differing(was: Buffer, is: Buffer): Ranges {
  const found: ByteRange[] = [{ offset: was.length, length: Math.max(0, is.length - was.length) }];
  for (let offset = 0; offset < is.length; offset += blockBytes) {
    const length = Math.min(blockBytes, is.length - offset);
    if (!was.subarray(offset, offset + length).equals(is.subarray(offset, offset + length)))
      found.push({ offset, length });
  }
  return normalize(found);
}

function look(required: RequiredPath): ReadonlyMap<string, Kept> {
  const files = new Map<string, Kept>();
  const leave = new Map(required.leftOut.map(({ relative, match }) => [join(required.path, relative), match]));
  const visit = (path: string): void => {
    if (leave.get(path) === 'entry') return;
    const s = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    if (s === undefined) return;
    const type = s.isFile() ? 'file' : s.isDirectory() ? 'directory' : s.isSymbolicLink() ? 'symlink' : 'other';
    if (type === 'other') return;
    const stat: FileStat = {
      type,
      size: s.size,
      mode: Number(s.mode),
      uid: Number(s.uid),
      gid: Number(s.gid),
      inode: s.ino,
      device: s.dev,
      links: s.nlink,
      mtimeNs: s.mtimeNs,
      ctimeNs: s.ctimeNs,
      atimeNs: s.atimeNs,
    };
    files.set(path, {
      stat,
      content: type === 'file' ? readFileSync(path) : type === 'symlink' ? readlinkSync(path) : null,
    });
    if (type === 'directory' && leave.get(path) !== 'contents')
      for (const name of readdirSync(path)) visit(join(path, name));
  };
  for (const path of [required.path, ...required.companions]) visit(path);
  return files;
}
