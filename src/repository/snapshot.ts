import { z } from 'zod';
import { StillpointError } from '../model/errors.ts';
import type { Bytes } from '../model/point.ts';
import type { BlobStore } from '../ports/blob-store.ts';
import type { SaveReport, SnapshotInfo } from './api.ts';
import type { MasterKey } from './crypto.ts';
import { damaged, getFile, isId } from './files.ts';

export interface NewSnapshot {
  readonly time: string;
  readonly parent: string | undefined;
  readonly tree: string;
  readonly paths: readonly string[];
  readonly hostname: string;
  readonly username: string;
  readonly uid: number;
  readonly gid: number;
  readonly tags: readonly string[];
  readonly programVersion: string;
  /** `stored` without the snapshot file itself, whose size is not known before it is written. */
  readonly bytes: Bytes;
  readonly files: SaveReport['files'];
  readonly startedAt: string;
  readonly endedAt: string;
}

export function encodeSnapshot(snapshot: NewSnapshot): string {
  return JSON.stringify({
    time: snapshot.time,
    ...(snapshot.parent === undefined ? {} : { parent: snapshot.parent }),
    tree: snapshot.tree,
    paths: snapshot.paths,
    hostname: snapshot.hostname,
    username: snapshot.username,
    uid: snapshot.uid,
    gid: snapshot.gid,
    ...(snapshot.tags.length === 0 ? {} : { tags: snapshot.tags }),
    program_version: snapshot.programVersion,
    summary: summaryOf(snapshot),
  });
}

/** restic shows these figures from 0.17 on and ignores the key that it does not know. */
function summaryOf(snapshot: NewSnapshot): Readonly<Record<string, unknown>> {
  return {
    backup_start: snapshot.startedAt,
    backup_end: snapshot.endedAt,
    files_unmodified: snapshot.files.unchanged,
    total_files_processed: snapshot.files.total,
    total_bytes_processed: snapshot.bytes.logical,
    data_added: snapshot.bytes.changed,
    data_added_packed: snapshot.bytes.stored,
    stillpoint_bytes: snapshot.bytes,
  };
}

const hexId = z.string().regex(/^[0-9a-f]{64}$/);
const bytesJson = z.object({ logical: z.number(), read: z.number(), changed: z.number(), stored: z.number() });
const snapshotFile = z.object({
  time: z.string(),
  parent: hexId.nullish(),
  tree: hexId,
  paths: z.array(z.string()),
  hostname: z.string().optional(),
  tags: z.array(z.string()).nullish(),
  summary: z.object({ stillpoint_bytes: bytesJson.optional() }).nullish(),
});

/** Throws `repository-damaged` for what is no snapshot. */
export async function readSnapshot(store: BlobStore, key: MasterKey, id: string): Promise<SnapshotInfo> {
  const name = `snapshots/${id}`;
  const { json, bytes: ownBytes } = await getFile(store, key, name);
  try {
    const file = snapshotFile.parse(JSON.parse(json));
    const bytes = file.summary?.stillpoint_bytes;
    return {
      id,
      time: file.time,
      tree: file.tree,
      parent: file.parent ?? null,
      paths: file.paths,
      tags: file.tags ?? [],
      hostname: file.hostname ?? '',
      bytes: bytes === undefined ? null : { ...bytes, stored: bytes.stored + ownBytes },
    };
  } catch (error) {
    throw damaged(name, 'it is no snapshot', error);
  }
}

/** As readSnapshot, but says `point-incomplete` if there is no such snapshot (any more). */
export async function findSnapshot(store: BlobStore, key: MasterKey, id: string): Promise<SnapshotInfo> {
  if (!isId(id) || (await store.stat(`snapshots/${id}`)) === undefined) {
    throw new StillpointError('point-incomplete', `the repository ${store.location} has no snapshot ${id}`, {
      hint: 'run `stillpoint points` to see what is there; `restic forget` may have removed it',
      details: { snapshot: id },
    });
  }
  return await readSnapshot(store, key, id);
}
