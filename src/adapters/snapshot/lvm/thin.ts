import type { Finding } from '../../../model/point.ts';
import type { LogicalVolume } from './parse.ts';
import { originOf } from './lvs.ts';
import type { Way } from './way.ts';

const warnPercent = 80;
const errorPercent = 95;
const check = 'lvm-thin-pool';

export const thinWay: Way = {
  kind: 'lvm-thin',
  expectedMs: 100,
  runsOver: false,
  whyNot: ({ segmentTypes }) => (segmentTypes.join() === 'thin' ? undefined : `it is ${segmentTypes.join(' and ')}`),
  findings(group, volumes) {
    const pools = new Map<string, LogicalVolume>();
    for (const volume of group) {
      const { poolUuid } = originOf(volumes, volume);
      const pool = volumes.find((one) => one.uuid === poolUuid);
      if (pool !== undefined) pools.set(poolUuid, pool);
    }
    return [...pools.values()].flatMap(ofPool);
  },
  details: () => ({}),
  prepare: async (_platform, group) => Promise.resolve(group),
  sizeOf: () => undefined,
};

function ofPool(pool: LogicalVolume): readonly Finding[] {
  const name = `${pool.vg}/${pool.name}`;
  const findings: Finding[] = [];
  if (pool.needsCheck) {
    const hint = `stop what uses it, then \`lvconvert --repair ${name}\``;
    findings.push({
      severity: 'error',
      check,
      said: `the thin pool ${name} must be checked before it is used: ${hint}`,
    });
  }
  if (pool.health !== '') {
    findings.push({
      severity: 'error',
      check,
      said: `the thin pool ${name} is not well: ${pool.health.replaceAll('_', ' ')}`,
    });
  }
  findings.push(
    ...fill(name, 'data', pool.dataPercent, 'lvextend -L +SIZE'),
    ...fill(name, 'metadata', pool.metadataPercent, 'lvextend --poolmetadatasize +SIZE'),
  );
  return findings;
}

function fill(pool: string, what: string, percent: number | undefined, remedy: string): readonly Finding[] {
  if (percent === undefined) {
    return [{ severity: 'error', check, said: `LVM does not tell how full the ${what} of thin pool ${pool} is` }];
  }
  if (percent < warnPercent) return [];
  const severity = percent >= errorPercent ? 'error' : 'warning';
  const why = 'a pool that runs over stops all its volumes, the original with its snapshots';
  return [
    {
      severity,
      check,
      said: `the ${what} of thin pool ${pool} is ${percent} % full, and ${why}: \`${remedy} ${pool}\``,
    },
  ];
}
