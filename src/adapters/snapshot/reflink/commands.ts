export type Argv = readonly [string, ...string[]];

/** Writes out the file system that holds the path. */
export function syncFileSystem(path: string): Argv {
  return ['sync', '-f', path];
}

/** How many extents each file has. It goes on after a file that vanished and then ends with an error. */
export function countExtents(files: readonly string[]): Argv {
  return ['filefrag', '--', ...files];
}
