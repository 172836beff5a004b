import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { codeOf, StillpointError } from '../model/errors.ts';
import type { SnapshotRef, Volume } from '../model/storage.ts';

/** Every snapshot of ours begins so; nothing else is ever deleted (docs/design/rules.md, 12). */
export const labelPrefix = 'stillpoint-';

/** Name of the directory for snapshots on the file system that holds the originals. */
export const snapshotDirectoryName = '.stillpoint';

function suffixOf(volume: string): string {
  return `-${createHash('sha256').update(volume).digest('hex').slice(0, 10)}`;
}

/** Where the snapshot of a volume lies that is kept as one entry of a directory. Pure: the name follows from label and volume. */
export function refIn(directory: string, provider: string, volume: string, label: string): SnapshotRef {
  assertOurs(label);
  return { provider, volume, label, at: join(directory, `${label}${suffixOf(volume)}`) };
}

function assertOurs(label: string): void {
  if (label.startsWith(labelPrefix) && !label.includes('/')) return;
  throw new StillpointError('undo-failed', `${label} is no label of a snapshot of ours`, {
    hint: `labels of ours begin with ${labelPrefix}; this snapshot was left alone`,
  });
}

/** Refuses, before anything is deleted, a reference whose label is not ours or whose place does not follow from label and volume. */
export function assertOwn(ref: SnapshotRef): void {
  assertOurs(ref.label);
  if (basename(ref.at) !== `${ref.label}${suffixOf(ref.volume)}` || !dirname(ref.at).startsWith('/')) {
    throw new StillpointError('undo-failed', `${ref.at} does not belong to label ${ref.label}`, {
      hint: 'this snapshot was left alone; look at it by hand',
    });
  }
}

/** The snapshots of ours of one volume in a directory, whatever run made them. A missing directory holds none. */
export async function* refsIn(directory: string, provider: string, volume: Volume): AsyncIterable<SnapshotRef> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  const suffix = suffixOf(volume.id);
  const labels = names
    .filter((name) => name.startsWith(labelPrefix) && name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length));
  // By label, which begins with the time, and not by name: there the volume's hash stands in the way.
  for (const label of labels.toSorted((a, b) => (a < b ? -1 : 1))) yield refIn(directory, provider, volume.id, label);
}

/** A detail that the provider itself put into the volume. Its absence is a bug, or a volume of another provider. */
export function detailOf(volume: Volume, key: string): string {
  const value = volume.details[key];
  if (value === undefined) throw new Error(`volume ${volume.id} has no detail ${key}`);
  return value;
}
