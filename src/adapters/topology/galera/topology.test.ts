import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { topologyContract } from '../../../../test/contract/topology.ts';
import { type GaleraCluster, startGalera, whyNoGalera } from '../../../../test/doubles/galera-cluster.ts';
import { until } from '../../../../test/doubles/mariadb-server.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { chooseMember } from '../../../model/choose-member.ts';
import { type ClusterMember, type ClusterView, memberOf } from '../../../model/cluster.ts';
import { codeOf } from '../../../model/errors.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import type { Topology } from '../../../ports/topology.ts';
import { galera } from './topology.ts';

const never = new AbortController().signal;
const rows = "INSERT INTO app.filler (t) SELECT REPEAT('x', 1000) FROM app.seq_1_to_100";

function topologyOf(
  cluster: GaleraCluster,
  place: Readonly<Record<string, unknown>> = {},
  more: Readonly<Record<string, unknown>> = {},
): Topology {
  const members = cluster.all.map(({ name, socket }) => [name, { host: socket, ...place }]);
  return galera.create(
    galera.config.parse({ members: Object.fromEntries(members), ...more }),
    realPlatform('/nonexistent'),
    () => Promise.resolve('watch-1'),
  );
}

function member(view: ClusterView, name: string): ClusterMember {
  const found = memberOf(view, name);
  assert.ok(found !== undefined, `${name} must be in the view`);
  return found;
}

function checks(each: Pick<ClusterView, 'findings'>): readonly string[] {
  return each.findings.map(({ severity, check }) => `${severity} ${check}`);
}

function configuration(view: ClusterView): number | undefined {
  return view.findings.find(({ check }) => check === 'configuration')?.value;
}

/** While members that were expelled have not noticed it, there is no view. */
async function viewWhen(topology: Topology, what: string, has: (view: ClusterView) => boolean): Promise<ClusterView> {
  let found: ClusterView | undefined;
  await until(what, async () => {
    try {
      const view = await topology.view(never);
      if (has(view)) found = view;
    } catch (cause) {
      if (codeOf(cause) !== 'cluster-unknown') throw cause;
    }
    return found !== undefined;
  });
  assert.ok(found !== undefined);
  return found;
}

const allWell = ({ members }: ClusterView): boolean => members.every(({ health }) => health === 'healthy');

/** Nothing is applied on it until it is disposed of. The server desynchronizes itself by that. */
async function lock(cluster: GaleraCluster, name: string): Promise<AsyncDisposable> {
  const session = await cluster.member(name).connect();
  await session.query('FLUSH TABLES WITH READ LOCK');
  return session;
}

topologyContract('galera', async () => {
  const why = await whyNoGalera();
  if (why !== undefined) return { skip: why };
  const cluster = await startGalera();
  return {
    create: () => topologyOf(cluster),
    members: ['db1', 'db2', 'db3'],
    standby: 'db2',
    kill: async (name) => cluster.member(name).kill(),
    revive: async (name) => cluster.revive(name),
    async lag(name) {
      const held = await lock(cluster, name);
      await cluster.member('db1').ask(rows);
      return held;
    },
    async failOver() {
      await cluster.member('db1').kill();
      await Promise.all(['db2', 'db3'].map(async (name) => cluster.sized(name, 2)));
    },
    dispose: () => cluster[Symbol.asyncDispose](),
  };
});

describe('a Galera cluster, for real', () => {
  async function start(t: TestContext): Promise<GaleraCluster | undefined> {
    const why = await whyNoGalera();
    if (why !== undefined) {
      t.skip(why);
      return undefined;
    }
    const cluster = await startGalera();
    t.after(() => cluster[Symbol.asyncDispose]());
    return cluster;
  }

  it('tells the time after which a silent member is expelled, and lets no backup come near it', async (t) => {
    const cluster = await start(t);
    if (cluster === undefined) return;
    const view = await topologyOf(cluster).view(never);
    assert.equal(view.name, 'trio');
    assert.deepEqual([view.failover.automatic, view.failover.detectionMs], [true, 4000]);
    assert.deepEqual([view.quorum.kind, view.quorum.health], ['votes', 'healthy']);
    const choice = chooseMember({
      ...{ view, policy: 'prefer-standby', maxLagMs: 1000 },
      reachable: new Set(['db1', 'db2', 'db3']),
    });
    assert.equal(choice.member, 'db2');
    assert.equal(failoverMargin(view, 'db2', { stunMs: 1500, holdMs: 0 }).allowed, true);
    assert.equal(failoverMargin(view, 'db2', { stunMs: 2500, holdMs: 0 }).allowed, false);
    // The application may write to another one.
    const other = await topologyOf(cluster, {}, { writers: ['db3', 'db1'] }).view(never);
    assert.deepEqual(
      other.members.map(({ role }) => role),
      ['backup', 'backup', 'primary'],
    );
    assert.notEqual(other.epoch, view.epoch);
  });

  it('shows that a member was expelled while it stood still, and believes no member that has not noticed', async (t) => {
    const cluster = await start(t);
    if (cluster === undefined) return;
    const topology = topologyOf(cluster);
    const before = await topology.view(never);
    cluster.member('db3').freeze();
    await Promise.all(['db1', 'db2'].map(async (name) => cluster.sized(name, 2)));
    const expelled = await topology.view(never);
    assert.equal(expelled.epoch, before.epoch, 'the writer is the same');
    assert.ok(Number(configuration(expelled)) > Number(configuration(before)));
    assert.deepEqual([member(expelled, 'db3').health, member(expelled, 'db3').role], ['down', 'unknown']);
    // Of two the loss of either stops both.
    assert.equal(expelled.quorum.health, 'trouble');
    assert.equal(member(expelled, 'db2').leadsQuorum, true);
    const { allowed, risks } = failoverMargin(expelled, 'db2', { stunMs: 100, holdMs: 0 });
    assert.equal(allowed, false);
    assert.ok(risks.some(({ code }) => code === 'quorum-lead'));

    // The trap: for a moment it calls itself a member of the majority, of the configuration that it was expelled from.
    cluster.member('db3').thaw();
    const back = await viewWhen(topology, 'it is inside again', (view) => member(view, 'db3').role === 'backup');
    assert.ok(Number(configuration(back)) > Number(configuration(expelled)), 'no view shows it inside before it is');
    await viewWhen(topology, 'all are well', allWell);
  });

  it('counts a member that is dead, and not expelled yet, as no vote', async (t) => {
    const cluster = await start(t);
    if (cluster === undefined) return;
    cluster.member('db3').freeze();
    const view = await topologyOf(cluster).view(never);
    assert.equal(view.quorum.health, 'trouble');
    assert.equal(failoverMargin(view, 'db2', { stunMs: 100, holdMs: 0 }).allowed, false);
    cluster.member('db3').thaw();
    await viewWhen(topologyOf(cluster), 'all are well', allWell);
  });

  it('knows a writer that came back for another term', async (t) => {
    const cluster = await start(t);
    if (cluster === undefined) return;
    const topology = topologyOf(cluster);
    const before = await topology.view(never);
    await cluster.member('db1').halt();
    const without = await viewWhen(topology, 'db2 is the writer', (view) => member(view, 'db2').role === 'primary');
    await cluster.revive('db1');
    const back = await viewWhen(topology, 'db1 is the writer', (view) => member(view, 'db1').role === 'primary');
    assert.equal(new Set([before.epoch, without.epoch, back.epoch]).size, 3);
    assert.equal((await viewWhen(topology, 'all are well', allWell)).epoch, back.epoch);
  });

  it('does not choose a member that is desynchronized, and keeps a writer that is', async (t) => {
    const cluster = await start(t);
    if (cluster === undefined) return;
    const topology = topologyOf(cluster);
    const { epoch } = await topology.view(never);
    await cluster.member('db2').ask('SET GLOBAL wsrep_desync = 1');
    const view = await viewWhen(topology, 'db2 is desynchronized', (each) => member(each, 'db2').health === 'trouble');
    assert.match(member(view, 'db2').reported, /Donor\/Desynced/);
    assert.deepEqual(checks(member(view, 'db2')), ['warning desync']);
    await cluster.member('db2').ask('SET GLOBAL wsrep_desync = 0');
    {
      await using _held = await lock(cluster, 'db1');
      const held = await viewWhen(
        topology,
        'db1 is desynchronized',
        (each) => member(each, 'db1').health === 'trouble',
      );
      assert.equal(member(held, 'db1').role, 'primary');
      assert.equal(held.epoch, epoch, 'a lock is no other term');
    }
    await viewWhen(topology, 'all are well', allWell);
  });

  it('knows no primary where the majority is gone', async (t) => {
    const cluster = await start(t);
    if (cluster === undefined) return;
    await Promise.all([cluster.member('db2').kill(), cluster.member('db3').kill()]);
    const view = await viewWhen(
      topologyOf(cluster),
      'db1 has stopped',
      (each) => member(each, 'db1').role === 'unknown',
    );
    assert.deepEqual(checks(view), ['error component']);
    assert.equal(view.quorum.health, 'down');
    assert.equal(view.members.filter(({ role }) => role === 'primary').length, 0);
    assert.deepEqual(checks(member(view, 'db1')), ['error component']);
    assert.match(member(view, 'db1').reported, /non-Primary/);
  });

  it('shows a member whose writes reach nobody, and one that clients may not write to', async (t) => {
    const cluster = await start(t);
    if (cluster === undefined) return;
    const topology = topologyOf(cluster);
    await cluster.member('db3').ask('SET GLOBAL wsrep_on = OFF');
    await cluster.member('db1').ask('SET GLOBAL read_only = 1');
    const view = await topology.view(never);
    assert.deepEqual(checks(member(view, 'db3')), ['error wsrep']);
    assert.equal(member(view, 'db3').health, 'trouble');
    assert.deepEqual([member(view, 'db1').role, member(view, 'db2').role], ['backup', 'primary']);
    await cluster.member('db3').ask('SET GLOBAL wsrep_on = ON');
  });

  it('needs no privilege, and refuses members that are one server', async (t) => {
    const cluster = await start(t);
    if (cluster === undefined) return;
    await cluster.member('db1').ask("CREATE USER watcher@'%' IDENTIFIED BY 'watch-1'");
    const asked = { user: 'watcher', password: { env: 'ANY' } };
    // The others apply it a moment later.
    await until('the user is known everywhere', async () => {
      const found = await Promise.all(
        cluster.all.map(async (server) => server.ask("SELECT 1 FROM mysql.global_priv WHERE User = 'watcher'")),
      );
      return found.every(({ length }) => length === 1);
    });
    assert.ok(allWell(await topologyOf(cluster, asked).view(never)));
    const [first] = cluster.all;
    await assert.rejects(
      topologyOf(cluster, { host: first?.socket }).view(never),
      (cause) => codeOf(cause) === 'cluster-unknown' && /db1 and db2 are one and the same server/.test(String(cause)),
    );
    await assert.rejects(
      topologyOf(cluster, { user: 'nobody_here' }).view(never),
      (cause) => codeOf(cause) === 'database-login',
    );
  });
});
