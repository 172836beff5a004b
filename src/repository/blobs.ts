import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { createZstdDecompress } from 'node:zlib';
import { codeOf, messageOf } from '../model/errors.ts';
import { decompress } from './compress.ts';
import type { Context } from './context.ts';
import { asBuffer, sha256, unseal } from './crypto.ts';
import { damaged } from './files.ts';
import { packName, plainBytes, type BlobIndex, type BlobPlace, type BlobType } from './index.ts';
import { TreeParser, type TreeNode } from './tree.ts';

/** Trees above this are parsed while they are decompressed. */
const streamAbove = 8 * 1024 * 1024;

/** The plaintext of a sealed blob, proved by its id. Throws `repository-damaged` naming the pack. */
export async function openBlob(context: Context, place: BlobPlace, id: Buffer, sealed: Buffer): Promise<Buffer> {
  const body = unsealBlob(context, place, id, sealed);
  const plain = place.plainLength === undefined ? body : await inflate(place, id, body);
  if (!sha256(plain).equals(id)) throw blobDamage(place, id, 'does not fit its id');
  return plain;
}

function unsealBlob(context: Context, place: BlobPlace, id: Buffer, sealed: Buffer): Buffer {
  const body = unseal(context.key, sealed);
  if (body === undefined) throw blobDamage(place, id, 'does not open with the key of the repository');
  return body;
}

async function inflate(place: BlobPlace, id: Buffer, body: Buffer): Promise<Buffer> {
  try {
    return await decompress(body, plainBytes(place));
  } catch (error) {
    throw blobDamage(place, id, 'cannot be decompressed', error);
  }
}

function blobDamage(place: BlobPlace, id: Buffer, why: string, cause?: unknown): Error {
  return damaged(packName(place.pack), `blob ${id.toString('hex')} in it ${why}`, cause);
}

export function notIndexed(type: BlobType, id: Buffer): Error {
  return damaged('index', `${type} blob ${id.toString('hex')} is in no index file`);
}

export async function readBlob(context: Context, index: BlobIndex, type: BlobType, id: Buffer): Promise<Buffer> {
  const place = index.find(type, id);
  if (place === undefined) throw notIndexed(type, id);
  return await openBlob(context, place, id, await sealedBytes(context, place));
}

async function sealedBytes(context: Context, place: BlobPlace): Promise<Buffer> {
  return asBuffer(await context.store.get(packName(place.pack), { offset: place.offset, length: place.length }));
}

/** The nodes of one tree, in order of their names. A large tree is never whole in memory as plaintext. */
export async function* readTree(context: Context, index: BlobIndex, hexId: string): AsyncGenerator<TreeNode> {
  const id = Buffer.from(hexId, 'hex');
  const place = index.find('tree', id);
  if (place === undefined) throw notIndexed('tree', id);
  const sealed = await sealedBytes(context, place);
  const parser = new TreeParser();
  try {
    if (place.plainLength === undefined || place.plainLength <= streamAbove) {
      yield* parser.push(await openBlob(context, place, id, sealed));
    } else {
      const body = unsealBlob(context, place, id, sealed);
      const hash = createHash('sha256');
      for await (const piece of Readable.from([body]).pipe(createZstdDecompress({ chunkSize: 1024 * 1024 }))) {
        const bytes = asBuffer(piece as Buffer);
        hash.update(bytes);
        yield* parser.push(bytes);
      }
      if (!hash.digest().equals(id)) throw blobDamage(place, id, 'does not fit its id');
    }
    parser.end();
  } catch (error) {
    if (codeOf(error) === 'repository-damaged') throw error;
    throw blobDamage(place, id, `is no tree (${messageOf(error)})`, error);
  }
}

/** A node with its absolute path. */
export interface PlacedNode {
  readonly path: string;
  readonly node: TreeNode;
}

/** Every node of a snapshot, a directory before what is below it. */
export async function* walkTree(
  context: Context,
  index: BlobIndex,
  tree: string,
  above = '',
): AsyncGenerator<PlacedNode> {
  for await (const node of readTree(context, index, tree)) {
    const path = `${above}/${node.name}`;
    yield { path, node };
    if (node.subtree !== undefined) yield* walkTree(context, index, node.subtree, path);
  }
}

/** The node at an absolute path, or undefined. */
export async function findNode(
  context: Context,
  index: BlobIndex,
  tree: string,
  path: string,
): Promise<TreeNode | undefined> {
  let subtree: string | undefined = tree;
  let found: TreeNode | undefined;
  for (const name of path.split('/').filter((part) => part !== '')) {
    if (subtree === undefined) return undefined;
    found = undefined;
    for await (const node of readTree(context, index, subtree)) {
      if (node.name !== name) continue;
      found = node;
      break;
    }
    if (found === undefined) return undefined;
    subtree = found.subtree;
  }
  return found;
}
