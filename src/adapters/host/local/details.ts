/** Words and details of layers. */
import type { Finding } from '../../../model/point.ts';
import type { LayerType } from '../../../model/storage.ts';
import type { Group } from './facts.ts';
import type { Block } from './parse.ts';
import type { LvRow } from './parse-lvm.ts';

export type Details = Readonly<Record<string, string | undefined>>;

export function common({ path, type, number, size, readOnly }: Block): Details {
  return { path, type, number, size, readOnly };
}

export function volumeDetails(row: LvRow): Details {
  return {
    segtype: row.segtype,
    attr: row.attr,
    size: row.size,
    pool: row.pool,
    origin: row.origin,
    chunkBytes: row.chunkBytes,
    dataPercent: row.dataPercent?.toString(),
    metadataPercent: row.metadataPercent?.toString(),
    cacheMode: row.cacheMode,
    devices: row.devices.length === 0 ? undefined : row.devices.join(','),
  };
}

export function whyNot(group: Group | string | undefined): string {
  return typeof group === 'string' ? group : 'lvs does not list it';
}

export function layerType(type: string): LayerType {
  switch (type) {
    case 'disk':
    case 'loop':
    case 'crypt':
      return type;
    case 'part':
      return 'partition';
    case 'lvm':
      return 'lv';
    default:
      return 'other';
  }
}

export function defined(details: Details): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(details).flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const])),
  );
}

export function distinct(findings: readonly Finding[]): readonly Finding[] {
  return [...new Map(findings.map((each) => [`${each.severity} ${each.said}`, each])).values()];
}
