import assert from 'node:assert/strict';
import { it } from 'node:test';
import { StillpointError } from '../model/errors.ts';
import type { Point } from '../model/point.ts';
import { among } from './select.ts';

/** Only what the choice looks at. */
function point(id: string, cutAt: string): Point {
  return { id, cutAt, workload: 'orders' } as Point;
}

const newestFirst = [
  point('c', '2026-01-03T12:00:00.700Z'),
  point('b', '2026-01-02T12:00:00.500Z'),
  point('a', '2026-01-01T12:00:00.300Z'),
];

function refusal(to: string, points: readonly Point[] = newestFirst): StillpointError {
  try {
    among('orders', points, to);
  } catch (error) {
    if (error instanceof StillpointError) return error;
    throw error;
  }
  assert.fail(`${to} was accepted`);
}

it('takes the newest point when nothing else is asked for', () => {
  assert.equal(among('orders', newestFirst, undefined).id, 'c');
  assert.equal(among('orders', newestFirst, 'latest').id, 'c');
});

it('takes a time to be as exact as it is written', () => {
  assert.equal(among('orders', newestFirst, '2026-01-02T12:00:00.500Z').id, 'b');
  assert.equal(among('orders', newestFirst, '2026-01-02T12:00:00Z').id, 'b');
  assert.equal(among('orders', newestFirst, '2026-01-02 12:00:00 +00:00').id, 'b');
  assert.equal(among('orders', newestFirst, '2026-01-02T12:00Z').id, 'b');
  assert.equal(refusal('2026-01-02T12:00:00.501Z').code, 'no-point');
});

it('names the points around a time that no point shows', () => {
  assert.deepEqual(refusal('2026-01-02T18:00:00Z').details, { before: 'b', after: 'c' });
  assert.deepEqual(refusal('2026-01-09T00:00:00Z').details, { before: 'c', after: null });
  const early = refusal('2025-01-01T00:00:00Z');
  assert.deepEqual(early.details, { before: null, after: 'a' });
  assert.match(early.hint ?? '', /stillpoint restore a/);
});

it('does not choose between two points of the same written time', () => {
  const twins = [point('y', '2026-01-01T12:00:00.900Z'), point('x', '2026-01-01T12:00:00.100Z')];
  assert.match(refusal('2026-01-01T12:00:00Z', twins).message, /2 points/);
});

it('tells positions, rubbish and an empty workload apart', () => {
  assert.equal(refusal('0/3004918').code, 'no-point');
  assert.equal(refusal('yesterday').code, 'usage');
  assert.equal(refusal('2026-13-45').code, 'usage');
  assert.match(refusal('latest', []).hint ?? '', /stillpoint backup orders/);
});
