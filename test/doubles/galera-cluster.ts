import { existsSync } from 'node:fs';
import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort, type MariadbServer, openYard, until, whyNoMariadb } from './mariadb-server.ts';

const provider = '/usr/lib/galera/libgalera_smm.so';
/** Short enough for a test, and long enough for a machine that is busy. */
const options = {
  'evs.suspect_timeout': 'PT4S',
  'evs.inactive_timeout': 'PT8S',
  'evs.inactive_check_period': 'PT0.5S',
  'evs.keepalive_period': 'PT0.5S',
  'evs.join_retrans_period': 'PT0.5S',
  'evs.install_timeout': 'PT8S',
  'pc.announce_timeout': 'PT2S',
  'gcache.size': '8M',
};

/** Three members `db1`, `db2`, `db3`, with one vote each. */
export interface GaleraCluster extends AsyncDisposable {
  readonly all: readonly MariadbServer[];
  member(name: string): MariadbServer;
  /** Starts a member that was killed or halted; it takes from the others what it lacks. */
  revive(name: string): Promise<void>;
  /** Waits until the member is in a component of so many. */
  sized(name: string, size: number): Promise<void>;
}

/** The reason why `startGalera` cannot work here, or undefined. */
export async function whyNoGalera(): Promise<string | undefined> {
  const why = await whyNoMariadb();
  if (why !== undefined) return why;
  return existsSync(provider) ? undefined : 'needs Galera: Debian package galera-4 is not installed';
}

/** A state transfer that transfers nothing: the members are copies of one, and what they lack since comes by the write-set cache. */
const transfer = `#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in
    --role) role=$2 ;;
    --address) address=$2 ;;
    --gtid) gtid=$2 ;;
    --datadir) data=$2 ;;
    --bypass) bypass=1 ;;
  esac
  shift
done
if [ "$role" = joiner ]; then
  rm -f "$data/transferred"
  echo "ready 127.0.0.1/$data"
  parent=$PPID
  while [ ! -e "$data/transferred" ]; do kill -0 $parent || exit 32; sleep 0.1; done
  cat "$data/transferred"
else
  [ "$bypass" = 1 ] || exit 1
  to=/\${address#*/}
  echo "$gtid" >"$to/transferred.new" && mv "$to/transferred.new" "$to/transferred"
  echo "done $gtid"
fi
`;

export async function startGalera(): Promise<GaleraCluster> {
  const why = await whyNoGalera();
  if (why !== undefined) throw new Error(why);
  await using stack = new AsyncDisposableStack();
  const yard = stack.use(await openYard());
  const script = join(yard.directory, 'wsrep_sst_beside');
  await writeFile(script, transfer);
  await chmod(script, 0o755);
  const names = ['db1', 'db2', 'db3'];
  const ports: number[] = [];
  for (const _each of [...names, ...names]) ports.push(await freePort());
  const address = `gcomm://${ports
    .slice(0, 3)
    .map((port) => `127.0.0.1:${port}`)
    .join(',')}`;
  const argsOf = (index: number): readonly string[] => {
    const own = {
      ...options,
      'gmcast.listen_addr': `tcp://127.0.0.1:${ports[index]}`,
      'ist.recv_addr': `127.0.0.1:${ports[index + 3]}`,
    };
    return [
      ...[`--server-id=${index + 1}`, '--binlog-format=ROW', '--innodb-autoinc-lock-mode=2', '--wsrep-on=ON'],
      ...[`--wsrep-provider=${provider}`, '--wsrep-cluster-name=trio', `--wsrep-node-name=${names[index]}`],
      ...[`--wsrep-node-address=127.0.0.1:${ports[index]}`, '--wsrep-sst-method=beside'],
      `--wsrep-provider-options=${Object.entries(own)
        .map(([name, value]) => `${name}=${value}`)
        .join(';')}`,
    ];
  };
  const first = await yard.add('db1', argsOf(0));
  const bootstrap = ['--wsrep-cluster-address=gcomm://', '--wsrep-new-cluster'];
  await first.start(bootstrap);
  await first.ask('CREATE DATABASE app');
  await first.ask('CREATE TABLE app.filler (id BIGINT AUTO_INCREMENT PRIMARY KEY, t TEXT)');
  await first.halt();
  const all = [first];
  for (const [index, name] of names.entries()) {
    if (index === 0) continue;
    const copy = await yard.add(name, argsOf(index), first.dataDirectory);
    await rm(join(copy.dataDirectory, 'galera.cache'), { force: true });
    all.push(copy);
  }
  const member = (name: string): MariadbServer => {
    const found = all.find((each) => each.name === name);
    if (found === undefined) throw new Error(`the cluster has no ${name}`);
    return found;
  };
  const join_ = async (server: MariadbServer): Promise<void> => {
    await server.start([`--wsrep-cluster-address=${address}`, ...(await positionOf(server, address))]);
  };
  const sized = async (name: string, size: number): Promise<void> =>
    until(`${name} is in a component of ${size}`, async () => {
      const rows = await member(name).ask("SHOW GLOBAL STATUS LIKE 'wsrep_%'");
      const status = new Map(rows.map((row) => [row['Variable_name'], row['Value']]));
      return (
        status.get('wsrep_cluster_status') === 'Primary' &&
        status.get('wsrep_cluster_size') === String(size) &&
        status.get('wsrep_local_state_comment') === 'Synced'
      );
    });
  await first.start(bootstrap);
  for (const server of all.slice(1)) {
    await join_(server);
    await sized(server.name, all.indexOf(server) + 1);
  }
  // Whoever was the donor of the last one is desynchronized for a moment.
  for (const name of names) await sized(name, 3);
  const whole = stack.move();
  return {
    all,
    member,
    revive: async (name) => join_(member(name)),
    sized,
    [Symbol.asyncDispose]: () => whole.disposeAsync(),
  };
}

/** After a crash the position is in the engine's files only, and a member without one would ask for a copy of everything. */
async function positionOf(server: MariadbServer, address: string): Promise<readonly string[]> {
  const saved = await readFile(join(server.dataDirectory, 'grastate.dat'), 'utf8');
  if (!/^seqno:\s*-1$/m.test(saved)) return [];
  const said = await server.run(['--wsrep-recover', `--wsrep-cluster-address=${address}`]);
  const position = /Recovered position:\s*(\S+)/.exec(said)?.[1];
  if (position === undefined) throw new Error(`${server.name} tells no position: ${said.slice(-500)}`);
  return [`--wsrep-start-position=${position}`];
}
