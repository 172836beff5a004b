import { StillpointError } from '../model/errors.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import { compress, decompress, defaultLevel } from './compress.ts';
import { seal, sha256Hex, unseal, type MasterKey } from './crypto.ts';

/** Index, snapshot and lock files: small, sealed each for itself, named by the hash of their stored bytes. */
export type FileKind = 'index' | 'snapshots' | 'locks';

const zstdMark = 2;
/** Far above any real one (50 000 blobs take 8 MiB), so that a forged frame cannot take all memory. */
const plainLimit = 512 * 1024 * 1024;

export function damaged(file: string, why: string, cause?: unknown): StillpointError {
  return new StillpointError('repository-damaged', `${file} is damaged: ${why}`, {
    hint: 'run `stillpoint repo check --read-data` to see which restore points it hits',
    details: { file },
    cause,
  });
}

export function isId(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

export async function putFile(
  store: BlobStore,
  key: MasterKey,
  kind: FileKind,
  json: string,
): Promise<{ readonly id: string; readonly bytes: number }> {
  const packed = await compress(Buffer.from(json), defaultLevel);
  const content = seal(key, Buffer.concat([Buffer.of(zstdMark), packed]));
  const id = sha256Hex(content);
  await store.put(`${kind}/${id}`, content);
  return { id, bytes: content.length };
}

/** The JSON of a file and what the file measures. Throws `repository-damaged` if its content fits neither its name nor the key. */
export async function getFile(
  store: BlobStore,
  key: MasterKey,
  name: string,
): Promise<{ readonly json: string; readonly bytes: number }> {
  const content = await store.get(name);
  if (!name.endsWith(sha256Hex(content))) throw damaged(name, 'its content does not fit its name');
  const plain = unseal(key, content);
  if (plain === undefined) throw damaged(name, 'it does not open with the key of the repository');
  // restic wrote such files without a mark before format version 2, and an upgraded repository keeps them.
  if (plain[0] !== zstdMark) return { json: plain.toString('utf8'), bytes: content.length };
  try {
    return { json: (await decompress(plain.subarray(1), plainLimit)).toString('utf8'), bytes: content.length };
  } catch (error) {
    throw damaged(name, 'it cannot be decompressed', error);
  }
}

/** Names below a folder that are ids; anything else there is not ours to read. */
export async function* listIds(
  store: BlobStore,
  kind: FileKind,
): AsyncGenerator<{ readonly name: string; readonly id: string; readonly bytes: number }> {
  for await (const { name, bytes } of store.list(`${kind}/`)) {
    const id = name.slice(kind.length + 1);
    if (isId(id)) yield { name, id, bytes };
  }
}
