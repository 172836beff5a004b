import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { topologyContract } from '../../../../test/contract/topology.ts';
import { type MariadbCluster, type MariadbOptions, startMariadb } from '../../../../test/doubles/mariadb-cluster.ts';
import { until, whyNoMariadb } from '../../../../test/doubles/mariadb-server.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { chooseMember } from '../../../model/choose-member.ts';
import { type ClusterMember, type ClusterView, memberOf } from '../../../model/cluster.ts';
import { codeOf, messageOf } from '../../../model/errors.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import { systemClock } from '../../../platform/clock.ts';
import type { Topology } from '../../../ports/topology.ts';
import { mariadb } from './topology.ts';

const never = new AbortController().signal;
const rows = "INSERT INTO app.filler (t) SELECT REPEAT('x', 1000) FROM app.seq_1_to_2000";

function topologyOf(
  cluster: MariadbCluster,
  place: Readonly<Record<string, unknown>> = {},
  more: Readonly<Record<string, unknown>> = {},
): Topology {
  const members = cluster.all.map(({ name, socket }) => [name, { host: socket, ...place }]);
  return mariadb.create(
    mariadb.config.parse({ members: Object.fromEntries(members), ...more }),
    realPlatform('/nonexistent'),
    () => Promise.resolve('watch-1'),
  );
}

function member(view: ClusterView, name: string): ClusterMember {
  const found = memberOf(view, name);
  assert.ok(found !== undefined, `${name} must be in the view`);
  return found;
}

function checks(each: Pick<ClusterView, 'findings'> | undefined): readonly string[] {
  return (each?.findings ?? []).map(({ severity, check }) => `${severity} ${check}`);
}

function said(each: Pick<ClusterView, 'findings'>, check: string): string {
  return each.findings.find((found) => found.check === check)?.said ?? '';
}

async function viewWhen(topology: Topology, what: string, has: (view: ClusterView) => boolean): Promise<ClusterView> {
  let view = await topology.view(never);
  await until(what, async () => {
    view = await topology.view(never);
    return has(view);
  });
  return view;
}

const allWell = ({ members }: ClusterView): boolean => members.every(({ health }) => health === 'healthy');

/** Holds what the replica applies, until it is disposed of. */
async function lock(cluster: MariadbCluster, name: string): Promise<AsyncDisposable> {
  const session = await cluster.member(name).connect();
  await session.query('FLUSH TABLES WITH READ LOCK');
  return session;
}

async function delay(cluster: MariadbCluster, name: string, seconds: number): Promise<void> {
  await cluster.member(name).ask('STOP SLAVE');
  await cluster.member(name).ask(`CHANGE MASTER TO MASTER_DELAY = ${seconds}`);
  await cluster.member(name).ask('START SLAVE');
}

topologyContract('mariadb', async () => {
  const why = await whyNoMariadb();
  if (why !== undefined) return { skip: why };
  const cluster = await startMariadb({ replicas: 2 });
  return {
    create: () => topologyOf(cluster),
    members: ['db1', 'db2', 'db3'],
    standby: 'db2',
    kill: async (name) => cluster.member(name).kill(),
    async revive(name) {
      await cluster.member(name).start(['--read-only']);
    },
    async lag(name) {
      await delay(cluster, name, 3600);
      await cluster.primary.ask(rows);
      return {
        [Symbol.asyncDispose]: async () => delay(cluster, name, 0),
      };
    },
    async failOver() {
      await cluster.primary.kill();
      await cluster.promote('db3');
    },
    dispose: () => cluster[Symbol.asyncDispose](),
  };
});

describe('replication of MariaDB, for real', () => {
  async function start(t: TestContext, options: MariadbOptions): Promise<MariadbCluster | undefined> {
    const why = await whyNoMariadb();
    if (why !== undefined) {
      t.skip(why);
      return undefined;
    }
    const cluster = await startMariadb(options);
    t.after(() => cluster[Symbol.asyncDispose]());
    return cluster;
  }

  it('tells what is received from what is applied, and lets nobody choose such a replica', async (t) => {
    const cluster = await start(t, { replicas: 1 });
    if (cluster === undefined) return;
    await using _held = await lock(cluster, 'db2');
    await cluster.primary.ask(rows);
    const view = await viewWhen(topologyOf(cluster), 'all is received', (each) => {
      const { transfer, apply } = member(each, 'db2');
      return transfer?.caughtUp === true && (apply?.bytes ?? 0) > 2_000_000;
    });
    const { apply, health } = member(view, 'db2');
    assert.equal(health, 'healthy');
    assert.notEqual(apply?.caughtUp, true);
    assert.ok((apply?.ms ?? 0) >= 1000, JSON.stringify(apply));
    const choice = chooseMember({ view, policy: 'standby', reachable: new Set(['db1', 'db2']), maxLagMs: 1000 });
    assert.equal(choice.member, undefined);
  });

  it('says what stopped applying, with the error, and gives no lag then', async (t) => {
    const cluster = await start(t, { replicas: 1 });
    if (cluster === undefined) return;
    const topology = topologyOf(cluster);
    await cluster.member('db2').ask('DROP TABLE app.filler');
    await cluster.primary.ask(rows);
    const view = await viewWhen(topology, 'applying stopped', (each) => member(each, 'db2').health === 'trouble');
    const replica = member(view, 'db2');
    assert.match(said(replica, 'replication'), /applying No\): applying: .*app\.filler.*\(1146\)/);
    assert.deepEqual([replica.transfer, replica.apply], [undefined, undefined]);
    // The write of its own is what broke it.
    assert.deepEqual(checks(replica), ['error replication', 'error errant']);
  });

  it('tells the thread that a person stopped from one that failed', async (t) => {
    const cluster = await start(t, { replicas: 2 });
    if (cluster === undefined) return;
    await cluster.member('db2').ask('STOP SLAVE IO_THREAD');
    await cluster.member('db3').ask('STOP SLAVE SQL_THREAD');
    const view = await topologyOf(cluster).view(never);
    for (const name of ['db2', 'db3']) {
      assert.equal(member(view, name).health, 'trouble', name);
      assert.deepEqual(checks(member(view, name)), ['warning replication'], name);
    }
    await cluster.member('db2').ask('START SLAVE IO_THREAD');
    await cluster.member('db3').ask('START SLAVE SQL_THREAD');
    await viewWhen(topologyOf(cluster), 'all are well', allWell);
  });

  it('does not believe a replica that calls itself 0 seconds behind while the primary stands still', async (t) => {
    const cluster = await start(t, { replicas: 1 });
    if (cluster === undefined) return;
    cluster.primary.freeze();
    const started = systemClock.monoMs();
    const view = await topologyOf(cluster).view(never);
    assert.ok(systemClock.monoMs() - started < 20_000);
    const [row] = await cluster.member('db2').ask('SHOW ALL SLAVES STATUS');
    assert.deepEqual([row?.['Slave_IO_Running'], row?.['Seconds_Behind_Master']], ['Yes', '0'], 'this is the trap');
    assert.deepEqual([member(view, 'db1').role, member(view, 'db1').health], ['unknown', 'down']);
    assert.equal(member(view, 'db2').health, 'trouble');
    assert.equal(member(view, 'db2').apply, undefined);
    assert.deepEqual(checks(view), ['error primary', 'warning split-brain']);
    cluster.primary.thaw();
    await viewWhen(topologyOf(cluster), 'all are well', allWell);
  });

  it('waits for no server that stands still, and still measures the others', async (t) => {
    const cluster = await start(t, { replicas: 2 });
    if (cluster === undefined) return;
    cluster.member('db3').freeze();
    const view = await topologyOf(cluster).view(never);
    assert.equal(member(view, 'db3').health, 'down');
    assert.equal(member(view, 'db2').transfer?.caughtUp, true);
    const { allowed } = failoverMargin(view, 'db2', { stunMs: 60_000, holdMs: 0 });
    assert.equal(allowed, true, 'nobody acts without a person');
    cluster.member('db3').thaw();
  });

  it('keeps the epoch over a restart and a crash of the primary, and not over a term of another one', async (t) => {
    const cluster = await start(t, { replicas: 1 });
    if (cluster === undefined) return;
    const topology = topologyOf(cluster);
    const { epoch } = await topology.view(never);
    await cluster.primary.halt();
    await cluster.primary.start();
    await cluster.primary.ask(rows);
    await cluster.primary.kill();
    await cluster.primary.start();
    assert.equal((await topology.view(never)).epoch, epoch);
    await cluster.settled();

    // db2 takes over, writes, and gives it back.
    await cluster.primary.ask('SET GLOBAL read_only = 1');
    await cluster.promote('db2');
    await cluster.member('db2').ask(rows);
    await cluster.primary.ask('SET GLOBAL gtid_slave_pos = @@gtid_binlog_pos');
    await cluster.follow('db1', 'db2');
    const second = await viewWhen(topology, 'all are well', allWell);
    assert.equal(member(second, 'db2').role, 'primary');
    await viewWhen(topology, 'db1 has it', (view) => member(view, 'db1').apply?.caughtUp === true);
    await cluster.member('db2').ask('SET GLOBAL read_only = 1');
    await cluster.promote('db1');
    const third = await topology.view(never);
    assert.equal(member(third, 'db1').role, 'primary');
    assert.equal(new Set([epoch, second.epoch, third.epoch]).size, 3, 'the first primary in another term');
    // A replica without a source, read-only, is nobody's standby.
    assert.deepEqual([member(third, 'db2').role, member(third, 'db2').health], ['unknown', 'trouble']);
    await cluster.primary.halt();
    await cluster.primary.start();
    assert.equal((await topology.view(never)).epoch, third.epoch);
  });

  it('refuses to choose between an old primary that came back and the new one', async (t) => {
    const cluster = await start(t, { replicas: 2 });
    if (cluster === undefined) return;
    const topology = topologyOf(cluster);
    await cluster.primary.kill();
    // As a hurried person does it: the channel is stopped, and not forgotten.
    await cluster.member('db2').ask('STOP SLAVE');
    await cluster.member('db2').ask('SET GLOBAL read_only = 0');
    const view = await topology.view(never);
    assert.equal(member(view, 'db2').role, 'primary');
    assert.deepEqual(checks(member(view, 'db2')), ['info channel']);
    assert.equal(member(view, 'db3').health, 'trouble', 'it still follows the dead one');
    await cluster.member('db2').ask(rows);
    await cluster.primary.start();
    await assert.rejects(topology.view(never), (cause) => {
      assert.equal(codeOf(cause), 'cluster-unknown');
      assert.match(messageOf(cause), /db1 and db2 both take writes and replicate from nobody/);
      return true;
    });
  });

  it('takes a writable replica that is stopped for one, as long as it wrote nothing', async (t) => {
    const cluster = await start(t, { replicas: 2 });
    if (cluster === undefined) return;
    const replica = cluster.member('db2');
    await replica.ask('STOP SLAVE');
    await replica.ask('SET GLOBAL read_only = 0');
    const view = await topologyOf(cluster).view(never);
    assert.deepEqual([member(view, 'db1').role, member(view, 'db2').role], ['primary', 'replica']);
    assert.deepEqual(checks(member(view, 'db2')), ['warning read-only', 'warning replication']);
    assert.equal(member(view, 'db3').transfer?.caughtUp, true);
    await replica.ask("INSERT INTO app.filler (t) VALUES ('mine')");
    await assert.rejects(topologyOf(cluster).view(never), (cause) => codeOf(cause) === 'cluster-unknown');
  });

  it('follows a chain of replicas to the primary', async (t) => {
    const cluster = await start(t, { replicas: 2 });
    if (cluster === undefined) return;
    await cluster.member('db3').ask('STOP SLAVE');
    await cluster.follow('db3', 'db2');
    await cluster.primary.ask(rows);
    const topology = topologyOf(cluster);
    await viewWhen(topology, 'the last one has it all', (view) => {
      const { health, transfer, apply } = member(view, 'db3');
      return health === 'healthy' && transfer?.caughtUp === true && apply?.caughtUp === true;
    });
    await cluster.member('db2').ask('STOP SLAVE IO_THREAD');
    const view = await topology.view(never);
    assert.equal(member(view, 'db3').health, 'trouble');
    assert.deepEqual(checks(member(view, 'db3')), ['warning source']);
  });

  it('measures by places in the binary logs where GTIDs are not used', async (t) => {
    const cluster = await start(t, { replicas: 1 });
    if (cluster === undefined) return;
    const replica = cluster.member('db2');
    await replica.ask('STOP SLAVE');
    await replica.ask('CHANGE MASTER TO MASTER_USE_GTID = no');
    await replica.ask('START SLAVE');
    const topology = topologyOf(cluster);
    const caughtUp = (view: ClusterView): boolean => {
      const { transfer, apply } = member(view, 'db2');
      return transfer?.caughtUp === true && apply?.caughtUp === true;
    };
    await viewWhen(topology, 'it has all of it', caughtUp);
    await cluster.primary.ask('FLUSH BINARY LOGS');
    await viewWhen(topology, 'it has all of it, with a new log', caughtUp);
    {
      await using _held = await lock(cluster, 'db2');
      await cluster.primary.ask(rows);
      await cluster.primary.ask('FLUSH BINARY LOGS');
      const view = await viewWhen(topology, 'all is received', (each) => member(each, 'db2').transfer?.bytes === 0);
      assert.ok((member(view, 'db2').apply?.bytes ?? 0) > 2_000_000, 'over the end of a log');
    }
    await viewWhen(topology, 'it has all of it again', caughtUp);
  });

  it('says that semi-synchronous replication fell back, and who acknowledges', async (t) => {
    const cluster = await start(t, {
      replicas: 1,
      args: [
        '--rpl-semi-sync-master-enabled=ON',
        '--rpl-semi-sync-slave-enabled=ON',
        '--rpl-semi-sync-master-timeout=500',
      ],
    });
    if (cluster === undefined) return;
    const topology = topologyOf(cluster);
    const view = await viewWhen(topology, 'it is on', (each) => checks(member(each, 'db1')).length === 0);
    assert.match(said(member(view, 'db2'), 'synchronous'), /no other member does: the primary waits 500 ms/);
    await cluster.member('db2').ask('STOP SLAVE');
    await cluster.primary.ask("INSERT INTO app.filler (t) VALUES ('alone')");
    assert.deepEqual(checks(member(await topology.view(never), 'db1')), ['warning semi-sync']);
    await cluster.member('db2').ask('START SLAVE');
    await cluster.primary.ask("INSERT INTO app.filler (t) VALUES ('together')");
    await viewWhen(topology, 'it is on again', (each) => checks(member(each, 'db1')).length === 0);
  });

  it('shows a delay, a filter, and a relay log that is full', async (t) => {
    const cluster = await start(t, { replicas: 2, args: ['--relay-log-space-limit=1M', '--max-relay-log-size=256K'] });
    if (cluster === undefined) return;
    await delay(cluster, 'db2', 3600);
    await cluster.member('db3').ask('STOP SLAVE');
    await cluster.member('db3').ask("SET GLOBAL replicate_do_db = 'other'");
    await cluster.member('db3').ask('START SLAVE');
    for (let round = 0; round < 3; round += 1) await cluster.primary.ask(rows);
    const topology = topologyOf(cluster);
    const view = await viewWhen(topology, 'the relay log is full', (each) =>
      checks(member(each, 'db2')).includes('warning relay-log'),
    );
    const delayed = member(view, 'db2');
    assert.ok(checks(delayed).includes('info delay'));
    assert.equal(delayed.transfer?.caughtUp, false);
    assert.deepEqual([delayed.apply?.caughtUp, delayed.apply?.ms], [false, undefined]);
    assert.ok(checks(member(view, 'db3')).includes('error filter'));
    assert.match(said(member(view, 'db3'), 'filter'), /Replicate_Do_DB=other/);
  });

  it('needs two privileges, and says so of a member that it may not ask', async (t) => {
    const cluster = await start(t, { replicas: 1 });
    if (cluster === undefined) return;
    await cluster.primary.ask("CREATE USER watcher@'%' IDENTIFIED BY 'watch-1'");
    await cluster.settled();
    const asked = { user: 'watcher', password: { env: 'ANY' } };
    await assert.rejects(topologyOf(cluster, asked).view(never), (cause) => {
      assert.equal(codeOf(cause), 'database-login');
      assert.doesNotMatch(messageOf(cause), /watch-1/);
      return true;
    });
    await cluster.primary.ask("GRANT REPLICA MONITOR, BINLOG MONITOR ON *.* TO watcher@'%'");
    await cluster.settled();
    const view = await topologyOf(cluster, asked).view(never);
    assert.deepEqual([allWell(view), member(view, 'db2').apply?.caughtUp], [true, true]);

    await cluster.member('db2').ask("REVOKE REPLICA MONITOR ON *.* FROM watcher@'%'");
    const half = member(await topologyOf(cluster, asked).view(never), 'db2');
    assert.deepEqual([half.role, half.health], ['unknown', 'unknown']);
    assert.deepEqual(checks(half), ['error login']);
  });

  it('refuses members that are one server, and a cluster that nobody reaches', async (t) => {
    const cluster = await start(t, { replicas: 1 });
    if (cluster === undefined) return;
    const { socket: host } = cluster.primary;
    await assert.rejects(
      topologyOf(cluster, { host }).view(never),
      /db1 and db2 are one and the same server, or two with the same server_id 1/,
    );
    await assert.rejects(
      topologyOf(cluster, { host: '/nonexistent/socket' }).view(never),
      (cause) => codeOf(cause) === 'cluster-unknown' && /no member answers/.test(messageOf(cause)),
    );
  });

  it('counts with a program that fails over, where one is configured', async (t) => {
    const cluster = await start(t, { replicas: 1 });
    if (cluster === undefined) return;
    const failover = { by: 'MaxScale', detection: '10s' };
    const view = await topologyOf(cluster, {}, { failover }).view(never);
    assert.deepEqual(
      view.members.map(({ name, mayTakeOver }) => [name, mayTakeOver]),
      [
        ['db1', false],
        ['db2', true],
      ],
    );
    assert.equal(failoverMargin(view, 'db1', { stunMs: 4000, holdMs: 0 }).allowed, true);
    assert.equal(failoverMargin(view, 'db1', { stunMs: 6000, holdMs: 0 }).allowed, false);
  });
});
