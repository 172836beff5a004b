export type Argv = readonly [string, ...string[]];

/** What the device is made of: `0 819200 thin 253:4 1`. */
export function table(name: string): Argv {
  return ['dmsetup', 'table', name];
}

export function status(name: string): Argv {
  return ['dmsetup', 'status', name];
}

/** Flushes what the file system has not written yet, so that the freeze has little to do. */
export function sync(mountPoint: string): Argv {
  return ['sync', '-f', mountPoint];
}

/**
 * Without waiting for udev: its programs may look at a device that is still suspended, and would be waited for. A device that is not
 * suspended is left as it is.
 */
export function resume(dmsetup: string, name: string): Argv {
  return [dmsetup, 'resume', '--noudevsync', name];
}

/** The file system above is frozen already, and the kernel (6.1 at least) knows no second freeze: `--nolockfs`. */
export function suspend(dmsetup: string, name: string): Argv {
  return [dmsetup, 'suspend', '--nolockfs', name];
}

export function freeze(fsfreeze: string, mountPoint: string): Argv {
  return [fsfreeze, '--freeze', mountPoint];
}

export function thaw(fsfreeze: string, mountPoint: string): Argv {
  return [fsfreeze, '--unfreeze', mountPoint];
}

/** Documentation/admin-guide/device-mapper/thin-provisioning.rst: the origin must be suspended, which the kernel does not check. */
export function createSnapshot(dmsetup: string, pool: string, id: number, origin: number): Argv {
  return [dmsetup, 'message', pool, '0', `create_snap ${id} ${origin}`];
}

export function deleteThin(pool: string, id: number): Argv {
  return ['dmsetup', 'message', pool, '0', `delete ${id}`];
}

/** Makes a device without a table: nothing can be read from it, and no scanner looks at it. */
export function createEmpty(name: string): Argv {
  return ['dmsetup', 'create', '--noudevsync', name, '--notable'];
}

/** Into the inactive slot only: fails with ENODATA when the pool has no such id. */
export function loadThin(name: string, pool: string, id: number, sectors: number): Argv {
  return ['dmsetup', 'load', name, '--table', thinTable(pool, id, sectors)];
}

/** Read-only: what is kept must stay as it was cut. */
export function createThin(name: string, pool: string, id: number, sectors: number): Argv {
  return ['dmsetup', 'create', '--readonly', '--verifyudev', name, '--table', thinTable(pool, id, sectors)];
}

function thinTable(pool: string, id: number, sectors: number): string {
  return `0 ${sectors} thin /dev/mapper/${pool} ${id}`;
}

/** Where no udev runs, `create` leaves no node. */
export function makeNode(name: string): Argv {
  return ['dmsetup', 'mknodes', name];
}

export function removeDevice(name: string): Argv {
  return ['dmsetup', 'remove', '--retry', name];
}

/**
 * All ids of a pool, from a momentary copy of its metadata's root. One shell does all three, so that it also gives the copy back when
 * this process dies: a pool has only one, and it holds space.
 */
export function listIds(pool: string, metadata: string): Argv {
  const script =
    'trap "" HUP INT TERM; dmsetup message "$1" 0 reserve_metadata_snap || exit; thin_ls --no-headers -m -o DEV "$2"; r=$?; dmsetup message "$1" 0 release_metadata_snap && exit "$r"';
  return ['sh', '-c', script, 'sh', pool, metadata];
}
