import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  arbiter,
  configOf,
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
import { codeOf } from '../../../model/errors.ts';

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

  it('counts no word about one that is not heard any longer', () => {
    const words = three.seats.map((each, index) => wordOf(each, states[index] ?? 2, { up: index !== 0 }));
    const past = [1, 2].map((id) => told(id, three, { states, status: { words } }));
    assert.deepEqual(roles(view(told(0, three, { states }), ...past)), ['unknown', 'replica', 'replica']);
  });

  it('is in trouble while it takes no writes', () => {
    const catching = told(0, three, { states, hello: { writable: false } });
    const seen = view(catching, told(1, three, { states }), told(2, three, { states }));
    assert.deepEqual([member(seen, 'db0').role, member(seen, 'db0').health], ['primary', 'trouble']);
    assert.deepEqual(checks(member(seen, 'db0')), ['warning not-writable']);
    assert.ok(risksOf(seen, 'db1').includes('others-unwell'));
  });
});
