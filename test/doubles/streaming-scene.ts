import { streaming } from '../../src/adapters/topology/streaming/topology.ts';
import type { Topology } from '../../src/ports/topology.ts';
import { realPlatform } from './platform.ts';
import type { StreamingCluster } from './streaming-cluster.ts';

/** The adapter on all members of the cluster, over their sockets. `more` is added to each member's settings. */
export function topologyOf(cluster: StreamingCluster, more: Readonly<Record<string, unknown>> = {}): Topology {
  const members = [cluster.primary, ...cluster.standbys].map(({ name, socketDirectory, port }) => [
    name,
    { host: socketDirectory, port, ...more },
  ]);
  return streaming.create(
    streaming.config.parse({ members: Object.fromEntries(members) }),
    realPlatform('/nonexistent'),
    () => Promise.reject(new Error('the test has no secrets')),
  );
}
