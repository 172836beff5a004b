import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { marginOf } from './failover-margin.ts';
import { forecastStuns, longestStun, stunCauses, summarizeStuns, type Stun, type StunReport } from './stun.ts';

function report(stuns: readonly (readonly [Stun['cause'], number])[]): StunReport {
  return {
    machine: 'vmware.log',
    files: ['vmware.log'],
    fromMs: 0,
    toMs: 1,
    yearGuessed: false,
    torn: 0,
    stuns: stuns.map(([cause, durationMs], index) => ({
      atMs: index,
      durationMs,
      cause,
      file: 'vmware.log',
      line: index,
    })),
  };
}

describe('summarizeStuns', () => {
  it('counts by cause, and what is not below the margin', () => {
    const summary = summarizeStuns(
      [
        report([
          ['helper', 10],
          ['creation', 3749.999],
        ]),
        report([
          ['creation', 3750],
          ['creation', 100],
        ]),
      ],
      8000,
    );
    assert.deepEqual(summary, {
      marginMs: 3750,
      total: { count: 4, longestMs: 3750, p50Ms: 100, p99Ms: 3750, over: 1 },
      causes: [
        { cause: 'creation', count: 3, longestMs: 3750, p50Ms: 3749.999, p99Ms: 3750, over: 1 },
        { cause: 'helper', count: 1, longestMs: 10, p50Ms: 10, p99Ms: 10, over: 0 },
      ],
    });
  });

  it('has no figures where there is no stun', () => {
    assert.deepEqual(summarizeStuns([report([])], 8000), {
      marginMs: 3750,
      total: { count: 0, longestMs: undefined, p50Ms: undefined, p99Ms: undefined, over: 0 },
      causes: [],
    });
  });

  it('loses no stun between the causes, and never calls one safe that is not', () => {
    const stun = fc.tuple(fc.constantFrom(...stunCauses), fc.double({ min: 0, max: 1e6, noNaN: true }));
    fc.assert(
      fc.property(fc.array(fc.array(stun)), fc.integer({ min: 1, max: 300_000 }), (machines, qosMs) => {
        const { total, causes, marginMs } = summarizeStuns(machines.map(report), qosMs);
        assert.equal(
          causes.reduce((sum, { count }) => sum + count, 0),
          total.count,
        );
        assert.equal(
          causes.reduce((sum, { over }) => sum + over, 0),
          total.over,
        );
        assert.equal(marginMs, marginOf(qosMs));
        assert.equal(total.over > 0, (total.longestMs ?? -1) >= marginMs);
        for (const { p50Ms = 0, p99Ms = 0, longestMs = 0 } of causes) assert.ok(p50Ms <= p99Ms && p99Ms <= longestMs);
      }),
    );
  });
});

describe('longestStun', () => {
  it('tells making from removing, over all machines', () => {
    assert.deepEqual(
      longestStun([
        report([
          ['creation', 5],
          ['creation-memory', 70],
          ['consolidation', 30],
          ['other', 9000],
          ['migration', 900],
        ]),
        report([
          ['helper', 80],
          ['creation', 6],
        ]),
      ]),
      { creationMs: 70, removalMs: 80 },
    );
  });

  it('does not call unknown what is 0', () => {
    assert.deepEqual(longestStun([report([['other', 5]])]), { creationMs: undefined, removalMs: undefined });
  });
});

describe('forecastStuns', () => {
  const stuns = (cause: Stun['cause'], count: number, ms: number): readonly (readonly [Stun['cause'], number])[] =>
    Array.from({ length: count }, () => [cause, ms] as const);

  it('expects by what was seen of snapshots made and removed, over all machines, and by nothing else', () => {
    const reports = [
      report([...stuns('creation', 15, 100), ...stuns('consolidation', 30, 40), ['migration', 9000]]),
      { ...report([...stuns('creation-memory', 5, 200), ['helper', 80], ['other', 9000]]), torn: 2 },
    ];
    assert.deepEqual(forecastStuns(reports), {
      creation: { seen: 20, longestMs: 200, expectedMs: 250 },
      removal: { seen: 31, longestMs: 80, expectedMs: 100 },
      torn: 2,
    });
    assert.deepEqual(forecastStuns(reports, 150), {
      creation: { seen: 20, longestMs: 200, expectedMs: 250 },
      removal: { seen: 31, longestMs: 80, expectedMs: 150 },
      torn: 2,
    });
  });

  it('expects the bound where nothing was seen, and says nothing without one', () => {
    const none = { seen: 0, longestMs: undefined };
    const known = { ...none, expectedMs: 0 };
    assert.deepEqual(forecastStuns([], 0), { creation: known, removal: known, torn: 0 });
    const unknown = { ...none, expectedMs: undefined };
    assert.deepEqual(forecastStuns([]), { creation: unknown, removal: unknown, torn: 0 });
  });
});
