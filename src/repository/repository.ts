import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { messageOf, StillpointError } from '../model/errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type {
  CheckReport,
  CheckRequest,
  NodeInfo,
  Repository,
  RestorePlan,
  RestoreRequest,
  SaveReport,
  SaveRequest,
  SnapshotInfo,
  Stats,
} from './api.ts';
import { findNode, readBlob, walkTree } from './blobs.ts';
import { Check } from './check.ts';
import { throwIfCancelled, username, type Context, type RepositoryDeps } from './context.ts';
import { seal, sha256Hex, signWith, unseal, type MasterKey } from './crypto.ts';
import { damaged, isId, listIds } from './files.ts';
import { plainBytes } from './index.ts';
import { createKey, defaultCost, findKey, type KeyCost } from './key.ts';
import { loadIndex, type LoadedIndex } from './load-index.ts';
import { removeStaleLocks, takeLock, tryLock } from './lock.ts';
import { randomPolynomial } from './polynomial.ts';
import { planRestore, Restore } from './restore.ts';
import { Save } from './save.ts';
import { findSnapshot, readSnapshot } from './snapshot.ts';
import { posixMode } from './tree.ts';

export type { RepositoryDeps } from './context.ts';

export interface InitDeps {
  readonly clock: Clock;
  readonly hostname: string;
  readonly randomness?: (bytes: number) => Buffer;
  /** Only tests lower it. */
  readonly keyCost?: KeyCost;
}

const configName = 'config';
const readFileLimit = 16 * 1024 * 1024;
const configFile = z.object({ version: z.int(), id: z.string(), chunker_polynomial: z.string() });

/** Makes an empty repository. Throws `repository-exists`, also for one of which only the keys are there. */
export async function initRepository(
  store: BlobStore,
  password: string,
  deps: InitDeps,
): Promise<{ readonly id: string }> {
  const randomness = deps.randomness ?? randomBytes;
  await refuseExisting(store);
  const { master, file } = await createKey({
    password,
    cost: deps.keyCost ?? defaultCost,
    created: deps.clock.now().wall,
    hostname: deps.hostname,
    username: username(),
    randomness,
  });
  const id = randomness(32).toString('hex');
  const config = JSON.stringify({ version: 2, id, chunker_polynomial: randomPolynomial(randomness) });
  await store.put(`keys/${sha256Hex(file)}`, file);
  // Last, because its presence is what makes the place a repository.
  await store.put(configName, seal(master, Buffer.from(config)));
  return { id };
}

async function refuseExisting(store: BlobStore): Promise<void> {
  if ((await store.stat(configName)) !== undefined) {
    throw new StillpointError('repository-exists', `there is a repository at ${store.location} already`, {
      hint: 'use it as it is, or choose another place in `repository.store`',
    });
  }
  for await (const { name } of store.list('keys/')) {
    throw new StillpointError('repository-exists', `${store.location} holds ${name} but no config file`, {
      hint: 'if an init was interrupted here, empty the directory; else bring the file `config` back from a copy',
      details: { file: name },
    });
  }
}

/**
 * Throws `repository-missing` (nothing there), `repository-password` (no key opens) or `repository-damaged` (config or keys are gone,
 * truncated or altered).
 */
export async function openRepository(store: BlobStore, password: string, deps: RepositoryDeps): Promise<Repository> {
  await refuseMissing(store);
  const key = await findKey(store, password);
  const config = await readConfig(store, key);
  return new ResticRepository({ store, key, deps }, config.id);
}

async function refuseMissing(store: BlobStore): Promise<void> {
  if ((await store.stat(configName)) !== undefined) return;
  for await (const { name } of store.list('keys/')) {
    throw new StillpointError('repository-damaged', `${store.location} holds ${name} but no config file`, {
      hint: 'bring the file `config` back from another copy of the repository',
      details: { file: configName },
    });
  }
  throw new StillpointError('repository-missing', `there is no repository at ${store.location}`, {
    hint: 'run `stillpoint repo init`, or correct `repository.store`',
  });
}

async function readConfig(store: BlobStore, key: MasterKey): Promise<{ readonly id: string }> {
  const plain = unseal(key, await store.get(configName));
  const hint = 'bring the file `config` back from another copy of the repository';
  if (plain === undefined) {
    throw new StillpointError(
      'repository-damaged',
      'the file config is truncated or altered: it does not open with the key',
      {
        hint,
        details: { file: configName },
      },
    );
  }
  const config = parseConfig(plain);
  if (config.version !== 2) {
    throw new StillpointError(
      'repository-damaged',
      `the repository has format version ${config.version} instead of 2`,
      {
        hint: 'run `restic migrate upgrade_repo_v2` on it, or choose another place',
        details: { file: configName, version: config.version },
      },
    );
  }
  return { id: config.id };
}

function parseConfig(plain: Buffer): z.infer<typeof configFile> {
  try {
    return configFile.parse(JSON.parse(plain.toString('utf8')));
  } catch (error) {
    throw damaged(configName, messageOf(error), error);
  }
}

class ResticRepository implements Repository {
  readonly id: string;
  readonly location: string;
  readonly #context: Context;
  #loaded: LoadedIndex | undefined;

  constructor(context: Context, id: string) {
    this.#context = context;
    this.id = id;
    this.location = context.store.location;
  }

  async save(request: SaveRequest): Promise<SaveReport> {
    throwIfCancelled(request.signal);
    await using lock = await takeLock(this.#context);
    const loaded = await this.#index();
    const [damage] = loaded.damage;
    // Going on would store again what the lost index file knew, and hide the damage.
    if (damage !== undefined) throw damaged(damage.file, damage.why);
    const parent = await this.#parent(request.parent?.snapshot);
    try {
      return await new Save(this.#context, loaded.index, request).run(parent, lock);
    } catch (error) {
      // It knows blobs that never reached the store.
      this.#loaded = undefined;
      throw error;
    }
  }

  /** A parent that was forgotten meanwhile costs a full read, which the report shows. */
  async #parent(id: string | undefined): Promise<SnapshotInfo | undefined> {
    if (id === undefined) return undefined;
    if (!isId(id) || (await this.#context.store.stat(`snapshots/${id}`)) === undefined) {
      this.#context.deps.log.warn('the parent snapshot is gone; all files are read', { parent: id });
      return undefined;
    }
    return await readSnapshot(this.#context.store, this.#context.key, id);
  }

  async snapshots(): Promise<readonly SnapshotInfo[]> {
    const all: SnapshotInfo[] = [];
    for await (const { id } of listIds(this.#context.store, 'snapshots')) {
      all.push(await readSnapshot(this.#context.store, this.#context.key, id));
    }
    return all.toSorted((left, right) => Date.parse(left.time) - Date.parse(right.time));
  }

  async removeSnapshot(id: string): Promise<void> {
    if (!isId(id)) return;
    await using _lock = await tryLock(this.#context);
    await this.#context.store.delete(`snapshots/${id}`);
  }

  async readFile(snapshot: string, path: string): Promise<Uint8Array | undefined> {
    const { tree } = await this.#snapshot(snapshot);
    const { index } = await this.#index();
    const node = await findNode(this.#context, index, tree, path);
    if (node?.content === undefined) return undefined;
    if (node.size > readFileLimit) {
      throw new StillpointError('io', `${path} has ${node.size} bytes, too much to be read into memory`, {
        hint: 'restore it into a directory instead',
      });
    }
    const pieces: Buffer[] = [];
    for (let at = 0; at < node.content.length; at += 32) {
      pieces.push(await readBlob(this.#context, index, 'data', node.content.subarray(at, at + 32)));
    }
    return Buffer.concat(pieces);
  }

  async *nodes(snapshot: string): AsyncIterable<NodeInfo> {
    const { tree } = await this.#snapshot(snapshot);
    const { index } = await this.#index();
    for await (const { path, node } of walkTree(this.#context, index, tree)) {
      const { type, size, uid, gid } = node;
      const link = node.linkTarget === undefined ? {} : { linkTarget: node.linkTarget };
      yield { path, type, size, uid, gid, mode: posixMode(node.mode), ...link };
    }
  }

  async plan(snapshot: string, place: RestoreRequest['place']): Promise<RestorePlan> {
    const info = await this.#snapshot(snapshot);
    return await planRestore(this.#context, await this.#index(), info, place);
  }

  async restore(request: RestoreRequest): Promise<{ readonly bytes: number; readonly files: number }> {
    throwIfCancelled(request.signal);
    await using _lock = await tryLock(this.#context);
    const info = await this.#snapshot(request.snapshot);
    const loaded = await this.#index();
    for (const { file, why } of loaded.damage)
      this.#context.deps.log.warn('an index file cannot be used', { file, why });
    return await new Restore(this.#context, loaded.index, request).run(info);
  }

  async check(request: CheckRequest): Promise<CheckReport> {
    throwIfCancelled(request.signal);
    await using _lock = await tryLock(this.#context);
    return await new Check(this.#context, await loadIndex(this.#context, undefined), request).run();
  }

  async stats(): Promise<Stats> {
    const { index } = await this.#index();
    let storedBytes = 0;
    for await (const { bytes } of this.#context.store.list('')) storedBytes += bytes;
    let snapshots = 0;
    for await (const _ of listIds(this.#context.store, 'snapshots')) snapshots += 1;
    let plain = 0;
    for (const table of [index.data, index.tree]) {
      for (let entry = 0; entry < table.size; entry++) {
        const place = table.at(entry);
        plain += place === undefined ? 0 : plainBytes(place);
      }
    }
    const blobs = index.data.size + index.tree.size;
    return { snapshots, packs: index.packs.length, blobs, storedBytes, plainBytes: plain };
  }

  sign(message: Uint8Array): string {
    return signWith(this.#context.key, message);
  }

  async removeStaleLocks(): Promise<number> {
    return await removeStaleLocks(this.#context);
  }

  close(): Promise<void> {
    this.#loaded = undefined;
    return Promise.resolve();
  }

  async #snapshot(id: string): Promise<SnapshotInfo> {
    return await findSnapshot(this.#context.store, this.#context.key, id);
  }

  /** Brought up to date each time: another host may have saved or pruned since. */
  async #index(): Promise<LoadedIndex> {
    this.#loaded = await loadIndex(this.#context, this.#loaded);
    return this.#loaded;
  }
}
