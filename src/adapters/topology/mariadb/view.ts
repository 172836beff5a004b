import type { ClusterMember, ClusterView } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import { type Config, millisecondsOf } from './config.ts';
import { clusterFindings, idleFindings, primaryFindings, replicaFindings } from './findings.ts';
import { sorted } from './gtid.ts';
import { lagsOf } from './lag.ts';
import type { Channel } from './parse.ts';
import { type Answered, answeredOf, channelTo, primaryOf, type Refused, type Seen } from './roles.ts';

export const manager = 'mariadb';

/** Pure. Throws `cluster-unknown` and `database-login` as the port says. */
export function viewOf(seen: readonly Seen[], { name, failover }: Pick<Config, 'name' | 'failover'>): ClusterView {
  const primary = primaryOf(seen);
  if (answeredOf(seen).length === 0) throw nobody(seen.filter((each) => 'refused' in each));
  return {
    manager,
    name,
    epoch: primary === undefined ? 'nobody' : epochOf(primary),
    members: seen.map((each) => memberOf(each, primary, seen, failover !== undefined)),
    quorum: { kind: 'none', health: 'healthy', said: 'nobody is asked: who fails over decides alone' },
    failover:
      failover === undefined
        ? { automatic: false, said: 'a person or a script makes a replica primary' }
        : {
            automatic: true,
            detectionMs: millisecondsOf(failover.detection),
            said: `${failover.by} makes a replica primary after ${failover.detection} of silence, as configured here`,
          },
    findings: clusterFindings(seen, primary),
  };
}

/**
 * The primary, and what it had taken from others before it was one: that position is on its disk, stays while it replicates from nobody,
 * and is another one when it comes back after a term of another server that wrote something.
 */
function epochOf({ facts }: Answered): string {
  return `${facts.serverId} after ${facts.slavePos === '' ? 'nobody' : sorted(facts.slavePos)}`;
}

function nobody(refused: readonly Refused[]): StillpointError {
  const said = refused.map((each) => `${each.name}: ${each.said}`).join('; ');
  if (refused.some((each) => each.refused === 'login')) {
    return new StillpointError('database-login', `no member may be asked: ${said}`, {
      hint: 'give the account of topology.mariadb.members a password, and GRANT REPLICA MONITOR, BINLOG MONITOR ON *.* to it',
    });
  }
  return new StillpointError('cluster-unknown', `no member answers: ${said}`, {
    hint: 'check that the servers run, and host and port in topology.mariadb.members',
  });
}

function memberOf(seen: Seen, primary: Answered | undefined, all: readonly Seen[], failsOver: boolean): ClusterMember {
  if ('refused' in seen) return unasked(seen);
  const { name, facts } = seen;
  const shared = { name, leadsQuorum: false } as const;
  if (seen === primary) {
    return {
      ...{ ...shared, role: 'primary', health: 'healthy', mayTakeOver: false },
      reported: 'read_only off, replicates from nobody',
      findings: primaryFindings(facts),
    };
  }
  if (facts.channels.length === 0) {
    return {
      ...{ ...shared, role: 'unknown', health: 'trouble', mayTakeOver: false },
      reported: `read_only ${facts.readOnly ? 'on' : 'off'}, replicates from nobody`,
      findings: idleFindings(facts, primary?.facts),
    };
  }
  const channel = primary === undefined ? undefined : channelTo(primary, seen, all);
  const healthy = channel !== undefined && facts.channels.every(isWell);
  return {
    ...{ ...shared, role: 'replica', health: healthy ? 'healthy' : 'trouble', mayTakeOver: failsOver && healthy },
    reported: reportOf(facts.channels, facts.readOnly),
    ...lagsWhere(seen, channel, primary),
    findings: replicaFindings(facts, primary?.facts, channel),
  };
}

/** Places of a channel that does not run are those of a history that may have ended. */
function lagsWhere(
  { measured }: Answered,
  channel: Channel | undefined,
  primary: Answered | undefined,
): Pick<ClusterMember, 'transfer' | 'apply'> {
  if (channel === undefined || !isWell(channel) || measured?.targetId !== primary?.facts.serverId) return {};
  return measured === undefined ? {} : lagsOf(channel, measured);
}

function isWell({ io, sql }: Channel): boolean {
  return io === 'Yes' && sql === 'Yes';
}

function reportOf(channels: readonly Channel[], readOnly: boolean): string {
  const said = channels.map(({ name, source, io, sql }) => {
    const which = name === '' ? '' : ` (${name})`;
    return `replicates from ${source}${which}: receiving ${io}, applying ${sql}`;
  });
  return [...said, `read_only ${readOnly ? 'on' : 'off'}`].join(', ');
}

function unasked({ name, refused, said }: Refused): ClusterMember {
  return {
    ...{ name, role: 'unknown', reported: said, leadsQuorum: false, mayTakeOver: false },
    health: refused === 'login' ? 'unknown' : refused === 'silent' ? 'down' : 'trouble',
    findings:
      refused === 'login' ? [{ severity: 'error', check: 'login', said: `${name} may not be asked: ${said}` }] : [],
  };
}
