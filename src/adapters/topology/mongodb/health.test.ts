import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { configOf, refused, risksOf, seat, states, three, told, view } from '../../../../test/doubles/mongodb/seen.ts';
import { checks, member } from '../../../../test/doubles/topology-view.ts';
import type { Refused } from './members.ts';

describe('a member that is not well', () => {
  it('is not called healthy when the primary does not hear it, whatever it says itself', () => {
    const seen = view(told(0, three, { states: [1, 2, 8] }), told(1, three, { states }), told(2, three, { states }));
    assert.equal(member(seen, 'db2').health, 'trouble');
    assert.deepEqual(checks(member(seen, 'db2')), ['error unheard']);
    assert.equal(seen.quorum.health, 'trouble');
    // Of three that must have a write two are left: neither of them may be silent without a wait.
    assert.ok(checks(member(seen, 'db1')).includes('warning write-majority'));
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

  it('is none that takes writes beside the primary, by whatever state', () => {
    const odd = told(2, three, { states, hello: { writable: true } });
    const seen = view(told(0, three, { states }), told(1, three, { states }), odd);
    assert.deepEqual([member(seen, 'db2').role, member(seen, 'db2').health], ['unknown', 'trouble']);
    assert.ok(checks(member(seen, 'db2')).includes('error stale-primary'));
  });

  it('is not asked, and the primary knows it best', () => {
    const seen = view(told(1, three, { states }), told(0, three, { states: [1, 2, 3] }));
    assert.deepEqual([member(seen, 'm2:27017').health, seen.quorum.health], ['trouble', 'trouble']);
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
