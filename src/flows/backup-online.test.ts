import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Level, Point } from '../model/point.ts';
import { chooseLevel } from './backup-online.ts';

function point(id: string, level: Level, parent: string | null, more: Partial<Point> = {}): Point {
  return {
    id,
    workload: 'orders',
    method: 'online',
    level,
    parent,
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
    starts: [],
    marks: { a: id },
    bytes: { logical: 0, read: 0, changed: 0, stored: 0 },
    repositorySnapshot: `snapshot of ${id}`,
    drill: { at: null, rtoMs: null, outcome: 'none', findings: [] },
    ...more,
  };
}

/** Newest first, as the catalog gives them. */
const points = [
  point('e', 'incremental', 'd'),
  point('d', 'cumulative', 'b'),
  point('c', 'incremental', 'b'),
  point('b', 'full', null),
  point('a', 'full', null),
];

function choose(
  asked: Level | undefined,
  some: readonly Point[] = points,
  gone: readonly string[] = [],
): ReturnType<typeof chooseLevel> {
  const snapshots = new Set(some.filter((each) => !gone.includes(each.id)).map((each) => each.repositorySnapshot));
  return chooseLevel({ asked, identity: 'this', points: some, snapshots });
}

describe('choice of the level below', () => {
  it('is the last full for a cumulative, the last of any level for an incremental, none for a full', () => {
    assert.deepEqual([choose('incremental').level, choose('incremental').point?.id], ['incremental', 'e']);
    assert.deepEqual([choose('cumulative').level, choose('cumulative').point?.id], ['cumulative', 'b']);
    assert.deepEqual(choose('full'), { level: 'full', point: null });
    assert.deepEqual([choose(undefined).level, choose(undefined).point?.id], ['incremental', 'e']);
  });

  it('makes a full quietly when nothing was asked, and loudly when a level was', () => {
    assert.deepEqual(choose(undefined, []), { level: 'full', point: null });
    for (const asked of ['cumulative', 'incremental'] as const) {
      const { degraded, ...choice } = choose(asked, []);
      assert.deepEqual(choice, { level: 'full', point: null });
      assert.match(degraded ?? '', new RegExp(`${asked} was asked for and a full was made`));
    }
  });

  it('goes past a chain that lost one of its levels', () => {
    assert.equal(choose('incremental', points, ['d']).point?.id, 'c');
    assert.equal(choose('incremental', points, ['b']).point?.id, 'a');
    assert.equal(choose('cumulative', points, ['b']).point?.id, 'a');
    assert.notEqual(choose('incremental', points, ['a', 'b']).degraded, undefined);
  });

  it('takes only what the engine itself made of this data set, with its marks', () => {
    for (const more of [
      { identity: 'other' },
      { marks: null },
      { method: 'snapshot' as const },
      { method: 'concurrent' as const },
    ]) {
      const [top, ...rest] = points;
      assert.ok(top !== undefined);
      assert.equal(choose('incremental', [{ ...top, ...more }, ...rest]).point?.id, 'd');
    }
  });

  it('ends also where points lead in a circle', () => {
    const circle = [point('y', 'incremental', 'x'), point('x', 'incremental', 'y')];
    assert.deepEqual(choose(undefined, circle), { level: 'full', point: null });
    assert.deepEqual(choose(undefined, [point('z', 'incremental', 'z')]), { level: 'full', point: null });
  });

  it('never chooses what could not be restored', () => {
    const levels: readonly Level[] = ['full', 'cumulative', 'incremental'];
    const some = fc.array(
      fc.record({ level: fc.constantFrom(...levels), parent: fc.option(fc.nat(11)), there: fc.boolean() }),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(some, fc.constantFrom(undefined, 'cumulative' as const, 'incremental' as const), (made, asked) => {
        const all = made.map((each, index) =>
          point(String(index), each.level, each.level === 'full' || each.parent === null ? null : String(each.parent)),
        );
        const gone = all.filter((_each, index) => made[index]?.there === false).map((each) => each.id);
        const { point: below, level } = choose(asked, all, gone);
        // Followed step by step: a chain of n points ends after n steps at the latest.
        let at: Point | undefined = below ?? undefined;
        if (at === undefined) return assert.equal(level, 'full');
        for (let step = 0; at.level !== 'full'; step++) {
          assert.ok(step <= all.length, 'a circle');
          assert.ok(!gone.includes(at.id));
          const next = all.find((each) => each.id === at?.parent);
          assert.ok(next !== undefined, `${at.id} stands on nothing`);
          at = next;
        }
        assert.ok(!gone.includes(at.id));
        if (level === 'cumulative') assert.equal(below?.level, 'full');
      }),
    );
  });
});
