import assert from 'node:assert/strict';
import { patroni } from '../../../src/adapters/topology/patroni/topology.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import { readSecret } from '../../../src/platform/secrets.ts';
import type { HoldOffToken, Topology } from '../../../src/ports/topology.ts';
import { realPlatform } from '../platform.ts';
import { until } from '../streaming-cluster.ts';
import type { PatroniCluster } from './cluster.ts';

/** The adapter on all members of the cluster and their etcds. `more` wins over that. */
export function topologyOf(cluster: PatroniCluster, more: Readonly<Record<string, unknown>> = {}): Topology {
  const settings = {
    members: Object.fromEntries(cluster.members.map((each) => [each.name, each.rest])),
    dcs: { etcd: cluster.members.map(({ name, etcd }) => ({ url: etcd, on: name })) },
    ...more,
  };
  return patroni.create(patroni.config.parse(settings), realPlatform('/nonexistent'), async (source) =>
    readSecret(source, systemExec),
  );
}

export async function tokenFor(topology: Topology, runId: string): Promise<HoldOffToken> {
  const token = topology.holdOffToken?.(runId, await topology.view(new AbortController().signal));
  assert.ok(token !== undefined);
  return token;
}

/**
 * Makes replay of this replica wait for a reader, until disposed of. Replay that is paused by hand would go on at Patroni's next loop. Table
 * `filler` must be there.
 */
export async function holdReplay(cluster: PatroniCluster, replica: string): Promise<AsyncDisposable> {
  const leader = cluster.member((await cluster.leader()) ?? 'db1');
  await until(`${replica} has the table`, async () => {
    const [row] = await cluster.member(replica).ask("SELECT to_regclass('filler') IS NOT NULL AS there");
    return row?.['there'] === true;
  });
  const reader = await cluster.member(replica).connect();
  await reader.query('BEGIN');
  await reader.query('SELECT count(*) FROM filler');
  await leader.ask('TRUNCATE filler');
  await leader.ask("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 2000)");
  return { [Symbol.asyncDispose]: async () => reader.end() };
}
