export type Argv = readonly [string, ...string[]];

/** The mount that holds a path. FSROOT tells a bind mount or a btrfs subvolume from the file system's own root. */
export function findMount(path: string): Argv {
  return ['findmnt', '-J', '-o', 'TARGET,SOURCE,FSTYPE,OPTIONS,UUID,FSROOT', '-T', path];
}

/** A block device and, as its children, what it lies on. */
export function blockLayers(device: string): Argv {
  return ['lsblk', '-J', '-s', '-o', 'NAME,PATH,TYPE,MAJ:MIN,SIZE,RO', '-b', device];
}
