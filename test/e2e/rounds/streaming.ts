import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../../src/platform/clock.ts';
import { startStreaming, until, type StreamingMember } from '../../doubles/streaming-cluster.ts';
import {
  certainInBackupMode,
  inBackupMode,
  judgePostgres,
  makeSmall,
  postgresTerm,
  PostgresWitness,
  smallSegments,
  smallWal,
} from './postgres.ts';
import type { Disturbance, RoundsSubject } from './subject.ts';

/** PostgreSQL's own replication between two servers. Nobody fails over but a person: any change of roles is wrong. */
export async function streamingSubject(): Promise<RoundsSubject> {
  await using undo = new AsyncDisposableStack();
  const settings = { ...smallWal, wal_retrieve_retry_interval: '200ms' };
  const cluster = undo.use(await startStreaming({ standbys: 1, settings, initdb: [smallSegments] }));
  const { primary } = cluster;
  const [standby] = cluster.standbys;
  if (standby === undefined) throw new Error('there is no standby');
  const both = [primary, standby];
  await makeSmall(primary);
  const down = new Set<StreamingMember>();
  const kill = async (member: StreamingMember): Promise<void> => {
    down.add(member);
    await member.kill();
  };
  const witness = undo.use(new PostgresWitness(both));
  await witness.flows();
  const at = ({ socketDirectory, port, dataDirectory }: StreamingMember): Record<string, unknown> => ({
    ...{ host: socketDirectory, port, user: 'postgres', dataDirectory },
  });
  const connection = ({ socketDirectory, port }: StreamingMember): Record<string, unknown> => ({
    ...{ host: socketDirectory, port, user: 'postgres' },
  });
  const disturbance = (kind: string, weight: number, act: Disturbance['act']): Disturbance => ({
    ...{ kind, weight, act },
    explains: false,
  });
  const stopped =
    (member: StreamingMember): Disturbance['act'] =>
    async (chance) => {
      member.freeze();
      try {
        await systemClock.sleep(chance.between(200, 3_000));
      } finally {
        member.thaw();
      }
    };
  const all = undo.move();
  return {
    name: 'streaming',
    witness,
    budgetMs: 30_000,
    stopsWriters: false,
    workload: (chance) => ({
      application: { postgresql: { ...at(primary), canary: chance.yes(0.3) } },
      topology: { streaming: { members: { db1: connection(primary), db2: connection(standby) } } },
      members: { db1: {}, db2: { application: at(standby) } },
      member: { from: chance.yes(0.3) ? 'primary' : 'prefer-standby' },
      storage: [{ copy: {} }],
      hold: { budget: '30s' },
    }),
    disturbances: [
      disturbance('standby killed', 3, async () => await kill(standby)),
      disturbance('primary killed', 3, async () => await kill(primary)),
      disturbance('receiver ended', 1, async () => {
        await standby.ask('SELECT pg_terminate_backend(pid) FROM pg_stat_wal_receiver');
      }),
      disturbance('standby stopped', 1, stopped(standby)),
      disturbance('primary stopped', 1, stopped(primary)),
    ],
    term: async () => await postgresTerm(both),
    async mend() {
      for (const member of down) await member.start();
      down.clear();
      await until('the standby streams', async () => {
        const [row] = await standby.ask('SELECT status FROM pg_stat_wal_receiver');
        return row?.['status'] === 'streaming';
      });
      await witness.flows();
    },
    held: async () => await inBackupMode(both),
    certainUntil: certainInBackupMode,
    async judge(directory, name) {
      const sockets = join(directory, 's');
      await mkdir(sockets);
      await chmod(directory, 0o711);
      const copy = await cluster.serveCopy(directory + cluster.member(name).dataDirectory, sockets);
      try {
        return await judgePostgres({ name: 'the copy', connect: async () => copy.connect() });
      } finally {
        await copy.halt();
        await rm(sockets, { recursive: true, force: true });
      }
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
