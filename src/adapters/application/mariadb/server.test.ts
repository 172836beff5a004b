import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { copyFiles, startHolder } from '../../../../test/contract/application.ts';
import { loopVolume } from '../../../../test/doubles/loop-volume.ts';
import { startMariadb } from '../../../../test/doubles/mariadb-cluster.ts';
import {
  openYard,
  until,
  whyNoMariadb,
  type MariadbServer,
  type MariadbYard,
} from '../../../../test/doubles/mariadb-server.ts';
import {
  durable,
  insertInto,
  mariadbApplication,
  mariadbConfigFor,
  moveTo,
  rowsOf,
} from '../../../../test/doubles/mariadb-subject.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { ErrorCode } from '../../../model/errors.ts';
import type { HoldToken } from '../../../model/hold.ts';
import type { Finding } from '../../../model/point.ts';
import { systemExec } from '../../../platform/exec.ts';
import type { Application, Copy, Located } from '../../../ports/application.ts';
import { mariadbServer } from './application.ts';

const never = new AbortController().signal;
const missing = await whyNoMariadb();

function tokenFor(name: string): HoldToken {
  return { runId: name, workload: 'test', engine: 'mariadb', identity: `stillpoint:${name}` };
}

function fails(code: ErrorCode, hint: RegExp): (thrown: unknown) => true {
  return (thrown) => {
    assert.ok(thrown instanceof StillpointError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    assert.match(thrown.hint ?? '', hint);
    return true;
  };
}

async function findingsOf(found: AsyncIterable<Finding> | undefined): Promise<readonly Finding[]> {
  const all: Finding[] = [];
  for await (const finding of found ?? []) all.push(finding);
  return all;
}

function errorsIn(findings: readonly Finding[]): readonly Finding[] {
  return findings.filter(({ severity }) => severity === 'error');
}

function elsewhere(server: MariadbServer): Parameters<typeof startHolder>[0]['elsewhere'] {
  return {
    module: new URL('application.ts', import.meta.url).href,
    exportName: 'mariadbServer',
    config: mariadbConfigFor(server),
  };
}

async function newCopy(t: TestContext, located: Located): Promise<Copy> {
  const base = await mkdtemp(join(tmpdir(), 'sp-test-'));
  t.after(async () => rm(base, { recursive: true, force: true }));
  await chmod(base, 0o755);
  const [root, scratch] = [join(base, 'files'), join(base, 's')];
  await mkdir(root);
  await mkdir(scratch);
  return { at: (original) => join(root, original), required: located.paths, facts: located.facts, scratch };
}

async function stateOf(application: Application, token: HoldToken): Promise<string> {
  return (await application.status(token)).state;
}

describe('MariaDB, one server', { skip: missing ?? false }, () => {
  let yard: MariadbYard;
  let live: MariadbServer;
  before(async () => {
    yard = await openYard();
    live = await yard.add('db1', durable);
    await live.start();
    await live.ask('CREATE DATABASE app');
    await live.ask('CREATE TABLE app.numbers (n BIGINT PRIMARY KEY, t TEXT)');
    await live.ask('CREATE TABLE app.plain (n BIGINT PRIMARY KEY, t TEXT) ENGINE = MyISAM');
  });
  after(async () => yard[Symbol.asyncDispose]());

  it('stops commits and writes to other tables, not reads; names where the binary log stands', async () => {
    const application = mariadbApplication(live);
    const located = await application.locate(never);
    assert.equal(located.holdKind, 'one-instant');
    const session = await application.openHold(tokenFor('stops'), 30_000);
    await session.prepare();
    await using writer = await live.connect();
    assert.equal(await insertInto(writer, 'app.numbers', 1), true, 'nothing waits before the freeze');
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, true, frozen.said);
    const [master] = await live.ask('SHOW MASTER STATUS');
    assert.deepEqual(frozen.starts, [{ part: '', file: master?.['File'], position: master?.['Position'] }]);
    assert.match(frozen.said, /GTID 0-1-\d+/);
    assert.deepEqual(await session.observe(), located.member);
    assert.equal(await insertInto(writer, 'app.numbers', 2), false);
    assert.equal(await insertInto(writer, 'app.plain', 2), false);
    assert.deepEqual(await writer.query('SELECT n FROM app.numbers'), [{ n: '1' }]);
    assert.equal((await session.ask()).frozen, true);
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, true]);
    assert.equal(await insertInto(writer, 'app.numbers', 2), true);
    await session.close();
  });

  it('ends the hold inside the server, a little after the budget', async () => {
    const token = tokenFor('own-limit');
    const application = mariadbApplication(live);
    const session = await application.openHold(token, 500);
    await session.prepare();
    assert.equal((await session.freeze()).frozen, true);
    await until('the server ended the hold', async () => (await stateOf(application, token)) === 'thawed');
    await using writer = await live.connect();
    assert.equal(await insertInto(writer, 'app.numbers', 10), true);
    assert.equal((await session.ask()).frozen, false);
    assert.equal((await session.thaw()).heldThroughout, false);
    await session.close();
  });

  it('gives up a freeze that waits for a writer, and leaves nothing behind', async () => {
    await using slow = await live.connect();
    const writing = slow.query('INSERT INTO app.plain VALUES (100, SLEEP(6))');
    await until('it writes', async () =>
      (await live.ask('SHOW PROCESSLIST')).some((row) => row['State'] === 'User sleep'),
    );
    const application = mariadbApplication(live);
    const token = tokenFor('waits');
    const session = await application.openHold(token, 2000);
    await session.prepare();
    const frozen = await session.freeze();
    assert.equal(frozen.frozen, false);
    assert.match(frozen.said, /after 1000 ms/);
    const thawed = await session.thaw();
    assert.deepEqual([thawed.thawed, thawed.heldThroughout], [true, false], thawed.said);
    assert.equal(await stateOf(application, token), 'thawed');
    await session.close();
    await writing;
  });

  it('freezes during a transaction that is open, which goes on after it', async () => {
    await using open = await live.connect();
    await open.query('START TRANSACTION');
    await open.query("INSERT INTO app.numbers VALUES (200, 'x')");
    const session = await mariadbApplication(live).openHold(tokenFor('open'), 10_000);
    await session.prepare();
    assert.equal((await session.freeze()).frozen, true);
    assert.equal((await session.thaw()).heldThroughout, true);
    await session.close();
    await open.query('COMMIT');
  });

  it('does not call itself frozen while acknowledged rows are in memory only', async (t) => {
    const lazy = await yard.add('lazy', ['--innodb-flush-log-at-trx-commit=0', '--innodb-flush-log-at-timeout=2700']);
    await lazy.start();
    t.after(async () => lazy.kill());
    await lazy.ask('CREATE DATABASE app');
    await lazy.ask('CREATE TABLE app.numbers (n BIGINT PRIMARY KEY, t TEXT)');
    const session = await mariadbApplication(lazy).openHold(tokenFor('lazy'), 4_000);
    await session.prepare();
    await lazy.ask("INSERT INTO app.numbers VALUES (1, '')");
    const { frozen, said } = await session.freeze();
    assert.equal(frozen, false);
    assert.match(said, /InnoDB's log is on disk up to \d+ and not \d+: see innodb_flush_log_at_trx_commit/);
    assert.equal((await session.thaw()).thawed, true);
    await lazy.ask("INSERT INTO app.numbers VALUES (2, '')");
    await session.close();
  });

  it('says that another backup is running, and begins none beside it', async () => {
    await using other = await live.connect();
    await other.query('BACKUP STAGE START');
    const session = await mariadbApplication(live).openHold(tokenFor('second'), 10_000);
    await assert.rejects(session.prepare(), fails('freeze-failed', /another backup/));
    await session.close();
  });

  it('releases a freeze that still waits when its process is killed', async (t) => {
    await using slow = await live.connect();
    const token = tokenFor('killed-waiting');
    const holder = await startHolder({ elsewhere: elsewhere(live) }, token, 60_000);
    t.after(async () => holder.kill());
    const writing = slow.query('INSERT INTO app.plain VALUES (300, SLEEP(20))');
    const freezing = holder.freeze().catch(() => undefined);
    await until('the freeze waits', async () =>
      (await live.ask('SHOW PROCESSLIST')).some((row) => row['Info'] === 'BACKUP STAGE BLOCK_COMMIT'),
    );
    await holder.kill();
    const thawed = await mariadbApplication(live).thaw(token);
    assert.equal(thawed.thawed, true, thawed.said);
    await freezing;
    await using writer = await live.connect();
    assert.equal(await insertInto(writer, 'app.numbers', 300), true);
    await slow.query('DO 0').catch(() => undefined);
    await writing.catch(() => undefined);
  });

  it('lets in who ends the hold when every connection waits for it', async (t) => {
    const small = await yard.add('small', [...durable, '--max-connections=10']);
    await small.start();
    t.after(async () => small.kill());
    await small.ask('CREATE DATABASE app');
    await small.ask('CREATE TABLE app.numbers (n BIGINT PRIMARY KEY, t TEXT)');
    const token = tokenFor('crowd');
    const holder = await startHolder({ elsewhere: elsewhere(small) }, token, 60_000);
    t.after(async () => holder.kill());
    await small.ask("CREATE USER app@localhost IDENTIFIED BY ''");
    await small.ask('GRANT ALL ON app.* TO app@localhost');
    assert.equal((await holder.freeze()).frozen, true);
    const crowd = Array.from({ length: 12 }, async (_, row) => {
      await systemExec.run({
        argv: [
          'mariadb',
          '--no-defaults',
          '-uapp',
          `--socket=${small.socket}`,
          '-e',
          `INSERT INTO app.numbers VALUES (${row}, '')`,
        ],
        timeoutMs: 60_000,
      });
    });
    await until('nobody else gets in', async () => {
      const { stderr } = await systemExec.run({
        argv: ['mariadb', '--no-defaults', '-uapp', `--socket=${small.socket}`, '-e', 'SELECT 1'],
        timeoutMs: 60_000,
      });
      return stderr.includes('1040');
    });
    assert.equal(await stateOf(mariadbApplication(small), token), 'frozen');
    const thawed = await mariadbApplication(small).thaw(token);
    assert.equal(thawed.thawed, true, thawed.said);
    await Promise.all(crowd);
    await holder.kill();
  });

  it('names the grants to an account that lacks them, and works with exactly these', async () => {
    await live.ask("CREATE USER backup@localhost IDENTIFIED BY ''");
    const application = mariadbApplication(live, { user: 'backup' });
    await assert.rejects(application.locate(never), fails('database-privilege', /GRANT RELOAD, BINLOG MONITOR/));
    const earlier = await findingsOf(application.check?.(never));
    assert.match(errorsIn(earlier)[0]?.said ?? '', /lacks RELOAD, BINLOG MONITOR, REPLICA MONITOR/);
    const session = await application.openHold(tokenFor('no'), 9000);
    await assert.rejects(session.prepare(), fails('database-privilege', /GRANT RELOAD/));
    await session.close();
    await live.ask('GRANT RELOAD, BINLOG MONITOR, REPLICA MONITOR, CONNECTION ADMIN ON *.* TO backup@localhost');
    const findings = await findingsOf(application.check?.(never));
    assert.deepEqual(
      findings.filter(({ check }) => check === 'privileges').map(({ severity, said }) => [severity, said]),
      [['info', 'all that a hold needs']],
    );
    assert.deepEqual((await application.locate(never)).paths, (await mariadbApplication(live).locate(never)).paths);
    const held = await application.openHold(tokenFor('granted'), 30_000);
    await held.prepare();
    assert.equal((await held.freeze()).frozen, true);
    const other = await mariadbApplication(live, { user: 'backup' }).thaw(tokenFor('granted'));
    assert.equal(other.thawed, true, other.said);
    assert.equal((await held.ask()).frozen, false);
    await held.close();
  });

  it('says unreachable and wrong login, each with what to set; silence proves nothing while the server runs', async () => {
    const host = join(yard.directory, 'none.sock');
    await assert.rejects(
      mariadbApplication(live, { host }).locate(never),
      fails('database-unreachable', /host and port/),
    );
    await assert.rejects(
      mariadbApplication(live, { user: 'nobody_here' }).locate(never),
      fails('database-login', /password/),
    );
    assert.equal(await stateOf(mariadbApplication(live, { host }), tokenFor('x')), 'unknown');
    await assert.rejects(
      mariadbApplication(live, { dataDirectory: yard.directory }).locate(never),
      fails('database-file', /dataDirectory/),
    );
    const cancelled = AbortSignal.abort(new Error('cancelled by the test'));
    await assert.rejects(mariadbApplication(live).locate(cancelled), /cancelled by the test/);
  });

  it('finds itself among the running servers', async () => {
    const found = await mariadbServer.discover?.(testPlatform, never);
    const mine = found?.find((each) => each.config['dataDirectory'] === live.dataDirectory);
    assert.deepEqual(mine?.config, { dataDirectory: live.dataDirectory, host: live.socket, user: 'root' });
    assert.equal(mariadbServer.config.safeParse(mine?.config).success, true);
  });

  it('knows whether the server runs, and a dead one holds nothing', async (t) => {
    const other = await yard.add('other', durable);
    await other.start();
    t.after(async () => other.kill());
    const application = mariadbApplication(other);
    assert.equal(await application.running?.(never), true);
    const token = tokenFor('dies');
    const holder = await startHolder({ elsewhere: elsewhere(other) }, token);
    t.after(async () => holder.kill());
    assert.equal((await holder.freeze()).frozen, true);
    await other.kill();
    assert.equal((await holder.ask()).frozen, false);
    assert.equal((await holder.thaw()).heldThroughout, false);
    await holder.kill();
    assert.equal(await application.running?.(never), false);
    assert.equal(await stateOf(application, token), process.getuid?.() === 0 ? 'thawed' : 'unknown');
    await other.start();
    assert.equal((await application.thaw(token)).thawed, true);
  });

  it('does not tell a server that stands still from a frozen one: that is an alarm', async (t) => {
    const other = await yard.add('still', durable);
    await other.start();
    t.after(async () => other.kill());
    other.freeze();
    try {
      const answer = await mariadbApplication(other).status(tokenFor('still'));
      assert.equal(answer.state, 'unknown', answer.said);
      assert.equal((await mariadbApplication(other).thaw(tokenFor('still'))).thawed, false);
    } finally {
      other.thaw();
    }
  });
});

describe('MariaDB, replicas', { skip: missing ?? false }, () => {
  it('takes a replica only where a topology decides, without what it would replicate by', async (t) => {
    const cluster = await startMariadb({ replicas: 1 });
    t.after(async () => cluster[Symbol.asyncDispose]());
    const replica = cluster.member('db2');
    await assert.rejects(mariadbApplication(replica).locate(never), fails('role-unsuitable', /topology/));
    const clustered = mariadbServer.create(
      mariadbServer.config.parse(mariadbConfigFor(replica)),
      'test',
      { ...testPlatform, clustered: true },
      () => Promise.reject(new Error('there is no password')),
    );
    const located = await clustered.locate(never);
    assert.deepEqual([located.member.role, located.member.epoch], ['replica', '2 from 1']);
    assert.ok(located.paths[0]?.leftOut.some(({ relative }) => relative === 'master.info'));
    const session = await clustered.openHold(tokenFor('replica'), 20_000);
    await session.prepare();
    assert.equal((await session.freeze()).frozen, true);
    // The primary writes meanwhile, so that the replica's thread waits for the hold.
    await cluster.primary.ask("INSERT INTO app.filler (t) VALUES ('during the hold')");
    await until('the replica has received it', async () => {
      const [row] = await replica.ask('SHOW ALL SLAVES STATUS');
      return row?.['Slave_SQL_Running_State']?.includes('backup lock') ?? false;
    });
    assert.deepEqual(await session.observe(), located.member);
    assert.equal((await session.ask()).frozen, true);
    assert.equal((await session.thaw()).heldThroughout, true);
    await session.close();
    await cluster.settled();
    await cluster.promote('db2');
    const promoted = (await clustered.locate(never)).member;
    assert.equal(promoted.role, 'primary');
    assert.match(promoted.epoch, /^2 after 0-1-\d+$/);
  });
});

describe('MariaDB under load', { skip: missing ?? false }, () => {
  it('has every acknowledged row in copies cut by btrfs, also with a log that is written once a second', async (t) => {
    const volume = await loopVolume('btrfs', { bytes: 2 * 1024 ** 3 });
    if ('skip' in volume) return t.skip(volume.skip);
    await using stack = new AsyncDisposableStack();
    stack.use(volume);
    await chmod(join(volume.mountPoint, '..'), 0o755);
    const yard = stack.use(await openYard());
    const run = async (...argv: [string, ...string[]]): Promise<unknown> =>
      systemExec.check({ argv, timeoutMs: 60_000 });
    for (const flush of ['1', '0']) {
      const name = `db-flush-${flush}`;
      const data = join(volume.mountPoint, name);
      const args = ['--server-id=1', `--innodb-flush-log-at-trx-commit=${flush}`, '--log-bin=bin', '--sync-binlog=0'];
      const server = await yard.add(name, args);
      await run('btrfs', 'subvolume', 'create', data);
      await moveTo(server, data);
      await server.start();
      await server.ask('CREATE DATABASE app');
      await server.ask('CREATE TABLE app.numbers (n BIGINT PRIMARY KEY, t TEXT)');
      const acknowledged: number[] = [];
      const stop = new AbortController();
      const load = [1, 2, 3].map(async (lane) => {
        for (let row = lane; !stop.signal.aborted;) {
          // A session of the double ends after a minute.
          await using session = await server.connect();
          const end = testPlatform.clock.monoMs() + 30_000;
          for (; !stop.signal.aborted && testPlatform.clock.monoMs() < end; row += 3) {
            await session.query(`INSERT INTO app.numbers VALUES (${row}, REPEAT('x', 500))`);
            acknowledged.push(row);
          }
        }
      });
      try {
        const application = mariadbApplication(server, { dataDirectory: data });
        const located = await application.locate(never);
        assert.equal(located.paths[0]?.path, data, 'the link is resolved');
        for (let round = 1; round <= 2; round += 1) {
          const earlier = acknowledged.length;
          await until('rows are written', async () => acknowledged.length > earlier + 200);
          const session = await application.openHold(tokenFor(`load-${flush}-${round}`), 20_000);
          await session.prepare();
          const frozen = await session.freeze();
          assert.equal(frozen.frozen, true, frozen.said);
          const owed = [...acknowledged];
          const snapshot = join(volume.mountPoint, `snapshot-${flush}-${round}`);
          await run('btrfs', 'subvolume', 'snapshot', '-r', data, snapshot);
          assert.equal((await session.ask()).frozen, true);
          assert.equal((await session.thaw()).heldThroughout, true);
          await session.close();
          const copy = await newCopy(t, located);
          const root = copy.at(data);
          await mkdir(root, { recursive: true });
          await run('cp', '-a', `${snapshot}/.`, root);
          const findings = await findingsOf(application.verify(copy, never));
          assert.deepEqual(errorsIn(findings), []);
          const found = new Set(await rowsOf(copy, { ...server, dataDirectory: data }, 'app.numbers'));
          assert.deepEqual(
            owed.filter((row) => !found.has(row)),
            [],
            `round ${round}: no acknowledged row is lost`,
          );
          // At most one row a lane was on its way when commits stopped.
          assert.ok(found.size <= owed.length + 3, `${found.size} rows, ${owed.length} acknowledged`);
        }
      } finally {
        stop.abort();
        await Promise.allSettled(load);
        await server.halt();
      }
    }
    return undefined;
  });

  it('leaves the original alone in a drill, and changes nothing when a copy is adopted in place', async (t) => {
    const yard = await openYard();
    t.after(async () => yard[Symbol.asyncDispose]());
    const server = await yard.add('db1', [...durable.slice(0, 2), `--log-bin=${yard.directory}/logs/bin`]);
    await mkdir(join(yard.directory, 'logs'), { mode: 0o777 });
    await chmod(join(yard.directory, 'logs'), 0o777);
    await server.start();
    const application = mariadbApplication(server);
    const located = await application.locate(never);
    assert.deepEqual(
      located.paths.map(({ name }) => name),
      ['data', 'binlog'],
    );
    const index = join(yard.directory, 'logs/bin.index');
    const copy = await newCopy(t, located);
    server.freeze();
    try {
      await copyFiles(located, copy.at('/'));
    } finally {
      server.thaw();
    }
    const earlier = await readFile(index, 'utf8');
    assert.deepEqual(errorsIn(await findingsOf(application.verify(copy, never))), []);
    assert.equal(await readFile(index, 'utf8'), earlier);
    const inCopy = await readFile(copy.at(index), 'utf8');
    assert.ok(
      inCopy.split('\n').every((line) => line === '' || line.startsWith(copy.at(yard.directory))),
      inCopy,
    );
    await application.adopt?.({ ...copy, at: (original) => original });
    assert.equal(await readFile(index, 'utf8'), earlier);
    const without = await mariadbApplication(server, { binaryLogs: 'left-out' }).locate(never);
    assert.deepEqual(
      without.paths.map(({ name }) => name),
      ['data'],
    );
  });
});
