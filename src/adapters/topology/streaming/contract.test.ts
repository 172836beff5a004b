import { topologyContract } from '../../../../test/contract/topology.ts';
import { whyNoPostgres } from '../../../../test/doubles/embedded-postgres.ts';
import { startStreaming } from '../../../../test/doubles/streaming-cluster.ts';
import { topologyOf } from '../../../../test/doubles/streaming-scene.ts';

const rows = "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 2000)";

for (const from of ['npm', 'debian'] as const) {
  topologyContract(`streaming, PostgreSQL of ${from}`, async () => {
    const why = await whyNoPostgres(from);
    if (why !== undefined) return { skip: why };
    const cluster = await startStreaming({ standbys: 2, from });
    await cluster.primary.ask('CREATE TABLE filler (t text)');
    return {
      create: () => topologyOf(cluster),
      members: ['db1', 'db2', 'db3'],
      standby: 'db2',
      kill: async (name) => cluster.member(name).kill(),
      revive: async (name) => cluster.member(name).start(),
      async lag(name) {
        await cluster.member(name).ask('SELECT pg_wal_replay_pause()');
        await cluster.primary.ask(rows);
        return {
          async [Symbol.asyncDispose]() {
            await cluster.member(name).ask('SELECT pg_wal_replay_resume()');
          },
        };
      },
      async failOver() {
        await cluster.primary.kill();
        await cluster.member('db3').ask('SELECT pg_promote(true, 60)');
      },
      dispose: () => cluster[Symbol.asyncDispose](),
    };
  });
}
