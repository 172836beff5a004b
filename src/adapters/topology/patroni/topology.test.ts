import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type PatroniCluster, rest, startPatroni, whyNoPatroni } from '../../../../test/doubles/patroni/cluster.ts';
import { holdReplay, tokenFor, topologyOf } from '../../../../test/doubles/patroni/scene.ts';
import { allWell, checks, member, viewWhen } from '../../../../test/doubles/topology-view.ts';
import { memberOf } from '../../../model/cluster.ts';
import { codeOf, messageOf } from '../../../model/errors.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import { systemClock } from '../../../platform/clock.ts';

const never = new AbortController().signal;

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

  test('tells replay that waits from transfer', async (running) => {
    const topology = topologyOf(running);
    await running.member('db1').ask('CREATE TABLE filler (t text)');
    {
      await using _held = await holdReplay(running, 'db2');
      const view = await viewWhen(topology, 'all is received', (each) => memberOf(each, 'db2')?.transfer?.bytes === 0);
      const { transfer, apply } = member(view, 'db2');
      assert.equal(transfer?.caughtUp, true);
      assert.equal(apply?.caughtUp, undefined);
      assert.ok((apply?.bytes ?? 0) > 2_000_000, JSON.stringify(apply));
      assert.ok((apply?.ms ?? 0) >= 1000, JSON.stringify(apply));
    }
    const view = await viewWhen(topology, 'it is caught up', (each) => memberOf(each, 'db2')?.apply?.caughtUp === true);
    assert.deepEqual(checks(member(view, 'db3')), ['info tags']);
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

  test('ends a pause whose change came true only after its sender was dead', async (running) => {
    const token = await tokenFor(topologyOf(running), 'killed');
    // Another instance knows nothing of what the dead one had sent.
    const letting = topologyOf(running).letGo?.(token);
    await systemClock.sleep(2000);
    const late = { pause: true, stillpoint_hold_off: token.identity };
    assert.equal((await rest(`${running.member('db2').rest}/config`, 'PATCH', late)).status, 200);
    await letting;
    assert.equal((await topologyOf(running).view(never)).failover.heldOff, false);
    const { body } = await rest(`${running.member('db2').rest}/config`, 'PATCH', { nothing: null });
    assert.equal((body as { pause?: unknown }).pause, undefined);
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
