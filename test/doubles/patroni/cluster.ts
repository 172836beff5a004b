import { chown, mkdir, mkdtemp, readFile, rm, writeFile, chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemExec } from '../../../src/platform/exec.ts';
import { killExactly, processesIn } from '../../../src/platform/process.ts';
import { until } from '../streaming-cluster.ts';
import { freePorts } from '../free-ports.ts';
import { memberOf, type PatroniMember } from './member.ts';
import { rest } from './rest.ts';
import { etcdCommand, type Machine, type PatroniOptions, postgresBin, settingsOf } from './settings.ts';

export type { PatroniMember } from './member.ts';
export { rest } from './rest.ts';
export type { PatroniOptions } from './settings.ts';

export interface PatroniCluster extends AsyncDisposable {
  readonly members: readonly PatroniMember[];
  member(name: string): PatroniMember;
  /** `role` of Patroni's own `GET /cluster`; undefined when nobody has it. */
  leader(): Promise<string | undefined>;
  /** Everybody runs, one leads, and all others stream from it. */
  settled(): Promise<void>;
  /** Name of the machine whose etcd leads. */
  etcdLeader(): Promise<string | undefined>;
  /** SIGKILL of that machine's etcd; and starts it with what it had. */
  killEtcd(name: string): Promise<void>;
  startEtcd(name: string): void;
  /** Makes that machine's etcd the leader. */
  moveEtcdLeader(to: string): Promise<void>;
}

/** The reason why `startPatroni` cannot work here, or undefined. */
export async function whyNoPatroni(): Promise<string | undefined> {
  for (const [program, name] of [
    ['patroni', 'patroni'],
    ['etcd', 'etcd-server'],
    ['etcdctl', 'etcd-client'],
    [`${postgresBin}/postgres`, 'postgresql-15'],
  ] as const) {
    if ((await systemExec.which(program)) === undefined)
      return `needs ${program}: Debian package ${name} is not installed`;
  }
  return undefined;
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** PostgreSQL refuses root. */
async function owner(): Promise<Owner | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const users = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const user = users.find(([name]) => name === 'postgres');
  return { uid: Number(user?.[2] ?? 65_534), gid: Number(user?.[3] ?? 65_534) };
}

/** Machines `db1`, `db2`... on loopback, with three etcds, the third of which has no PostgreSQL when there are two members. */
export async function startPatroni(options: PatroniOptions): Promise<PatroniCluster> {
  const why = await whyNoPatroni();
  if (why !== undefined) throw new Error(why);
  const user = await owner();
  const directory = await mkdtemp(join(tmpdir(), 'sp-pt-'));
  await chmod(directory, 0o755);
  const ports = await freePorts(12);
  const machines = ['db1', 'db2', 'db3'].map((name, index): Machine => {
    const [api = 0, sql = 0, client = 0, peer = 0] = ports.slice(index * 4);
    return { name, directory: join(directory, name), api, sql, client, peer };
  });
  const signalAll = (machine: Machine, signal: NodeJS.Signals, below = ''): void => {
    for (const each of processesIn(join(machine.directory, below))) killExactly(each, signal);
  };
  const dispose = async (): Promise<void> => {
    for (const machine of machines) signalAll(machine, 'SIGKILL');
    await until('all processes are gone', async () => {
      for (const machine of machines) signalAll(machine, 'SIGKILL');
      return machines.every((machine) => processesIn(machine.directory).length === 0);
    });
    await rm(directory, { recursive: true, force: true });
  };
  const started: { readonly name: string; readonly tail: () => string }[] = [];
  const start = (machine: Machine, below: string, argv: readonly [string, ...string[]]): void => {
    const child = systemExec.start({
      argv,
      cwd: join(machine.directory, below),
      env: { HOME: machine.directory },
      ...user,
    });
    started.push({ name: `${argv[0]} of ${machine.name}`, tail: () => child.stderrTail().slice(-2000) });
  };
  try {
    for (const machine of machines) {
      for (const below of ['', 'etcd', 'patroni']) {
        const path = join(machine.directory, below);
        await mkdir(path, { mode: 0o700 });
        if (user !== undefined) await chown(path, user.uid, user.gid);
      }
      start(machine, 'etcd', etcdCommand(machine, machines));
    }
    await until('etcd has a leader', async () => {
      const all = await Promise.all(machines.map(async ({ client }) => rest(`http://127.0.0.1:${client}/health`)));
      return all.every(({ status, body }) => status === 200 && (body as { health?: string }).health === 'true');
    });
    const members: PatroniMember[] = [];
    for (const machine of machines.slice(0, options.members)) {
      const file = join(machine.directory, 'patroni.yml');
      // JSON is YAML.
      await writeFile(file, JSON.stringify(settingsOf(machine, machines, options)), { mode: 0o644 });
      const member = memberOf(machine, options.tls === undefined ? 'http' : 'https', {
        start: () => start(machine, 'patroni', [options.program ?? 'patroni', file]),
        signal: (signal, below) => signalAll(machine, signal, below),
      });
      member.start();
      members.push(member);
      // The first one makes the cluster, so that the tests know who leads.
      if (members.length === 1) {
        await until(
          'db1 leads',
          async () => (await rest(`${member.rest}/primary`, 'GET', undefined, options.tls)).status === 200,
        );
      }
    }
    const etcd = {
      signal: signalAll,
      start: (machine: Machine) => start(machine, 'etcd', etcdCommand(machine, machines)),
    };
    const cluster = clusterOf(members, machines, options, etcd, dispose);
    await cluster.settled();
    return cluster;
  } catch (cause) {
    const said = started.map(({ name, tail }) => `--- ${name}\n${tail()}`).join('\n');
    await dispose();
    throw new Error(`the cluster did not start:\n${said}`, { cause });
  }
}

function clusterOf(
  members: readonly PatroniMember[],
  machines: readonly Machine[],
  { tls }: PatroniOptions,
  etcd: {
    readonly start: (machine: Machine) => void;
    readonly signal: (machine: Machine, signal: NodeJS.Signals, below: string) => void;
  },
  dispose: () => Promise<void>,
): PatroniCluster {
  const etcdStatus = async (
    machine: Machine,
  ): Promise<{ readonly own: string; readonly leader: string } | undefined> => {
    const { body } = await rest(`http://127.0.0.1:${machine.client}/v3/maintenance/status`, 'POST', {});
    const { header, leader } = (body ?? {}) as { header?: { member_id?: string }; leader?: string };
    return header?.member_id === undefined ? undefined : { own: header.member_id, leader: leader ?? '0' };
  };
  const listed = async (): Promise<readonly { name: string; role: string; state: string }[]> => {
    for (const member of members) {
      const { status, body } = await rest(`${member.rest}/cluster`, 'GET', undefined, tls);
      if (status === 200) return (body as { members: { name: string; role: string; state: string }[] }).members;
    }
    return [];
  };
  const machineOf = (name: string): Machine => {
    const found = machines.find((each) => each.name === name);
    if (found === undefined) throw new Error(`there is no ${name}`);
    return found;
  };
  const cluster: PatroniCluster = {
    members,
    member(name) {
      const found = members.find((each) => each.name === name);
      if (found === undefined) throw new Error(`the cluster has no ${name}`);
      return found;
    },
    leader: async () => (await listed()).find(({ role }) => role === 'leader')?.name,
    async settled() {
      await until(
        'all members run and stream',
        async () => {
          const leader = await cluster.leader();
          if (leader === undefined) return false;
          const { body } = await rest(`${cluster.member(leader).rest}/patroni`, 'GET', undefined, tls);
          const { replication } = (body ?? {}) as { replication?: { application_name: string; state: string }[] };
          const senders = replication ?? [];
          const streams = new Set(
            senders.flatMap(({ application_name: name, state }) => (state === 'streaming' ? [name] : [])),
          );
          const states = (await listed()).filter(({ state }) => state === 'running' || state === 'streaming');
          return states.length === members.length && members.every(({ name }) => name === leader || streams.has(name));
        },
        120_000,
      );
    },
    async etcdLeader() {
      for (const machine of machines) {
        const status = await etcdStatus(machine);
        if (status !== undefined && status.leader === status.own) return machine.name;
      }
      return undefined;
    },
    async killEtcd(name) {
      const machine = machineOf(name);
      await until(`etcd of ${name} is gone`, async () => {
        etcd.signal(machine, 'SIGKILL', 'etcd');
        return processesIn(join(machine.directory, 'etcd')).length === 0;
      });
    },
    startEtcd: (name) => etcd.start(machineOf(name)),
    async moveEtcdLeader(to) {
      await until(`etcd of ${to} leads`, async () => {
        const now = await cluster.etcdLeader();
        if (now === to) return true;
        const from = machines.find(({ name }) => name === now);
        const status = await etcdStatus(machineOf(to));
        if (from === undefined || status === undefined) return false;
        await systemExec.run({
          argv: [
            'etcdctl',
            `--endpoints=http://127.0.0.1:${from.client}`,
            'move-leader',
            BigInt(status.own).toString(16),
          ],
          env: { ETCDCTL_API: '3' },
          timeoutMs: 20_000,
        });
        return false;
      });
    },
    [Symbol.asyncDispose]: dispose,
  };
  return cluster;
}
