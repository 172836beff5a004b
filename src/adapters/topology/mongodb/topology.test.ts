import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { ReplicaSet, type Seating, type SetOptions } from '../../../../test/doubles/mongodb/replica-set.ts';
import { realPlatform } from '../../../../test/doubles/platform.ts';
import { allWell, checks, member, viewWhen } from '../../../../test/doubles/topology-view.ts';
import { chooseMember } from '../../../model/choose-member.ts';
import type { ClusterView } from '../../../model/cluster.ts';
import { codeOf } from '../../../model/errors.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import { systemClock } from '../../../platform/clock.ts';
import type { Topology } from '../../../ports/topology.ts';
import { mongodb } from './topology.ts';

const never = new AbortController().signal;
const three = { db1: {}, db2: {}, db3: {} };

function topologyOf(set: ReplicaSet, names = set.members.map(({ seat }) => seat.name)): Topology {
  const members = Object.fromEntries(names.map((name) => [name, { host: 'localhost', port: set.port(name) }]));
  return mongodb.create(mongodb.config.parse({ members }), realPlatform('/nonexistent'), () =>
    Promise.reject(new Error('no password is needed')),
  );
}

async function start(
  t: TestContext,
  seats: Readonly<Record<string, Seating>> = three,
  options: SetOptions = {},
): Promise<ReplicaSet> {
  const set = await ReplicaSet.start(seats, options);
  t.after(() => set[Symbol.asyncDispose]());
  await viewWhen(topologyOf(set), 'all are well', allWell);
  return set;
}

const primaryOf = ({ members }: ClusterView): string | undefined =>
  members.find(({ role }) => role === 'primary')?.name;
const choiceOf = (view: ClusterView, maxLagMs = 10_000): string | undefined =>
  chooseMember({ view, policy: 'prefer-standby', maxLagMs, reachable: new Set(view.members.map(({ name }) => name)) })
    .member;

describe('a replica set, stand-in', () => {
  it('tells its election timeout, and lets no backup come near it', async (t) => {
    const set = await start(t, three, { timing: { electionTimeoutMs: 10_000, heartbeatMs: 200 } });
    const view = await topologyOf(set).view(never);
    assert.deepEqual([view.failover.automatic, view.failover.detectionMs], [true, 10_000]);
    assert.equal(choiceOf(view), 'db2');
    assert.equal(failoverMargin(view, 'db2', { stunMs: 4000, holdMs: 0 }).allowed, true);
    assert.equal(failoverMargin(view, 'db2', { stunMs: 5000, holdMs: 0 }).allowed, false);
  });

  it('shows a member that hangs as down within its limit, and elects past a primary that hangs', async (t) => {
    const set = await start(t);
    const topology = topologyOf(set);
    const { epoch } = await topology.view(never);
    set.hang('db3', true);
    const started = systemClock.monoMs();
    const hanging = await topology.view(never);
    assert.ok(systemClock.monoMs() - started < 15_000);
    assert.deepEqual([member(hanging, 'db3').health, hanging.epoch], ['down', epoch]);
    assert.equal(failoverMargin(hanging, 'db2', { stunMs: 10, holdMs: 0 }).allowed, false);
    set.hang('db3', false);
    await viewWhen(topology, 'all are well again', allWell);

    set.hang('db1', true);
    const elected = await viewWhen(topology, 'another one is primary', (view) =>
      ['db2', 'db3'].includes(primaryOf(view) ?? ''),
    );
    assert.notEqual(elected.epoch, epoch);
    assert.equal(member(elected, 'db1').health, 'down');
    set.hang('db1', false);
    const back = await viewWhen(topology, 'the old primary follows', allWell);
    assert.deepEqual([member(back, 'db1').role, back.epoch], ['replica', elected.epoch]);
  });

  it('does not believe a primary that was cut off from its voters, and shows its rollback', async (t) => {
    const set = await start(t, three, { timing: { electionTimeoutMs: 3000, heartbeatMs: 150 } });
    const topology = topologyOf(set);
    const before = await topology.view(never);
    set.part(['db1'], true);
    // Nobody else has it. While it is cut off it believes in itself for as long as the others take to elect.
    set.member('db1').append();
    const during: (string | undefined)[] = [];
    const elected = await viewWhen(topology, 'another one is primary', (view) => {
      during.push(primaryOf(view));
      return ['db2', 'db3'].includes(primaryOf(view) ?? '');
    });
    const doubted = during.findIndex((each) => each !== 'db1');
    assert.ok(!during.slice(doubted).includes('db1'), 'once it is not believed it stays so');
    assert.notEqual(elected.epoch, before.epoch);
    assert.notEqual(member(elected, 'db1').health, 'healthy');
    assert.equal(failoverMargin(elected, 'db2', { stunMs: 10, holdMs: 0 }).allowed, false);
    set.part(['db1'], false);
    const torn = await viewWhen(topology, 'db1 rolls back', (view) => member(view, 'db1').reported === 'ROLLBACK');
    assert.deepEqual([member(torn, 'db1').health, member(torn, 'db1').apply], ['trouble', undefined]);
    assert.notEqual(choiceOf(torn), 'db1');
    const back = await viewWhen(topology, 'all are well', allWell);
    assert.equal(back.epoch, elected.epoch);
  });

  it('knows no primary while only a minority answers', async (t) => {
    const set = await start(t);
    await Promise.all([set.kill('db2'), set.kill('db3')]);
    // Right away the old primary still believes in itself.
    await assert.rejects(
      topologyOf(set).view(never),
      (cause) => codeOf(cause) === 'cluster-unknown' && /1 of 3 voters/.test(String(cause)),
    );
    await assert.rejects(topologyOf(set, ['db1']).view(never), (cause) => codeOf(cause) === 'cluster-unknown');
    await set.kill('db1');
    await assert.rejects(
      topologyOf(set).view(never),
      (cause) => codeOf(cause) === 'cluster-unknown' && /ECONNREFUSED/.test(String(cause)),
    );
  });

  it('is asked without a member of the set, which the others vouch for', async (t) => {
    const set = await start(t);
    const view = await topologyOf(set, ['db1', 'db2']).view(never);
    const other = member(view, `localhost:${set.port('db3')}`);
    assert.deepEqual([other.role, other.health], ['replica', 'healthy']);
  });

  it('gives another epoch to the same primary in a new term', async (t) => {
    const set = await start(t);
    const topology = topologyOf(set);
    const before = await topology.view(never);
    set.stepUp('db2');
    await viewWhen(topology, 'db2 is primary', (view) => primaryOf(view) === 'db2' && allWell(view));
    set.stepUp('db1');
    const again = await viewWhen(
      topology,
      'db1 is primary again',
      (view) => primaryOf(view) === 'db1' && allWell(view),
    );
    assert.notEqual(again.epoch, before.epoch);
  });

  it('tells how old the data of a member are that lags, and takes it or not by that', async (t) => {
    const set = await start(t);
    const topology = topologyOf(set);
    for (const name of ['db2', 'db3']) set.member(name).lagging = true;
    await systemClock.sleep(1500);
    set.write();
    const view = await viewWhen(topology, 'db2 is behind', (each) => member(each, 'db2').apply?.caughtUp !== true);
    const { apply } = member(view, 'db2');
    assert.ok(apply?.ms !== undefined && apply.ms >= 1400, `${apply?.ms} ms`);
    assert.equal(apply.caughtUp, undefined);
    assert.equal(choiceOf(view, 60_000), 'db2');
    assert.equal(choiceOf(view, 1000), 'db1');
  });

  it('has arbiters, hidden, delayed and unelectable members, and takes a backup of the right one', async (t) => {
    const set = await start(t, {
      db1: {},
      db2: {},
      witness: { arbiter: true },
      old: { priority: 0, hidden: true, delaySecs: 3600, votes: 0 },
      spare: { priority: 0, hidden: true, votes: 0 },
    });
    const topology = topologyOf(set);
    const view = await topology.view(never);
    assert.deepEqual(
      view.members.map(({ name, role }) => [name, role]),
      [
        ['db1', 'primary'],
        ['db2', 'replica'],
        ['witness', 'arbiter'],
        ['old', 'async'],
        ['spare', 'async'],
      ],
    );
    assert.equal(member(view, 'old').apply?.caughtUp, false);
    assert.equal(choiceOf(view), 'db2');
    const asked = { view, policy: 'async', maxLagMs: 100_000_000, reachable: new Set(['old', 'spare']) } as const;
    assert.equal(chooseMember(asked).member, 'spare');
    await set.kill('witness');
    const lost = await topology.view(never);
    assert.deepEqual([member(lost, 'witness').health, lost.quorum.health], ['down', 'trouble']);
    assert.deepEqual(
      failoverMargin(lost, 'db2', { stunMs: 10, holdMs: 0 }).risks.map(({ code }) => code),
      ['quorum-lead', 'quorum-unwell'],
    );
  });

  it('takes no member that syncs from the start, recovers, or a primary that catches up', async (t) => {
    const set = await start(t);
    const topology = topologyOf(set);
    for (const [state, said] of [
      [5, 'STARTUP2'],
      [3, 'RECOVERING'],
    ] as const) {
      set.member('db2').kept = state;
      const view = await viewWhen(topology, `db2 is ${said}`, (each) => member(each, 'db2').reported === said);
      assert.deepEqual([member(view, 'db2').health, choiceOf(view)], ['trouble', 'db3']);
    }
    set.member('db2').kept = undefined;
    set.member('db2').state = 2;
    set.member('db1').catchingUp = true;
    const view = await topology.view(never);
    assert.deepEqual([primaryOf(view), member(view, 'db1').health], ['db1', 'trouble']);
    assert.deepEqual(checks(member(view, 'db1')), ['warning not-writable']);
  });

  it('of MongoDB 4.4 calls a delay by its old name, and one of 4.2 is not asked', async (t) => {
    const set = await start(t, { db1: {}, db2: {}, old: { priority: 0, delaySecs: 60 } }, { wireVersion: 9 });
    const view = await topologyOf(set).view(never);
    assert.match(member(view, 'old').reported, /delayed by 60 s/);
    const older = await ReplicaSet.start(three, { wireVersion: 8 });
    t.after(() => older[Symbol.asyncDispose]());
    await assert.rejects(
      topologyOf(older).view(never),
      (cause) => codeOf(cause) === 'cluster-unknown' && /requires at least 9 \(MongoDB 4\.4\)/.test(String(cause)),
    );
  });

  it('gives no lag of a member that rolls back while it is watched', async (t) => {
    const set = await start(t);
    set.member('db2').lagging = true;
    set.write();
    const asking = topologyOf(set).view(never);
    await systemClock.sleep(400);
    set.member('db2').kept = 9;
    const view = await asking;
    const { transfer, apply } = member(view, 'db2');
    assert.ok(transfer?.caughtUp !== true && apply?.caughtUp !== true);
    assert.notEqual(choiceOf(view, 0), 'db2');
  });

  it('has no other answer than a view or no view, whenever its primary dies', async (t) => {
    const set = await start(t, three, { timing: { electionTimeoutMs: 600, heartbeatMs: 60 } });
    const topology = topologyOf(set);
    for (const delayMs of [0, 3, 10, 30, 80]) {
      const before = await viewWhen(topology, 'all are well', allWell);
      const first = primaryOf(before);
      assert.ok(first !== undefined);
      const asking = topology.view(never).then(
        (view) => primaryOf(view) ?? 'nobody',
        (cause: unknown) => codeOf(cause),
      );
      await systemClock.sleep(delayMs);
      await set.kill(first);
      const seen = await asking;
      assert.ok(['cluster-unknown', 'nobody', 'db1', 'db2', 'db3'].includes(seen ?? ''), seen);
      const next = await viewWhen(
        topology,
        'another one is primary',
        (view) => ![undefined, first].includes(primaryOf(view)),
      );
      assert.notEqual(next.epoch, before.epoch);
      await set.revive(first);
    }
  });

  it('survives members that die at any moment of being asked', async (t) => {
    const set = await start(t);
    const topology = topologyOf(set);
    for (const delayMs of [0, 5, 20, 60]) {
      const asking = topology.view(never);
      await systemClock.sleep(delayMs);
      await set.kill('db3');
      const view = await asking;
      assert.equal(primaryOf(view), 'db1');
      await set.revive('db3');
      await viewWhen(topology, 'all are well', allWell);
    }
  });
});
