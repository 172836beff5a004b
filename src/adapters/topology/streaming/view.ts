import type { ClusterMember, ClusterView } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import { clusterFindings, primaryFindings, standbyFindings } from './findings.ts';
import type { Measured } from '../../../platform/measure-lag.ts';
import { lagsOf } from './lag.ts';
import { othersWhoFailOver, type Facts, type Refusal } from './parse.ts';

export const manager = 'streaming';

export interface Answered {
  readonly name: string;
  readonly facts: Facts;
  /** Of a standby, where the primary answered. */
  readonly measured?: Measured;
}

export interface Refused {
  readonly name: string;
  readonly refused: Refusal;
  readonly said: string;
}

export type Seen = Answered | Refused;

/** Pure. Throws `cluster-unknown` and `database-login` as the port says. */
export function viewOf(seen: readonly Seen[]): ClusterView {
  const answered = seen.filter((each) => 'facts' in each);
  const primary = primaryOf(seen);
  const [first] = answered;
  if (first === undefined) throw nobody(seen.filter((each) => 'refused' in each));
  const others = [...new Set(answered.flatMap(({ facts }) => othersWhoFailOver(facts)))];
  return {
    manager,
    name: first.facts.systemIdentifier,
    // A standby may still tell the timeline before the last one: where nobody is primary there is no term.
    epoch: `${first.facts.systemIdentifier}/${primary === undefined ? 'nobody' : (primary.facts.timeline ?? 'unknown')}`,
    members: seen.map((each) => memberOf(each, primary)),
    quorum: { kind: 'none', health: 'healthy', said: 'nobody is asked: a person decides' },
    failover:
      others.length === 0
        ? { automatic: false, said: 'a person promotes a standby' }
        : { automatic: true, said: `${others.join(', ')} may promote a standby, and this adapter cannot ask it` },
    findings: clusterFindings(seen, primary, others),
  };
}

/** The one that is not in recovery. */
function primaryOf(seen: readonly Seen[]): Answered | undefined {
  const answered = seen.filter((each) => 'facts' in each);
  for (const [index, one] of answered.entries()) {
    for (const other of answered.slice(index + 1)) refuseBoth(one, other);
  }
  return answered.find(({ facts }) => !facts.inRecovery);
}

function refuseBoth(one: Answered, other: Answered): void {
  const [a, b] = [one.facts, other.facts];
  const both = `${one.name} and ${other.name}`;
  const wrong = (said: string, hint: string): StillpointError => new StillpointError('cluster-unknown', said, { hint });
  if (a.systemIdentifier !== b.systemIdentifier) {
    throw wrong(
      `${both} are not of one cluster: their system identifiers are ${a.systemIdentifier} and ${b.systemIdentifier}`,
      'correct host and port of the members in topology.streaming.members',
    );
  }
  if (a.startedAt === b.startedAt) {
    throw wrong(
      `${both} are one and the same server, started at ${a.startedAt}`,
      'each member in topology.streaming.members needs its own host or port; an address that moves with the primary is none',
    );
  }
  if (!a.inRecovery && !b.inRecovery) {
    throw wrong(
      `${both} are both primary, on timelines ${a.timeline} and ${b.timeline}: their histories part`,
      'stop the one that applications must not write to, then rejoin it with pg_rewind or a new base backup',
    );
  }
}

function nobody(refused: readonly Refused[]): StillpointError {
  const said = refused.map((each) => `${each.name}: ${each.said}`).join('; ');
  if (refused.some((each) => each.refused === 'login')) {
    return new StillpointError('database-login', `no member may be asked: ${said}`, {
      hint: 'give the role of topology.streaming.members a password or a line in pg_hba.conf, and GRANT pg_monitor to it',
    });
  }
  return new StillpointError('cluster-unknown', `no member answers: ${said}`, {
    hint: 'check that the servers run, and host and port in topology.streaming.members',
  });
}

/** Only a person makes another one primary, so nobody may take over, whoever it is. */
const noTakeover = { leadsQuorum: false, mayTakeOver: false } as const;

function memberOf(seen: Seen, primary: Answered | undefined): ClusterMember {
  if ('refused' in seen) return unasked(seen);
  const { name, facts } = seen;
  if (!facts.inRecovery) {
    return {
      ...{ name, role: 'primary', health: 'healthy', reported: `primary on timeline ${facts.timeline}`, ...noTakeover },
      findings: primaryFindings(facts),
    };
  }
  const follows = followsFrom(facts, primary);
  return {
    ...{ name, role: 'replica', ...noTakeover },
    health: healthOf(follows),
    reported: reportOf(facts),
    ...(follows === true && seen.measured !== undefined ? lagsOf(facts, seen.measured) : {}),
    findings: standbyFindings(name, facts, primary?.facts, seen.measured),
  };
}

/** It reads the primary's own WAL now. Undefined: the role that asks may not see that. */
function followsFrom(facts: Facts, primary: Answered | undefined): boolean | undefined {
  if (primary === undefined || facts.receiver === null) return false;
  if (facts.receiver.status === null || facts.receiver.timeline === null) return undefined;
  // Positions on different timelines must not be compared: one that parted long ago may be "ahead".
  return facts.receiver.status === 'streaming' && facts.receiver.timeline === primary.facts.timeline;
}

function healthOf(follows: boolean | undefined): ClusterMember['health'] {
  if (follows === undefined) return 'unknown';
  return follows ? 'healthy' : 'trouble';
}

function reportOf(facts: Facts): string {
  const receiver = facts.receiver === null ? 'no WAL receiver' : `WAL receiver ${facts.receiver.status ?? 'hidden'}`;
  const replay = facts.replayPause === 'not paused' ? '' : `, replay ${facts.replayPause}`;
  return `in recovery, ${receiver} on timeline ${facts.receiver?.timeline ?? facts.timeline ?? 'unknown'}${replay}`;
}

function unasked({ name, refused, said }: Refused): ClusterMember {
  const finding: Finding[] =
    refused === 'login' ? [{ severity: 'error', check: 'login', said: `${name} refuses the login: ${said}` }] : [];
  return {
    ...{ name, role: 'unknown', reported: said, ...noTakeover },
    health: refused === 'login' ? 'unknown' : refused === 'silent' ? 'down' : 'trouble',
    findings: finding,
  };
}
