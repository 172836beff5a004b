/** Builds and looks at storage inside a guest. Sizes are in MiB. */
import { systemClock } from '../../../src/platform/clock.ts';
import { guest } from './guest.ts';

export type Level = 'raid0' | 'raid1' | 'raid5' | 'raid10';
export type FileSystem = 'xfs' | 'ext4' | 'btrfs';

const mkfs: Readonly<Record<FileSystem, readonly [string, ...string[]]>> = {
  xfs: ['mkfs.xfs', '-q', '-f'],
  // Without a journal of its own size ext4 on a small volume has too little for a database's commits.
  ext4: ['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
};

/** An array over the scenario's disks with these indices: `/dev/md<number>`. */
export async function makeArray(number: number, level: Level, disks: readonly number[]): Promise<string> {
  const device = `/dev/md${number}`;
  await guest.check([
    'mdadm',
    '--create',
    device,
    '--run',
    '--assume-clean',
    '--metadata=1.2',
    `--level=${level}`,
    `--raid-devices=${disks.length}`,
    ...(level === 'raid0' ? [] : ['--bitmap=internal']),
    ...disks.map((index) => guest.disk(index)),
  ]);
  return device;
}

/**
 * After a power cut or a boot: all arrays and volume groups that the disks hold. Returns what could not be activated: LVM goes on with the
 * others, as a machine's start does. A snapshot that was being made or removed at a power cut is such a volume.
 */
export async function assembleAll(): Promise<string> {
  const assembled = await guest.run(['mdadm', '--assemble', '--scan', '--run']);
  guest.log(assembled.stdout + assembled.stderr);
  const { exitCode, stderr } = await guest.run(['vgchange', '-a', 'y']);
  return exitCode === 0 ? '' : stderr.trim();
}

export async function makeGroup(name: string, devices: readonly string[]): Promise<void> {
  await guest.check(['vgcreate', '-y', name, ...devices]);
}

/** A thick volume's device. */
export async function makeThick(group: string, name: string, mib: number): Promise<string> {
  await guest.check(['lvcreate', '-y', '-Wn', '-L', `${mib}M`, '-n', name, group]);
  return `/dev/${group}/${name}`;
}

export async function makePool(group: string, name: string, mib: number, metadataMib = 8): Promise<void> {
  await guest.check([
    ...['lvcreate', '-y', '-L', `${mib}M`, '--chunksize', '64k', '--poolmetadatasize', `${metadataMib}M`],
    ...['-T', `${group}/${name}`],
  ] as [string, ...string[]]);
}

/** A thin volume's device. */
export async function makeThin(group: string, pool: string, name: string, mib: number): Promise<string> {
  await guest.check(['lvcreate', '-y', '-V', `${mib}M`, '-T', `${group}/${pool}`, '-n', name]);
  return `/dev/${group}/${name}`;
}

/** Makes the file system and mounts it at `/mnt/<name>`. mkfs.xfs refuses less than 300 MiB. */
export async function makeFileSystem(kind: FileSystem, device: string, name: string): Promise<string> {
  await guest.check([...mkfs[kind], device] as [string, ...string[]]);
  return await mountAt(device, name);
}

export async function mountAt(device: string, name: string, options = 'defaults'): Promise<string> {
  const directory = await guest.mountPoint(name);
  await guest.check(['mount', '-o', options, device, directory]);
  return directory;
}

export interface LogicalVolume {
  readonly lv_name: string;
  readonly vg_name: string;
  readonly lv_attr: string;
  readonly origin: string;
  readonly lv_tags: string;
  readonly thin_id: string;
  readonly data_percent: string;
}

export async function volumes(): Promise<readonly LogicalVolume[]> {
  const { report } = (await guest.json([
    ...['lvs', '--reportformat', 'json', '--units', 'b', '--nosuffix'],
    ...['-o', 'lv_name,vg_name,lv_attr,origin,lv_tags,thin_id,data_percent'],
  ] as [string, ...string[]])) as { readonly report: readonly { readonly lv: readonly LogicalVolume[] }[] };
  return report.flatMap(({ lv }) => lv);
}

/** What must be the same before and after a backup, whatever happened to it. */
export interface Inventory {
  readonly volumes: readonly string[];
  readonly devices: readonly string[];
  readonly suspended: readonly string[];
  readonly loops: readonly string[];
  readonly mounts: readonly string[];
  readonly arrays: readonly string[];
}

/** Asks first whether a device is suspended: `lvs` hangs on one that is. Frozen file systems are found by `writes`. */
export async function inventory(): Promise<Inventory> {
  const devices = (await guest.check(['dmsetup', 'info', '-c', '--noheadings', '-o', 'name,suspended']))
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.includes(':'));
  const suspended = devices.filter((line) => line.endsWith(':Suspended'));
  const loops = await guest.check(['losetup', '-a']);
  const mounts = await guest.check(['cat', '/proc/self/mounts']);
  const arrays = await guest.check(['cat', '/proc/mdstat']);
  return {
    volumes: suspended.length > 0 ? [] : (await volumes()).map((each) => `${each.vg_name}/${each.lv_name}`).sort(),
    devices: devices.map((line) => line.split(':')[0] ?? '').sort(),
    suspended,
    loops: loops.split('\n').filter((line) => line !== ''),
    mounts: mounts
      .split('\n')
      .map((line) => line.split(' ').slice(0, 3).join(' '))
      .filter((line) => line !== '')
      .sort(),
    arrays: arrays.split('\n').filter((line) => /^md/.test(line)),
  };
}

/** What `after` has and `before` had not, and the other way round: one line for each. */
export function differences(before: Inventory, after: Inventory): readonly string[] {
  const lists = ['volumes', 'devices', 'suspended', 'loops', 'mounts', 'arrays'] as const;
  return lists.flatMap((list) => [
    ...after[list].filter((each) => !before[list].includes(each)).map((each) => `${list}: ${each} is new`),
    ...before[list].filter((each) => !after[list].includes(each)).map((each) => `${list}: ${each} is gone`),
  ]);
}

/** Whether a file can be made in the directory and synced within `ms`: false on a frozen file system or a suspended device. */
export async function writes(directory: string, ms = 10_000): Promise<boolean> {
  // A process blocked there takes no signal. `run` gives it up after its limit; the guest goes down with it at its end.
  const file = `${directory}/.lab-${systemClock.wallMs()}`;
  const made = await guest.run(['sh', '-c', `echo x >${file} && sync ${file} && rm ${file}`], { timeoutMs: ms });
  return made.exitCode === 0;
}
