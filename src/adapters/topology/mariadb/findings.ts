import type { Finding } from '../../../model/point.ts';
import { ownBeyond } from './gtid.ts';
import type { Channel, Facts } from './parse.ts';
import { type Answered, answeredOf, runs, type Seen } from './roles.ts';

/** A relay log that has less than this part of `relay_log_space_limit` left is near its stop. */
const nearlyFull = 0.75;

function finding(severity: Finding['severity'], check: string, said: string, value?: number): Finding {
  return { severity, check, said, ...(value === undefined ? {} : { value }) };
}

export function clusterFindings(seen: readonly Seen[], primary: Answered | undefined): readonly Finding[] {
  const found: Finding[] = [];
  const silent = seen.filter((each) => 'refused' in each).map(({ name }) => name);
  if (primary === undefined) {
    found.push(
      finding('error', 'primary', 'nobody that answers takes writes and replicates from nobody: there is no primary'),
    );
  }
  if (silent.length > 0) {
    found.push(
      finding('warning', 'split-brain', `whether ${silent.join(', ')} takes writes as well cannot be asked just now`),
    );
  }
  const galera = answeredOf(seen).filter(({ facts }) => facts.wsrep);
  if (galera.length > 0) {
    const who = galera.map(({ name }) => name).join(', ');
    found.push(finding('error', 'failover', `${who} is a member of a Galera cluster: use the topology galera`));
  }
  return found;
}

export function primaryFindings(facts: Facts): readonly Finding[] {
  const found: Finding[] = [];
  if (!facts.logs) found.push(finding('error', 'binlog', 'it writes no binary log: nobody can replicate from it'));
  if (facts.waitsForReplicas && !facts.semiSync.waits) {
    const said = `semi-synchronous replication fell back to asynchronous, with ${facts.semiSync.clients} replicas that acknowledge: a commit that is lost with the primary was acknowledged`;
    found.push(finding('warning', 'semi-sync', said, facts.semiSync.clients));
  }
  for (const { source } of facts.channels) {
    found.push(finding('info', 'channel', `a stopped channel from ${source} is left: RESET REPLICA ALL removes it`));
  }
  return found;
}

export function replicaFindings(
  facts: Facts,
  primary: Facts | undefined,
  toPrimary: Channel | undefined,
): readonly Finding[] {
  const found: Finding[] = [];
  if (!facts.readOnly) {
    found.push(finding('warning', 'read-only', 'read_only is off: it takes writes that the primary never gets'));
  }
  for (const channel of facts.channels) found.push(...channelFindings(channel, facts));
  if (primary === undefined) return found;
  if (toPrimary === undefined) found.push(finding('warning', 'source', 'no channel of it leads to the primary'));
  return [...found, ...errant(facts, primary), ...semiSync(facts, primary)];
}

/** Not a replica, and nobody writes to it. */
export function idleFindings(facts: Facts, primary: Facts | undefined): readonly Finding[] {
  const said = 'it replicates from nobody, and read_only is on';
  return [finding('warning', 'source', said), ...(primary === undefined ? [] : errant(facts, primary))];
}

function channelFindings(channel: Channel, facts: Facts): readonly Finding[] {
  const which = channel.name === '' ? 'the channel' : `the channel ${channel.name}`;
  const found: Finding[] = [];
  if (channel.io !== 'Yes' || channel.sql !== 'Yes' || channel.errors.length > 0) {
    const why = channel.errors.length === 0 ? '' : `: ${channel.errors.join('; ')}`;
    const state = `receiving ${channel.io}, applying ${channel.sql}`;
    const severity = channel.errors.length > 0 ? 'error' : 'warning';
    found.push(finding(severity, 'replication', `${which} from ${channel.source} does not run whole (${state})${why}`));
  }
  if (channel.filters.length > 0) {
    found.push(finding('error', 'filter', `${which} takes only a part: ${channel.filters.join(', ')}`));
  }
  if (channel.delayS > 0) {
    found.push(finding('info', 'delay', `${which} applies ${channel.delayS} s late (MASTER_DELAY)`, channel.delayS));
  }
  return [...found, ...relayLog(channel, facts, which)];
}

function relayLog({ relayBytes, ioState }: Channel, { relayLimitBytes }: Facts, which: string): readonly Finding[] {
  const full = /free enough relay log space|disk full/i.test(ioState);
  if (!full && (relayLimitBytes === 0 || relayBytes < relayLimitBytes * nearlyFull)) return [];
  const limit = relayLimitBytes === 0 ? 'no limit' : `relay_log_space_limit ${relayLimitBytes}`;
  const state = full ? `receives no more (${ioState})` : 'is near its limit';
  return [finding('warning', 'relay-log', `${which} ${state}: ${relayBytes} bytes, ${limit}`, relayBytes)];
}

/** Writes of its own that the primary never had: an old primary that came back, or somebody who wrote to a replica. */
function errant(facts: Facts, primary: Facts): readonly Finding[] {
  if (!facts.logs || !primary.logsReplicated) return [];
  const own = ownBeyond(facts.serverId, facts.binlogState, primary.binlogState);
  return own.length === 0
    ? []
    : [finding('error', 'errant', `it has writes of its own that the primary lacks, up to ${own.join(', ')}`)];
}

function semiSync(facts: Facts, primary: Facts): readonly Finding[] {
  if (!facts.channels.some(runs)) return [];
  if (facts.acknowledges && primary.waitsForReplicas && !facts.semiSync.acknowledges) {
    return [finding('warning', 'semi-sync', 'it is to acknowledge commits, and does not now')];
  }
  if (!facts.semiSync.acknowledges || !primary.semiSync.waits) return [];
  const others = primary.semiSync.clients > 1 ? '' : ', and no other member does';
  const waits = primary.waitMs === undefined ? 'a time' : `${primary.waitMs} ms`;
  return [
    finding('info', 'synchronous', `it acknowledges commits${others}: the primary waits ${waits} for one at most`),
  ];
}
