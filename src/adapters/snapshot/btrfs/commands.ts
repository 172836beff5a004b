export type Argv = readonly [string, ...string[]];

/** The subvolumes right below the one that holds `subvolume`; their paths count from the top of the file system. */
export function listNested(subvolume: string): Argv {
  return ['btrfs', 'subvolume', 'list', '-o', subvolume];
}

/** The first line is the subvolume's path from the top of the file system. */
export function show(subvolume: string): Argv {
  return ['btrfs', 'subvolume', 'show', subvolume];
}

export function sync(path: string): Argv {
  return ['btrfs', 'filesystem', 'sync', path];
}

/** One transaction commit: the snapshot shows one instant of the whole subvolume. */
export function snapshot(subvolume: string, at: string): Argv {
  return ['btrfs', 'subvolume', 'snapshot', '-r', subvolume, at];
}

/**
 * Without `--commit-after`: that would force a commit, which stalls every writer of the file system. A deletion that a power cut
 * undoes is found again by the next listing.
 */
export function remove(at: string): Argv {
  return ['btrfs', 'subvolume', 'delete', at];
}

/** What changed from one read-only snapshot to another, without the data, as a stream into a new file. */
export function sendChanges(base: string, now: string, file: string): Argv {
  return ['btrfs', 'send', '--no-data', '-q', '-p', base, '-f', file, now];
}
