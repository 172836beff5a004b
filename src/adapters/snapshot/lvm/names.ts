import { basename, dirname } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import { refIn } from '../../../platform/snapshot-place.ts';
import type { LogicalVolume } from './parse.ts';

/** What a snapshot of ours carries, so that it can be opened when nothing is left but itself and its reference. */

/** On every snapshot of ours; the label stands beside it. */
export const ownTag = 'stillpoint';
const fileSystemTag = 'stillpoint.fs=';
const mountTag = 'stillpoint.mount=';
/** lvm(8): letters, digits and `_ + . - / = ! : & #`, at most 1024. */
const longestTag = 1024;
const labelForm = /^[a-zA-Z0-9+_.-]+$/;

/** Where a file system was mounted, and which of its directories. */
export interface MountedAt {
  readonly at: string;
  /** `/`, or the directory that a bind mount shows. */
  readonly root: string;
}

export function tagOf(mount: MountedAt): string | undefined {
  const tag = mountTag + Buffer.from(JSON.stringify([mount.at, mount.root])).toString('base64url');
  return tag.length <= longestTag ? tag : undefined;
}

export function tagsFor(label: string, fileSystem: string, mounts: readonly MountedAt[]): readonly string[] {
  return [ownTag, label, `${fileSystemTag}${fileSystem}`, ...mounts.flatMap((mount) => tagOf(mount) ?? [])];
}

export interface Carried {
  readonly fileSystem: string;
  readonly mounts: readonly MountedAt[];
}

/** Undefined if the tags were not written by us, or were changed since. */
export function readTags(tags: readonly string[]): Carried | undefined {
  const fileSystem = tags.find((tag) => tag.startsWith(fileSystemTag))?.slice(fileSystemTag.length);
  const mounts = tags.filter((tag) => tag.startsWith(mountTag)).map((tag) => readMount(tag.slice(mountTag.length)));
  if (fileSystem === undefined || mounts.length === 0) return undefined;
  return { fileSystem, mounts: mounts.flatMap((mount) => mount ?? []) };
}

function readMount(encoded: string): MountedAt | undefined {
  try {
    const read: unknown = JSON.parse(Buffer.from(encoded, 'base64url').toString('utf8'));
    const [at, root] = Array.isArray(read) ? (read as readonly unknown[]) : [];
    return typeof at === 'string' && typeof root === 'string' ? { at, root } : undefined;
  } catch {
    // Somebody else's, or cut short: what it stood for cannot be found in the snapshot then.
    return undefined;
  }
}

/** Everything that finding the snapshot again needs: kind, and the UUIDs that survive renames. */
export function volumeId(kind: string, volume: Pick<LogicalVolume, 'vgUuid' | 'uuid'>): string {
  return `${kind}:${volume.vgUuid}:${volume.uuid}`;
}

export function uuidsOf(volume: string): { readonly vg: string; readonly lv: string } {
  const [, vg, lv] = /^lvm-[a-z]+:([^:]+):([^:]+)$/.exec(volume) ?? [];
  if (vg === undefined || lv === undefined) throw new Error(`${volume} is no LVM volume`);
  return { vg, lv };
}

export function refOf(kind: string, vg: string, volume: string, label: string): SnapshotRef {
  const ref = refIn(`/dev/${vg}`, kind, volume, label);
  if (labelForm.test(label)) return ref;
  throw new StillpointError('usage', `${label} cannot be the name of a logical volume`, {
    hint: 'letters, digits and + _ . - are possible',
  });
}

/** Volume group and name of the snapshot, as they were when it was cut. */
export function placeOf(ref: SnapshotRef): { readonly vg: string; readonly name: string } {
  return { vg: basename(dirname(ref.at)), name: basename(ref.at) };
}

/** The label, if the name is one that this volume's snapshots of ours have. */
export function labelIn(name: string, kind: string, volume: string): string | undefined {
  const label = /^(stillpoint-.+)-[0-9a-f]+$/.exec(name)?.[1];
  if (label === undefined || !labelForm.test(label)) return undefined;
  return basename(refIn('/dev/x', kind, volume, label).at) === name ? label : undefined;
}

/**
 * A snapshot whose making stopped half-way: lvcreate makes an ordinary volume first and gives it its origin last. Only for volumes that
 * have a snapshot's name (`labelIn`): with our tag, or in a state in which nobody can be using it.
 */
export function isHalfMade({ originUuid, attr, tags }: LogicalVolume): boolean {
  return originUuid === '' && attr.startsWith('-') && (tags.includes(ownTag) || attr[4] !== 'a');
}
