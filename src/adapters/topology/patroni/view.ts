import type { ClusterMember, ClusterView, FailoverRule, Quorum } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { Gathered, MemberAnswer } from './ask.ts';
import type { Config } from './config.ts';
import { elsewhere } from './etcd.ts';
import { clusterFindings } from './findings.ts';
import { memberFrom } from './members.ts';
import { isTrue, listedRole, pausedBy, type Timing, timingOf } from './parse.ts';

export const manager = 'patroni';

/** Pure. Throws `cluster-unknown` as the port says. */
export function viewOf(gathered: Gathered, config: Pick<Config, 'watchdogTimeout' | 'dcs'>): ClusterView {
  refuseStrangers(gathered.members);
  const names = [
    ...new Set([
      ...gathered.members.map(({ name }) => name),
      ...(gathered.cluster?.members ?? []).map(({ name }) => name),
    ]),
  ].toSorted();
  if (gathered.members.every(({ status }) => status === undefined)) throw nobodyAnswers(gathered.members);
  const { leaderOn } = gathered.dcs;
  // A machine that the cluster does not have may be any member's, under a wrong name.
  const known = leaderOn === undefined || leaderOn === elsewhere || names.includes(leaderOn);
  const members = names.map((name) =>
    memberFrom(name, known ? gathered : { ...gathered, dcs: { ...gathered.dcs, leaderOn: undefined } }),
  );
  refuseTwo(members);
  const timing = gathered.dynamic === undefined ? undefined : timingOf(gathered.dynamic);
  return {
    manager,
    name: scopeOf(gathered),
    epoch: epochOf(gathered, members),
    members,
    quorum: quorumOf(gathered, timing),
    failover: failoverOf(gathered, timing, config.watchdogTimeout),
    findings: clusterFindings(gathered, members, config.dcs),
  };
}

function scopeOf({ members }: Gathered): string {
  return members.find(({ status }) => status?.patroni?.scope !== undefined)?.status?.patroni?.scope ?? 'unknown';
}

function refuseStrangers(members: readonly MemberAnswer[]): void {
  const wrong = (said: string): StillpointError =>
    new StillpointError('cluster-unknown', said, { hint: 'correct names and URLs in topology.patroni.members' });
  for (const [index, one] of members.entries()) {
    const own = one.status?.patroni?.name;
    if (own !== undefined && own !== one.name) throw wrong(`${one.url} is ${own}, and not ${one.name}`);
    for (const other of members.slice(index + 1)) {
      const both = `${one.name} and ${other.name}`;
      const [a, b] = [one.status, other.status];
      const differ = (x: string | undefined, y: string | undefined): boolean =>
        x !== undefined && y !== undefined && x !== y;
      if (differ(a?.patroni?.scope, b?.patroni?.scope)) throw wrong(`${both} are of different clusters`);
      if (differ(a?.database_system_identifier, b?.database_system_identifier))
        throw wrong(`${both} have different databases: their system identifiers differ`);
      if (a?.postmaster_start_time !== undefined && a.postmaster_start_time === b?.postmaster_start_time)
        throw wrong(`${both} are one and the same server, started at ${a.postmaster_start_time}`);
    }
  }
}

function nobodyAnswers(members: readonly MemberAnswer[]): StillpointError {
  const said = members.map((member) => `${member.name}: ${member.said}`).join('; ');
  return new StillpointError('cluster-unknown', `no Patroni answers: ${said}`, {
    hint: 'check that Patroni runs, and the URLs and certificates in topology.patroni',
  });
}

function refuseTwo(members: readonly ClusterMember[]): void {
  const primaries = members.filter(({ role }) => role === 'primary');
  if (primaries.length < 2) return;
  const said = primaries.map(({ name, reported }) => `${name} (${reported})`).join(' and ');
  throw new StillpointError('cluster-unknown', `more than one member is primary: ${said}`, {
    hint: 'wait until Patroni has demoted the old one; if it does not, see `patronictl list`',
  });
}

/**
 * System identifier and timeline, as the engine itself tells its epoch over the guard's session. Every promotion makes a new timeline, and
 * at once; the history in the DCS is written some loops later, so that its length would make two epochs of one failover. In a standby
 * cluster the leader changes without a promotion, so that its name is part of the epoch there.
 */
function epochOf({ members, cluster }: Gathered, seen: readonly ClusterMember[]): string {
  const identity = members.find(({ status }) => status?.database_system_identifier !== undefined)?.status
    ?.database_system_identifier;
  const primary = seen.find(({ role }) => role === 'primary')?.name;
  const leader = cluster?.members.find(({ role }) => listedRole(role) === 'standby_leader')?.name;
  const timelineOf = (name: string): number | undefined =>
    members.find((member) => member.name === name)?.status?.timeline ??
    cluster?.members.find((member) => member.name === name)?.timeline;
  // A replica may still tell the timeline before the last one: where nobody is primary there is no term.
  const timeline = primary === undefined ? 'nobody' : (timelineOf(primary) ?? 'unknown');
  return [identity ?? 'unknown', timeline, ...(leader === undefined ? [] : [leader])].join('/');
}

/** The word of the members' Patronis on the DCS is added to what the DCS itself says, and the worse of the two counts. */
function quorumOf({ dcs, members }: Gathered, timing: Timing | undefined): Quorum {
  const { quorum } = dcs;
  const limitMs = timing === undefined ? undefined : (timing.loopWait + timing.retryTimeout) * 1000;
  const answering = members.filter(({ status }) => status !== undefined);
  const ages = answering.flatMap(({ name, dcsAgeMs }) => (dcsAgeMs === undefined ? [] : [{ name, dcsAgeMs }]));
  const lost = limitMs === undefined ? [] : ages.filter(({ dcsAgeMs }) => dcsAgeMs > limitMs);
  const failsafe = answering.some(({ status }) => status?.failsafe_mode_is_active === true);
  const unlocked = answering.some(({ status }) => status?.cluster_unlocked === true);
  const words = [
    quorum.said,
    ...lost.map(({ name, dcsAgeMs }) => `${name} has not reached the DCS for ${Math.round(dcsAgeMs / 1000)} s`),
    ...(failsafe ? ['failsafe mode is active'] : []),
    ...(unlocked ? ['nobody holds the leader’s key'] : []),
  ];
  const said = words.join('; ');
  if (failsafe || (ages.length > 0 && lost.length === ages.length)) return { ...quorum, health: 'down', said };
  if (lost.length > 0 || unlocked) return { ...quorum, health: quorum.health === 'down' ? 'down' : 'trouble', said };
  // No etcd was asked: what the Patronis say is all there is.
  if (quorum.health === 'unknown' && limitMs !== undefined && ages.length > 0)
    return { ...quorum, health: 'healthy', said: `${said}; every Patroni that answers reaches it` };
  return { ...quorum, said };
}

/**
 * The leader renews its key once in each loop, so that up to `loop_wait` of the key's `ttl` may be over when the silence begins: what is
 * left is the shortest time after which replicas see no leader, and their own loop follows. A watchdog counts from the same renewal.
 */
function failoverOf(gathered: Gathered, timing: Timing | undefined, watchdog: string | undefined): FailoverRule {
  const { dynamic } = gathered;
  const heldOff = isHeldOff(gathered);
  if (timing === undefined || dynamic === undefined) {
    return { automatic: true, heldOff, said: 'the configuration in the DCS is not known, or not understood' };
  }
  const shortest = Math.min(timing.ttl, watchdog === undefined ? timing.ttl : Number.parseInt(watchdog, 10));
  const said = `the leader’s key lives ${timing.ttl} s and is renewed every ${timing.loopWait} s${
    shortest < timing.ttl ? `; watchdogs reset after ${shortest} s` : ''
  }${['synchronous_mode', 'failsafe_mode'].map((mode) => (isTrue(dynamic[mode]) ? `; ${mode}` : '')).join('')}${
    pausedBy(dynamic) === undefined ? '' : '; paused'
  }`;
  return { automatic: true, detectionMs: Math.max(0, shortest - timing.loopWait) * 1000, heldOff, said };
}

/** A pause is in force where a member has seen it, so that all who answer must say so. */
function isHeldOff({ members, dynamic, cluster }: Gathered): boolean {
  const answering = members.filter(({ status }) => status !== undefined);
  return (
    dynamic !== undefined &&
    pausedBy(dynamic) !== undefined &&
    cluster?.pause === true &&
    answering.every(({ status }) => status?.pause === true)
  );
}
