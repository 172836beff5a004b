import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import type { RestorePlan, RestoreRequest, SnapshotInfo } from './api.ts';
import { notIndexed, openBlob, walkTree } from './blobs.ts';
import { throwIfCancelled, type Context } from './context.ts';
import { asBuffer } from './crypto.ts';
import { Tasks } from './gate.ts';
import { packName, type BlobIndex, type BlobPlace } from './index.ts';
import type { LoadedIndex } from './load-index.ts';
import {
  createFile,
  createLink,
  finishDirectory,
  finishFile,
  makeDirectory,
  syncDirectory,
  unwritable,
} from './place-files.ts';
import type { TreeNode } from './tree.ts';

/** Neighbouring blobs of one pack are read with one call up to this much. */
const runBytes = 4 * 1024 * 1024;
const runsInFlight = 3;
const filesFinishing = 8;
/** Plaintexts kept because chunks repeat: above all the chunk of zeros. */
const cacheBytes = 8 * 1024 * 1024;

interface WantedBlob {
  readonly id: Buffer;
  readonly place: BlobPlace;
  readonly at: number;
}

/** Blobs that lie one behind the other in one pack. */
interface Run {
  readonly pack: string;
  readonly from: number;
  to: number;
  readonly blobs: WantedBlob[];
}

class PlainCache {
  readonly #held = new Map<string, Buffer>();
  #bytes = 0;

  get(id: Buffer): Buffer | undefined {
    const key = id.toString('hex');
    const plain = this.#held.get(key);
    if (plain === undefined) return undefined;
    // Last used is last in the map's order, so the first key is the one to drop.
    this.#held.delete(key);
    this.#held.set(key, plain);
    return plain;
  }

  put(id: Buffer, plain: Buffer): void {
    const key = id.toString('hex');
    if (this.#held.has(key)) return;
    this.#held.set(key, plain);
    this.#bytes += plain.length;
    for (const [oldest, dropped] of this.#held) {
      if (this.#bytes <= cacheBytes) return;
      this.#held.delete(oldest);
      this.#bytes -= dropped.length;
    }
  }
}

const zeros = Buffer.alloc(1024 * 1024);

function isZero(plain: Buffer): boolean {
  for (let at = 0; at < plain.length; at += zeros.length) {
    const piece = plain.subarray(at, at + zeros.length);
    if (!piece.equals(zeros.subarray(0, piece.length))) return false;
  }
  return true;
}

export class Restore {
  readonly #context: Context;
  readonly #index: BlobIndex;
  readonly #request: RestoreRequest;
  readonly #cache = new PlainCache();
  #files = 0;
  #bytes = 0;
  #bytesTotal = 0;

  constructor(context: Context, index: BlobIndex, request: RestoreRequest) {
    this.#context = context;
    this.#index = index;
    this.#request = request;
  }

  async run(snapshot: SnapshotInfo): Promise<{ readonly bytes: number; readonly files: number }> {
    if (this.#request.onProgress !== undefined) await this.#measure(snapshot);
    const directories: { readonly target: string; readonly node: TreeNode }[] = [];
    const parents = new Set<string>();
    const finishing = new Tasks(filesFinishing);
    try {
      for await (const { path, node } of walkTree(this.#context, this.#index, snapshot.tree)) {
        throwIfCancelled(this.#request.signal);
        const target = this.#request.place(path);
        if (target === undefined) continue;
        parents.add(dirname(target));
        if (node.type === 'dir') directories.push({ target, node });
        await this.#node(path, target, node, finishing);
      }
    } finally {
      // Whatever happens, no file handle may be left open behind the caller's back.
      await finishing.settled().catch(() => undefined);
    }
    await finishing.settled();
    for (const { target, node } of directories.toReversed()) {
      parents.delete(target);
      await finishDirectory(target, node).catch((error: unknown) => {
        throw unwritable(target, error);
      });
    }
    for (const parent of parents) await syncDirectory(parent);
    return { bytes: this.#bytes, files: this.#files };
  }

  async #measure(snapshot: SnapshotInfo): Promise<void> {
    for await (const { path, node } of walkTree(this.#context, this.#index, snapshot.tree)) {
      throwIfCancelled(this.#request.signal);
      if (node.type === 'file' && this.#request.place(path) !== undefined) this.#bytesTotal += node.size;
    }
  }

  async #node(path: string, target: string, node: TreeNode, finishing: Tasks): Promise<void> {
    try {
      if (node.type === 'dir') await makeDirectory(target);
      else if (node.type === 'symlink') await createLink(target, node);
      else if (node.type === 'file') await this.#file(target, node, finishing);
      else this.#context.deps.log.warn('not restored: neither file, directory nor link', { path, type: node.type });
    } catch (error) {
      throw named(error, path, target);
    }
  }

  async #file(target: string, node: TreeNode, finishing: Tasks): Promise<void> {
    const file = await createFile(target);
    try {
      const length = await this.#content(file, node.content ?? Buffer.alloc(0));
      await file.truncate(length);
      this.#files += 1;
      await finishing.start(async () => {
        try {
          await finishFile(file, node);
        } catch (error) {
          throw unwritable(target, error);
        } finally {
          await file.close();
        }
      });
    } catch (error) {
      // A task that began closes the file itself; start throws only instead of beginning it.
      await file.close();
      throw error;
    }
  }

  /** Writes all blobs but those of zeros, and returns the length that the file must have. */
  async #content(file: FileHandle, ids: Buffer): Promise<number> {
    const tasks = new Tasks(runsInFlight);
    let at = 0;
    let run: Run | undefined;
    const flush = async (): Promise<void> => {
      const ready = run;
      run = undefined;
      if (ready !== undefined) await tasks.start(() => this.#fetch(file, ready));
    };
    try {
      for (let next = 0; next < ids.length; next += 32) {
        throwIfCancelled(this.#request.signal);
        const id = ids.subarray(next, next + 32);
        const cached = this.#cache.get(id);
        if (cached !== undefined) {
          await this.#write(file, cached, at);
          at += cached.length;
          continue;
        }
        const place = this.#index.find('data', id);
        if (place === undefined) throw notIndexed('data', id);
        const fits = run !== undefined && run.pack === place.pack && run.to === place.offset;
        if (!fits || (run !== undefined && run.to - run.from >= runBytes)) await flush();
        run ??= { pack: place.pack, from: place.offset, to: place.offset, blobs: [] };
        run.to = place.offset + place.length;
        run.blobs.push({ id, place, at });
        at += place.plainLength ?? place.length - 32;
      }
      await flush();
    } finally {
      // The handle must not be closed under a running write.
      await tasks.settled().catch(() => undefined);
    }
    await tasks.settled();
    return at;
  }

  async #fetch(file: FileHandle, run: Run): Promise<void> {
    const range = { offset: run.from, length: run.to - run.from };
    const bytes = asBuffer(await this.#context.store.get(packName(run.pack), range));
    await Promise.all(
      run.blobs.map(async ({ id, place, at }) => {
        const from = place.offset - run.from;
        const plain = await openBlob(this.#context, place, id, bytes.subarray(from, from + place.length));
        this.#cache.put(id, plain);
        await this.#write(file, plain, at);
      }),
    );
  }

  async #write(file: FileHandle, plain: Buffer, at: number): Promise<void> {
    if (!isZero(plain)) {
      for (let done = 0; done < plain.length;) {
        done += (await file.write(plain, done, plain.length - done, at + done)).bytesWritten;
      }
    }
    this.#bytes += plain.length;
    this.#request.onProgress?.({ files: this.#files, bytesDone: this.#bytes, bytesTotal: this.#bytesTotal });
  }
}

/** Damage is told together with the path that it hits; anything from the file system becomes `io`. */
function named(error: unknown, path: string, target: string): unknown {
  if (!(error instanceof StillpointError)) return unwritable(target, error);
  if (codeOf(error) !== 'repository-damaged') return error;
  return new StillpointError('repository-damaged', `${path} cannot be restored: ${messageOf(error)}`, {
    hint: error.hint ?? 'run `stillpoint repo check --read-data`',
    details: { ...error.details, path },
    cause: error,
  });
}

/** By name and size only; nothing of a data pack is read. */
export async function planRestore(
  context: Context,
  loaded: LoadedIndex,
  snapshot: SnapshotInfo,
  place: RestoreRequest['place'],
): Promise<RestorePlan> {
  const { index } = loaded;
  const missing = new Set<string>();
  const packs = new Map<number, string | undefined>();
  const packProblem = async (number: number): Promise<string | undefined> => {
    if (!packs.has(number)) packs.set(number, await lookAtPack(context, index, number));
    return packs.get(number);
  };
  let files = 0;
  let bytes = 0;
  try {
    for await (const { path, node } of walkTree(context, index, snapshot.tree)) {
      if (node.content === undefined || place(path) === undefined) continue;
      files += 1;
      bytes += node.size;
      for (let at = 0; at < node.content.length; at += 32) {
        const entry = index.data.find(node.content, at);
        const problem =
          entry < 0
            ? `blob ${node.content.toString('hex', at, at + 32)} is in no index`
            : await packProblem(index.data.packOf(entry));
        if (problem !== undefined) missing.add(`${path}: ${problem}`);
      }
    }
  } catch (error) {
    if (codeOf(error) !== 'repository-damaged') throw error;
    missing.add(messageOf(error));
  }
  if (missing.size > 0) for (const { why } of loaded.damage) missing.add(why);
  return { bytes, files, missing: [...missing] };
}

async function lookAtPack(context: Context, index: BlobIndex, number: number): Promise<string | undefined> {
  const pack = index.packs[number];
  if (pack === undefined) return 'its pack is in no index';
  const there = await context.store.stat(packName(pack.id));
  if (there === undefined) return `${packName(pack.id)} is missing`;
  return there.bytes === pack.bytes
    ? undefined
    : `${packName(pack.id)} has ${there.bytes} bytes instead of ${pack.bytes}`;
}
