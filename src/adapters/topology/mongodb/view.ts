import type { ClusterMember, ClusterView, FailoverRule, Quorum, Role } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import { clusterFindings, hasHeir, memberFindings } from './findings.ts';
import { healthOf, type Hearsay, hearsayOf, isUnheard } from './health.ts';
import { lagsOf } from './lag.ts';
import {
  isElectable,
  newestConfig,
  type Places,
  type Refused,
  type Seen,
  type Sitting,
  sittingsOf,
  State,
  strangers,
  type Told,
  toldOf,
} from './members.ts';
import type { SetConfig } from './parse.ts';
import { pollOf, primaryOf, refuseMinority } from './primary.ts';
import { isEveryVoterWell, isMajorityAlive, neededForMajority, type Weighed } from './votes.ts';

export const manager = 'mongodb';

/** Pure. Throws `cluster-unknown` and `database-login` as the port says. */
export function viewOf(seen: readonly Seen[], places: Places): ClusterView {
  const told = toldOf(seen);
  const config = newestConfig(told);
  if (config === undefined) throw nobody(seen);
  const sittings = sittingsOf(seen, places, config);
  refuseMinority(seen, sittings);
  const primary = primaryOf(sittings);
  const weighed = sittings.map((sitting): Weighed => {
    const hearsay = hearsayOf(sitting, sittings, primary);
    return { sitting, health: healthOf(sitting, hearsay, primary), heard: !isUnheard(hearsay) };
  });
  const needed = neededForMajority(weighed);
  const strange = strangers(seen, sittings);
  return {
    manager,
    name: config.set,
    epoch: epochOf(config, told, primary),
    members: [
      ...weighed.map((each) => memberOf(each, hearsayOf(each.sitting, sittings, primary), primary, weighed, needed)),
      ...strange.map(strangerOf),
    ],
    quorum: quorumOf(weighed, needed),
    failover: failoverOf(told, sittings, primary),
    findings: clusterFindings(weighed, primary, config, strange),
  };
}

/** A term has one primary at most, and every election begins a new one. A set that is initiated anew begins at 1 again. */
function epochOf({ identity }: SetConfig, told: readonly Told[], primary: Told | undefined): string {
  const term = Math.max(...told.map(({ status }) => status.term));
  return `${identity}/${term}/${primary?.status.self ?? 'nobody'}`;
}

function nobody(seen: readonly Seen[]): StillpointError {
  const refused = seen.filter((each): each is Refused => 'refused' in each);
  const arbiters = seen
    .filter((each) => !('refused' in each))
    .map(({ name }) => `${name}: an arbiter, which knows too little`);
  const said = [...refused.map((each) => `${each.name}: ${each.said}`), ...arbiters].join('; ');
  if (refused.some((each) => each.refused === 'login')) {
    return new StillpointError('database-login', `no member with data may be asked: ${said}`, {
      hint: 'give user, password and authSource in topology.mongodb, and the account the role clusterMonitor on admin',
    });
  }
  const hint = refused.some((each) => each.refused === 'tls')
    ? 'give the CA that signed the servers’ certificates in topology.mongodb.tls.ca, and hosts by the names that stand in them'
    : refused.some((each) => each.refused === 'misfit' || each.refused === 'old')
      ? 'name servers of an initiated replica set of MongoDB 4.4.2 or later in topology.mongodb.members'
      : 'check that the servers run, host and port in topology.mongodb.members, and whether they want topology.mongodb.tls';
  return new StillpointError('cluster-unknown', `no member with data tells of a set: ${said}`, { hint });
}

function quorumOf(weighed: readonly Weighed[], needed: readonly string[]): Quorum {
  const { majority, voters } = pollOf(weighed.map(({ sitting }) => sitting));
  const said = `${majority} of ${voters} voters elect`;
  if (!isMajorityAlive(weighed)) return { kind: 'votes', health: 'down', said: `${said}, and fewer are known to live` };
  const more = needed.length === 0 ? said : `${said}; the silence of ${needed.join(' or ')} takes the majority away`;
  return { kind: 'votes', health: isEveryVoterWell(weighed) ? 'healthy' : 'trouble', said: more };
}

/**
 * With more than one voter something always follows a silence: another one is elected, or the primary steps down for want of a majority
 * and is elected again in a new term. The shortest time that anybody has counts.
 */
function failoverOf(told: readonly Told[], sittings: readonly Sitting[], primary: Told | undefined): FailoverRule {
  const times = told.map(({ config }) => detectionOf(config));
  const detectionMs = Math.min(...times);
  if (pollOf(sittings).voters <= 1) return { automatic: false, said: 'the set has one voter: nobody takes over' };
  const next = hasHeir(sittings, primary)
    ? 'another one is elected'
    : 'nobody else can be elected, and a primary without a majority steps down';
  return {
    automatic: true,
    detectionMs,
    said: `after electionTimeoutMillis (${Math.min(...told.map(({ config }) => config.electionTimeoutMs))}) without a word of the primary ${next}`,
  };
}

/**
 * The last word before a silence can be as old as a heartbeat. Half of the detection time has room for that, unless heartbeats are rarer than
 * that half: then twice what is left counts.
 */
function detectionOf({ electionTimeoutMs, heartbeatMs }: SetConfig): number {
  return Math.max(0, Math.min(electionTimeoutMs, 2 * (electionTimeoutMs - heartbeatMs)));
}

function memberOf(
  each: Weighed,
  hearsay: Hearsay,
  primary: Told | undefined,
  weighed: readonly Weighed[],
  needed: readonly string[],
): ClusterMember {
  const { sitting, health } = each;
  const { name, seat, seen } = sitting;
  const role = roleOf(sitting, hearsay, primary);
  const isStandby = role === 'replica' || role === 'async';
  return {
    ...{ name, role, health, reported: reportedOf(sitting, hearsay) },
    ...(isStandby && seen !== undefined && 'status' in seen && seen.status.state === State.secondary
      ? lagsOf(seen, seat)
      : {}),
    leadsQuorum: needed.includes(name),
    mayTakeOver: isElectable(seat) && seen !== primary,
    findings: memberFindings(each, hearsay, primary, weighed),
  };
}

/** One that cannot be elected is `async`: it is read from, reports or keeps old data, and its loss makes nobody take over. */
function roleOf({ seat, seen }: Sitting, { word }: Hearsay, primary: Told | undefined): Role {
  if (seen !== undefined && seen === primary) return 'primary';
  if (seen !== undefined && 'refused' in seen) return 'unknown';
  if (seat.arbiter) return 'arbiter';
  const state =
    seen === undefined ? word?.state : 'status' in seen && !seen.hello.writable ? seen.status.state : undefined;
  if (state === undefined || !standbyStates.has(state)) return 'unknown';
  return isElectable(seat) ? 'replica' : 'async';
}

/** SECONDARY, RECOVERING, STARTUP2, ROLLBACK. */
const standbyStates: ReadonlySet<number> = new Set([State.secondary, 3, State.initialSync, State.rollback]);

function reportedOf({ seat, seen }: Sitting, { word }: Hearsay): string {
  const traits = [
    ...(seat.priority === 0 && !seat.arbiter ? ['priority 0'] : []),
    ...(seat.votes === 0 ? ['no vote'] : []),
    ...(seat.hidden ? ['hidden'] : []),
    ...(seat.delayMs > 0 ? [`delayed by ${seat.delayMs / 1000} s`] : []),
  ];
  return [stateSaid(seen, word), ...traits].join(', ');
}

function stateSaid(seen: Seen | undefined, word: Hearsay['word']): string {
  if (seen === undefined) return word === undefined ? 'not asked' : `${word.said} by the word of the others`;
  if ('refused' in seen) return seen.said;
  if (!('status' in seen)) return seen.hello.arbiter ? 'ARBITER' : 'not understood';
  return seen.status.words.find(({ id }) => id === seen.status.self)?.said ?? `state ${seen.status.state}`;
}

function strangerOf(seen: Seen): ClusterMember {
  const refused = 'refused' in seen ? seen.refused : 'misfit';
  return {
    name: seen.name,
    role: 'unknown',
    health: refused === 'silent' ? 'down' : refused === 'misfit' || refused === 'unwell' ? 'trouble' : 'unknown',
    reported: 'refused' in seen ? seen.said : 'no member of the set',
    leadsQuorum: false,
    mayTakeOver: false,
    findings: [],
  };
}
