import type { ClusterMember, Health, Role } from '../../../model/cluster.ts';
import type { Finding } from '../../../model/point.ts';
import type { Gathered, MemberAnswer } from './ask.ts';
import { elsewhere } from './etcd.ts';
import { lagsOf } from './lag.ts';
import {
  engineRole,
  isPrimary,
  isTagged,
  type ListedMember,
  listedRole,
  mayBeElected,
  stateOf,
  type Status,
} from './parse.ts';

/** One member of the view, from the list of the cluster and from its own answer. Pure. */
export function memberFrom(name: string, gathered: Gathered): ClusterMember {
  const answer = gathered.members.find((member) => member.name === name);
  const listed = gathered.cluster?.members.find((member) => member.name === name);
  const primary = gathered.members.find(({ status }) => isPrimary(status));
  const role = roleOf(answer?.status, listed);
  const streams = role === 'replica' && answer !== undefined ? isStreaming(answer, primary) : undefined;
  const measured = gathered.measured.get(name);
  const { leaderOn } = gathered.dcs;
  return {
    name,
    role,
    health: healthOf(role, answer?.status, streams),
    reported: reportOf(answer, listed),
    ...(streams === true && answer !== undefined && measured !== undefined ? lagsOf(answer, measured) : {}),
    ...(leaderOn === undefined ? {} : { leadsQuorum: leaderOn !== elsewhere && leaderOn === name }),
    // Also of one that is down: when it is back, it may.
    mayTakeOver: mayBeElected(answer?.status ?? listed),
    findings: findingsOf(name, answer, listed, primary?.status),
  };
}

/** The server's own word comes first; where it was not asked, the holder of the leader's key counts as primary. */
function roleOf(status: Status | undefined, listed: ListedMember | undefined): Role {
  const key = listed === undefined ? 'unknown' : listedRole(listed.role);
  const engine = status?.xlog === undefined ? undefined : engineRole(status.role);
  if (engine === 'primary') return 'primary';
  // It holds the key and is still a replica: it is being promoted, or was demoted.
  if (engine === 'replica') return key === 'leader' ? 'unknown' : 'replica';
  if (engine === 'standby_leader') return 'replica';
  if (engine === 'unknown') return 'unknown';
  return key === 'leader' ? 'primary' : key === 'unknown' ? 'unknown' : 'replica';
}

/** Undefined: nobody says. Before 3.1 only the primary tells, by the names of its WAL senders, which Patroni makes those of the members. */
function isStreaming({ name, status }: MemberAnswer, primary: MemberAnswer | undefined): boolean | undefined {
  const upstream = primary?.status;
  if (upstream !== undefined && status?.timeline !== undefined && upstream.timeline !== undefined) {
    // Positions on different timelines must not be compared: one that parted long ago may be "ahead".
    if (status.timeline !== upstream.timeline) return false;
  }
  if (status?.replication_state !== undefined) return status.replication_state === 'streaming';
  if (upstream === undefined) return undefined;
  if ((upstream.replication ?? []).some((each) => each.application_name === name && each.state === 'streaming'))
    return true;
  // A cascading replica is in another one's list.
  return status?.tags?.['replicatefrom'] === undefined ? false : undefined;
}

function healthOf(role: Role, status: Status | undefined, streams: boolean | undefined): Health {
  if (status === undefined) return 'down';
  const state = stateOf(status.state);
  if (state !== 'running') return state === 'unwell' ? 'trouble' : 'unknown';
  if (role === 'primary') return 'healthy';
  if (role === 'unknown') return 'trouble';
  if (streams === undefined) return 'unknown';
  return streams ? 'healthy' : 'trouble';
}

function reportOf(answer: MemberAnswer | undefined, listed: ListedMember | undefined): string {
  const list = listed === undefined ? 'not in the list of the cluster' : `listed as ${listed.role}, ${listed.state}`;
  if (answer?.status === undefined) return `${list}; ${answer?.said ?? 'it was not asked'}`;
  const { role, state, replication_state: replication } = answer.status;
  return `${role}, ${state}${replication === undefined ? '' : `, ${replication}`}; ${list}`;
}

function findingsOf(
  name: string,
  answer: MemberAnswer | undefined,
  listed: ListedMember | undefined,
  primary: Status | undefined,
): readonly Finding[] {
  const found: Finding[] = [];
  const add = (severity: Finding['severity'], check: string, said: string): void =>
    void found.push({ severity, check, said });
  const status = answer?.status;
  if (!mayBeElected(status ?? listed)) add('info', 'tags', 'it is tagged not to become primary');
  if (isTagged(status ?? listed, 'noloadbalance') === true) add('info', 'tags', 'it is tagged noloadbalance');
  if (status === undefined) return found;
  if (status.xlog !== undefined && status.xlog.paused === true)
    add('warning', 'replay', 'replay is paused: what it has is of the past');
  if (status.scheduled_restart !== undefined) add('warning', 'restart', 'a restart of it is scheduled');
  if (status.pending_restart === true) add('info', 'restart', 'it waits for a restart to take new settings');
  if (status.watchdog_failed === true) add('warning', 'watchdog', 'its watchdog is not healthy');
  const sender = primary?.replication?.find(({ application_name: of }) => of === name);
  if (status.sync_standby === true || status.quorum_standby === true || isSynchronous(sender?.sync_state))
    add('info', 'synchronous', 'commits of the primary wait for it: a silence of it stops them');
  return found;
}

function isSynchronous(state: string | null | undefined): boolean {
  return state === 'sync' || state === 'quorum';
}
