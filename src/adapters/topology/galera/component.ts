import { StillpointError } from '../../../model/errors.ts';
import type { MariadbRefusal } from '../../../platform/mariadb-session.ts';
import type { Facts } from './parse.ts';

/** How far a member was behind what the primary had committed. */
export interface Behind {
  readonly writeSets: number;
  /** Absent: it did not get there while we looked. */
  readonly ms?: number;
}

export interface Answered {
  readonly name: string;
  readonly facts: Facts;
  readonly behind?: Behind;
}

export interface Refused {
  readonly name: string;
  readonly refused: MariadbRefusal;
  readonly said: string;
}

export type Seen = Answered | Refused;

export function answeredOf(seen: readonly Seen[]): readonly Answered[] {
  return seen.filter((each) => 'facts' in each);
}

/** It believes that it is in the component that goes on, and takes statements. */
export function isInside({ facts }: Answered): boolean {
  return facts.on && facts.component === 'Primary' && facts.connected && facts.ready;
}

/** Members inside, in the order of `seen`. */
export function componentOf(seen: readonly Seen[]): readonly Answered[] {
  return answeredOf(seen).filter(isInside);
}

/**
 * Why those who believe that they are inside cannot be in one component. Undefined: they can. True for a moment while the cluster changes,
 * and of a member that stood still and has not noticed that it was expelled.
 */
export function disagreement(seen: readonly Seen[]): string | undefined {
  const inside = componentOf(seen);
  const [first] = inside;
  for (const other of inside) {
    if (first === undefined || other === first) continue;
    const differs = (['cluster', 'stateUuid', 'configuration', 'size'] as const).find(
      (each) => first.facts[each] !== other.facts[each],
    );
    if (differs !== undefined) {
      return `${first.name} and ${other.name} are in different components (${differs} ${first.facts[differs]} and ${other.facts[differs]})`;
    }
    if (first.facts.incarnation === other.facts.incarnation) {
      return `${first.name} and ${other.name} are one and the same server`;
    }
  }
  if (first !== undefined && inside.length > first.facts.size) {
    const names = inside.map(({ name }) => name).join(', ');
    return `${names} are ${inside.length} members, and each one knows of ${first.facts.size}`;
  }
  return undefined;
}

export function refuseDisagreement(seen: readonly Seen[]): void {
  const why = disagreement(seen);
  if (why === undefined) return;
  throw new StillpointError('cluster-unknown', why, {
    hint: 'compare wsrep_cluster_state_uuid and wsrep_cluster_conf_id of the members, and host and port in topology.galera.members',
  });
}

/** The first one of `writers` that takes writes. One that is desynchronized still does. */
export function writerOf(seen: readonly Seen[], writers: readonly string[]): Answered | undefined {
  const inside = componentOf(seen);
  return writers
    .map((writer) => inside.find(({ name, facts }) => name === writer && !facts.refusesWrites))
    .find((each) => each !== undefined);
}

/**
 * Those without whom the others are no majority, if they go without a goodbye: then all of the cluster stops. A configured member that does
 * not answer may be dead and not expelled yet, so its vote (one, for nobody tells) is not counted among the others.
 */
export function neededForQuorum(seen: readonly Seen[]): readonly Answered[] {
  const inside = componentOf(seen);
  const total = inside[0]?.facts.weight ?? 0;
  const known = inside.reduce((sum, { facts }) => sum + facts.options.weight, 0);
  const alive = total - Math.min(Math.max(0, total - known), seen.length - inside.length);
  return inside.filter(({ facts: { options } }) => !options.ignoresQuorum && (alive - options.weight) * 2 <= total);
}
