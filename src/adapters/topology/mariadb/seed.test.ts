import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { copyFiles } from '../../../../test/contract/application.ts';
import { startMariadb, type MariadbCluster } from '../../../../test/doubles/mariadb-cluster.ts';
import { until, whyNoMariadb } from '../../../../test/doubles/mariadb-server.ts';
import { mariadbConfigFor } from '../../../../test/doubles/mariadb-subject.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import { mariadbServer } from '../../application/mariadb/application.ts';
import { systemExec } from '../../../platform/exec.ts';
import type { SeedRequest } from '../../../ports/topology.ts';
import { mariadb } from './topology.ts';

const never = new AbortController().signal;
const missing = await whyNoMariadb();

function topologyOf(cluster: MariadbCluster): ReturnType<typeof mariadb.create> {
  const members = Object.fromEntries(
    cluster.all.map(({ name, socket }) => [name, { host: socket, port: 3306, user: 'root' }]),
  );
  const noSecret = (): Promise<string> => Promise.reject(new Error('there is no password'));
  return mariadb.create(mariadb.config.parse({ members }), testPlatform, noSecret);
}

/** A backup of a member under load, as it lies after a restore. */
async function pointOf(
  cluster: MariadbCluster,
  t: TestContext,
  from = 'db1',
): Promise<SeedRequest & { readonly directory: string }> {
  const source = cluster.member(from);
  const application = mariadbServer.create(
    mariadbServer.config.parse(mariadbConfigFor(source)),
    'x',
    { ...testPlatform, clustered: true },
    () => Promise.reject(new Error('there is no password')),
  );
  const located = await application.locate(never);
  const directory = await mkdtemp(join(tmpdir(), 'sp-seed-'));
  t.after(async () => await rm(directory, { recursive: true, force: true }));
  await chmod(directory, 0o755);
  const token = { runId: 'seed', workload: 'x', engine: 'mariadb', identity: 'stillpoint:seed' };
  const session = await application.openHold(token, 30_000);
  await session.prepare();
  const frozen = await session.freeze();
  assert.equal(frozen.frozen, true, frozen.said);
  source.freeze();
  try {
    await copyFiles(located, directory);
  } finally {
    source.thaw();
  }
  assert.equal((await session.thaw()).heldThroughout, true);
  await session.close();
  const at = (original: string): string => join(directory, original);
  const { paths: required, facts, identity } = located;
  await application.adopt?.({ at, required, facts, scratch: directory });
  return { directory, member: 'db3', at, required, facts, identity, journal: null };
}

describe('a copy that becomes a replica', { skip: missing ?? false }, () => {
  for (const from of ['db1', 'db2'])
    it(`catches up from the primary by GTID, made of ${from}: nothing is lost, nothing is there twice`, async (t) => {
      const args = ['--innodb-flush-log-at-trx-commit=1'];
      const cluster = await startMariadb({ replicas: 1, args });
      t.after(async () => cluster[Symbol.asyncDispose]());
      const stop = new AbortController();
      const load = (async () => {
        while (!stop.signal.aborted) {
          await using session = await cluster.primary.connect();
          for (let i = 0; i < 500 && !stop.signal.aborted; i += 1)
            await session.query(`INSERT INTO app.filler (t) VALUES ('row')`);
        }
      })();
      try {
        const counted = async (): Promise<number> =>
          Number((await cluster.primary.ask('SELECT COUNT(*) AS n FROM app.filler'))[0]?.['n']);
        await until('rows are written', async () => (await counted()) > 100);
        const request = await pointOf(cluster, t, from);
        const atCut = await counted();
        const data = request.at(cluster.member(from).dataDirectory);
        await writeFile(join(data, 'master.info'), 'of another life\n');
        const seeded = await topologyOf(cluster).seed?.(request, never);
        assert.match(seeded?.next ?? '', /--init-file=.*stillpoint-member\.sql/);
        assert.match(seeded?.said[0] ?? '', /server_id 3$/);
        await assert.rejects(readFile(join(data, 'master.info')), { code: 'ENOENT' });
        await until('the primary went on', async () => (await counted()) > atCut + 100);

        // As `next` says, with the account that only a person knows.
        const settings = join(data, 'stillpoint-member.cnf');
        const place = join(request.directory, 'run');
        await mkdir(place);
        await chmod(place, 0o777);
        const socket = join(place, 'db3.sock');
        const child = systemExec.start({
          argv: [
            ...(['mariadbd', `--defaults-file=${settings}`, `--datadir=${data}`, `--socket=${socket}`] as const),
            ...[`--init-file=${join(data, 'stillpoint-member.sql')}`, '--skip-slave-start', '--skip-networking'],
            ...[`--pid-file=${join(data, 'db3.pid')}`, '--innodb-buffer-pool-size=8M'],
          ],
          cwd: '/',
          ...(process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}),
        });
        t.after(async () => {
          child.kill('SIGKILL');
          await child.exited;
        });
        let ended = false;
        void child.exited.then(() => (ended = true));
        const ask = async (sql: string): Promise<string> => {
          const argv = ['mariadb', '--no-defaults', '-uroot', `--socket=${socket}`, '-NB', '-e', sql] as const;
          return (await systemExec.check({ argv: [...argv], timeoutMs: 30_000 })).stdout.trim();
        };
        await until('the new member answers', async () => {
          if (ended) throw new Error(child.stderrTail());
          return ask('SELECT 1').then(
            () => true,
            () => false,
          );
        });
        assert.match(await ask('SELECT @@gtid_slave_pos'), /^0-1-\d+$/);
        assert.equal(await ask('SELECT @@server_id, @@read_only'), '3\t1');
        await ask(`CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = ${cluster.primary.port}, MASTER_USER = 'repl',
        MASTER_PASSWORD = 'replicate-1'; START SLAVE`);
        stop.abort();
        await load;
        const [end] = await cluster.primary.ask('SELECT @@gtid_binlog_pos AS pos');
        await until('it has caught up', async () => (await ask('SELECT @@gtid_slave_pos')) === end?.['pos']);
        const sums = 'SELECT COUNT(*) AS n, MIN(id) AS low, MAX(id) AS high, SUM(id) AS s FROM app.filler';
        const [there] = await cluster.primary.ask(sums);
        assert.equal(await ask(sums), Object.values(there ?? {}).join('\t'));
        assert.match(
          await ask(
            "SELECT GROUP_CONCAT(VARIABLE_VALUE) FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'SLAVE_RUNNING'",
          ),
          /ON/,
        );
      } finally {
        stop.abort();
        await load.catch(() => undefined);
      }
    });

  it('is refused where the primary has purged what it needs, and where the history is another', async (t) => {
    const cluster = await startMariadb({ replicas: 0 });
    t.after(async () => cluster[Symbol.asyncDispose]());
    const request = await pointOf(cluster, t);
    const topology = topologyOf(cluster);
    const without = { ...request, facts: { ...request.facts, gtidBinlogPos: '' } };
    await assert.rejects(async () => topology.seed?.(without, never), { code: 'journal-gap', hint: /log_bin/ });
    const foreign = { ...request, facts: { ...request.facts, gtidBinlogPos: '0-1-100000' } };
    await assert.rejects(async () => topology.seed?.(foreign, never), { code: 'level-misfit', message: /0-1-100000/ });
    await cluster.primary.ask("INSERT INTO app.filler (t) VALUES ('later')");
    assert.ok(await topology.seed?.(request, never), 'its binary logs are all there');
    await cluster.primary.ask('FLUSH BINARY LOGS');
    const [now] = await cluster.primary.ask('SHOW MASTER STATUS');
    await until('the old log can go', async () => {
      await cluster.primary.ask(`PURGE BINARY LOGS TO '${now?.['File'] ?? ''}'`);
      return (await cluster.primary.ask('SHOW BINARY LOGS')).length === 1;
    });
    await assert.rejects(async () => topology.seed?.(request, never), { code: 'journal-gap', message: /binary logs/ });
  });
});
