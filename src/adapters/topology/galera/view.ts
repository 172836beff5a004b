import type { ClusterMember, ClusterView, FailoverRule, Lag, Quorum } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import {
  type Answered,
  answeredOf,
  componentOf,
  isInside,
  neededForQuorum,
  refuseDisagreement,
  type Refused,
  type Seen,
  writerOf,
} from './component.ts';
import { clusterFindings, memberFindings } from './findings.ts';

export const manager = 'galera';

/** Pure. Throws `cluster-unknown` and `database-login` as the port says. */
export function viewOf(seen: readonly Seen[], writers: readonly string[]): ClusterView {
  const [first] = answeredOf(seen);
  if (first === undefined) throw nobody(seen.filter((each) => 'refused' in each));
  refuseDisagreement(seen);
  const writer = writerOf(seen, writers);
  const needed = neededForQuorum(seen).map((each) => each.name);
  const name = (componentOf(seen)[0] ?? first).facts.cluster;
  return {
    manager,
    name: name === '' ? 'galera' : name,
    epoch: writer === undefined ? 'nobody' : epochOf(writer),
    members: seen.map((each) => memberOf(each, writer, needed)),
    quorum: quorumOf(seen, needed),
    failover: failoverOf(seen),
    findings: clusterFindings(seen, writer),
  };
}

/**
 * The history, and who writes to it since when. Not the number of the configuration: that grows with everybody who comes or goes, and
 * nobody else becomes primary by that.
 */
function epochOf({ name, facts }: Answered): string {
  return `${facts.stateUuid}/${name}/${facts.incarnation}`;
}

function nobody(refused: readonly Refused[]): StillpointError {
  const said = refused.map((each) => `${each.name}: ${each.said}`).join('; ');
  return refused.some((each) => each.refused === 'login')
    ? new StillpointError('database-login', `no member may be asked: ${said}`, {
        hint: 'give the account of topology.galera.members a password; it needs no privilege',
      })
    : new StillpointError('cluster-unknown', `no member answers: ${said}`, {
        hint: 'check that the servers run, and host and port in topology.galera.members',
      });
}

/** Well only if it goes on without any one member: a silence is a loss until it ends. */
function quorumOf(seen: readonly Seen[], needed: readonly string[]): Quorum {
  const [first] = componentOf(seen);
  if (first === undefined) return { kind: 'votes', health: 'down', said: 'no primary component was seen' };
  const said = `${first.facts.size} members with ${first.facts.weight} votes`;
  return needed.length === 0
    ? { kind: 'votes', health: 'healthy', said }
    : { kind: 'votes', health: 'trouble', said: `${said}; the loss of ${needed.join(' or ')} stops them all` };
}

/** The shortest time that any member knows: each one judges by its own settings. Undefined where one does not tell. */
function failoverOf(seen: readonly Seen[]): FailoverRule {
  const times = componentOf(seen).map(({ facts: { options } }) => {
    const known = [options.suspectMs, options.inactiveMs, ...(options.autoEvict > 0 ? [options.delayMarginMs] : [])];
    return known.includes(undefined) ? undefined : Math.min(...known.map(Number));
  });
  const said = 'a member that is silent for evs.suspect_timeout is expelled, and the others go on';
  return times.length === 0 || times.includes(undefined)
    ? { automatic: true, said }
    : { automatic: true, detectionMs: Math.min(...times.map(Number)), said };
}

function memberOf(seen: Seen, writer: Answered | undefined, needed: readonly string[]): ClusterMember {
  if ('refused' in seen) return unasked(seen);
  const { name, facts } = seen;
  const inside = isInside(seen);
  const healthy = inside && facts.state === 'Synced';
  const reported = `${facts.component}, ${facts.state}`;
  const findings = memberFindings(seen);
  const health = healthy ? 'healthy' : 'trouble';
  const leadsQuorum = needed.includes(name);
  if (seen === writer) return { name, role: 'primary', health, reported, leadsQuorum, mayTakeOver: false, findings };
  return {
    ...{ name, role: inside ? 'backup' : 'unknown', health, reported, leadsQuorum },
    ...(inside && seen.behind !== undefined ? lagsOf(seen, seen.behind) : {}),
    mayTakeOver: healthy,
    findings,
  };
}

/** Whoever is inside has received what is committed anywhere, or nothing would be committed: virtual synchrony. */
function lagsOf(
  { facts }: Answered,
  { ms }: NonNullable<Answered['behind']>,
): { readonly transfer: Lag; readonly apply: Lag } {
  const transfer = { caughtUp: facts.state === 'Synced' || facts.state === 'Donor/Desynced' };
  return { transfer, apply: ms === undefined ? { caughtUp: false } : { ms, caughtUp: true } };
}

function unasked({ name, refused, said }: Refused): ClusterMember {
  return {
    ...{ name, role: 'unknown', reported: said, leadsQuorum: false, mayTakeOver: false },
    health: refused === 'login' ? 'unknown' : refused === 'silent' ? 'down' : 'trouble',
    findings:
      refused === 'login' ? [{ severity: 'error', check: 'login', said: `${name} may not be asked: ${said}` }] : [],
  };
}
