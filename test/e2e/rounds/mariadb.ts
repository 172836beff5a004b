import { chmod, readdir, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf } from '../../../src/model/errors.ts';
import type { Evidence } from '../../../src/model/evidence.ts';
import type { Point } from '../../../src/model/point.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import { loopVolume } from '../../doubles/loop-volume.ts';
import { startMariadb } from '../../doubles/mariadb-cluster.ts';
import { type MariadbServer, until, whyNoMariadb } from '../../doubles/mariadb-server.ts';
import { moveTo } from '../../doubles/mariadb-subject.ts';
import { eventually } from '../stage.ts';
import { judgeMariadb } from './mariadb-copy.ts';
import { MariadbWitness, tables } from './mariadb-witness.ts';
import type { Disturbance, RoundsSubject, Term } from './subject.ts';

/** A hold stops commits for a btrfs snapshot of these small files. */
const budgetMs = 10_000;
/** The tool's own, so that its sessions are known from others; with the privileges that the README names, and no more. */
const account = 'backup';
const grants = [
  `CREATE USER ${account}@localhost`,
  `GRANT RELOAD, BINLOG MONITOR, REPLICA MONITOR, CONNECTION ADMIN ON *.* TO ${account}@localhost`,
  `GRANT CREATE, DROP, INSERT, SELECT ON stillpoint.* TO ${account}@localhost`,
] as const;
/** What was acknowledged outlives the server's process. A replica with other transactions than its primary stops. */
const settings = ['--innodb-flush-log-at-trx-commit=2', '--gtid-strict-mode=1', '--innodb-fast-shutdown=1'];

/** From when the old primary took no writes until the other one did. */
interface Switchover {
  readonly fromMs: number;
  readonly toMs: number;
  readonly leader: string;
}

export async function whyNoMariadbRounds(): Promise<string | undefined> {
  const why = await whyNoMariadb();
  if (why !== undefined) return why;
  const volume = await loopVolume('btrfs');
  if ('skip' in volume) return volume.skip;
  await volume[Symbol.asyncDispose]();
  return undefined;
}

/** A primary and its replica by GTID, each in a subvolume of its own. Nobody but the round itself fails over, as a person does. */
export async function mariadbSubject(): Promise<RoundsSubject> {
  await using undo = new AsyncDisposableStack();
  const volume = undo.use(await openVolume());
  const cluster = undo.use(
    await startMariadb({
      replicas: 1,
      args: settings,
      async place(server) {
        const data = join(volume.mountPoint, server.name);
        await systemExec.check({ argv: ['btrfs', 'subvolume', 'create', data], timeoutMs: 60_000 });
        await moveTo(server, data);
      },
    }),
  );
  const both = cluster.all;
  let leader = cluster.primary;
  const replica = (): MariadbServer => both.find((each) => each !== leader) ?? leader;
  for (const sql of [...tables, ...grants]) await leader.ask(sql);
  await cluster.settled();
  const witness = undo.use(new MariadbWitness(both));
  await witness.flows();
  const down = new Set<MariadbServer>();
  let halted = false;
  const switchovers: Switchover[] = [];
  const kill = async (member: MariadbServer): Promise<void> => {
    down.add(member);
    await member.kill();
  };
  const switchOver = async (): Promise<void> => {
    const [old, next] = [leader, replica()];
    const fromMs = systemClock.monoMs();
    // Waits until nobody holds its commits.
    await old.ask('SET GLOBAL read_only = 1');
    const [wrote] = await old.ask('SELECT @@GLOBAL.gtid_binlog_pos AS pos');
    const [had] = await next.ask(`SELECT MASTER_GTID_WAIT('${wrote?.['pos']}', 60) AS late`);
    if (had?.['late'] !== '0') throw new Error(`${next.name} did not get what ${old.name} wrote`);
    await cluster.promote(next.name);
    leader = next;
    switchovers.push({ fromMs, toMs: systemClock.monoMs(), leader: next.name });
    await cluster.follow(old.name, next.name, ', MASTER_DEMOTE_TO_SLAVE = 1');
  };
  const stopped = async (member: MariadbServer, ms: number): Promise<void> => {
    member.freeze();
    try {
      await systemClock.sleep(ms);
    } finally {
      member.thaw();
    }
  };
  const harmless = (kind: string, weight: number, act: Disturbance['act']): Disturbance => ({
    ...{ kind, weight, act },
    explains: false,
  });
  const all = undo.move();
  return {
    name: 'mariadb',
    witness,
    budgetMs,
    stopsWriters: true,
    workload: (chance) => ({
      application: { mariadb: { ...at(leader), canary: chance.yes(0.3) } },
      topology: { mariadb: { members: Object.fromEntries(both.map((each) => [each.name, connection(each)])) } },
      members: Object.fromEntries(both.map((each) => [each.name, { application: at(each) }])),
      member: { from: chance.yes(0.4) ? 'primary' : 'prefer-standby' },
      storage: [{ btrfs: {} }],
      hold: { budget: `${budgetMs}ms` },
    }),
    disturbances: [
      harmless('replica killed', 3, async () => await kill(replica())),
      harmless('primary killed', 3, async () => await kill(leader)),
      harmless('replica stopped', 1, async (chance) => await stopped(replica(), chance.between(200, 3_000))),
      harmless('primary stopped', 1, async (chance) => await stopped(leader, chance.between(200, 3_000))),
      harmless('replication stopped', 1, async () => {
        halted = true;
        await replica().ask('STOP SLAVE');
      }),
      harmless('link cut', 1, async () => await killSessions(leader, "COMMAND = 'Binlog Dump'")),
      harmless('sessions killed', 1, async () => {
        for (const each of both) await killSessions(each, `USER = '${account}'`);
      }),
      { ...{ kind: 'switched over', weight: 2, explains: true }, act: switchOver },
    ],
    term: async () => await termOf(both),
    async mend() {
      for (const member of down) await member.start(member === leader ? [] : ['--read-only']);
      down.clear();
      // Whatever else stopped it is the tool's doing, and must show.
      if (halted) await replica().ask('START SLAVE');
      halted = false;
      await replicates(replica());
      await witness.flows();
      for (const each of both) await purge(each);
    },
    held: async (points) => [
      ...(await Promise.all(both.map(heldIn))).flat(),
      ...(await snapshotsIn(join(volume.mountPoint, '.stillpoint'), points)),
    ],
    // Nothing is committed from the freeze on: whatever was seen until the cut is in it.
    certainUntil: ({ hold, cut }) => cut.cuts[0]?.called.monoMs ?? hold?.freezeCalled.monoMs ?? 0,
    async judge(directory, name, evidence) {
      const data = await realpath(cluster.member(name).dataDirectory);
      const { last, wrong } = await judgeMariadb(directory, directory + data);
      return { last, wrong: [...wrong, ...betweenRoles(switchovers, evidence, name)] };
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Not tight: what a snapshot keeps of files that are written over is not free, and the image is sparse. */
async function openVolume(): Promise<AsyncDisposable & { readonly mountPoint: string }> {
  const volume = await loopVolume('btrfs', { bytes: 4 * 1024 ** 3 });
  if ('skip' in volume) throw new Error(volume.skip);
  await chmod(volume.mountPoint, 0o755);
  // The servers' own user goes through it.
  await chmod(dirname(volume.mountPoint), 0o755);
  return volume;
}

function connection({ socket }: MariadbServer): Readonly<Record<string, unknown>> {
  return { host: socket, user: account };
}

function at(server: MariadbServer): Readonly<Record<string, unknown>> {
  return { ...connection(server), dataDirectory: server.dataDirectory };
}

/** As if the network dropped them, or a person did not know what they are for. */
async function killSessions(server: MariadbServer, which: string): Promise<void> {
  const found = await server.ask(`SELECT ID AS id FROM information_schema.PROCESSLIST WHERE ${which}`);
  // One that ended meanwhile.
  for (const { id } of found) await server.ask(`KILL ${id}`).catch(() => undefined);
}

async function replicates(replica: MariadbServer): Promise<void> {
  let said = '';
  await until(`${replica.name} replicates`, async () => {
    const channels = await replica.ask('SHOW ALL SLAVES STATUS');
    said = channels
      .map(
        (row) =>
          `${row['Slave_IO_Running']} ${row['Slave_SQL_Running']} ${row['Last_IO_Error']}${row['Last_SQL_Error']}`,
      )
      .join(', ');
    return said === 'Yes Yes ';
  }).catch((cause: unknown) => {
    throw new Error(`its channel: ${said}`, { cause });
  });
}

/** Both have everything by now, and nobody needs older logs. */
async function purge(server: MariadbServer): Promise<void> {
  await server.ask('FLUSH BINARY LOGS');
  const [row] = await server.ask('SHOW MASTER STATUS');
  await server.ask(`PURGE BINARY LOGS TO '${row?.['File']}'`);
}

/** Of the servers themselves: who takes writes, and what it had from others before it did. */
async function termOf(members: readonly MariadbServer[]): Promise<Term> {
  const asked = members.map(async (member) => {
    const [row] = await member.ask('SELECT @@GLOBAL.read_only AS read_only, @@GLOBAL.gtid_slave_pos AS before_it');
    const channels = await member.ask('SHOW ALL SLAVES STATUS');
    const primary = row?.['read_only'] === '0' && channels.length === 0;
    return {
      name: member.name,
      primary,
      from: channels.length,
      before: row?.['before_it'],
      readOnly: row?.['read_only'],
    };
  });
  const all = await Promise.all(asked);
  const primaries = all.filter(({ primary }) => primary);
  return {
    leader: primaries.map(({ name }) => name).join(' and '),
    roles: all.map(({ name, primary, from, readOnly }) =>
      primary ? `${name} primary` : `${name} replica of ${from}, read_only ${readOnly}`,
    ),
    term: primaries.map(({ name, before }) => `${name} after ${before}`).join(' and '),
  };
}

/** A stage that is in force keeps another one from beginning. */
async function heldIn(server: MariadbServer): Promise<readonly string[]> {
  const sessions = async (): Promise<readonly string[]> =>
    (
      await server.ask(
        `SELECT ID AS id, COMMAND AS command, INFO AS info FROM information_schema.PROCESSLIST WHERE USER = '${account}'`,
      )
    ).map(({ id, command, info }) => `session ${id} of ${server.name}: ${command} ${info}`);
  // A server notices a moment later that its client was killed.
  await eventually(async () => (await sessions()).length === 0, 10_000);
  const found = [...(await sessions())];
  await using session = await server.connect();
  try {
    await session.query('SET SESSION lock_wait_timeout = 5');
    await session.query('BACKUP STAGE START');
    await session.query('BACKUP STAGE END');
  } catch (cause) {
    found.push(`a stage in ${server.name}: ${String(cause)}`);
  }
  return found;
}

/** Those of the newest point stay: the next backup asks them what changed. */
async function snapshotsIn(directory: string, points: readonly Point[]): Promise<readonly string[]> {
  const newest = points.at(-1)?.id;
  try {
    return (await readdir(directory)).filter((name) => newest === undefined || !name.includes(newest));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** A point is of one role from the freeze to the thaw, and of the one that the member had then. */
function betweenRoles(switchovers: readonly Switchover[], evidence: Evidence, name: string): readonly string[] {
  const [from, to] = [evidence.hold?.freezeCalled.monoMs ?? 0, evidence.hold?.thawed.at.monoMs ?? 0];
  if (switchovers.some(({ fromMs, toMs }) => fromMs > from && toMs < to))
    return ['its member was switched over in the hold'];
  // One that was under way then proves nothing.
  if (switchovers.some(({ fromMs, toMs }) => fromMs < to && toMs > from)) return [];
  const leader = switchovers.findLast(({ toMs }) => toMs <= from)?.leader ?? 'db1';
  const [role, said] = [name === leader ? 'primary' : 'replica', evidence.cluster?.chosen.role];
  return role === said ? [] : [`it is called one of a ${said}, and ${name} was ${role}`];
}
