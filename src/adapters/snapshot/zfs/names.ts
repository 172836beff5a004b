import { StillpointError } from '../../../model/errors.ts';
import type { SnapshotRef } from '../../../model/storage.ts';
import type { WhyNotDestroyed } from './parse.ts';

export const kind = 'zfs';

/** `%` and `,` in the name of a snapshot make `zfs destroy` take a range or a list, so they are never let through. */
const label = /^stillpoint-[A-Za-z0-9._:-]+$/;

export function snapshotName(dataset: string, text: string): string {
  if (label.test(text)) return `${dataset}@${text}`;
  throw new StillpointError('undo-failed', `${text} is no label of a snapshot of ours`, {
    hint: 'labels of ours begin with stillpoint- and hold letters, digits, dots, colons and hyphens; this snapshot was left alone',
  });
}

/** A dead run leaves only the reference: dataset and mount point stand in the id. */
export function volumeId(dataset: string, mountPoint: string): string {
  return `${kind}:${dataset}:${mountPoint}`;
}

export function placeOf(ref: SnapshotRef): { readonly dataset: string; readonly mountPoint: string } {
  const dataset = ref.at.slice(0, Math.max(0, ref.at.indexOf('@')));
  const mountPoint = ref.volume.slice(volumeId(dataset, '').length);
  // A name that does not follow from label and volume is never given to `zfs destroy`.
  if (
    dataset === '' ||
    !mountPoint.startsWith('/') ||
    volumeId(dataset, mountPoint) !== ref.volume ||
    snapshotName(dataset, ref.label) !== ref.at
  ) {
    throw new StillpointError('undo-failed', `${ref.at} does not belong to label ${ref.label}`, {
      hint: 'this snapshot was left alone; look at it by hand with `zfs list -t snapshot`',
    });
  }
  return { dataset, mountPoint };
}

export function poolOf(dataset: string): string {
  return dataset.split('/', 1)[0] ?? dataset;
}

/** The next command for whoever wants the snapshot gone. */
export function whatToDo(why: Exclude<WhyNotDestroyed, 'missing'>, { at }: SnapshotRef): string {
  return {
    held: `see who holds it: zfs holds ${at}`,
    cloned: `a clone lives on it, see which: zfs list -o name,origin -r ${poolOf(at)}`,
    busy: `something uses it, a mount or a \`zfs send\`: grep '${at}' /proc/mounts`,
    other: `delete it by hand: zfs destroy ${at}`,
  }[why];
}
