import type { SnapshotRef } from '../../../model/storage.ts';

export type Argv = readonly [string, ...string[]];

/** User properties (zfsprops(7)): their names need a colon. `run` tells ours from others', `cut` one attempt from another of the same label. */
const runProperty = 'stillpoint:run';
const cutProperty = 'stillpoint:cut';

/** Datasets of one pool in one command are one transaction group: one instant, all or none (zfs-snapshot(8)). */
export function snapshot(names: readonly string[], run: string, cut: string): Argv {
  return ['zfs', 'snapshot', '-o', `${runProperty}=${run}`, '-o', `${cutProperty}=${cut}`, ...names];
}

/** Snapshots of one dataset and not of those below it, or one snapshot. */
export function list(what: string): Argv {
  const depth = what.includes('@') ? [] : ['-d', '1'];
  return [
    'zfs',
    'list',
    '-H',
    '-p',
    ...depth,
    '-t',
    'snapshot',
    '-o',
    `name,creation,userrefs,${runProperty},${cutProperty}`,
    what,
  ];
}

/** Never -r or -R (other datasets' snapshots and clones), never -d (a hold would let it go on behind our back), never -f. */
export function destroy(ref: SnapshotRef): Argv {
  return ['zfs', 'destroy', ref.at];
}

export function diff(older: string, newer: string): Argv {
  return ['zfs', 'diff', '-F', '-H', '-t', older, newer];
}

/** Writes out what waits, so that the cut's own transaction group is small. */
export function sync(pool: string): Argv {
  return ['zpool', 'sync', pool];
}

export function status(pool: string): Argv {
  return ['zpool', 'status', pool];
}

export function mount(snapshotAt: string, directory: string): Argv {
  return ['mount', '-t', 'zfs', '-o', 'ro', snapshotAt, directory];
}

export function unmount(directory: string): Argv {
  return ['umount', directory];
}
