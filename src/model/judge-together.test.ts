import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Evidence } from './evidence.ts';
import { judge } from './judge.ts';
import { judgeTogether, type TogetherRule } from './judge-together.ts';
import type { Moment } from './time.ts';
import { dataSetOf, skewOf, stages, type PartEvidence, type PartHold, type TogetherEvidence } from './together.ts';

function at(monoMs: number): Moment {
  return { monoMs, wall: new Date(1_700_000_000_000 + monoMs).toISOString() };
}

/** The coordinator's clock stands at 1000 when the word to freeze is said; that of the part is its own. */
function part(name: string, aheadMs: number): PartEvidence {
  const own = (ms: number): Moment => at(ms + aheadMs);
  const heard = { ready: 990, frozen: 1020, cut: 1060, thawed: 1070, judged: 1080, copied: 2000, recorded: 2100 };
  return {
    name,
    host: `host-${name}`,
    bootId: `boot-${name}`,
    workload: 'orders',
    heard: Object.fromEntries(Object.entries(heard).map(([stage, ms]) => [stage, at(ms)])),
    hold: {
      stopsWriters: true,
      budgetMs: 5000,
      toldToFreeze: own(1005),
      frozen: own(1015),
      toldToCut: own(1035),
      cutCalled: own(1036),
      cutFixed: own(1055),
      thawed: own(1065),
      heldThroughout: true,
      endedBy: 'word',
      spans: [],
    },
    point: {
      id: `20260101-000000-${name}`,
      repositorySnapshot: 'aa',
      verdict: 'application-consistent',
      identity: `7710529938316742389${name}`,
      bytes: { logical: 1, read: 1, changed: 1, stored: 1 },
    },
  };
}

const good: TogetherEvidence = {
  budgetMs: 5000,
  skewMs: null,
  saidFreeze: at(1000),
  saidCut: at(1030),
  parts: [part('a', 0), part('b', 86_400_000), part('c', -900)],
};

type Change = (part: PartEvidence) => PartEvidence;

function withPart(name: string, change: Change, group: TogetherEvidence = good): TogetherEvidence {
  return { ...group, parts: group.parts.map((each) => (each.name === name ? change(each) : each)) };
}

const withHold =
  (change: (hold: PartHold) => Partial<PartHold>): Change =>
  (each) =>
    each.hold === null ? each : { ...each, hold: { ...each.hold, ...change(each.hold) } };

const withHeard =
  (change: Partial<Record<(typeof stages)[number], number>>): Change =>
  (each) => ({
    ...each,
    heard: { ...each.heard, ...Object.fromEntries(Object.entries(change).map(([stage, ms]) => [stage, at(ms)])) },
  });

const without =
  (stage: (typeof stages)[number]): Change =>
  (each) => ({ ...each, heard: Object.fromEntries(Object.entries(each.heard).filter(([key]) => key !== stage)) });

const withPoint =
  (change: Partial<NonNullable<PartEvidence['point']>>): Change =>
  (each) =>
    each.point === null ? each : { ...each, point: { ...each.point, ...change } };

function rulesOf(together: TogetherEvidence): readonly string[] {
  return [...new Set(judgeTogether(together).map(({ rule }) => rule))].sort();
}

/** Each breaks the proof in one part, and the rules that must name it. */
const violations: readonly {
  readonly what: string;
  readonly change: Change;
  readonly rules: readonly TogetherRule[];
}[] = [
  { what: 'no point', change: (each) => ({ ...each, point: null }), rules: ['part-missing'] },
  { what: 'a weaker verdict', change: withPoint({ verdict: 'crash-consistent' }), rules: ['part-weaker'] },
  { what: 'no verdict', change: withPoint({ verdict: 'unproven' }), rules: ['part-weaker'] },
  { what: 'no hold', change: (each) => ({ ...each, hold: null }), rules: ['part-not-held'] },
  { what: 'a lost hold', change: withHold(() => ({ heldThroughout: false })), rules: ['part-not-held'] },
  { what: 'an ended hold', change: withHold(() => ({ endedBy: 'deadline' })), rules: ['part-not-held'] },
  {
    what: 'a cut before the word',
    change: withHold((hold) => ({ cutCalled: at(hold.toldToCut.monoMs - 1) })),
    rules: ['cut-before-all-frozen'],
  },
  {
    what: 'a thaw before its cut',
    change: withHold((hold) => ({ thawed: at(hold.cutFixed.monoMs - 1) })),
    rules: ['thawed-before-cut'],
  },
  {
    what: 'frozen before it was told',
    change: withHold((hold) => ({ frozen: at(hold.toldToFreeze.monoMs - 1) })),
    rules: ['barrier-disordered'],
  },
  {
    what: 'told to cut before it was frozen',
    change: withHold((hold) => ({ frozen: at(hold.toldToCut.monoMs + 0.5) })),
    rules: ['barrier-disordered'],
  },
  {
    what: 'a cut that was fixed before it was called',
    change: withHold((hold) => ({ cutFixed: at(hold.cutCalled.monoMs - 0.5) })),
    rules: ['barrier-disordered'],
  },
  {
    what: 'heard to be frozen after the word to cut',
    change: withHeard({ frozen: 1031 }),
    rules: ['cut-before-all-frozen'],
  },
  {
    what: 'heard to be ready after the word to freeze',
    change: withHeard({ ready: 1001 }),
    rules: ['barrier-disordered'],
  },
  { what: 'frozen before the word', change: withHeard({ frozen: 999, ready: 990 }), rules: ['barrier-disordered'] },
  { what: 'cut before the word', change: withHeard({ cut: 1029 }), rules: ['barrier-disordered'] },
  { what: 'copied before it was judged', change: withHeard({ copied: 1075 }), rules: ['barrier-disordered'] },
  {
    what: 'writers that go on',
    change: withHold(() => ({ stopsWriters: false })),
    rules: ['skew-too-long', 'writers-not-stopped'],
  },
  ...stages.map((stage) => ({
    what: `not heard to be ${stage}`,
    change: without(stage),
    rules: ['part-missing'] as const,
  })),
];

describe('judgeTogether', () => {
  it('finds nothing in parts that were all held at one instant, whatever their clocks say', () => {
    assert.deepEqual(judgeTogether(good), []);
  });

  for (const { what, change, rules } of violations) {
    it(`names ${what}, in whichever part it is`, () => {
      for (const name of ['a', 'b', 'c']) {
        const found = judgeTogether(withPart(name, change));
        assert.deepEqual([...new Set(found.map(({ rule }) => rule))].sort(), rules.toSorted());
        assert.match(found.map(({ said }) => said).join(), new RegExp(`\\b${name}\\b`));
      }
    });
  }

  it('decides over the verdict of a group, which is nothing or all', () => {
    const evidence: Evidence = {
      schema: 'stillpoint.evidence/1',
      runId: 'r',
      workload: 'shop',
      engine: { name: 'group', version: '', facts: {} },
      bootId: 'b',
      required: [],
      volumes: [],
      members: [],
      hold: null,
      cut: { atomicity: 'sequential', how: '', cuts: [], spans: [] },
      together: good,
      leftOut: [],
      events: [],
    };
    assert.deepEqual(judge(evidence), { verdict: 'application-consistent', reasons: [] });
    const broken = withPart('a', (each) => ({ ...each, hold: null }));
    const { verdict, reasons } = judge({ ...evidence, together: broken });
    assert.equal(verdict, 'unproven');
    assert.deepEqual(reasons, judgeTogether(broken));
  });

  it('names a group without parts', () => {
    assert.deepEqual(rulesOf({ ...good, parts: [] }), ['part-missing']);
  });

  it('takes one data set twice for what it is, and the same path on two hosts for two', () => {
    const same = withPart('b', withPoint({ identity: '7710529938316742389a' }));
    assert.deepEqual(rulesOf(same), ['part-twice']);
    const path = withPart(
      'b',
      withPoint({ identity: '/srv/a.db' }),
      withPart('a', withPoint({ identity: '/srv/a.db' })),
    );
    assert.deepEqual(rulesOf(path), []);
    const here: Change = (each) => ({ ...each, host: 'h', bootId: 'x' });
    assert.deepEqual(rulesOf(withPart('a', here, withPart('b', here, path))), ['part-twice']);
    assert.equal(dataSetOf({ host: 'h', bootId: 'x' }, 'id'), 'id');
  });

  it('measures the skew of parts whose writers go on, and holds it against what was accepted', () => {
    const going = withPart(
      'c',
      withHold(() => ({ stopsWriters: false })),
    );
    assert.equal(skewOf(going), 30);
    assert.deepEqual(rulesOf({ ...going, skewMs: 30 }), ['writers-not-stopped']);
    assert.deepEqual(rulesOf({ ...going, skewMs: 29.9 }), ['skew-too-long', 'writers-not-stopped']);
    const unheard = withPart('a', without('cut'), { ...going, skewMs: 1000 });
    assert.equal(skewOf(unheard), undefined);
    assert.deepEqual(rulesOf(unheard), ['part-missing', 'skew-too-long', 'writers-not-stopped']);
  });

  it('calls nothing good that has any of the violations in any part, and names all of them', () => {
    const some = fc.array(
      fc.record({ name: fc.constantFrom('a', 'b', 'c'), violation: fc.constantFrom(...violations) }),
      { minLength: 1, maxLength: 3 },
    );
    fc.assert(
      fc.property(some, fc.integer({ min: -100_000, max: 100_000 }), (chosen, ahead) => {
        const shifted = { ...good, parts: [part('a', ahead), part('b', -ahead), part('c', 0)] };
        assert.deepEqual(judgeTogether(shifted), []);
        const [first] = chosen;
        let broken: TogetherEvidence = shifted;
        for (const { name, violation } of chosen) broken = withPart(name, violation.change, broken);
        const found = rulesOf(broken);
        assert.notEqual(found.length, 0);
        // A second violation may hide behind a first one only in the same part.
        if (chosen.length === 1 && first !== undefined)
          for (const rule of first.violation.rules)
            assert.ok(found.includes(rule), `${first.violation.what}: ${found.join()}`);
      }),
    );
  });

  it('needs the cuts of all between their common freeze and their thaws: a run that broke that is found', () => {
    // A run of parts with delays of their own; `hasty` says cut before it has heard all.
    const delays = fc.array(
      fc.record({ freeze: fc.integer({ min: 0, max: 50 }), cut: fc.integer({ min: 1, max: 50 }) }),
      {
        minLength: 2,
        maxLength: 8,
      },
    );
    fc.assert(
      fc.property(delays, fc.boolean(), (parts, hasty) => {
        const frozen = parts.map(({ freeze }) => 1001 + freeze);
        const saidCut = hasty ? Math.min(...frozen) : Math.max(...frozen);
        const made = parts.map((delay, index): PartEvidence => {
          const heard = frozen[index] ?? 0;
          const told = Math.max(saidCut, heard);
          const base = part(String(index), 0);
          return {
            ...base,
            heard: Object.fromEntries(
              stages.map((stage, place) => [
                stage,
                at(place === 0 ? 990 : place === 1 ? heard : told + delay.cut + place),
              ]),
            ),
            hold:
              base.hold === null
                ? null
                : {
                    ...base.hold,
                    toldToFreeze: at(1000),
                    frozen: at(heard),
                    toldToCut: at(told),
                    cutCalled: at(told),
                    cutFixed: at(told + delay.cut),
                    thawed: at(told + delay.cut),
                  },
          };
        });
        const found = rulesOf({ ...good, saidCut: at(saidCut), parts: made });
        const sound = frozen.every((ms) => ms <= saidCut);
        assert.deepEqual(found, sound ? [] : ['cut-before-all-frozen']);
      }),
    );
  });
});
