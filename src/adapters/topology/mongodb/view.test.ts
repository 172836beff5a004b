import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  arbiter,
  configOf,
  opTime,
  placesOf,
  refused,
  seat,
  told,
  wordOf,
} from '../../../../test/doubles/mongodb/seen.ts';
import { checks, member } from '../../../../test/doubles/topology-view.ts';
import type { ClusterView } from '../../../model/cluster.ts';
import { codeOf, StillpointError } from '../../../model/errors.ts';
import { failoverMargin } from '../../../model/failover-margin.ts';
import type { Refused, Seen } from './members.ts';
import type { Seat } from './parse.ts';
import { viewOf } from './view.ts';

const three = configOf([seat(0), seat(1), seat(2)]);
const states = [1, 2, 2];

function view(...seen: readonly Seen[]): ClusterView {
  return viewOf(seen, placesOf(seen));
}

/** All members of a set, of which the first one is primary, and nothing is wrong. */
function well(seats: readonly Seat[]): readonly Seen[] {
  const config = configOf(seats);
  const believed = seats.map((each, index) => (index === 0 ? 1 : each.arbiter ? 7 : 2));
  return seats.map(({ id, arbiter: is }) =>
    is ? arbiter(id, config, 'm0:27017') : told(id, config, { states: believed }),
  );
}

function refusal(...seen: readonly Seen[]): StillpointError {
  try {
    view(...seen);
  } catch (cause) {
    assert.ok(cause instanceof StillpointError);
    return cause;
  }
  throw new Error('there is a view');
}

const silent = { stunMs: 1000, holdMs: 0 };
const risksOf = (seen: ClusterView, name: string): readonly string[] =>
  failoverMargin(seen, name, silent).risks.map(({ code }) => code);
const roles = (seen: ClusterView): readonly string[] => seen.members.map(({ role }) => role);

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
    assert.deepEqual([finding?.check, finding?.value], ['write-majority', 1]);
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

describe('who is primary', () => {
  it('is not whoever says so, but whom a majority names in the newest term', () => {
    const cut = told(0, three, { states: [1, 8, 8], term: 4 });
    const seen = view(
      cut,
      told(1, three, { states: [8, 1, 2], term: 5 }),
      told(2, three, { states: [8, 1, 2], term: 5 }),
    );
    assert.deepEqual(roles(seen), ['unknown', 'primary', 'replica']);
    assert.equal(seen.epoch, 'a1/5/1');
    assert.equal(member(seen, 'db0').health, 'trouble');
    assert.deepEqual(checks(member(seen, 'db0')), ['error unheard', 'error stale-primary', 'error deaf']);
    assert.deepEqual(risksOf(seen, 'db2').toSorted(), ['others-unwell', 'quorum-lead', 'quorum-unwell']);
  });

  it('is nobody while an election goes on, also when the old one still says so', () => {
    const between = view(
      told(0, three, { states: [2, 2, 2], term: 5 }),
      told(1, three, { states: [2, 2, 2], term: 5 }),
      refused(2),
    );
    assert.deepEqual([roles(between), between.epoch], [['replica', 'replica', 'unknown'], 'a1/5/nobody']);
    assert.deepEqual(checks(between), ['error primary']);
    assert.ok(risksOf(between, 'db0').includes('no-primary'));
    // The others hear it, and know of a newer term already.
    const old = view(
      told(0, three, { states, term: 4 }),
      told(1, three, { states, term: 5 }),
      told(2, three, { states, term: 5 }),
    );
    assert.deepEqual(roles(old), ['unknown', 'replica', 'replica']);
    // A majority would still name it, but somebody was elected since.
    const just = view(
      told(0, three, { states, term: 4 }),
      told(1, three, { states, term: 4 }),
      told(2, three, { states: [1, 2, 1], term: 5 }),
    );
    assert.equal(just.members.filter(({ role }) => role === 'primary').length, 0);
  });

  it('cannot be told by a minority', () => {
    const said = refusal(told(0, three, { states: [1, 8, 8] }), refused(1), refused(2));
    assert.equal(codeOf(said), 'cluster-unknown');
    assert.match(said.message, /1 of 3 voters told who is primary, and it takes 2; db1: no answer; db2: no answer/);
    assert.match(said.hint ?? '', /servers run/);
    const few = refusal(told(0, three, { states }));
    assert.match(few.hint ?? '', /name the voters m1:27017, m2:27017/);
  });

  it('counts no word of an arbiter for another one, and no vote of whoever has none', () => {
    const seats = [seat(0), seat(1), seat(2, { arbiter: true, priority: 0 }), seat(3, { votes: 0, priority: 0 })];
    const config = configOf(seats);
    const seen = view(
      told(0, config, { states: [1, 8, 7, 2] }),
      refused(1),
      arbiter(2, config, 'm1:27017'),
      told(3, config, { states: [1, 8, 7, 2] }),
    );
    assert.equal(seen.members.filter(({ role }) => role === 'primary').length, 0);
    const agreed = view(told(0, config, { states: [1, 8, 7, 2] }), refused(1), arbiter(2, config, 'm0:27017'));
    assert.equal(member(agreed, 'db0').role, 'primary');
  });

  it('is in trouble while it takes no writes', () => {
    const catching = told(0, three, { states, hello: { writable: false } });
    const seen = view(catching, told(1, three, { states }), told(2, three, { states }));
    assert.deepEqual([member(seen, 'db0').role, member(seen, 'db0').health], ['primary', 'trouble']);
    assert.deepEqual(checks(member(seen, 'db0')), ['warning not-writable']);
    assert.ok(risksOf(seen, 'db1').includes('others-unwell'));
  });
});

describe('a member that is not well', () => {
  it('is not called healthy when the primary does not hear it, whatever it says itself', () => {
    const seen = view(told(0, three, { states: [1, 2, 8] }), told(1, three, { states }), told(2, three, { states }));
    assert.equal(member(seen, 'db2').health, 'trouble');
    assert.deepEqual(checks(member(seen, 'db2')), ['error unheard']);
    assert.equal(seen.quorum.health, 'trouble');
  });

  it('stays healthy when a minority does not hear it, with a warning', () => {
    const five = configOf([0, 1, 2, 3, 4].map((id) => seat(id)));
    const all = [1, 2, 2, 2, 2];
    const deaf = told(1, five, { states: [1, 2, 8, 2, 2] });
    const seen = view(...[0, 2, 3, 4].map((id) => told(id, five, { states: all })), deaf);
    assert.equal(member(seen, 'db2').health, 'healthy');
    assert.deepEqual(checks(member(seen, 'db2')), ['warning unheard']);
    const most = view(
      told(0, five, { states: all }),
      ...[1, 3].map((id) => told(id, five, { states: [1, 2, 8, 2, 2] })),
      told(2, five, { states: all }),
      told(4, five, { states: all }),
    );
    assert.equal(member(most, 'db2').health, 'trouble', 'two of four do not hear it');
  });

  it('does not hear the primary', () => {
    const seen = view(told(0, three, { states }), told(1, three, { states }), told(2, three, { states: [8, 2, 2] }));
    assert.equal(member(seen, 'db2').health, 'trouble');
    assert.ok(checks(member(seen, 'db2')).includes('error deaf'));
  });

  for (const [state, said] of [
    [3, 'RECOVERING'],
    [5, 'STARTUP2'],
    [9, 'ROLLBACK'],
  ] as const) {
    it(`is ${said}`, () => {
      const believed = [1, 2, state];
      const seen = view(...[0, 1, 2].map((id) => told(id, three, { states: believed })));
      const sick = member(seen, 'db2');
      assert.deepEqual([sick.role, sick.health, sick.reported, sick.apply], ['replica', 'trouble', said, undefined]);
      assert.equal(member(seen, 'db1').leadsQuorum, state === 5, 'a new member has no vote yet');
      assert.ok(risksOf(seen, 'db1').includes('others-unwell'));
    });
  }

  it('fell out of the oplog, builds no indexes, or does not answer', () => {
    const config = configOf([seat(0), seat(1), seat(2, { buildsIndexes: false, priority: 0 })]);
    const stale = told(1, config, { states, status: { tooStale: true } });
    const seen = view(told(0, config, { states }), stale, told(2, config, { states }));
    assert.deepEqual([member(seen, 'db1').health, checks(member(seen, 'db1'))], ['trouble', ['error too-stale']]);
    assert.ok(checks(member(seen, 'db2')).includes('warning indexes'));
    const cases: readonly (readonly [Refused['refused'], string, readonly string[]])[] = [
      ['silent', 'down', ['warning reach']],
      ['unwell', 'trouble', ['error unwell']],
      ['misfit', 'trouble', ['error misfit']],
      ['login', 'unknown', ['error login']],
      ['tls', 'unknown', ['error tls']],
      ['old', 'unknown', ['error old']],
    ];
    for (const [how, health, found] of cases) {
      const each = view(told(0, three, { states }), told(1, three, { states }), refused(2, how));
      const sick = member(each, 'db2');
      assert.deepEqual([sick.health, sick.role, sick.leadsQuorum, checks(sick)], [health, 'unknown', false, found]);
      assert.deepEqual(['trouble', true], [each.quorum.health, member(each, 'db1').leadsQuorum]);
    }
    const dead = view(told(0, three, { states: [1, 2, 8] }), told(1, three, { states: [1, 2, 8] }), refused(2));
    assert.deepEqual(checks(member(dead, 'db2')), []);
  });

  it('is a server of its own where an arbiter should be, or an arbiter with data', () => {
    const seats = [seat(0), seat(1), seat(2)];
    const config = configOf(seats);
    const odd = { name: 'db2', hello: { ...told(2, config, { states }).hello, arbiter: false } };
    const seen = view(told(0, config, { states }), told(1, config, { states }), odd);
    assert.deepEqual([member(seen, 'db2').health, member(seen, 'db2').reported], ['trouble', 'not understood']);
  });

  it('lags by a known time, by an unknown one, or on purpose', () => {
    const lagging = told(1, three, { states, told: { transfer: { ms: 3 }, apply: { ageMs: 1700 } } });
    const lost = told(2, three, { states, told: { transfer: {}, apply: {} } });
    const seen = view(told(0, three, { states }), lagging, lost);
    assert.deepEqual(
      [member(seen, 'db1').transfer, member(seen, 'db1').apply],
      [
        { ms: 3, caughtUp: true },
        { ms: 1700, caughtUp: undefined },
      ],
    );
    assert.deepEqual(
      [member(seen, 'db2').transfer, member(seen, 'db2').apply],
      [{ caughtUp: false }, { caughtUp: false }],
    );
    const late = configOf([seat(0), seat(1), seat(2, { priority: 0, delayMs: 60_000 })]);
    const delayed = told(2, late, { states, told: { transfer: { ms: 3 }, apply: { ageMs: 61_000 } } });
    const shown = member(view(told(0, late, { states }), told(1, late, { states }), delayed), 'db2');
    assert.deepEqual(
      [shown.transfer, shown.apply],
      [
        { ms: 60_000, caughtUp: false },
        { ms: 61_000, caughtUp: false },
      ],
    );
    const unmeasured = { ...told(1, three, { states }) };
    delete (unmeasured as { apply?: unknown }).apply;
    assert.equal(member(view(told(0, three, { states }), unmeasured, lost), 'db1').apply, undefined);
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
