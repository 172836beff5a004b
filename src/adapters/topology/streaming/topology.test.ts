import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { whyNoPostgres } from '../../../../test/doubles/embedded-postgres.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { topologyOf } from '../../../../test/doubles/streaming-scene.ts';
import {
  startStreaming,
  type StreamingCluster,
  type StreamingOptions,
  until,
} from '../../../../test/doubles/streaming-cluster.ts';
import { checks, member, viewWhen } from '../../../../test/doubles/topology-view.ts';
import { memberOf } from '../../../model/cluster.ts';
import { chooseMember } from '../../../model/choose-member.ts';
import { codeOf, messageOf } from '../../../model/errors.ts';
import { systemClock } from '../../../platform/clock.ts';
import { streaming } from './topology.ts';

const never = new AbortController().signal;
const rows = "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 2000)";

describe('streaming replication, for real', () => {
  async function start(t: TestContext, options: StreamingOptions): Promise<StreamingCluster | undefined> {
    const why = await whyNoPostgres();
    if (why !== undefined) {
      t.skip(why);
      return undefined;
    }
    const cluster = await startStreaming(options);
    t.after(() => cluster[Symbol.asyncDispose]());
    return cluster;
  }

  it('does not take the silence of an idle primary for lag', async (t) => {
    const cluster = await start(t, { standbys: 1 });
    if (cluster === undefined) return;
    await systemClock.sleep(2500);
    const [row] = await cluster
      .member('db2')
      .ask('SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000 AS ms');
    const { transfer, apply } = member(await topologyOf(cluster).view(never), 'db2');
    // The engine's own figure grows by the second, if it has one at all.
    assert.ok(row?.['ms'] === null || Number(row?.['ms']) > 2000);
    assert.deepEqual(
      [transfer, apply],
      [
        { bytes: 0, ms: 0, caughtUp: true },
        { bytes: 0, ms: 0, caughtUp: true },
      ],
    );
  });

  it('bounds the lag under load, and calls it small', async (t) => {
    const cluster = await start(t, { standbys: 1 });
    if (cluster === undefined) return;
    await cluster.primary.ask('CREATE TABLE filler (t text)');
    const load = { on: true };
    const writing = (async (): Promise<void> => {
      while (load.on) await cluster.primary.ask(rows);
    })();
    try {
      for (let round = 0; round < 5; round += 1) {
        const { health, transfer } = member(await topologyOf(cluster).view(never), 'db2');
        assert.equal(health, 'healthy');
        assert.ok(transfer?.ms !== undefined && transfer.ms < 20_000, JSON.stringify(transfer));
      }
    } finally {
      load.on = false;
      await writing;
    }
  });

  it('tells paused replay from transfer, and lets nobody choose such a standby', async (t) => {
    const cluster = await start(t, { standbys: 1 });
    if (cluster === undefined) return;
    await cluster.primary.ask('CREATE TABLE filler (t text)');
    await cluster.settled();
    await cluster.member('db2').ask('SELECT pg_wal_replay_pause()');
    const topology = topologyOf(cluster);
    await cluster.primary.ask(rows);
    const view = await viewWhen(topology, 'all is received', (each) => memberOf(each, 'db2')?.transfer?.bytes === 0);
    const standby = member(view, 'db2');
    assert.equal(standby.transfer?.caughtUp, true);
    assert.equal(standby.apply?.caughtUp, false);
    assert.ok((standby.apply?.bytes ?? 0) > 2_000_000, JSON.stringify(standby.apply));
    assert.ok((standby.apply?.ms ?? 0) >= 1000, JSON.stringify(standby.apply));
    assert.match(standby.reported, /replay paused/);
    assert.deepEqual(checks(standby), ['warning replay']);
    const choice = chooseMember({ view, policy: 'standby', reachable: new Set(['db1', 'db2']), maxLagMs: 3_600_000 });
    assert.equal(choice.member, undefined);
  });

  it('waits for no server that stands still, and still measures the others', async (t) => {
    const cluster = await start(t, { standbys: 2 });
    if (cluster === undefined) return;
    cluster.member('db3').freeze();
    const started = systemClock.monoMs();
    const view = await topologyOf(cluster).view(never);
    assert.ok(systemClock.monoMs() - started < 20_000);
    assert.equal(member(view, 'db3').health, 'down');
    assert.deepEqual(member(view, 'db2').transfer, { bytes: 0, ms: 0, caughtUp: true });
    assert.deepEqual(checks(view), ['warning split-brain']);
    const controller = new AbortController();
    const asking = topologyOf(cluster).view(controller.signal);
    await systemClock.sleep(500);
    controller.abort(new Error('cancelled meanwhile'));
    const cancelledMs = systemClock.monoMs();
    await assert.rejects(asking, /cancelled meanwhile/);
    assert.ok(systemClock.monoMs() - cancelledMs < 3000);
    cluster.member('db3').thaw();
    await viewWhen(topologyOf(cluster), 'it is back', (each) => memberOf(each, 'db3')?.health === 'healthy');
  });

  it('shows a standby that the primary does not reach as in trouble', async (t) => {
    const cluster = await start(t, { standbys: 2 });
    if (cluster === undefined) return;
    cluster.primary.freeze();
    const stopped = await topologyOf(cluster).view(never);
    assert.equal(member(stopped, 'db1').health, 'down');
    assert.ok(checks(stopped).includes('error primary'));
    assert.equal(stopped.members.filter(({ role }) => role === 'primary').length, 0);
    assert.deepEqual(
      ['db2', 'db3'].map((name) => member(stopped, name).health),
      ['trouble', 'trouble'],
    );
    cluster.primary.thaw();
    await viewWhen(topologyOf(cluster), 'all are well', ({ members }) =>
      members.every(({ health }) => health === 'healthy'),
    );
  });

  it('knows the new timeline right after a promotion, and refuses to choose between two primaries', async (t) => {
    const cluster = await start(t, { standbys: 2 });
    if (cluster === undefined) return;
    const topology = topologyOf(cluster);
    const before = await topology.view(never);
    assert.match(before.epoch, /^\d+\/1$/);
    await cluster.primary.halt();
    const gone = await topology.view(never);
    assert.match(gone.epoch, /\/nobody$/, 'there is no term while nobody is primary');
    await cluster.member('db2').ask('SELECT pg_promote(true, 60)');
    const after = await topology.view(never);
    assert.equal(after.epoch, before.epoch.replace(/1$/, '2'));
    assert.equal(member(after, 'db2').role, 'primary');
    assert.equal(member(after, 'db3').health, 'trouble', 'it follows nobody');
    assert.equal(member(after, 'db3').transfer, undefined, 'positions of two timelines are not compared');

    await cluster.primary.start();
    await assert.rejects(topology.view(never), (cause) => {
      assert.equal(codeOf(cause), 'cluster-unknown');
      assert.match(messageOf(cause), /db1 and db2 are both primary, on timelines 1 and 2/);
      return true;
    });
  });

  it('warns before a slot is lost, and says when it is', async (t) => {
    const cluster = await start(t, {
      standbys: 1,
      settings: { max_slot_wal_keep_size: '64MB', min_wal_size: '32MB', max_wal_size: '32MB' },
    });
    if (cluster === undefined) return;
    const topology = topologyOf(cluster);
    assert.deepEqual(checks(member(await topology.view(never), 'db2')), []);
    await cluster.member('db2').halt();
    await cluster.primary.ask('CREATE TABLE filler (t text)');
    // The slot belongs to a member that is down, so that it is a finding of the cluster.
    const seen = new Set<string>();
    await until('the slot is lost', async () => {
      await cluster.primary.ask(rows);
      await cluster.primary.ask('SELECT pg_switch_wal()');
      const { findings } = await topology.view(never);
      for (const { check, said } of findings) if (check === 'slot') seen.add(said);
      if (![...seen].some((said) => said.includes('may lose'))) return false;
      await cluster.primary.ask('CHECKPOINT');
      return [...seen].some((said) => said.includes('is lost:'));
    });
    await cluster.member('db2').start();
    const view = await topology.view(never);
    assert.ok(checks(member(view, 'db2')).includes('error slot'), JSON.stringify(view));
    assert.equal(member(view, 'db2').health, 'trouble');
  });

  it('counts the queries that recovery cancelled', async (t) => {
    const cluster = await start(t, { standbys: 1, settings: { max_standby_streaming_delay: '0' } });
    if (cluster === undefined) return;
    await cluster.primary.ask('CREATE TABLE filler AS SELECT 1 AS n');
    await cluster.settled();
    const reader = await cluster.member('db2').connect();
    await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await reader.query('SELECT * FROM filler');
    await cluster.primary.ask('DROP TABLE filler');
    const view = await viewWhen(topologyOf(cluster), 'the conflict is counted', (each) =>
      checks(memberOf(each, 'db2')).includes('warning conflicts'),
    );
    assert.equal(member(view, 'db2').findings.find(({ check }) => check === 'conflicts')?.value, 1);
    await reader.end().catch(() => undefined);
  });

  it('says what a role without pg_monitor does not see, and takes nothing for healthy then', async (t) => {
    const cluster = await start(t, { standbys: 1 });
    if (cluster === undefined) return;
    await cluster.primary.ask('CREATE ROLE watcher LOGIN');
    await cluster.settled();
    const view = await topologyOf(cluster, { user: 'watcher' }).view(never);
    assert.equal(member(view, 'db1').role, 'primary');
    assert.equal(member(view, 'db2').health, 'unknown');
    assert.deepEqual(checks(member(view, 'db2')), ['warning privileges']);
    await cluster.primary.ask('GRANT pg_monitor TO watcher');
    await cluster.settled();
    const now = await topologyOf(cluster, { user: 'watcher' }).view(never);
    assert.equal(member(now, 'db2').health, 'healthy');
    assert.equal(member(now, 'db2').apply?.caughtUp, true);
  });

  it('refuses members that are one server, and logins that nobody takes', async (t) => {
    const cluster = await start(t, { standbys: 1 });
    if (cluster === undefined) return;
    const { socketDirectory: host, port } = cluster.primary;
    const twice = streaming.create(
      streaming.config.parse({ members: { a: { host, port }, b: { host, port } } }),
      realPlatform('/nonexistent'),
      () => Promise.reject(new Error('the test has no secrets')),
    );
    await assert.rejects(twice.view(never), /a and b are one and the same server/);
    await assert.rejects(
      topologyOf(cluster, { user: 'nobody_here' }).view(never),
      (cause) => codeOf(cause) === 'database-login',
    );
    await assert.rejects(
      topologyOf(cluster, { port: port + 1 }).view(never),
      (cause) => codeOf(cause) === 'cluster-unknown',
    );
  });

  it('does not wait for a person where another program fails over', async (t) => {
    const cluster = await start(t, { standbys: 1 });
    if (cluster === undefined) return;
    const client = await cluster.primary.connect();
    await client.query("SET application_name = 'Patroni heartbeat'");
    const view = await topologyOf(cluster).view(never);
    assert.equal(view.failover.automatic, true);
    assert.equal(view.failover.detectionMs, undefined);
    assert.ok(checks(view).includes('error failover'));
    await client.end();
  });
});
