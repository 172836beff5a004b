import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Level, Point } from '../model/point.ts';
import { chooseParent } from './predict.ts';

const nowMs = Date.parse('2026-01-02T00:00:00.000Z');

function point(id: string, level: Level, extra: Partial<Point> = {}): Point {
  return {
    id,
    workload: 'orders',
    method: 'snapshot',
    level,
    starts: [],
    marks: null,
    parent: null,
    verdict: 'application-consistent',
    reasons: [],
    cutAt: '2026-01-01T00:00:00.000Z',
    cutCalledAt: '2026-01-01T00:00:00.000Z',
    member: 'db1',
    role: 'primary',
    epoch: '1',
    identity: 'this',
    hold: null,
    volumes: [],
    journal: null,
    bytes: { logical: 0, read: 0, changed: 0, stored: 0 },
    repositorySnapshot: `snapshot of ${id}`,
    drill: { at: null, rtoMs: null, outcome: 'none', findings: [] },
    ...extra,
  };
}

/** Newest first, as the catalog gives them. */
const points = [point('c', 'incremental'), point('b', 'incremental'), point('a', 'full')];

function choose(
  asked: Level | undefined,
  some: readonly Point[] = points,
  gone: readonly string[] = [],
): ReturnType<typeof chooseParent> {
  const snapshots = new Set(some.filter((each) => !gone.includes(each.id)).map((each) => each.repositorySnapshot));
  return chooseParent({ asked, identity: 'this', points: some, snapshots, nowMs });
}

describe('choice of the parent', () => {
  it('takes the newest point for an incremental, the newest full for a cumulative, none for a full', () => {
    assert.equal(choose('incremental').point?.id, 'c');
    assert.equal(choose('cumulative').point?.id, 'a');
    assert.equal(choose('full').point, null);
    assert.equal(choose(undefined).level, 'incremental');
  });

  it('makes a full quietly when nothing was asked, and loudly when an incremental was', () => {
    assert.deepEqual(choose(undefined, []), { level: 'full', point: null });
    assert.match(choose('incremental', []).degraded ?? '', /no earlier point/);
  });

  it('never takes a point of another data set, or one that the repository lost', () => {
    const other = points.map((each) => ({ ...each, identity: 'another' }));
    assert.match(choose('incremental', other).degraded ?? '', /of this data set/);
    assert.equal(choose('incremental', points, ['c']).point?.id, 'b');
    assert.match(choose('cumulative', points, ['a']).degraded ?? '', /still in the repository/);
  });

  it('refuses when the clock stands before the newest point', () => {
    const future = [point('z', 'full', { cutAt: '2026-01-02T00:00:00.001Z' })];
    assert.throws(() => choose('full', future), { code: 'clock-jumped' });
  });
});
