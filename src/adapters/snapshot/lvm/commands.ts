export type Argv = readonly [string, ...string[]];

/** What `parseVolumes` reads, one line for each kind of segment that a volume has. */
export const fields = [
  'vg_name',
  'vg_uuid',
  'vg_free',
  'vg_extent_size',
  'lv_name',
  'lv_uuid',
  'lv_size',
  'lv_attr',
  'lv_tags',
  'lv_active',
  'lv_dm_path',
  'lv_health_status',
  'lv_check_needed',
  'lv_merging',
  'lv_merge_failed',
  'lv_snapshot_invalid',
  'segtype',
  'origin',
  'origin_uuid',
  'pool_lv_uuid',
  'thin_id',
  'chunk_size',
  'data_percent',
  'metadata_percent',
  'snap_percent',
] as const;

/** All volumes but LVM's internal ones: by UUID they are found again also when their group was renamed. */
export function listVolumes(): Argv {
  return ['lvs', '--reportformat', 'json', '--units', 'b', '--nosuffix', '-o', fields.join(',')];
}

/** Writes out the file system that holds the path. */
export function syncFileSystem(path: string): Argv {
  return ['sync', '-f', path];
}

/**
 * LVM freezes the file system, suspends the origin and puts the snapshot beside it. `-kn`: else a thin snapshot is not activated. `-pr`:
 * nobody can write it by mistake. `-An`: the backup of LVM's metadata below /etc is written by the next command, outside the hold.
 */
export function createSnapshot(request: {
  readonly vg: string;
  readonly lv: string;
  readonly name: string;
  readonly tags: readonly string[];
  /** Absent for a thin one, which has no size of its own. */
  readonly bytes?: string;
}): Argv {
  const { vg, lv, name, tags, bytes } = request;
  return [
    ...(['lvcreate', '-y', '-s', '-kn', '-pr', '-An'] as const),
    ...(bytes === undefined ? [] : ['-L', `${bytes}b`]),
    ...tags.flatMap((tag) => ['--addtag', tag]),
    ...['-n', name, `${vg}/${lv}`],
  ];
}

/** `-K`: also one that is marked to be skipped. */
export function activate(vg: string, lv: string): Argv {
  return ['lvchange', '-ay', '-K', `${vg}/${lv}`];
}

export function remove(vg: string, lv: string): Argv {
  return ['lvremove', '-y', `${vg}/${lv}`];
}

/** Asks the kernel only. LVM's own commands may read suspended devices, and hang. */
export function deviceStates(): Argv {
  return ['dmsetup', 'info', '-c', '--noheadings', '--separator', '|', '-o', 'name,uuid,suspended'];
}

export function deviceTable(name: string): Argv {
  return ['dmsetup', 'table', name];
}

export function deviceStatus(name: string): Argv {
  return ['dmsetup', 'status', name];
}

export function resume(name: string): Argv {
  return ['dmsetup', 'resume', name];
}

/** As LVM calls the device of a volume: a hyphen in a name is doubled. */
export function deviceName(vg: string, lv: string): string {
  return `${vg.replaceAll('-', '--')}-${lv.replaceAll('-', '--')}`;
}
