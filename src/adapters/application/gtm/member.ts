import { statSync } from 'node:fs';
import type { MemberObservation } from '../../../model/hold.ts';
import type { Gtm, Limits } from './engine.ts';
import { replicationOf } from './replication.ts';
import type { Region, RegionState } from './parse.ts';

/**
 * Who this is now. The epoch changes when a file was replaced, which is another history even under the same name, and when another
 * instance has become the one that makes the history. A new start of the same one changes nothing. Throws `database-unreachable`.
 */
export async function memberNow(
  gtm: Gtm,
  host: string,
  regions: readonly Region[],
  states: readonly RegionState[],
  limits: Limits,
): Promise<MemberObservation> {
  const [role, term] = await Promise.all([gtm.role(states, limits), termNow(gtm, states, limits)]);
  return memberOf(host, regions, role, term);
}

/** Whose history it is; undefined without replication. Also of an instance that is down. */
export async function termNow(gtm: Gtm, states: readonly RegionState[], limits: Limits): Promise<string | undefined> {
  if (!states.some((state) => state.replication === 'ON')) return undefined;
  return (await replicationOf(gtm, limits))?.term;
}

export function memberOf(
  host: string,
  regions: readonly Region[],
  role: MemberObservation['role'],
  term: string | undefined,
): MemberObservation {
  const files = regions.map((region) => {
    const { dev, ino } = statSync(region.file);
    return `${dev}:${ino}`;
  });
  return { member: host, role, epoch: [...files, ...(term === undefined ? [] : [term])].join(',') };
}
