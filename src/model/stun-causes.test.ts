import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { stunsOf, type StunEvent } from './stun-causes.ts';
import type { StunCause } from './stun.ts';

const begin = (atMs: number, cause: StunCause = 'creation', snapshot = 's'): StunEvent => ({
  kind: 'begin',
  of: 'snapshot',
  cause,
  snapshot,
  atMs,
});
const done = (atMs: number): StunEvent => ({ kind: 'end', of: 'snapshot', atMs });
const merging = (atMs: number): StunEvent => ({ kind: 'sign', of: 'consolidation', cause: 'consolidation', atMs });
const merged = (atMs: number): StunEvent => ({ kind: 'end', of: 'consolidation', atMs });
const stopped = (atMs: number, ms: number): StunEvent => ({
  kind: 'stun',
  said: 'stopped',
  us: ms * 1000,
  atMs,
  line: 1,
});
const stunned = (atMs: number, ms: number): StunEvent => ({
  kind: 'stun',
  said: 'stunned',
  us: ms * 1000,
  atMs,
  line: 2,
});

function causes(...events: readonly StunEvent[]): readonly string[] {
  return stunsOf([{ file: 'f', events }]).map(({ cause, snapshot }) =>
    snapshot === undefined ? cause : `${cause} ${snapshot}`,
  );
}

describe('stunsOf', () => {
  it('gives a stun to the work that was under way, whether its end stands before or after', () => {
    assert.deepEqual(causes(begin(0), stopped(500, 300), done(501)), ['creation s']);
    assert.deepEqual(causes(begin(0), done(450), stopped(500, 300)), ['creation s']);
  });

  it('gives no stun to work that was over', () => {
    assert.deepEqual(causes(begin(0), done(450), stopped(900, 300)), ['other']);
    assert.deepEqual(causes(merging(0), merged(10), stopped(900, 300), stopped(950, 940)), ['other', 'other']);
  });

  it('gives it to the helper within a consolidation, and the next one to the consolidation', () => {
    assert.deepEqual(
      causes(
        merging(0),
        begin(10, 'helper', 'h'),
        stopped(90, 50),
        done(91),
        merging(95),
        stopped(5000, 1000),
        merged(5001),
      ),
      ['helper h', 'consolidation'],
    );
  });

  it('forgets work whose end was lost, in time and with a new process', () => {
    const hour = 3_600_000;
    assert.deepEqual(causes(begin(0), stopped(hour + 900, 1)), ['other']);
    assert.deepEqual(causes(merging(0), stopped(hour + 900, 1)), ['consolidation']);
    assert.deepEqual(causes(merging(0), merging(20 * hour), stopped(40 * hour, 1)), ['consolidation']);
    assert.deepEqual(causes(merging(0), { kind: 'start', atMs: 5 }, stopped(900, 1)), ['other']);
  });

  it('takes a second beginning for the end of the first', () => {
    assert.deepEqual(
      causes(begin(0, 'creation', 'a'), begin(1000, 'creation-memory', 'b'), stopped(2000, 900), done(2001)),
      ['creation-memory b'],
    );
    assert.deepEqual(causes(done(5), stopped(900, 1)), ['other']);
  });

  it('counts once what is told in two words, with the longer figure', () => {
    const pair = (...events: readonly StunEvent[]): readonly number[] =>
      stunsOf([{ file: 'f', events }]).map(({ durationMs }) => durationMs);
    assert.deepEqual(pair(stopped(1000, 385), stunned(1029, 414)), [414]);
    assert.deepEqual(pair(stopped(1000, 385), stunned(1000, 384)), [385]);
    assert.deepEqual(pair(stopped(1000, 385), stunned(9000, 384)), [385, 384]);
    assert.deepEqual(pair(stunned(1000, 385), stunned(1001, 386)), [385, 386]);
  });

  it('counts once what stands in two copies of a file', () => {
    const events = [begin(0), stopped(500, 300), stunned(510, 310), done(511)];
    const twice = stunsOf([
      { file: 'vmware.log', events },
      { file: 'copy.log', events },
    ]);
    assert.deepEqual(twice, stunsOf([{ file: 'vmware.log', events }]));
  });

  it('finds the same however a log is split over files', () => {
    const step = fc.oneof(
      fc.constantFrom(begin, done, merging, merged).map((make) => (atMs: number) => [make(atMs)]),
      fc.tuple(fc.integer({ min: 1, max: 400 }), fc.boolean()).map(([ms, both]) => (atMs: number) => [
        stopped(atMs + ms, ms),
        ...(both ? [stunned(atMs + ms + 5, ms + 5)] : []),
      ]),
    );
    fc.assert(
      fc.property(fc.array(step), fc.array(fc.nat(60)), (steps, cuts) => {
        const events = steps.flatMap((make, index) => make(index * 1000));
        const ends = [...cuts.filter((cut) => cut < events.length).toSorted((a, b) => a - b), events.length];
        const parts = ends.map((end, index) => ({ file: 'f', events: events.slice(ends[index - 1] ?? 0, end) }));
        const whole = stunsOf([{ file: 'f', events }]);
        assert.deepEqual(stunsOf(parts), whole);
        assert.equal(whole.length, events.filter((event) => event.kind === 'stun' && event.said === 'stopped').length);
      }),
    );
  });
});
