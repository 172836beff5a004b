import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { topologyContract } from '../../../../test/contract/topology.ts';
import {
  type PatroniCluster,
  type PatroniOptions,
  rest,
  startPatroni,
  whyNoPatroni,
} from '../../../../test/doubles/patroni/cluster.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { until } from '../../../../test/doubles/streaming-cluster.ts';
import { type ClusterMember, type ClusterView, memberOf } from '../../../model/cluster.ts';
import { codeOf, messageOf } from '../../../model/errors.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import { systemClock } from '../../../platform/clock.ts';
import { systemExec } from '../../../platform/exec.ts';
import { readSecret } from '../../../platform/secrets.ts';
import type { HoldOffToken, Topology } from '../../../ports/topology.ts';
import { patroni } from './topology.ts';

const never = new AbortController().signal;
const rows = "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 2000)";

function topologyOf(cluster: PatroniCluster, more: Readonly<Record<string, unknown>> = {}): Topology {
  const settings = {
    members: Object.fromEntries(cluster.members.map((each) => [each.name, each.rest])),
    dcs: { etcd: cluster.members.map(({ name, etcd }) => ({ url: etcd, on: name })) },
    ...more,
  };
  return patroni.create(patroni.config.parse(settings), realPlatform('/nonexistent'), async (source) =>
    readSecret(source, systemExec),
  );
}

function member(view: ClusterView, name: string): ClusterMember {
  const found = memberOf(view, name);
  assert.ok(found !== undefined, `${name} must be in the view`);
  return found;
}

function checks({ findings }: Pick<ClusterView, 'findings'>): readonly string[] {
  return findings.map(({ severity, check }) => `${severity} ${check}`);
}

async function viewWhen(topology: Topology, what: string, has: (view: ClusterView) => boolean): Promise<ClusterView> {
  let view: ClusterView | undefined;
  await until(
    what,
    async () => {
      try {
        view = await topology.view(never);
      } catch (cause) {
        // While Patroni changes who leads, two may say so.
        if (codeOf(cause) === 'cluster-unknown') return false;
        throw cause;
      }
      return has(view);
    },
    120_000,
  );
  assert.ok(view !== undefined);
  return view;
}

function allWell({ members }: ClusterView): boolean {
  return members.every(({ health, role }) => health === 'healthy' && role !== 'unknown');
}

async function tokenFor(topology: Topology, runId: string): Promise<HoldOffToken> {
  const token = topology.holdOffToken?.(runId, await topology.view(never));
  assert.ok(token !== undefined);
  return token;
}

/** Patroni of PATH, and others by the paths of their programs, parted by colons. */
const programs = [
  undefined,
  ...(process.env['STILLPOINT_TEST_PATRONI'] ?? '').split(':').filter((each) => each !== ''),
];

for (const program of programs) {
  topologyContract(`patroni${program === undefined ? '' : `, ${program}`}`, async () => {
    const why = await whyNoPatroni();
    if (why !== undefined) return { skip: why };
    const cluster = await startPatroni({ members: 3, ...(program === undefined ? {} : { program }) });
    const [first] = cluster.members;
    assert.ok(first !== undefined);
    await first.ask('CREATE TABLE filler (t text)');
    return {
      create: () => topologyOf(cluster),
      members: ['db1', 'db2', 'db3'],
      standby: 'db2',
      kill: async (name) => cluster.member(name).kill(),
      revive: async (name) => cluster.member(name).start(),
      async lag(name) {
        await cluster.member(name).ask('SELECT pg_wal_replay_pause()');
        await first.ask(rows);
        return {
          async [Symbol.asyncDispose]() {
            await cluster.member(name).ask('SELECT pg_wal_replay_resume()');
          },
        };
      },
      async failOver() {
        const { status } = await rest(`${first.rest}/switchover`, 'POST', { leader: 'db1', candidate: 'db3' });
        assert.equal(status, 200);
      },
      dispose: () => cluster[Symbol.asyncDispose](),
    };
  });
}

describe('a cluster under Patroni, for real', () => {
  let cluster: PatroniCluster | undefined;
  let why: string | undefined;
  before(async () => {
    why = await whyNoPatroni();
    if (why === undefined) cluster = await startPatroni({ members: 3, tags: { db3: { noloadbalance: true } } });
  });
  after(async () => cluster?.[Symbol.asyncDispose]());

  function test(what: string, run: (running: PatroniCluster) => Promise<void>): void {
    it(what, async (t) => {
      if (cluster === undefined) return t.skip(why);
      await run(cluster);
    });
  }

  test('tells paused replay from transfer', async (running) => {
    const topology = topologyOf(running);
    await running.member('db1').ask('CREATE TABLE filler (t text)');
    await running.member('db2').ask('SELECT pg_wal_replay_pause()');
    await running.member('db1').ask(rows);
    const view = await viewWhen(topology, 'all is received', (each) => memberOf(each, 'db2')?.transfer?.bytes === 0);
    const { transfer, apply } = member(view, 'db2');
    assert.equal(transfer?.caughtUp, true);
    assert.equal(apply?.caughtUp, false);
    assert.ok((apply?.bytes ?? 0) > 2_000_000, JSON.stringify(apply));
    assert.deepEqual(checks(member(view, 'db2')), ['warning replay']);
    assert.deepEqual(checks(member(view, 'db3')), ['info tags']);
    await running.member('db2').ask('SELECT pg_wal_replay_resume()');
    await viewWhen(topology, 'it is caught up', (each) => memberOf(each, 'db2')?.apply?.caughtUp === true);
  });

  test('refuses the machine whose etcd leads, and sees the lead move when that stands still', async (running) => {
    const topology = topologyOf(running);
    await running.moveEtcdLeader('db2');
    const view = await viewWhen(topology, 'all are well', allWell);
    assert.deepEqual(
      view.members.map(({ name, leadsQuorum }) => [name, leadsQuorum]),
      [
        ['db1', false],
        ['db2', true],
        ['db3', false],
      ],
    );
    assert.equal(view.quorum.health, 'healthy');
    const silence = { stunMs: 500, holdMs: 0 };
    assert.deepEqual(
      failoverMargin(view, 'db2', silence).risks.map(({ code }) => code),
      ['quorum-lead'],
    );
    assert.equal(failoverMargin(view, 'db3', silence).allowed, true);

    running.member('db2').freeze();
    try {
      const still = await viewWhen(topology, 'another etcd leads', ({ members }) =>
        members.some(({ name, leadsQuorum }) => name !== 'db2' && leadsQuorum === true),
      );
      assert.equal(still.quorum.health, 'trouble');
      assert.equal(member(still, 'db2').leadsQuorum, false);
      assert.equal(member(still, 'db2').health, 'down');
      assert.match(still.quorum.said, /2 of 3 agree/);
      const controller = new AbortController();
      const asking = topology.view(controller.signal);
      await systemClock.sleep(500);
      controller.abort(new Error('cancelled meanwhile'));
      const cancelledMs = systemClock.monoMs();
      await assert.rejects(asking, /cancelled meanwhile/);
      assert.ok(systemClock.monoMs() - cancelledMs < 2000);
    } finally {
      running.member('db2').thaw();
    }
    await viewWhen(topology, 'all are well again', allWell);
  });

  test('says that nobody knows who leads where nobody said where etcd runs', async (running) => {
    const view = await topologyOf(running, { dcs: undefined }).view(never);
    assert.equal(view.quorum.health, 'healthy');
    assert.ok(view.members.every(({ leadsQuorum }) => leadsQuorum === undefined));
    const { risks } = failoverMargin(view, 'db3', { stunMs: 500, holdMs: 0 });
    assert.deepEqual(
      risks.map(({ code }) => code),
      ['quorum-lead-unknown'],
    );
    const away = await topologyOf(running, { dcs: 'elsewhere' }).view(never);
    assert.ok(away.members.every(({ leadsQuorum }) => leadsQuorum === false));
    assert.equal(failoverMargin(away, 'db3', { stunMs: 500, holdMs: 0 }).allowed, true);
  });

  test('finds members that are not configured, by the list of the cluster', async (running) => {
    const { name, rest: url } = running.member('db2');
    const view = await viewWhen(topologyOf(running, { members: { [name]: url } }), 'all are well', allWell);
    assert.deepEqual(
      view.members.map((each) => each.name),
      ['db1', 'db2', 'db3'],
    );
    assert.equal(member(view, 'db1').role, 'primary');
  });

  test('does not take over a pause of somebody else, nor end it', async (running) => {
    const topology = topologyOf(running);
    const token = await tokenFor(topology, 'run');
    await rest(`${running.member('db1').rest}/config`, 'PATCH', { pause: true });
    const view = await viewWhen(topology, 'it is paused', ({ failover }) => failover.heldOff === true);
    assert.match(String(view.findings[0]?.said), /paused by somebody else/);
    await assert.rejects(
      async () => topology.holdOff?.(token, never),
      (cause) => codeOf(cause) === 'role-unsuitable',
    );
    await topology.letGo?.(token);
    assert.equal((await topology.view(never)).failover.heldOff, true);
    await rest(`${running.member('db1').rest}/config`, 'PATCH', { pause: null });
    await viewWhen(topology, 'it goes on', ({ failover }) => failover.heldOff === false);
  });

  test('holds nothing off while a member does not see it, and takes back what it began', async (running) => {
    const topology = topologyOf(running);
    const token = await tokenFor(topology, 'run');
    running.member('db3').freeze();
    try {
      await assert.rejects(
        async () => topology.holdOff?.(token, never),
        (cause) => codeOf(cause) === 'failover-risk' && /db3/.test(messageOf(cause)),
      );
    } finally {
      await topology.letGo?.(token);
      running.member('db3').thaw();
    }
    const view = await viewWhen(topology, 'all are well again', allWell);
    assert.equal(view.failover.heldOff, false);
    const { body } = await rest(`${running.member('db3').rest}/config`);
    assert.deepEqual(
      Object.keys(body as object).filter((key) => /pause|stillpoint/.test(key)),
      [],
    );
  });

  test('keeps the primary although it is silent for longer than its key lives', async (running) => {
    const topology = topologyOf(running);
    // A lead of etcd that moves is no matter of this test.
    await running.moveEtcdLeader('db2');
    const before_ = await viewWhen(topology, 'all are well', allWell);
    const token = await tokenFor(topology, 'run');
    await topology.holdOff?.(token, never);
    try {
      running.member('db1').freeze();
      const silent = await topology.view(never);
      assert.deepEqual([member(silent, 'db1').role, member(silent, 'db1').health], ['primary', 'down']);
      // ttl is 20 s: without the pause another one leads after 16 to 25 s.
      await systemClock.sleep(30_000);
      assert.deepEqual(
        (await topology.view(never)).members.filter(({ role }) => role === 'primary').map(({ name }) => name),
        [],
      );
    } finally {
      running.member('db1').thaw();
    }
    const after_ = await viewWhen(topology, 'all are well again', allWell);
    assert.equal(after_.epoch, before_.epoch);
    assert.equal(member(after_, 'db1').role, 'primary');
    await topology.letGo?.(token);
    assert.equal((await topology.view(never)).failover.heldOff, false);
    await viewWhen(topology, 'all are well under failover', allWell);
  });

  // The last one: it costs the cluster a member.
  test('sees nobody take over sooner than it says, and then the new one in a new epoch', async (running) => {
    const topology = topologyOf(running);
    await running.moveEtcdLeader('db2');
    const before_ = await viewWhen(topology, 'all are well', allWell);
    assert.equal(before_.failover.detectionMs, 16_000);
    const killedMs = systemClock.monoMs();
    await running.member('db1').kill();
    const view = await viewWhen(topology, 'another one is primary', ({ members }) =>
      members.some(({ name, role }) => role === 'primary' && name !== 'db1'),
    );
    assert.ok(systemClock.monoMs() - killedMs >= 16_000, 'the key of the dead one was still alive');
    assert.equal(view.epoch, before_.epoch.replace(/1$/, '2'));
    assert.equal(member(view, 'db1').health, 'down', 'the cluster forgets it, the configuration does not');
  });
});

describe('Patroni behind certificates and a password', () => {
  async function certificate(directory: string, name: string): Promise<{ certificate: string; key: string }> {
    const files = { certificate: join(directory, `${name}.crt`), key: join(directory, `${name}.key`) };
    await systemExec.check({
      argv: [
        ...(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'] as const),
        ...['-keyout', files.key, '-out', files.certificate, '-days', '2', '-subj', `/CN=${name}`],
        ...['-addext', 'subjectAltName=IP:127.0.0.1'],
      ],
      timeoutMs: 60_000,
    });
    // Of a server that runs as somebody else, for the length of a test.
    await chmod(files.key, 0o644);
    return files;
  }

  async function start(t: TestContext, options: PatroniOptions): Promise<PatroniCluster> {
    const cluster = await startPatroni(options);
    t.after(() => cluster[Symbol.asyncDispose]());
    return cluster;
  }

  it('is asked with both, and changes nothing for whoever lacks the password', async (t) => {
    const why =
      (await whyNoPatroni()) ?? ((await systemExec.which('openssl')) === undefined ? 'needs openssl' : undefined);
    if (why !== undefined) return t.skip(why);
    const directory = await mkdtemp(join(tmpdir(), 'sp-tls-'));
    t.after(async () => rm(directory, { recursive: true, force: true }));
    await chmod(directory, 0o755);
    const tls = await certificate(directory, 'patroni');
    const stranger = await certificate(directory, 'stranger');
    const password = join(directory, 'password');
    await writeFile(password, 'open sesame\n', { mode: 0o600 });
    const cluster = await start(t, {
      members: 2,
      tls,
      restapi: { authentication: { username: 'backup', password: 'open sesame' } },
    });
    const ours = { ca: tls.certificate, ...tls };
    const view = await viewWhen(topologyOf(cluster, { tls: ours }), 'all are well', allWell);
    assert.equal(view.members.length, 2);

    for (const wrong of [undefined, { ...ours, ca: stranger.certificate }, { ca: tls.certificate }]) {
      await assert.rejects(
        topologyOf(cluster, { tls: wrong }).view(never),
        (cause) => codeOf(cause) === 'cluster-unknown',
      );
    }
    const without = topologyOf(cluster, { tls: ours });
    const token = await tokenFor(without, 'run');
    await assert.rejects(
      async () => without.holdOff?.(token, never),
      (cause) => codeOf(cause) === 'database-login',
    );
    await assert.rejects(
      async () => without.letGo?.(token),
      (cause) => codeOf(cause) === 'undo-failed',
    );
    const allowed = topologyOf(cluster, { tls: ours, login: { user: 'backup', password: { file: password } } });
    await allowed.holdOff?.(token, never);
    assert.equal((await without.view(never)).failover.heldOff, true);
    await allowed.letGo?.(token);
    assert.equal((await without.view(never)).failover.heldOff, false);
  });
});
