import { fail, isFields, json, list, text } from './parse.ts';

/** One LV, hidden ones without the brackets around their names. Sizes in bytes; figures that do not apply are undefined. */
export interface LvRow {
  readonly group: string;
  readonly name: string;
  readonly uuid: string;
  readonly attr: string;
  readonly size: string;
  readonly segtype: string;
  readonly pool: string | undefined;
  readonly origin: string | undefined;
  readonly dataPercent: number | undefined;
  readonly metadataPercent: number | undefined;
  readonly chunkBytes: string | undefined;
  readonly health: string | undefined;
  readonly copyPercent: number | undefined;
  readonly syncAction: string | undefined;
  readonly mismatches: number | undefined;
  readonly cacheMode: string | undefined;
  /** `/dev/md0(0)`, `pool_tdata(0)`: of all segments. */
  readonly devices: readonly string[];
}

export interface VgRow {
  readonly name: string;
  readonly uuid: string;
  readonly attr: string;
  readonly extentBytes: string;
  readonly freeBytes: string;
  readonly size: string;
  readonly missing: number;
}

export interface PvRow {
  /** `[unknown]` when it is missing. */
  readonly device: string;
  readonly uuid: string;
  readonly attr: string;
  readonly size: string;
  readonly missing: boolean;
}

export interface LvmIdentity {
  readonly group: string;
  readonly volume: string;
  /** What device-mapper's device is of that LV: `` for the LV itself, `real`, `cow`, `tpool`, `tdata`... */
  readonly suffix: string;
}

type Rows = readonly Readonly<Record<string, unknown>>[];

/** LVM 2.02.158 and later print `{"report": [{"lv": [...]}]}`, every value a text. */
function rows(output: string, kind: string, command: string): Rows {
  return list(json(output, command), 'report', command).flatMap((one) => list(one, kind, command));
}

function figure(from: unknown): number | undefined {
  const value = typeof from === 'string' && from !== '' ? Number(from) : Number.NaN;
  return Number.isNaN(value) ? undefined : value;
}

function bare(name: string): string {
  return name.replace(/^\[(.*)\]$/, '$1');
}

function filled(from: unknown): string | undefined {
  return typeof from === 'string' && from !== '' ? from : undefined;
}

/** `lvs -a --reportformat json ...`. An LV with several segments has a line for each; they become one. */
export function parseLvs(output: string, command: string): readonly LvRow[] {
  const found = new Map<string, LvRow>();
  for (const row of rows(output, 'lv', command)) {
    const uuid = text(row, 'lv_uuid', command);
    const devices = text(row, 'devices', command)
      .split(',')
      .filter((device) => device !== '');
    const known = found.get(uuid);
    if (known !== undefined) {
      found.set(uuid, { ...known, devices: [...known.devices, ...devices] });
      continue;
    }
    const [pool, origin] = [filled(row['pool_lv']), filled(row['origin'])];
    const chunk = filled(row['chunk_size']);
    found.set(uuid, {
      group: text(row, 'vg_name', command),
      name: bare(text(row, 'lv_name', command)),
      uuid,
      attr: text(row, 'lv_attr', command),
      size: text(row, 'lv_size', command),
      segtype: text(row, 'segtype', command),
      pool: pool === undefined ? undefined : bare(pool),
      origin: origin === undefined ? undefined : bare(origin),
      dataPercent: figure(row['data_percent']),
      metadataPercent: figure(row['metadata_percent']),
      chunkBytes: chunk === '0' ? undefined : chunk,
      health: filled(row['lv_health_status']),
      copyPercent: figure(row['copy_percent']),
      syncAction: filled(row['raid_sync_action']),
      mismatches: figure(row['raid_mismatch_count']),
      cacheMode: filled(row['cache_mode']),
      devices,
    });
  }
  return [...found.values()];
}

/** `vgs --reportformat json ... NAME`: that one group. */
export function parseVgs(output: string, command: string): VgRow {
  const [row] = rows(output, 'vg', command);
  if (!isFields(row)) return fail(command, 'printed no volume group');
  return {
    name: text(row, 'vg_name', command),
    uuid: text(row, 'vg_uuid', command),
    attr: text(row, 'vg_attr', command),
    extentBytes: text(row, 'vg_extent_size', command),
    freeBytes: text(row, 'vg_free', command),
    size: text(row, 'vg_size', command),
    missing: figure(row['vg_missing_pv_count']) ?? 0,
  };
}

/** `pvs -a --reportformat json ... -S vg_name=NAME`. */
export function parsePvs(output: string, command: string): readonly PvRow[] {
  return rows(output, 'pv', command).map((row) => ({
    device: text(row, 'pv_name', command),
    uuid: text(row, 'pv_uuid', command),
    attr: text(row, 'pv_attr', command),
    size: text(row, 'pv_size', command),
    missing: filled(row['pv_missing']) !== undefined,
  }));
}

/** Both UUIDs out of a device-mapper UUID that LVM gave: `LVM-`, 32 characters of the group's, 32 of the volume's, `-suffix`. */
export function lvmIdentity(uuid: string): LvmIdentity | undefined {
  const [, group, volume, suffix] = /^LVM-([0-9A-Za-z]{32})([0-9A-Za-z]{32})(?:-(.*))?$/.exec(uuid) ?? [];
  if (group === undefined || volume === undefined) return undefined;
  return { group: dashed(group), volume: dashed(volume), suffix: suffix ?? '' };
}

/** As LVM's own tools write a UUID: 6-4-4-4-4-4-6. */
function dashed(uuid: string): string {
  return uuid.replace(/^(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})(.{6})$/, '$1-$2-$3-$4-$5-$6-$7');
}

/** Device-mapper's name of an LV: a dash inside a name is doubled, a single one separates. */
export function mapperName(group: string, volume: string): string {
  return `${group.replaceAll('-', '--')}-${volume.replaceAll('-', '--')}`;
}

/** The way back. A layer's suffix (`-real`, `-tpool`) is cut off. */
export function volumeOfMapper(name: string): { readonly group: string; readonly volume: string } | undefined {
  const [group, volume] = name.split(/(?<!-)-(?!-)/, 2).map((part) => part.replaceAll('--', '-'));
  return group === undefined || volume === undefined ? undefined : { group, volume };
}
