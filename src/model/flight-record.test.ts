import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Evidence } from './evidence.ts';
import { commandSpans, coveredMs, cutAt, cutCalledAt, summarizeHold } from './flight-record.ts';
import type { Moment } from './time.ts';
import type { PartEvidence } from './together.ts';

function at(monoMs: number): Moment {
  return { monoMs, wall: `wall ${monoMs}` };
}

function evidence(): Evidence {
  const seen = { member: 'db1', role: 'primary' as const, epoch: '1' };
  return {
    schema: 'stillpoint.evidence/1',
    runId: 'r',
    workload: 'orders',
    engine: { name: 'sqlite', version: '3', facts: {} },
    bootId: 'b',
    required: [],
    volumes: [],
    members: [{ when: 'chosen', seen }],
    hold: {
      kind: 'writes-stopped',
      token: { runId: 'r', workload: 'orders', engine: 'sqlite', identity: 'x' },
      budgetMs: 5000,
      freezeCalled: at(90),
      frozen: {
        frozen: true,
        said: '',
        at: at(100),
        spans: [{ party: 'engine', what: 'freeze', startMs: 92, endMs: 99 }],
      },
      askedBeforeThaw: {
        frozen: true,
        said: '',
        at: at(160),
        spans: [{ party: 'engine', what: 'ask', startMs: 155, endMs: 159 }],
      },
      thawed: {
        proved: true,
        heldThroughout: true,
        said: '',
        at: at(180),
        by: 'word',
        spans: [{ party: 'engine', what: 'thaw', startMs: 170, endMs: 179 }],
      },
      journalCollected: [],
    },
    cut: {
      atomicity: 'sequential',
      how: '',
      cuts: [150, 140].map((ms, index) => ({
        volume: `v${index}`,
        snapshot: { provider: 'p', volume: `v${index}`, label: 'l', at: '/s' },
        called: at(105),
        fixed: at(ms),
      })),
      spans: [
        { party: 'provider', what: 'cut v0', startMs: 110, endMs: 150 },
        { party: 'provider', what: 'cut v1', startMs: 110, endMs: 140 },
      ],
    },
    leftOut: [],
    events: [],
  };
}

describe('flight record', () => {
  it('takes the commands of engine and provider out of the hold, parallel ones once', () => {
    const hold = summarizeHold(evidence());
    assert.equal(hold?.heldMs, 80);
    assert.equal(hold?.overheadMs, 80 - 40 - 4 - 9);
    assert.equal(hold?.heldThroughout, true);
    assert.equal(hold?.frozenAt, 'wall 100');
  });

  it('takes the earliest fixed volume as the time of the point', () => {
    assert.equal(cutAt(evidence()), 'wall 140');
    assert.equal(cutCalledAt(evidence()), 'wall 105');
    const none = evidence();
    assert.equal(cutAt({ ...none, cut: { ...none.cut, cuts: [] } }), '');
    assert.equal(cutCalledAt({ ...none, cut: { ...none.cut, cuts: [] } }), '');
  });

  it('has no hold to summarize where there was none', () => {
    const without = { ...evidence(), hold: null };
    assert.equal(summarizeHold(without), null);
    assert.equal(commandSpans(without).length, 2);
  });

  it("takes the end of the engine's own backup as the time of the point: it does not say which moment it shows", () => {
    const none = evidence();
    const own: Evidence = {
      ...none,
      hold: null,
      cut: { ...none.cut, cuts: [], spans: [] },
      online: {
        asked: 'full',
        made: 'full',
        from: {},
        to: { a: '1' },
        onTopOf: null,
        dirty: false,
        finished: true,
        said: 'done',
        began: at(10),
        ended: at(70),
        streams: [],
        spans: [{ party: 'engine', what: 'BACKUP', startMs: 10, endMs: 70 }],
      },
    };
    assert.equal(cutAt(own), 'wall 70');
    assert.equal(cutCalledAt(own), 'wall 10');
    assert.deepEqual(
      commandSpans(own).map((span) => span.what),
      ['BACKUP'],
    );
    assert.equal(summarizeHold(own), null);
  });

  it('counts what was never asked as nothing', () => {
    const { askedBeforeThaw: _none, ...hold } = evidence().hold ?? assert.fail();
    assert.equal(commandSpans({ ...evidence(), hold }).length, 4);
  });

  it('covers no more than the interval and no less than its longest part', () => {
    const spans = fc.array(
      fc
        .tuple(fc.integer({ min: -50, max: 150 }), fc.nat(60))
        .map(([start, length]) => ({ start, end: start + length })),
    );
    fc.assert(
      fc.property(spans, (list) => {
        const within = { start: 0, end: 100 };
        const covered = coveredMs(list, within);
        // Counted second by second: an independent way to the same figure.
        let counted = 0;
        for (let ms = 0; ms < 100; ms++) if (list.some((span) => span.start <= ms && span.end >= ms + 1)) counted++;
        assert.equal(covered, counted);
      }),
    );
  });
});

describe('a group of parts', () => {
  const part = (name: string, thawed: number, busyMs: number | null): PartEvidence => ({
    name,
    host: name,
    bootId: 'b',
    workload: 'orders',
    heard: { thawed: at(thawed) },
    hold:
      busyMs === null
        ? null
        : {
            stopsWriters: true,
            budgetMs: 5000,
            toldToFreeze: at(9000),
            frozen: at(9010),
            toldToCut: at(9020),
            cutCalled: at(9020),
            cutFixed: at(9100),
            thawed: at(9100),
            heldThroughout: true,
            endedBy: 'word',
            spans: [{ party: 'provider', what: 'cut', startMs: 9020, endMs: 9020 + busyMs }],
          },
    point: null,
  });
  const group = (parts: readonly PartEvidence[]): Evidence => ({
    ...evidence(),
    hold: null,
    cut: { atomicity: 'sequential', how: '', cuts: [], spans: [] },
    together: { budgetMs: 4000, skewMs: null, saidFreeze: at(100), saidCut: at(130), parts },
  });

  it('is held from the word until the last is heard to be thawed, less its slowest part', () => {
    const made = group([part('a', 200, 40), part('b', 220, 70)]);
    assert.deepEqual(summarizeHold(made), {
      frozenAt: 'wall 100',
      cutAt: 'wall 130',
      thawedAt: 'wall 220',
      heldMs: 120,
      overheadMs: 50,
      budgetMs: 4000,
      heldThroughout: true,
    });
    assert.equal(cutAt(made), 'wall 130');
    assert.equal(cutCalledAt(made), 'wall 130');
  });

  it('counts a part without a hold as not held, and knows nothing of parts that were never thawed', () => {
    const summary = summarizeHold(group([part('a', 200, 40), part('b', 210, null)]));
    assert.equal(summary?.heldThroughout, false);
    assert.equal(summary?.overheadMs, 70);
    assert.equal(summarizeHold(group([{ ...part('a', 1, 1), heard: {} }])), null);
  });
});
