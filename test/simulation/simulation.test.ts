import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { failoverMargin } from '../../src/model/failover-margin.ts';
import { play } from './backup.ts';
import type { Kind, Scenario } from './cluster.ts';
import { irisMirror } from './iris-mirror.ts';
import { kinds } from './kinds.ts';
import { patroni } from './patroni.ts';
import { planOf, predictions, profiles, type Plan } from './plan.ts';
import { Random } from './random.ts';
import { networkOf, soonest, stunOnly } from './soonest.ts';
import { rowOf, type Row } from './table.ts';
import { Machine, World } from './world.ts';

const full = process.env['STILLPOINT_TEST_FULL'] === '1';
const runs = full ? 1000 : 60;

const sum = (rows: readonly Row[], figure: (row: Row) => number): number =>
  rows.reduce((total, row) => total + figure(row), 0);

describe('simulated clusters', () => {
  const all: Row[] = [];

  for (const kind of kinds)
    it(`${kind.name}: no allowed backup changes a role, and whatever is unsafe is refused (${runs} runs a profile)`, () => {
      const rows = profiles.map((profile) => rowOf(kind, profile, runs));
      all.push(...rows);
      const suspects = rows.flatMap((row) => row.suspects).filter(({ why }) => !why.startsWith('refused'));
      assert.deepEqual(suspects, []);
      for (const row of rows) {
        assert.equal(row.roleChanges, 0);
        assert.equal(row.unsafeRefused, row.unsafe);
        assert.equal(row.allowed + row.refused, runs);
      }
      assert.ok(sum(rows, (row) => row.unsafe) > 0 && sum(rows, (row) => row.allowed) > 0);
      // Else the clusters would bear anything, and the figures above would say nothing.
      assert.ok(sum(rows, (row) => row.prevented) > 0, 'no refusal prevented anything');
    });

  it('refuses at most 2 % of what is safe', (t) => {
    if (all.length === 0) return t.skip('needs the rows of the tests above, which a filter left out');
    const [refused, safe] = [sum(all, (row) => row.falseRefusals), sum(all, (row) => row.safe)];
    assert.ok(safe > all.length * 3);
    assert.ok(refused <= safe * 0.02, `${refused} of ${safe}`);
  });

  it('changes roles when the last stun is taken for the next one', () => {
    const naive = predictions[0]?.predict;
    const consolidation = profiles.find(({ name }) => name === 'consolidation');
    assert.ok(consolidation !== undefined);
    const rows = kinds.map((kind) => rowOf(kind, consolidation, full ? 1000 : 300, naive));
    assert.ok(sum(rows, (row) => row.roleChanges) > 0);
  });

  it('does the same again for the same seed', () => {
    for (const kind of kinds)
      for (const profile of profiles.slice(2, 4)) assert.deepEqual(rowOf(kind, profile, 10), rowOf(kind, profile, 10));
  });

  for (const kind of kinds)
    it(`${kind.name}: the soonest role change of a stunned machine is beyond the margin`, () => {
      for (const detectionMs of new Set(kind.detectionsMs)) {
        const world = new World('margin');
        const { marginMs = Infinity } = failoverMargin(
          kind.build(world, networkOf(world, 'margin'), scenarioOf(kind, { detectionMs })).view(),
          'any',
          { stunMs: 1, holdMs: 0 },
        );
        const { primaryMs, standbyMs, givenUpMs } = soonest(kind, detectionMs, full ? 6000 : 300);
        assert.ok(marginMs < Math.min(primaryMs, standbyMs, givenUpMs), `${detectionMs}: ${marginMs}`);
        assert.ok(primaryMs < detectionMs * 1.2, 'no stun changed anything');
      }
    });
});

function scenarioOf(kind: Kind, more: Partial<Scenario>): Scenario {
  return {
    kind: kind.name,
    detectionMs: kind.detectionsMs[0],
    busy: false,
    variant: 1,
    heldOff: false,
    fault: undefined,
    ...more,
  };
}

describe('what was seen on real clusters is seen here', () => {
  /** How many of 300 clusters changed roles. */
  const changes = (kind: Kind, scenario: Scenario, member: string, stunMs: number): number =>
    Array.from({ length: 300 }, (_, index) => stunOnly(kind, scenario, `real/${index}`, member, stunMs)).filter(
      (became) => became === 'roles',
    ).length;

  it('an idle mirror with a QoS of 8 s fails over by a stun of 7 s, now and then, and never by one of 3.7 s', () => {
    const arbiter = scenarioOf(irisMirror, { variant: 1 });
    const seven = changes(irisMirror, arbiter, 'MIRRORA', 7000);
    assert.ok(seven > 0 && seven < 300, String(seven));
    assert.equal(changes(irisMirror, arbiter, 'MIRRORA', 3700), 0);
    assert.equal(changes(irisMirror, arbiter, 'MIRRORA', 9000), 300);
  });

  it('a mirror without an arbiter does not fail over while the whole machine of the primary stands still', () => {
    assert.equal(changes(irisMirror, scenarioOf(irisMirror, { variant: 0 }), 'MIRRORA', 60_000), 0);
  });

  it('a failover that is held off does not begin', () => {
    assert.equal(changes(irisMirror, scenarioOf(irisMirror, { heldOff: true }), 'MIRRORA', 60_000), 0);
  });

  it('a stunned replica that leads etcd demotes the primary of Patroni, now and then', () => {
    const plan: Plan = {
      ...planWith(patroni, { fault: 'quorum-lead', variant: 2 }),
      stunMs: 4000,
      prepareMs: 1000,
    };
    const said = Array.from({ length: 300 }, (_, index) => play(patroni, plan, `etcd/${index}`, 'force'));
    const demoted = said.filter(({ roleChanges }) => roleChanges.some((each) => each.includes('not a primary lessor')));
    assert.ok(demoted.length > 0 && demoted.length < 300, String(demoted.length));
    assert.ok(said.every(({ refusedBy }) => refusedBy?.includes('quorum-lead')));
  });

  it('a held Galera node stops the writers of the whole cluster, and stays in it', () => {
    const [, , galera] = kinds;
    assert.ok(galera !== undefined);
    const plan = { ...planWith(galera, { busy: true }), holdMs: 4000, holdCounts: true };
    const played = play(galera, plan, 'flow-control', 'force');
    assert.ok(played.stalledMs > 100, String(played.stalledMs));
    assert.deepEqual(played.roleChanges, []);
  });

  function planWith(kind: Kind, more: Partial<Scenario>): Plan {
    const small = profiles[1];
    assert.ok(small !== undefined);
    return { ...planOf(kind, small, 'fixed'), policy: 'standby', only: 'first', scenario: scenarioOf(kind, more) };
  }
});

describe('the world', () => {
  it('does things in the order of their times, and of their calls within one time', () => {
    const world = new World('order');
    const seen: string[] = [];
    for (const [time, name] of [
      [5, 'c'],
      [1, 'a'],
      [5, 'd'],
      [3, 'b'],
    ] as const)
      world.at(time, () => seen.push(`${name}${world.now}`));
    world.runUntil(4);
    assert.deepEqual([seen.join(' '), world.now], ['a1 b3', 4]);
    world.runUntil(9);
    assert.equal(seen.join(' '), 'a1 b3 c5 d5');
  });

  it('lets a stunned machine do nothing until it goes on, and then all of it', () => {
    for (let seed = 0; seed < 20; seed++) {
      const world = new World(`stun/${seed}`);
      const machine = new Machine(world, 'm');
      const seen: string[] = [];
      machine.after(10, () => seen.push(`timer ${Math.round(world.now)}`));
      machine.stun(50);
      world.at(20, () => machine.receive(() => seen.push(`packet ${Math.round(world.now)}`)));
      world.runUntil(49);
      assert.deepEqual(seen, []);
      assert.equal(machine.answers, false);
      world.runUntil(200);
      // A clock that stood still owes the timer the rest of its wait.
      const timer = machine.clockStops ? 'timer 60' : 'timer 50';
      assert.deepEqual(new Set(seen), new Set(['packet 50', timer]));
      assert.equal(seen.length, 2);
      if (!machine.clockStops) assert.equal(seen[0], machine.timersFirst ? timer : 'packet 50');
    }
  });

  it('says nothing any more to a machine that is down', () => {
    const world = new World('down');
    const machine = new Machine(world, 'm');
    machine.after(10, () => assert.fail('a timer of a dead machine'));
    machine.crash();
    machine.receive(() => assert.fail('a packet to a dead machine'));
    machine.stun(5);
    world.runUntil(100);
    assert.equal(machine.answers, false);
  });

  it('draws the same numbers for the same seed, and others for another', () => {
    const draw = (seed: string): readonly number[] => {
      const random = new Random(seed);
      return Array.from({ length: 100 }, () => random.next());
    };
    assert.deepEqual(draw('a'), draw('a'));
    assert.notDeepEqual(draw('a'), draw('b'));
    const mean = draw('mean').reduce((total, each) => total + each, 0) / 100;
    assert.ok(mean > 0.35 && mean < 0.65);
  });
});
