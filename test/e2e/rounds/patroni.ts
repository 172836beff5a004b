import { systemClock } from '../../../src/platform/clock.ts';
import { rest, startPatroni, type PatroniCluster, type PatroniMember } from '../../doubles/patroni/cluster.ts';
import { until } from '../../doubles/streaming-cluster.ts';
import { withServer } from './patroni-copy.ts';
import {
  certainInBackupMode,
  inBackupMode,
  judgePostgres,
  makeSmall,
  postgresTerm,
  PostgresWitness,
  smallWal,
} from './postgres.ts';
import type { Disturbance, RoundsSubject } from './subject.ts';

const failoverMs = 120_000;

export const roundsDynamic = {
  // A change shows within a loop; the lease stays as long as it is.
  loop_wait: 2,
  postgresql: {
    use_pg_rewind: true,
    use_slots: true,
    parameters: {
      wal_log_hints: 'on',
      ...smallWal,
      wal_retrieve_retry_interval: '200ms',
    },
  },
};

/** The workload of the cluster's members, whoever leads. */
export function patroniWorkload({ members }: PatroniCluster): Readonly<Record<string, unknown>> {
  const at = ({ socketDirectory, port, dataDirectory }: PatroniMember): Record<string, unknown> => ({
    ...{ host: socketDirectory, port, user: 'postgres', dataDirectory },
  });
  const [first] = members;
  if (first === undefined) throw new Error('the cluster has no member');
  const etcd = members.map(({ name, etcd: url }) => ({ url, on: name }));
  return {
    application: { postgresql: at(first) },
    topology: {
      patroni: { members: Object.fromEntries(members.map(({ name, rest: url }) => [name, url])), dcs: { etcd } },
    },
    members: Object.fromEntries(members.map((member) => [member.name, { application: at(member) }])),
    storage: [{ copy: {} }],
    hold: { budget: '60s' },
  };
}

/** Two servers under Patroni with three etcds. Whether a kill makes another one leader is for Patroni to say. */
export async function patroniSubject(): Promise<RoundsSubject> {
  await using undo = new AsyncDisposableStack();
  const cluster = undo.use(
    await startPatroni({ members: 2, dynamic: roundsDynamic, initdb: [{ 'wal-segsize': '1' }] }),
  );
  const { members } = cluster;
  await makeSmall(cluster.member('db1'));
  const witness = undo.use(new PostgresWitness(members));
  await witness.flows();
  const down = { patroni: new Set<PatroniMember>(), etcd: new Set<string>() };
  const now = async (): Promise<{ readonly leader: PatroniMember; readonly replica: PatroniMember }> => {
    const name = await cluster.leader();
    const replica = members.find((each) => each.name !== name);
    if (name === undefined || replica === undefined) throw new Error('nobody leads');
    return { leader: cluster.member(name), replica };
  };
  const stopped = async (member: PatroniMember, ms: number): Promise<void> => {
    member.freeze();
    try {
      await systemClock.sleep(ms);
    } finally {
      member.thaw();
    }
  };
  const killPatroni = async (member: PatroniMember): Promise<void> => {
    down.patroni.add(member);
    await member.killPatroni();
  };
  const killMachine = async (member: PatroniMember): Promise<void> => {
    down.patroni.add(member);
    await member.kill();
  };
  const fails = (kind: string, weight: number, act: Disturbance['act']): Disturbance => ({
    kind,
    weight,
    act,
    explains: true,
  });
  const harmless = (kind: string, weight: number, act: Disturbance['act']): Disturbance => ({
    ...{ kind, weight, act },
    explains: false,
  });
  const all = undo.move();
  return {
    name: 'patroni',
    witness,
    budgetMs: 60_000,
    stopsWriters: false,
    workload: (chance) => ({
      ...patroniWorkload(cluster),
      member: { from: chance.yes(0.3) ? 'primary' : 'prefer-standby', holdOffFailover: chance.yes(0.4) },
    }),
    disturbances: [
      harmless('replica killed', 2, async () => (await now()).replica.killEngine()),
      harmless('replica Patroni killed', 1, async () => killPatroni((await now()).replica)),
      harmless('replica machine stopped', 1, async (chance) =>
        stopped((await now()).replica, chance.between(200, 2_000)),
      ),
      harmless('leader machine stopped', 1, async (chance) =>
        stopped((await now()).leader, chance.between(200, 2_000)),
      ),
      fails('leader killed', 2, async () => (await now()).leader.killEngine()),
      fails('leader Patroni killed', 1, async () => killPatroni((await now()).leader)),
      fails('etcd leader killed', 2, async () => {
        const name = await cluster.etcdLeader();
        if (name === undefined) throw new Error('no etcd leads');
        down.etcd.add(name);
        await cluster.killEtcd(name);
      }),
      fails('leader machine killed, failover', 1, async (chance) => {
        const { leader, replica } = await now();
        await (chance.yes(0.5) ? killMachine : killPatroni)(leader);
        const { paused } = await configOf(cluster);
        // Nobody takes over while it is held off.
        if (paused) return;
        await until('the other one leads', async () => isPrimary(replica), failoverMs);
      }),
    ],
    term: async () => await postgresTerm(members),
    async mend() {
      for (const name of down.etcd) cluster.startEtcd(name);
      for (const member of down.patroni) member.start();
      down.etcd.clear();
      down.patroni.clear();
      await cluster.settled();
      await witness.flows();
    },
    async held() {
      const { said } = await configOf(cluster);
      return [...said, ...(await inBackupMode(members))];
    },
    certainUntil: certainInBackupMode,
    judge: async (directory, name) =>
      await withServer(directory, cluster.member(name).dataDirectory, async (connect) =>
        judgePostgres({ name: 'the copy', connect }),
      ),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function isPrimary({ rest: url }: PatroniMember): Promise<boolean> {
  return (await rest(`${url}/primary`)).status === 200;
}

/** As any member that answers has it from etcd. */
async function configOf({
  members,
}: PatroniCluster): Promise<{ readonly paused: boolean; readonly said: readonly string[] }> {
  for (const { rest: url } of members) {
    const { status, body } = await rest(`${url}/config`);
    if (status !== 200) continue;
    const config = body as Readonly<Record<string, unknown>>;
    const said = ['pause', 'stillpoint_hold_off'].flatMap((key) =>
      config[key] === undefined || config[key] === false ? [] : [`${key} of Patroni is ${JSON.stringify(config[key])}`],
    );
    return { paused: config['pause'] === true, said };
  }
  return { paused: false, said: ['no Patroni tells its configuration'] };
}
