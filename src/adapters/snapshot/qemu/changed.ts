import { randomBytes } from 'node:crypto';
import { messageOf } from '../../../model/errors.ts';
import { clip, normalize, union, type Ranges } from '../../../model/ranges.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { changedOnVolume } from '../../../platform/fiemap.ts';
import type { ChangedBlocks, FileChanges } from '../../../ports/snapshot-provider.ts';
import {
  addExport,
  copyBitmap,
  mapBitmap,
  mapOverlay,
  queries,
  removeBitmap,
  removeExport,
  syncFile,
} from './commands.ts';
import { openFiles, type OpenContext, type OpenedSnapshot } from './files.ts';
import { exportIds, untilNone } from './monitor.ts';
import { parseDirty, parseNodes, parseWritten } from './parse.ts';
import { cutDisks, placeOf, type Disk, type DirectPlace, type Shape } from './volume.ts';

const mapMs = 10 * 60_000;

export interface ChangedRequest {
  readonly ref: SnapshotRef;
  readonly base: SnapshotRef;
  readonly files: OpenedSnapshot;
  readonly context: OpenContext;
  readonly signal: AbortSignal;
}

/**
 * A file's bytes are the same if they lie on the same blocks of the disk as in the base, and the bitmap that runs since the base's cut names
 * none of those blocks, and the replay of neither log has written there.
 */
export async function changedSince(request: ChangedRequest): Promise<ChangedBlocks | undefined> {
  const { ref, base, files, context, signal } = request;
  const { log } = context.platform;
  if (base.provider !== ref.provider || base.volume !== ref.volume) return undefined;
  if (files.shape.fileSystems.every((place) => 'stack' in place)) {
    log.info(`${ref.label} is read whole: between its file systems and their disks lie arrays or volume groups`);
    return undefined;
  }
  let older: OpenedSnapshot | undefined;
  try {
    older = await openFiles(base, context);
    if (!sameDisks(older.shape, files.shape)) throw new Error('the disks are not the same');
    const changed: Ranges[] = [];
    for (const [index, disk] of files.shape.disks.entries()) {
      changed.push(
        union(
          await writtenSince(request, index, disk),
          await replayed(older, index, disk, request),
          await replayed(files, index, disk, request),
        ),
      );
    }
    return blocksOf(files, older, changed, context, signal);
  } catch (error) {
    await older?.[Symbol.asyncDispose]();
    signal.throwIfAborted();
    log.warn(`what changed since ${base.label} is not known, so everything is read: ${messageOf(error)}`);
    return undefined;
  }
}

function sameDisks(one: Shape, other: Shape): boolean {
  return JSON.stringify(one.disks) === JSON.stringify(other.disks);
}

/** From the cut of the base until now, which is more than until the cut of this snapshot and never less. */
async function writtenSince(
  { base, files, context, signal }: ChangedRequest,
  index: number,
  disk: Disk,
): Promise<Ranges> {
  const bitmap = cutDisks(base, files.shape)[index]?.name;
  const fleece = files.disks[index]?.name;
  if (bitmap === undefined || fleece === undefined) throw new Error(`there is no disk ${index}`);
  // A bitmap in use cannot be read; begins like everything of this snapshot, so that its deletion finds it.
  const copy = `${fleece}m${randomBytes(4).toString('hex')}`;
  using qmp = await context.connect();
  const found = parseNodes(await qmp.execute(queries.nodes))
    .find(({ name }) => name === disk.node)
    ?.bitmaps.find(({ name }) => name === bitmap);
  if (found === undefined) throw new Error(`the bitmap of ${disk.key} is gone`);
  if (!found.recording || found.inconsistent) throw new Error(`the bitmap of ${disk.key} missed writes`);
  await qmp.execute(copyBitmap(disk.node, bitmap, copy));
  try {
    await qmp.execute(addExport(copy, fleece, [copy]));
    try {
      const argv = mapBitmap(context.socket, copy, copy);
      const { stdout } = await context.platform.exec.check({ argv, timeoutMs: mapMs, signal });
      return normalize(parseDirty(stdout, disk.bytes));
    } finally {
      await qmp.execute(removeExport(copy));
      // Until then the bitmap is in use.
      await untilNone(exportIds(qmp), (id) => id === copy, context.platform.clock);
    }
  } finally {
    await qmp.execute(removeBitmap(disk.node, copy));
  }
}

/** What the replay of a log wrote over the disk: with journaled data (ext4 `data=journal`) that is content of files. */
async function replayed(
  { opened }: OpenedSnapshot,
  index: number,
  disk: Disk,
  { context, signal }: ChangedRequest,
): Promise<Ranges> {
  const { exec } = context.platform;
  const copy = opened.copies[index];
  if (copy === undefined) throw new Error(`there is no disk ${index}`);
  await exec.check({ argv: syncFile(copy.file), timeoutMs: mapMs, signal });
  const { stdout } = await exec.check({ argv: mapOverlay(copy.overlay), timeoutMs: mapMs, signal });
  return normalize(parseWritten(stdout, disk.bytes));
}

function blocksOf(
  files: OpenedSnapshot,
  older: OpenedSnapshot,
  changed: readonly Ranges[],
  { platform }: OpenContext,
  signal: AbortSignal,
): ChangedBlocks {
  return {
    source: 'QEMU dirty bitmap and FIEMAP',
    async of(original): Promise<FileChanges | undefined> {
      const [now, before] = [files.at(original), older.at(original)];
      const place = placeOf(original, files.shape);
      if (now === undefined || before === undefined || place === undefined || 'stack' in place) return undefined;
      if (JSON.stringify(place) !== JSON.stringify(placeOf(original, older.shape))) return undefined;
      const changedPhysical = inFileSystem(changed[place.disk] ?? [], place);
      const told = await changedOnVolume(platform.exec, { base: before, now, changedPhysical }, signal);
      if (!('said' in told)) return told;
      platform.log.warn(`the blocks of ${original} cannot be told, so it is read whole: ${told.said}`);
      return undefined;
    },
    [Symbol.asyncDispose]: () => older[Symbol.asyncDispose](),
  };
}

/** From offsets on the disk to those that FIEMAP tells, which count from the file system's own beginning. */
function inFileSystem(ranges: Ranges, { offset: start, bytes }: DirectPlace): Ranges {
  const moved = clip(ranges, start + bytes).flatMap(({ offset, length }) => {
    const end = offset + length - start;
    const from = Math.max(0, offset - start);
    return end > from ? [{ offset: from, length: end - from }] : [];
  });
  return normalize(moved);
}
