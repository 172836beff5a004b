export type Argv = readonly [string, ...string[]];

/** The mount that holds a path. FSROOT tells a bind mount or a btrfs subvolume from the file system's own root. */
export function findMount(path: string): Argv {
  return ['findmnt', '-J', '-o', 'TARGET,SOURCE,FSTYPE,OPTIONS,UUID,FSROOT,MAJ:MIN', '-T', path];
}

/** All mount points, without their tree. */
export function listMounts(): Argv {
  return ['findmnt', '-J', '-l', '-o', 'TARGET'];
}

/**
 * Block devices and, as their children, what they lie on. Only columns that sysfs and udev answer: a column that makes lsblk read a
 * device (FSTYPE, UUID) would hang on a suspended one.
 */
export function blockLayers(devices: readonly string[]): Argv {
  const columns = 'NAME,KNAME,PATH,TYPE,MAJ:MIN,SIZE,RO,SERIAL,VENDOR,MODEL,WWN,HCTL,TRAN,STATE';
  return ['lsblk', '-J', '-s', '-b', '-o', columns, ...devices];
}

/** Names and states of all block devices. */
export function allStates(): Argv {
  return ['lsblk', '-J', '-l', '-o', 'PATH,STATE'];
}

/**
 * Signatures of all devices, read from the devices: never while one is suspended. Without a cache file, because blkid would write
 * one.
 */
export function signatures(): Argv {
  return ['blkid', '-c', '/dev/null', '-o', 'export'];
}

/** One line `FILE:LINE` for each line of each file; a file that is missing is passed over. Exit code 2 if any was. */
export function readAll(files: readonly string[]): Argv {
  return ['grep', '-sH', '', ...files];
}

/** The same for all files below a directory. */
export function readBelow(directory: string): Argv {
  return ['grep', '-rsH', '', directory];
}

/** Every name that udev gave to a disk, with the device that it leads to. */
export function diskLinks(): Argv {
  return ['find', '/dev/disk', '-type', 'l', '-printf', '%p %l\\n'];
}

export function listDirectory(directory: string): Argv {
  return ['ls', '-1', directory];
}

const report = ['--reportformat', 'json', '--units', 'b', '--nosuffix'] as const;

const lvColumns = [
  'vg_name,lv_name,lv_uuid,lv_attr,lv_size,segtype,pool_lv,origin,data_percent,metadata_percent,chunk_size',
  'lv_health_status,copy_percent,raid_sync_action,raid_mismatch_count,cache_mode,devices',
].join(',');

export function logicalVolumes(group: string): Argv {
  return ['lvs', '-a', ...report, '-o', lvColumns, group];
}

export function volumeGroup(group: string): Argv {
  const columns = 'vg_name,vg_uuid,vg_attr,vg_extent_size,vg_free,vg_size,vg_missing_pv_count';
  return ['vgs', ...report, '-o', columns, group];
}

/** `-a` shows duplicates too. */
export function physicalVolumes(group: string): Argv {
  return ['pvs', '-a', ...report, '-o', 'pv_name,pv_uuid,vg_name,pv_attr,pv_size,pv_missing', '-S', `vg_name=${group}`];
}

/** Without --noflush a thin pool would commit its metadata first: that changes the disk, and hangs on a suspended pool. */
export function mapperStatus(): Argv {
  return ['dmsetup', 'status', '--noflush'];
}

/** UUID and metadata format of an array; its state is in sysfs. */
export function arrayDetail(device: string): Argv {
  return ['mdadm', '--detail', '--export', device];
}

/** What of an array's state sysfs shows; `members` are kernel names. */
export function arrayFiles(number: string, members: readonly string[]): readonly string[] {
  const directory = `/sys/dev/block/${number}/md`;
  return [
    ...['level', 'metadata_version', 'raid_disks', 'array_state', 'degraded', 'sync_action', 'mismatch_cnt', 'uuid'],
    ...members.flatMap((member) => [`dev-${member}/state`, `dev-${member}/slot`]),
  ].map((name) => `${directory}/${name}`);
}

export function mapperFiles(number: string): readonly string[] {
  return ['name', 'uuid', 'suspended'].map((name) => `/sys/dev/block/${number}/dm/${name}`);
}

export function loopFile(number: string): string {
  return `/sys/dev/block/${number}/loop/backing_file`;
}

/** A number that only Azure's machines have. */
export const chassisFile = '/sys/class/dmi/id/chassis_asset_tag';
