import type { ClusterMember } from '../../../model/cluster.ts';
import type { Finding } from '../../../model/point.ts';
import type { Gathered } from './ask.ts';
import type { Config } from './config.ts';
import { elsewhere } from './etcd.ts';
import { markerKey, pausedBy } from './parse.ts';

/** What is worth saying about the cluster as a whole. */
export function clusterFindings(
  { members, cluster, dynamic, dcs }: Gathered,
  seen: readonly ClusterMember[],
  settings: Config['dcs'],
): readonly Finding[] {
  const found: Finding[] = [];
  const add = (severity: Finding['severity'], check: string, said: string): void =>
    void found.push({ severity, check, said });
  if (cluster === undefined) add('error', 'cluster', 'no member tells the list and the configuration of the cluster');
  if (!seen.some(({ role }) => role === 'primary')) {
    const standby = members.some(({ status }) => status?.role === 'standby_leader');
    if (standby) add('info', 'primary', 'a standby cluster: its primary is in another cluster');
    else add('error', 'primary', 'nobody is seen to be primary');
  }
  const by = dynamic === undefined ? undefined : pausedBy(dynamic);
  if (by !== undefined) add('warning', 'pause', `failover is paused by ${by}: if the primary fails, nobody takes over`);
  else if (dynamic?.[markerKey] !== undefined)
    add('info', 'pause', `${markerKey} is set in the configuration in the DCS, and nothing is paused`);
  if (cluster?.scheduled_switchover !== undefined)
    add('error', 'switchover', `a switchover is scheduled at ${cluster.scheduled_switchover.at}`);
  if (settings !== undefined && settings !== elsewhere) {
    const names = new Set(seen.map(({ name }) => name));
    for (const { url, on } of settings.etcd) {
      if (on !== elsewhere && !names.has(on))
        add('error', 'dcs', `etcd ${url} is said to run on ${on}, which the cluster does not have`);
    }
  }
  if (dcs.leaderOn === undefined) add('warning', 'dcs', `whose machine leads the DCS is not known: ${dcs.quorum.said}`);
  const versions = new Set(members.flatMap(({ status }) => status?.patroni?.version ?? []));
  if (versions.size > 1) add('info', 'version', `Patroni runs in versions ${[...versions].toSorted().join(', ')}`);
  return found;
}
