import { StillpointError } from '../../../model/errors.ts';

export interface LogicalVolume {
  readonly vg: string;
  readonly vgUuid: string;
  readonly vgFreeBytes: number;
  readonly extentBytes: number;
  readonly name: string;
  readonly uuid: string;
  readonly bytes: number;
  /** lvs(8), `Volume type`, `State`... by position. */
  readonly attr: string;
  readonly tags: readonly string[];
  readonly active: boolean;
  readonly device: string;
  /** Empty if LVM sees nothing wrong. */
  readonly health: string;
  readonly needsCheck: boolean;
  readonly merging: boolean;
  readonly mergeFailed: boolean;
  /** A snapshot that ran over. */
  readonly invalid: boolean;
  /** `linear`, `thin`...: more than one if its parts differ. */
  readonly segmentTypes: readonly string[];
  readonly originUuid: string;
  readonly poolUuid: string;
  readonly thinId: number | undefined;
  readonly chunkBytes: number;
  /** Undefined where it does not apply, or the volume is not active. */
  readonly dataPercent: number | undefined;
  readonly metadataPercent: number | undefined;
  readonly snapshotPercent: number | undefined;
}

function fail(command: string, what: string): never {
  throw new StillpointError('command-failed', `\`${command}\` ${what}`, {
    hint: 'LVM 2.02.158 or later is needed; run the command by hand to see what it prints',
  });
}

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function list(from: unknown, key: string): readonly unknown[] {
  const found = isFields(from) ? from[key] : undefined;
  return Array.isArray(found) ? (found as readonly unknown[]) : fail('lvs', `printed no list \`${key}\``);
}

function json(output: string): unknown {
  try {
    return JSON.parse(output);
  } catch {
    return fail('lvs', 'printed no JSON');
  }
}

function volume(from: unknown): LogicalVolume {
  const text = (key: string): string => {
    const found = isFields(from) ? from[key] : undefined;
    return typeof found === 'string' ? found : fail('lvs', `printed no text \`${key}\``);
  };
  const optional = (key: string): number | undefined => {
    const found = text(key);
    if (found === '') return undefined;
    return /^\d+(?:\.\d+)?$/.test(found) ? Number(found) : fail('lvs', `printed the odd number ${found} as \`${key}\``);
  };
  const number = (key: string): number => optional(key) ?? fail('lvs', `printed no number \`${key}\``);
  // A property that does not apply is `unknown`, one that does is empty or its own name.
  const flag = (key: string): boolean => !['', 'unknown'].includes(text(key));
  return {
    vg: text('vg_name'),
    vgUuid: text('vg_uuid'),
    vgFreeBytes: number('vg_free'),
    extentBytes: number('vg_extent_size'),
    name: text('lv_name'),
    uuid: text('lv_uuid'),
    bytes: number('lv_size'),
    attr: text('lv_attr'),
    tags: text('lv_tags')
      .split(',')
      .filter((tag) => tag !== ''),
    active: text('lv_active').startsWith('active'),
    device: text('lv_dm_path'),
    health: text('lv_health_status'),
    needsCheck: flag('lv_check_needed'),
    merging: flag('lv_merging'),
    mergeFailed: flag('lv_merge_failed'),
    invalid: flag('lv_snapshot_invalid'),
    segmentTypes: [text('segtype')],
    originUuid: text('origin_uuid'),
    poolUuid: text('pool_lv_uuid'),
    thinId: optional('thin_id'),
    chunkBytes: number('chunk_size'),
    dataPercent: optional('data_percent'),
    metadataPercent: optional('metadata_percent'),
    snapshotPercent: optional('snap_percent'),
  };
}

/**
 * `lvs --reportformat json --units b --nosuffix -o ...` with the fields of `commands.ts`: one entry for each volume. lvs prints a line
 * for each of its segments.
 */
export function parseVolumes(output: string): readonly LogicalVolume[] {
  const volumes = new Map<string, LogicalVolume>();
  for (const report of list(json(output), 'report')) {
    for (const entry of list(report, 'lv')) {
      const one = volume(entry);
      const known = volumes.get(one.uuid);
      const segmentTypes = [...new Set([...(known?.segmentTypes ?? []), ...one.segmentTypes])];
      volumes.set(one.uuid, { ...one, segmentTypes });
    }
  }
  return [...volumes.values()];
}

export interface DeviceState {
  readonly name: string;
  readonly uuid: string;
  readonly suspended: boolean;
}

/** `dmsetup info -c --noheadings --separator '|' -o name,uuid,suspended`. */
export function parseDeviceStates(output: string): readonly DeviceState[] {
  return output
    .split('\n')
    .filter((line) => line !== '' && line !== 'No devices found')
    .map((line) => {
      const [, name = '', uuid = '', state] = /^(.*)\|([^|]*)\|(Active|Suspended)$/.exec(line) ?? [];
      if (state === undefined) return fail('dmsetup info', `printed a line that is not understood: ${line}`);
      return { name, uuid, suspended: state === 'Suspended' };
    });
}

/** `dmsetup table` of a thin volume: `0 819200 thin 254:3 1`: the number of its pool's device. Undefined for any other target. */
export function parsePoolNumber(output: string): string | undefined {
  return /^\d+ \d+ thin (\d+:\d+) \d+/m.exec(output)?.[1];
}

/** What a snapshot's own `dmsetup status` says: sectors used and there are, or why it shows nothing any more. */
export type SnapshotStatus = { readonly used: number; readonly total: number } | { readonly broken: string };

/** `0 655360 snapshot 4112/524288 0`, or `Invalid`, `Overflow`, `Merge failed` in the place of the figures. */
export function parseSnapshotStatus(output: string): SnapshotStatus {
  const [, said = ''] = /^\d+ \d+ snapshot (.+)$/m.exec(output) ?? [];
  if (said === '') return fail('dmsetup status', `printed a line that is not understood: ${output.trim()}`);
  const [, used, total] = /^(\d+)\/(\d+) \d+$/.exec(said.trim()) ?? [];
  return used === undefined ? { broken: said.trim() } : { used: Number(used), total: Number(total) };
}

/** Seventh figure of /sys/block/.../stat: sectors of 512 bytes written since boot (kernel, Documentation/block/stat). In bytes. */
export function parseWritten(stat: string): number {
  const sectors = stat.trim().split(/\s+/)[6] ?? '';
  if (!/^\d+$/.test(sectors))
    throw new StillpointError('io', `the kernel's figures of a device cannot be read: ${stat}`);
  return Number(sectors) * 512;
}
