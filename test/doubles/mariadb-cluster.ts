import { type MariadbServer, openYard, until } from './mariadb-server.ts';

/** A primary `db1` and its replicas `db2`, `db3`..., by GTID, with binary logs of their own. */
export interface MariadbCluster extends AsyncDisposable {
  readonly primary: MariadbServer;
  readonly all: readonly MariadbServer[];
  member(name: string): MariadbServer;
  /** Makes it a replica of the other one, read-only, and starts it. */
  follow(name: string, source: string, more?: string): Promise<void>;
  /** Makes a replica primary, as a person does: whatever it was is forgotten. */
  promote(name: string): Promise<void>;
  /** Every replica has all that the primary wrote. */
  settled(): Promise<void>;
}

export interface MariadbOptions {
  readonly replicas: number;
  /** Further arguments of every server. */
  readonly args?: readonly string[];
  /** Called for each server before it is started for the first time. */
  readonly place?: (server: MariadbServer) => Promise<void>;
}

const account = 'repl';
const password = 'replicate-1';

export async function startMariadb({ replicas, args = [], place }: MariadbOptions): Promise<MariadbCluster> {
  await using stack = new AsyncDisposableStack();
  const yard = stack.use(await openYard());
  const all: MariadbServer[] = [];
  for (let id = 1; id <= replicas + 1; id += 1) {
    const own = [`--server-id=${id}`, '--log-bin=bin', '--relay-log=relay', '--log-slave-updates'];
    all.push(await yard.add(`db${id}`, [...own, '--slave-net-timeout=10', ...args]));
  }
  for (const server of all) await place?.(server);
  await Promise.all(all.map(async (server) => server.start()));
  const member = (name: string): MariadbServer => {
    const found = all.find((each) => each.name === name);
    if (found === undefined) throw new Error(`the cluster has no ${name}`);
    return found;
  };
  const primary = member('db1');
  const follow = async (name: string, source: string, more = ''): Promise<void> => {
    await member(name).ask('SET GLOBAL read_only = 1');
    await member(name).ask(`CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = ${member(source).port},
      MASTER_USER = '${account}', MASTER_PASSWORD = '${password}', MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = slave_pos ${more}`);
    await member(name).ask('START SLAVE');
  };
  await primary.ask(`CREATE USER ${account}@'%' IDENTIFIED BY '${password}'`);
  await primary.ask(`GRANT REPLICATION SLAVE ON *.* TO ${account}@'%'`);
  await primary.ask('CREATE DATABASE app');
  await primary.ask('CREATE TABLE app.filler (id BIGINT AUTO_INCREMENT PRIMARY KEY, t TEXT)');
  for (const { name } of all.slice(1)) await follow(name, 'db1');
  const settled = async (): Promise<void> => {
    await until('every replica has all that the primary wrote', async () => {
      const [row] = await primary.ask('SELECT @@gtid_binlog_pos AS pos');
      for (const server of all.slice(1)) {
        const [at] = await server.ask('SELECT @@gtid_slave_pos AS pos');
        if (at?.['pos'] !== row?.['pos']) return false;
      }
      return true;
    });
  };
  await settled();
  const whole = stack.move();
  return {
    primary,
    all,
    member,
    follow,
    settled,
    async promote(name) {
      await member(name).ask('STOP SLAVE');
      await member(name).ask('RESET SLAVE ALL');
      await member(name).ask('SET GLOBAL read_only = 0');
    },
    [Symbol.asyncDispose]: () => whole.disposeAsync(),
  };
}
