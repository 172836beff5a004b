import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  arbiter,
  configOf,
  opTime,
  placesOf,
  refusal,
  refused,
  risksOf,
  roles,
  seat,
  states,
  three,
  told,
  view,
  wordOf,
} from '../../../../test/doubles/mongodb/seen.ts';
import { checks, member } from '../../../../test/doubles/topology-view.ts';
import { mongodb as simulated } from '../../../../test/simulation/mongodb.ts';
import { codeOf } from '../../../model/errors.ts';
import type { Seen } from './members.ts';
import type { Seat } from './parse.ts';
import { viewOf } from './view.ts';

/** All members of a set, of which the first one is primary, and nothing is wrong. */
function well(seats: readonly Seat[]): readonly Seen[] {
  const config = configOf(seats);
  const believed = seats.map((each, index) => (index === 0 ? 1 : each.arbiter ? 7 : 2));
  return seats.map(({ id, arbiter: is }) =>
    is ? arbiter(id, config, 'm0:27017') : told(id, config, { states: believed }),
  );
}

describe('a set that is well', () => {
  it('has a primary, replicas, a detection time and votes', () => {
    const seen = view(...well(three.seats));
    assert.deepEqual([seen.manager, seen.name, seen.epoch], ['mongodb', 'rs0', 'a1/1/0']);
    assert.deepEqual(roles(seen), ['primary', 'replica', 'replica']);
    assert.deepEqual([seen.quorum.kind, seen.quorum.health], ['votes', 'healthy']);
    assert.deepEqual(
      [seen.failover.automatic, seen.failover.detectionMs, seen.failover.heldOff],
      [true, 10_000, undefined],
    );
    assert.ok(
      seen.members.every(
        ({ health, leadsQuorum, findings }) => health === 'healthy' && leadsQuorum === false && findings.length === 0,
      ),
    );
    assert.deepEqual([seen.findings, risksOf(seen, 'db1'), risksOf(seen, 'db0')], [[], [], []]);
  });

  it('calls whoever cannot be elected async, and counts its vote all the same', () => {
    const seats = [
      seat(0),
      seat(1, { priority: 0, hidden: true }),
      seat(2, { priority: 0, votes: 0 }),
      seat(3, { priority: 0, delayMs: 3_600_000, hidden: true }),
    ];
    const seen = view(...well(seats));
    assert.deepEqual(roles(seen), ['primary', 'async', 'async', 'async']);
    assert.ok(seen.members.slice(1).every(({ mayTakeOver }) => !mayTakeOver));
    assert.equal(member(seen, 'db1').reported, 'SECONDARY, priority 0, hidden');
    assert.equal(member(seen, 'db2').reported, 'SECONDARY, priority 0, no vote');
    assert.deepEqual(checks(member(seen, 'db3')), ['info delay']);
    assert.deepEqual(member(seen, 'db3').apply, { ms: 3_600_000, caughtUp: false });
    // Without somebody to elect a primary that loses its majority still steps down.
    assert.equal(seen.failover.automatic, true);
    assert.match(seen.failover.said, /nobody else can be elected/);
  });

  it('has an arbiter, whose word of the primary is a vote', () => {
    const seats = [seat(0), seat(1), seat(2, { arbiter: true, priority: 0 })];
    const seen = view(...well(seats));
    assert.deepEqual(roles(seen), ['primary', 'replica', 'arbiter']);
    assert.equal(member(seen, 'db2').reported, 'ARBITER');
    // Of two with data both must have a write of the majority.
    const [finding] = member(seen, 'db1').findings;
    assert.deepEqual([finding?.severity, finding?.check, finding?.value], ['info', 'write-majority', 1]);
    assert.match(finding?.said ?? '', /2 voters with data must have them, and 1 would be left/);
    assert.deepEqual(risksOf(seen, 'db1'), []);
  });

  it('of one voter never fails over, and of two neither may be silent', () => {
    const alone = view(...well([seat(0)]));
    assert.deepEqual(
      [alone.failover.automatic, alone.quorum.health, member(alone, 'db0').leadsQuorum],
      [false, 'healthy', false],
    );
    const two = view(...well([seat(0), seat(1)]));
    assert.deepEqual(
      [two.quorum.health, risksOf(two, 'db1'), risksOf(two, 'db0')],
      ['healthy', ['quorum-lead'], ['quorum-lead']],
    );
    assert.match(two.quorum.said, /the silence of db0 or db1 takes the majority away/);
  });

  it('leaves less time where heartbeats are rare, and takes the shortest time that anybody has', () => {
    const rare = configOf(three.seats, { heartbeatMs: 8000 });
    const seen = view(told(0, rare, { states }), told(1, rare, { states }), told(2, three, { states }));
    assert.equal(seen.failover.detectionMs, 4000);
    const never = configOf(three.seats, { heartbeatMs: 11_000 });
    assert.equal(view(told(0, never, { states }), told(1, three, { states })).failover.detectionMs, 0);
  });

  it('says the detection time that the simulated sets act by', () => {
    for (const detectionMs of simulated.detectionsMs) {
      const timers = { electionTimeoutMs: detectionMs, heartbeatMs: simulated.heartbeatMs(detectionMs) };
      const config = configOf(three.seats, timers);
      const seen = view(...[0, 1, 2].map((id) => told(id, config, { states })));
      assert.deepEqual([seen.manager, seen.failover.detectionMs], [simulated.name, detectionMs]);
    }
  });

  it('may have members that are not asked, known by the word of the others', () => {
    const seen = viewOf([told(0, three, { states }), told(1, three, { states })], placesOf([refused(0), refused(1)]));
    const other = member(seen, 'm2:27017');
    assert.deepEqual(
      [other.role, other.health, other.reported],
      ['replica', 'healthy', 'SECONDARY by the word of the others'],
    );
    assert.equal(other.apply, undefined);
    assert.equal(seen.quorum.health, 'healthy');
    const lost = viewOf([told(0, three, { states: [1, 2, 8] }), told(1, three, { states: [1, 2, 8] })], placesOf([]));
    assert.deepEqual([member(lost, 'm2:27017').health, member(lost, 'm2:27017').role], ['down', 'unknown']);
    const torn = viewOf([told(0, three, { states: [1, 2, 9] }), told(1, three, { states: [1, 2, 9] })], placesOf([]));
    assert.deepEqual([member(torn, 'm2:27017').health, member(torn, 'm2:27017').role], ['trouble', 'replica']);
    const half = viewOf([told(0, three, { states: [1, 2, 2] }), told(1, three, { states: [1, 2, 8] })], placesOf([]));
    assert.equal(member(half, 'm2:27017').health, 'down', 'as many who do not hear it as who do');
    const unknown = configOf([...three.seats, seat(3, { votes: 0, priority: 0 })], { version: 2 });
    const silentOf = told(0, three, {
      states,
      status: { words: three.seats.map((each, index) => wordOf(each, states[index] ?? 2)) },
    });
    const fresh = viewOf([{ ...silentOf, config: unknown }, told(1, three, { states })], placesOf([]));
    assert.deepEqual(
      [member(fresh, 'm3:27017').health, member(fresh, 'm3:27017').reported],
      ['unknown', 'not asked, priority 0, no vote'],
    );
  });
});

describe('findings of a set', () => {
  it('tell of a majority that is behind, of a takeover to come, and of members that copy from others', () => {
    const config = configOf([seat(0), seat(1, { priority: 5 }), seat(2)]);
    const words = config.seats.map((each, index) =>
      wordOf(each, states[index] ?? 2, index === 2 ? { syncsFrom: 'm1:27017' } : {}),
    );
    const primary = told(0, config, { states, status: { committedAtMs: 985_000, applied: opTime(9), words } });
    const seen = view(primary, told(1, config, { states }), told(2, config, { states }));
    assert.deepEqual(checks(seen), ['warning majority-commit', 'warning priority-takeover']);
    assert.equal(seen.findings[0]?.value, 15_000);
    assert.deepEqual(checks(member(seen, 'db1')), ['info chained']);
    const mute = told(0, three, { states, status: { committedAtMs: undefined } });
    assert.match(view(mute, told(1, three, { states })).findings[0]?.said ?? '', /an unknown time behind/);
  });

  it('tell of names in the settings that are no members', () => {
    const stray = told(2, configOf([seat(0), seat(1)]), { states: [1, 2], status: { self: undefined } });
    const two = configOf([seat(0), seat(1)]);
    const seen = view(
      told(0, two, { states: [1, 2] }),
      told(1, two, { states: [1, 2] }),
      stray,
      refused(4),
      refused(5, 'login'),
    );
    assert.deepEqual(checks(seen), ['error stranger', 'error stranger', 'error stranger']);
    assert.deepEqual(
      ['db2', 'db4', 'db5'].map((name) => member(seen, name).health),
      ['trouble', 'down', 'unknown'],
    );
    const spy = { name: 'db3', hello: { ...stray.hello, me: 'elsewhere:1' } };
    assert.match(
      view(told(0, two, { states: [1, 2] }), told(1, two, { states: [1, 2] }), spy).findings[0]?.said ?? '',
      /it calls itself elsewhere:1/,
    );
  });

  it('refuse two names of one member, and a name that is another one’s address', () => {
    const twice = refusal(told(0, three, { states }), { ...told(0, three, { states }), name: 'db9' });
    assert.match(twice.message, /db0 and db9 are one and the same member, m0:27017/);
    const odd = viewOf([told(0, three, { states }), { ...told(1, three, { states }), name: 'm2:27017' }], {});
    assert.deepEqual(
      odd.members.map(({ name }) => name),
      ['db0', 'm2:27017', 'm2:27017 (of the set)'],
    );
  });

  it('find a member that does not answer by `as`, or by nothing', () => {
    const seen = [told(0, three, { states }), told(1, three, { states }), refused(7)];
    const named = viewOf(seen, { db7: { host: '10.0.0.3', port: 27_017, as: 'M2:27017' } });
    assert.deepEqual(
      named.members.map(({ name }) => name),
      ['db0', 'db1', 'db7'],
    );
    const lost = viewOf(seen, {});
    assert.deepEqual(
      lost.members.map(({ name }) => name),
      ['db0', 'db1', 'm2:27017', 'db7'],
    );
  });
});

describe('nobody with data', () => {
  it('is told apart: login, TLS, no set, silence, arbiters only', () => {
    assert.equal(codeOf(refusal(refused(0, 'login'), refused(1))), 'database-login');
    for (const [how, hint] of [
      ['tls', /tls\.ca/],
      ['misfit', /initiated replica set/],
      ['old', /4\.4/],
      ['silent', /servers run/],
    ] as const) {
      const said = refusal(refused(0, how), refused(1));
      assert.equal(codeOf(said), 'cluster-unknown');
      assert.match(said.hint ?? '', hint);
    }
    assert.match(refusal(arbiter(2, three, 'm0:27017')).message, /db2: an arbiter, which knows too little/);
  });
});

it('takes the newest configuration, and another epoch for a set that was initiated anew', () => {
  const newer = configOf([seat(0), seat(1), seat(2), seat(3)], { version: 2, identity: 'a1' });
  const seen = view(
    told(0, newer, { states: [1, 2, 2, 2] }),
    told(1, three, { states }),
    told(2, newer, { states: [1, 2, 2, 2] }),
  );
  assert.ok(seen.members.some(({ name }) => name === 'm3:27017'));
  const again = configOf(three.seats, { identity: 'b2' });
  assert.notEqual(
    view(told(0, again, { states }), told(1, again, { states })).epoch,
    view(told(0, three, { states }), told(1, three, { states })).epoch,
  );
});
