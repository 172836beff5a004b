import type { MemberObservation } from './hold.ts';
import type { Finding } from './point.ts';

/** `unknown`: the manager says something that has no word here, or the member does not answer. */
export type Role = MemberObservation['role'] | 'unknown';

/** `trouble`: it answers and is not well. `down`: it does not answer, or the manager has given it up. */
export type Health = 'healthy' | 'trouble' | 'down' | 'unknown';

/** How far a member is behind. Absent figures: nobody tells them. */
export interface Lag {
  readonly ms?: number;
  readonly bytes?: number;
  /** The manager's own word, which may be coarser than the figures. Undefined: it does not say. */
  readonly caughtUp: boolean | undefined;
}

export interface ClusterMember {
  /** As the manager knows it; unique in the view. */
  readonly name: string;
  readonly role: Role;
  readonly health: Health;
  /** The manager's own words for role and state, untranslated, for people. */
  readonly reported: string;
  /** Journal received, and journal applied. Of a primary both are undefined. */
  readonly transfer?: Lag;
  readonly apply?: Lag;
  /** It leads what decides about failover: the store's or voters' leader runs on its machine. Undefined: not known. */
  readonly leadsQuorum?: boolean;
  /** It could become primary without a person. */
  readonly mayTakeOver: boolean;
  readonly findings: readonly Finding[];
}

/** Who is asked before somebody takes over. `none`: nobody, members decide alone or a person does. */
export interface Quorum {
  readonly kind: 'arbiter' | 'dcs' | 'votes' | 'none';
  readonly health: Health;
  readonly said: string;
}

export interface FailoverRule {
  /** False: only a person makes another member primary. */
  readonly automatic: boolean;
  /** Silence of a member, in milliseconds, after which the others act at the soonest. Undefined: not known. */
  readonly detectionMs?: number;
  /** Failover is held off now, by us or by somebody else. Undefined: this manager cannot say or cannot do that. */
  readonly heldOff?: boolean;
  readonly said: string;
}

/** A cluster as its manager and members told it, all within the same few seconds. Plain data. */
export interface ClusterView {
  /** `iris-mirror`, `patroni`, `streaming`... */
  readonly manager: string;
  readonly name: string;
  /** Changes whenever another member becomes primary. Compared for equality only. */
  readonly epoch: string;
  readonly members: readonly ClusterMember[];
  readonly quorum: Quorum;
  readonly failover: FailoverRule;
  /** Of the cluster as a whole. */
  readonly findings: readonly Finding[];
}

/** What is compared between two views: a change in any of it discards the point. */
export interface ClusterObservation {
  readonly manager: string;
  readonly cluster: string;
  readonly epoch: string;
  readonly member: string;
  readonly role: Role;
  /** Who was primary, by name; undefined when nobody was. */
  readonly primary?: string;
}

export function memberOf(view: ClusterView, name: string): ClusterMember | undefined {
  return view.members.find((member) => member.name === name);
}

/**
 * Who else serves or follows the data, in words: members that are not down, but for arbiters, which have none. A member that is put back to
 * an earlier state beside them makes two histories of one: a standby that is ahead goes on with what comes next, and its files are neither.
 */
export function othersAtWork({ members }: ClusterView, name: string | undefined): readonly string[] {
  return members
    .filter((member) => member.name !== name && member.role !== 'arbiter' && member.health !== 'down')
    .map((member) => `${member.name} (${member.role}, ${member.health})`);
}

export function observe(view: ClusterView, name: string): ClusterObservation {
  const primary = view.members.find((member) => member.role === 'primary')?.name;
  return {
    manager: view.manager,
    cluster: view.name,
    epoch: view.epoch,
    member: name,
    role: memberOf(view, name)?.role ?? 'unknown',
    ...(primary === undefined ? {} : { primary }),
  };
}

/** What changed, in words; undefined when nothing did. */
export function changeBetween(before: ClusterObservation, after: ClusterObservation): string | undefined {
  const said = [
    difference('cluster', `${before.manager} ${before.cluster}`, `${after.manager} ${after.cluster}`),
    difference('epoch', before.epoch, after.epoch),
    difference(`role of ${before.member}`, before.role, after.role),
    difference('primary', before.primary ?? 'nobody', after.primary ?? 'nobody'),
  ].filter((each) => each !== undefined);
  return said.length === 0 ? undefined : said.join('; ');
}

function difference(what: string, before: string, after: string): string | undefined {
  return before === after ? undefined : `${what} was ${before} and is ${after}`;
}
