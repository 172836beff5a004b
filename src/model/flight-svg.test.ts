import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Evidence, FlightEvent, HoldEvidence } from './evidence.ts';
import { flightRecordSvg } from './flight-svg.ts';
import type { Moment } from './time.ts';
import type { PartEvidence } from './together.ts';

const zero = 100_000;

function at(ms: number): Moment {
  return { monoMs: zero + ms, wall: '2026-11-21T07:54:38.052Z' };
}

function event(by: FlightEvent['by'], what: string, ms: number): FlightEvent {
  return { by, what, at: at(ms) };
}

function cuts(volumes: number, from: number, to: number): Evidence['cut'] {
  const ids = Array.from({ length: volumes }, (_, index) => `v${index}`);
  return {
    atomicity: 'sequential',
    how: 'one after the other',
    cuts: ids.map((volume) => ({
      volume,
      snapshot: { provider: 'btrfs', volume, label: 'l', at: '/s' },
      called: at(from),
      fixed: at(to),
    })),
    spans: ids.map((id) => ({ party: 'provider', what: `cut ${id}`, startMs: zero + from, endMs: zero + to })),
  };
}

/** A hold of `ms`, cut in its middle. */
function hold(ms: number, over: Partial<HoldEvidence> = {}): HoldEvidence {
  return {
    kind: 'writes-stopped',
    token: { runId: 'r', workload: 'orders', engine: 'sqlite', identity: 'x' },
    budgetMs: 5000,
    freezeCalled: at(-ms / 10),
    frozen: {
      frozen: true,
      said: 'yes',
      at: at(0),
      spans: [{ party: 'engine', what: 'BEGIN IMMEDIATE', startMs: zero - ms / 10, endMs: zero }],
    },
    askedBeforeThaw: { frozen: true, said: 'yes', at: at(ms * 0.9), spans: [] },
    thawed: { proved: true, heldThroughout: true, said: 'yes', at: at(ms), by: 'word', spans: [] },
    journalCollected: [],
    ...over,
  };
}

function evidence(ms: number, over: Partial<Evidence> = {}): Evidence {
  const seen = { member: 'db1', role: 'primary', epoch: '3' } as const;
  return {
    schema: 'stillpoint.evidence/1',
    runId: '20261121-075436-48e25f',
    workload: 'orders',
    engine: { name: 'SQLite', version: '3.51', facts: {} },
    bootId: 'b',
    required: [{ path: '/d', role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [] }],
    volumes: [{ id: 'v0', provider: 'btrfs', holds: ['data'], details: {} }],
    members: (['chosen', 'frozen', 'cut', 'record'] as const).map((when) => ({ when, seen })),
    hold: hold(ms),
    cut: cuts(1, ms * 0.2, ms * 0.6),
    leftOut: [],
    events: [
      event('flow', 'prepared', -1000 * ms),
      event('guard', 'frozen', 0),
      event('flow', 'cut called', ms * 0.2),
      event('guard', 'thawed', ms),
      event('flow', 'recorded', 1000 * ms),
    ],
    ...over,
  };
}

/** Every text with its classes, as a reader sees it. */
function texts(svg: string): readonly string[] {
  return [...svg.matchAll(/<text[^>]*>(.*?)<\/text>/gs)].map((match) =>
    (match[1] ?? '').replaceAll(/<[^>]*>/g, '').replaceAll('\u2002', ' '),
  );
}

/** Throws unless every tag is closed in order and every bare `&` and `<` is escaped. */
function assertWellFormed(svg: string): void {
  const open: string[] = [];
  const rest = svg.replaceAll(
    /<(\/?)([a-zA-Z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g,
    (_all, close, name, _attributes, empty) => {
      if (close === '/') assert.equal(open.pop(), name);
      else if (empty !== '/') open.push(String(name));
      return '';
    },
  );
  assert.deepEqual(open, []);
  assert.doesNotMatch(rest, /<|&(?!(?:amp|lt|gt|quot);)/);
}

describe('flightRecordSvg', () => {
  it('tells verdict, figures and what lies outside the picture', () => {
    const svg = flightRecordSvg(evidence(100));
    assertWellFormed(svg);
    const seen = texts(svg);
    for (const text of [
      'orders',
      '✓  application-consistent',
      'SQLite 3.51 · run 20261121-075436-48e25f',
      'held 100.0 ms · own overhead 60.0 ms · budget 5.00 s · cut at 2026-11-21T07:54:38.052Z',
      'held 100.0 ms',
      '▲ cut: 20.0 ms to 60.0 ms',
      '10.0 ms · BEGIN IMMEDIATE',
      '40.0 ms · cut v0',
      '1 earlier · 1 later',
      'ms from freeze',
      '100',
    ]) {
      assert.ok(seen.includes(text), `${text} is not in ${JSON.stringify(seen)}`);
    }
    assert.ok(!seen.includes('budget'), 'a deadline far away is not drawn');
    assert.ok(!seen.includes('sentinel'), 'a sentinel that did nothing has no lane');
  });

  it('takes both colour schemes and loads nothing', () => {
    const svg = flightRecordSvg(evidence(100));
    assert.match(svg, /prefers-color-scheme: dark/);
    assert.doesNotMatch(svg, /url\(|href|@import|<script/);
  });

  for (const [ms, tick, unit] of [
    [0.3, '0.30', 'ms from freeze'],
    [1.2, '1.2', 'ms from freeze'],
    [212, '200', 'ms from freeze'],
    [4000, '4', 's from freeze'],
    [20_000, '20', 's from freeze'],
    [900_000, '800', 's from freeze'],
  ] as const) {
    it(`has a readable axis for a hold of ${ms} ms`, () => {
      const seen = texts(flightRecordSvg(evidence(ms)));
      assert.ok(seen.includes(tick), `${tick} is not in ${JSON.stringify(seen)}`);
      assert.ok(seen.includes(unit));
      const ticks = seen.filter((text) => /^-?[\d.]+$/.test(text));
      assert.ok(ticks.length >= 4 && ticks.length <= 11, `${ticks.length} ticks`);
      assert.equal(new Set(ticks).size, ticks.length);
    });
  }

  it('draws a deadline that lies in sight, and a hold that was lost', () => {
    const thawed = {
      ...hold(4000).thawed,
      heldThroughout: false,
      by: 'deadline',
      said: 'the session was gone',
    } as const;
    const svg = flightRecordSvg(
      evidence(4000, {
        hold: hold(4000, { budgetMs: 3900, thawed }),
        members: [],
        volumes: [
          { id: 'v0', provider: 'btrfs', holds: [], details: {} },
          ...['w1', 'w2', 'w3'].map((id) => ({ id, provider: 'lvm', holds: [], details: {} })),
        ],
        events: [event('sentinel', 'the guard did not answer', 3950)],
      }),
    );
    assertWellFormed(svg);
    const seen = texts(svg);
    for (const text of [
      '✕  unproven',
      'held 4.00 s, not throughout',
      'budget',
      'sentinel',
      'the guard did not answer',
      'hold-lostthe hold did not last until the thaw: the session was gone',
      'and 2 more',
    ]) {
      assert.ok(seen.includes(text), `${text} is not in ${JSON.stringify(seen)}`);
    }
  });

  it('draws a cut without a hold from the cut on', () => {
    const svg = flightRecordSvg(evidence(100, { hold: null, cut: { ...cuts(2, 0, 50), atomicity: 'one-instant' } }));
    assertWellFormed(svg);
    const seen = texts(svg);
    for (const text of [
      '!  crash-consistent',
      'cut without a hold',
      'ms from cut',
      '▲ cut of 2 volumes: 0.00 ms to 50.0 ms',
    ]) {
      assert.ok(seen.includes(text), `${text} is not in ${JSON.stringify(seen)}`);
    }
    assert.ok(!seen.some((text) => text.startsWith('held')));
  });

  it('says when a cut came before the freeze', () => {
    const seen = texts(flightRecordSvg(evidence(100, { cut: cuts(1, -5, 50) })));
    assert.ok(seen.includes('▲ cut: −5.00 ms to 50.0 ms'));
  });

  it('draws what little there is of a run that neither froze nor cut', () => {
    const cut = { atomicity: 'sequential', how: '', cuts: [], spans: [] } as const;
    assertWellFormed(flightRecordSvg(evidence(1, { hold: null, cut, events: [] })));
    const seen = texts(flightRecordSvg(evidence(1, { hold: null, cut, events: [event('flow', 'prepared', 7)] })));
    assert.ok(seen.includes('prepared'));
  });

  it('escapes what XML cannot hold, and cuts what has no room', () => {
    const workload = `<b>"a" & \u0000\ud800 ${'注文'.repeat(60)}`;
    const svg = flightRecordSvg(
      evidence(100, {
        workload,
        cut: {
          ...cuts(1, 20, 60),
          spans: [
            { party: 'provider', what: `snapshot ${'very-'.repeat(40)}long`, startMs: zero + 20, endMs: zero + 60 },
          ],
        },
      }),
    );
    assertWellFormed(svg);
    assert.ok(svg.includes('&lt;b&gt;&quot;a&quot; &amp; \ufffd\ufffd 注文'));
    assert.ok(texts(svg).some((text) => /^40\.0 ms · snapshot very-.*…$/.test(text)));
  });

  it('shows hundreds of events, and says how many it does not name', () => {
    const events = Array.from({ length: 200 }, (_, index) => event('canary', `row ${index}`, index / 2));
    const svg = flightRecordSvg(evidence(100, { events }));
    assert.equal(svg.match(/<circle/g)?.length, 200);
    const named = texts(svg).filter((text) => text.startsWith('row ')).length;
    assert.ok(named >= 20);
    assert.ok(texts(svg).includes(`${200 - named} more shown without a name`));
  });

  it('gives every one of 16 volumes its own row', () => {
    const svg = flightRecordSvg(evidence(100, { cut: cuts(16, 20, 60) }));
    assert.equal(texts(svg).filter((text) => /^40\.0 ms · cut v\d+$/.test(text)).length, 16);
  });

  it("draws the engine's own backup, which has neither hold nor cut", () => {
    const own = (dirty: boolean): Evidence => ({
      ...evidence(100, { hold: null, cut: cuts(0, 0, 0) }),
      online: {
        asked: 'full',
        made: dirty ? 'incremental' : 'full',
        from: {},
        to: { a: '1' },
        onTopOf: null,
        dirty,
        finished: true,
        said: 'done',
        began: at(0),
        ended: at(4000),
        streams: [{ name: 'a', bytes: 1 }],
        spans: [{ party: 'engine', what: 'BACKUP all', startMs: zero, endMs: zero + 4000 }],
      },
    });
    const svg = flightRecordSvg(own(false));
    assertWellFormed(svg);
    assert.ok(texts(svg).includes("full by the engine's own backup"));
    assert.ok(texts(svg).includes('4.00 s · BACKUP all'));
    assert.ok(!svg.includes('class="hold"') && !svg.includes('class="cut"'));
    assert.ok(
      texts(flightRecordSvg(own(true))).includes("incremental by the engine's own backup, over files copied live"),
    );
  });

  it('gives every part of a group a lane of its own, on the scale of the coordinator', () => {
    const part = (name: string, aheadMs: number, held: boolean): PartEvidence => ({
      name,
      host: name,
      bootId: 'b',
      workload: 'orders',
      heard: held ? { cut: at(60), thawed: at(100) } : {},
      hold: held
        ? {
            stopsWriters: true,
            budgetMs: 5000,
            toldToFreeze: at(2 + aheadMs),
            frozen: at(12 + aheadMs),
            toldToCut: at(20 + aheadMs),
            cutCalled: at(20 + aheadMs),
            cutFixed: at(50 + aheadMs),
            thawed: at(90 + aheadMs),
            heldThroughout: true,
            endedBy: 'word',
            spans: [],
          }
        : null,
      point: null,
    });
    const group = (parts: readonly PartEvidence[]): Evidence =>
      evidence(100, {
        hold: null,
        cut: cuts(0, 0, 0),
        events: [event('flow', 'said: freeze', 0), event('flow', 'shard1 ready', -5)],
        together: { budgetMs: 4000, skewMs: null, saidFreeze: at(0), saidCut: at(20), parts },
      });
    const svg = flightRecordSvg(group([part('shard1', 0, true), part('shard2', 86_400_000, true)]));
    assertWellFormed(svg);
    const seen = texts(svg);
    for (const text of ['shard1', 'shard2', 'said: freeze', 'held 100.0 ms', '▲ cut of 2 parts: 20.0 ms to 60.0 ms'])
      assert.ok(seen.includes(text), `${text} is not in ${JSON.stringify(seen)}`);
    assert.equal(seen.filter((text) => text === '30.0 ms · cut').length, 2, 'a clock of another host moves nothing');
    assert.ok(!seen.includes('shard1 ready'));
    const lost = flightRecordSvg(group([part('shard1', 0, false)]));
    assertWellFormed(lost);
    assert.ok(texts(lost).includes('held 0.00 ms, not throughout'));
  });

  it('draws also what nothing is known of', () => {
    const svg = flightRecordSvg(evidence(100, { hold: null, cut: cuts(0, 0, 0), events: [] }));
    assertWellFormed(svg);
    assert.ok(texts(svg).includes('cut without a hold'));
  });

  it('is well-formed and lays no label over another or out of sight, whatever happened', () => {
    const moment = fc.double({ min: -300, max: 1300, noNaN: true });
    const what = fc.string({ unit: 'binary', maxLength: 60 });
    const by = fc.constantFrom('flow', 'guard', 'sentinel', 'canary');
    fc.assert(
      fc.property(fc.array(fc.tuple(by, what, moment), { maxLength: 40 }), fc.boolean(), (list, held) => {
        const svg = flightRecordSvg(
          evidence(1000, {
            events: list.map(([who, said, ms]) => event(who, said, ms)),
            ...(held ? {} : { hold: null }),
          }),
        );
        assertWellFormed(svg);
        const labels = [...svg.matchAll(/<text class="(?:label|inside)" x="([\d.-]+)" y="(\d+)">(.*?)<\/text>/gs)];
        const boxes = labels.map(([, x, y, text = '']) => {
          const plain = text.replaceAll(/&\w+;/g, '.');
          const wide = Array.from(plain).reduce((sum, each) => sum + (each > '\u10ff' ? 1.05 : 0.58), 0);
          return { x: Number(x), y: Number(y), end: Number(x) + wide * 11 };
        });
        for (const [index, box] of boxes.entries()) {
          assert.ok(box.x >= 123 && box.end <= 1057, `a label from ${box.x} to ${box.end}`);
          for (const other of boxes.slice(index + 1)) {
            assert.ok(box.y !== other.y || box.end <= other.x + 0.1 || other.end <= box.x + 0.1, 'two labels overlap');
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});
