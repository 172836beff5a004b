/** Outputs of grep on sysfs, blkid, mdadm, dmsetup and find. What is not there is absent: whoever needs it says so. */

/** What sysfs and mdadm tell of an array. */
export interface ArrayState {
  readonly level: string | undefined;
  readonly metadata: string | undefined;
  readonly uuid: string | undefined;
  readonly disks: number | undefined;
  readonly state: string | undefined;
  /** Undefined for levels without redundancy. */
  readonly degraded: number | undefined;
  readonly action: string | undefined;
  readonly mismatches: number | undefined;
  readonly members: readonly ArrayMember[];
}

export interface ArrayMember {
  /** The kernel's name: `sda1`. */
  readonly name: string;
  /** `in_sync`, `faulty`, `spare`, `write_mostly`..., as the kernel lists them. */
  readonly states: readonly string[];
  /** Its place in the array, undefined for a spare or failed one. */
  readonly slot: string | undefined;
}

/** A signature found on a device. */
export interface Signature {
  readonly device: string;
  readonly type: string;
  readonly uuid: string;
  /** Of one member, where `uuid` is the whole array's or file system's. */
  readonly member: string | undefined;
}

/** Status of one target of a device-mapper device. */
export interface MapperTarget {
  readonly target: string;
  readonly words: readonly string[];
}

/** Lines `FILE:LINE`; the first line of each file counts. A name of sysfs may hold colons (`/sys/dev/block/9:0/...`), so files are known. */
export function parseFiles(output: string, files: readonly string[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of output.split('\n')) {
    const file = files.find((each) => line.startsWith(`${each}:`));
    if (file !== undefined && !found.has(file)) found.set(file, line.slice(file.length + 1).trim());
  }
  return found;
}

export function parseArray(
  files: ReadonlyMap<string, string>,
  number: string,
  members: readonly string[],
  detail: ReadonlyMap<string, string>,
): ArrayState {
  const value = (name: string): string | undefined => {
    const found = files.get(`/sys/dev/block/${number}/md/${name}`);
    return found === '' ? undefined : found;
  };
  const figure = (name: string): number | undefined => {
    const found = value(name);
    return found === undefined || !/^\d+$/.test(found) ? undefined : Number(found);
  };
  return {
    level: value('level') ?? detail.get('MD_LEVEL'),
    metadata: detail.get('MD_METADATA') ?? value('metadata_version'),
    uuid: detail.get('MD_UUID') ?? colons(value('uuid')),
    disks: figure('raid_disks'),
    state: value('array_state'),
    degraded: figure('degraded'),
    action: value('sync_action'),
    mismatches: figure('mismatch_cnt'),
    members: members.map((name) => {
      const slot = value(`dev-${name}/slot`);
      return {
        name,
        states: value(`dev-${name}/state`)?.split(',') ?? [],
        slot: slot === 'none' ? undefined : slot,
      };
    }),
  };
}

/** As mdadm writes it. */
function colons(uuid: string | undefined): string | undefined {
  return uuid?.replaceAll('-', '').replace(/^(.{8})(.{8})(.{8})(.{8})$/, '$1:$2:$3:$4');
}

/** `KEY=VALUE` lines, as `mdadm --detail --export` prints them. */
export function parseExport(output: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of output.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) found.set(line.slice(0, at), line.slice(at + 1));
  }
  return found;
}

/** `blkid -o export`: blocks of `KEY=VALUE` with an empty line between them. Devices without type or UUID are passed over. */
export function parseSignatures(output: string): readonly Signature[] {
  return output.split(/\n\n+/).flatMap((block) => {
    const values = parseExport(block);
    const [device, type, uuid] = [values.get('DEVNAME'), values.get('TYPE'), values.get('UUID')];
    if (device === undefined || type === undefined || uuid === undefined) return [];
    return [{ device: device.replaceAll('\\', ''), type, uuid, member: values.get('UUID_SUB') }];
  });
}

/** `dmsetup status`: `NAME: START LENGTH TARGET WORDS...`, one line for each segment of a device. */
export function parseMapperStatus(output: string): ReadonlyMap<string, readonly MapperTarget[]> {
  const found = new Map<string, MapperTarget[]>();
  for (const line of output.split('\n')) {
    const [, name, target, rest] = /^(\S+): \d+ \d+ (\S+) ?(.*)$/.exec(line) ?? [];
    if (name === undefined || target === undefined || rest === undefined) continue;
    const words = rest.split(' ').filter((word) => word !== '');
    found.set(name, [...(found.get(name) ?? []), { target, words }]);
  }
  return found;
}

/** `find ... -printf '%p %l\n'`: by kernel name, the names below /dev/disk that lead to it. */
export function parseLinks(output: string): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const line of output.split('\n')) {
    const [, link, target] = /^\/dev\/disk\/(\S+) (?:.*\/)?([^/\s]+)$/.exec(line) ?? [];
    if (link !== undefined && target !== undefined) found.set(target, [...(found.get(target) ?? []), link]);
  }
  return found;
}

/** Devices of a mounted btrfs that are missing, and their error counts, from the files below /sys/fs/btrfs/UUID/devinfo. */
export function parseBtrfsDevices(output: string): { readonly missing: readonly string[]; readonly errors: number } {
  const missing: string[] = [];
  let errors = 0;
  for (const line of output.split('\n')) {
    const [, device] = /\/devinfo\/(\d+)\/missing:1$/.exec(line) ?? [];
    if (device !== undefined) missing.push(device);
    const [, count] = /\/error_stats:\w+_errs (\d+)$/.exec(line) ?? [];
    errors += Number(count ?? 0);
  }
  return { missing, errors };
}
