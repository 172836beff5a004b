import type { Health } from '../../../model/cluster.ts';
import { type Sitting, State } from './members.ts';
import { pollOf } from './primary.ts';

export interface Weighed {
  readonly sitting: Sitting;
  readonly health: Health;
  /** The others hear it, as far as they tell. */
  readonly heard: boolean;
}

/** It can give its vote now, as far as anybody knows. A member that is new does not count until its initial sync is done. */
function votes({ sitting: { seat, seen }, health, heard }: Weighed): boolean {
  if (seat.votes === 0 || !heard) return false;
  if (seen === undefined) return health === 'healthy' || health === 'trouble';
  return 'status' in seen ? seen.status.state !== State.initialSync : 'hello' in seen;
}

/**
 * Those without whom the others are no majority: their silence makes the primary step down, or leaves nobody to elect. One that does not
 * answer may be dead or not, so its vote is counted for nobody.
 */
export function neededForMajority(weighed: readonly Weighed[]): readonly string[] {
  const { majority, voters } = pollOf(weighed.map(({ sitting }) => sitting));
  const alive = weighed.filter(votes);
  return voters > 1 && alive.length - 1 < majority ? alive.map(({ sitting }) => sitting.name) : [];
}

export function isMajorityAlive(weighed: readonly Weighed[]): boolean {
  return weighed.filter(votes).length >= pollOf(weighed.map(({ sitting }) => sitting)).majority;
}

export function isEveryVoterWell(weighed: readonly Weighed[]): boolean {
  return weighed.every(({ sitting, health }) => sitting.seat.votes === 0 || health === 'healthy');
}
