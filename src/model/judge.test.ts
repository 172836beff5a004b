import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Evidence, HoldEvidence } from './evidence.ts';
import type { FreezeAnswer, MemberObservation } from './hold.ts';
import { judge } from './judge.ts';
import type { Moment } from './time.ts';

function at(monoMs: number): Moment {
  return { monoMs, wall: new Date(1_700_000_000_000 + monoMs).toISOString() };
}

function answer(monoMs: number, frozen = true): FreezeAnswer {
  return { frozen, said: frozen ? 'a backup is in progress' : 'no backup is in progress', at: at(monoMs), spans: [] };
}

const primary: MemberObservation = { member: 'db1', role: 'primary', epoch: '7/1' };

const hold: HoldEvidence = {
  kind: 'copy-rules',
  token: { runId: 'r', workload: 'orders', engine: 'postgresql', identity: 'stillpoint:r' },
  budgetMs: 5000,
  freezeCalled: at(90),
  frozen: answer(100),
  askedBeforeThaw: answer(180),
  thawed: { proved: true, heldThroughout: true, said: 'stopped', at: at(200), by: 'word', spans: [] },
  journal: {
    from: { file: '01', position: '0/1' },
    to: { file: '02', position: '0/2' },
    files: ['01', '02'],
    directory: '/pg/pg_wal',
  },
  journalCollected: ['01', '02'],
};

const good: Evidence = {
  schema: 'stillpoint.evidence/1',
  runId: 'r',
  workload: 'orders',
  engine: { name: 'postgresql', version: '18.1', facts: {} },
  bootId: 'b',
  required: [
    { path: '/pg/data', role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [] },
    { path: '/wal/main', role: 'journal', name: 'wal', kind: 'directory', companions: [], leftOut: [] },
  ],
  volumes: [
    { id: 'v1', provider: 'btrfs', holds: ['data'], details: {} },
    { id: 'v2', provider: 'btrfs', holds: ['wal'], details: {} },
  ],
  members: (['chosen', 'frozen', 'cut', 'record'] as const).map((when) => ({ when, seen: primary })),
  hold,
  cut: {
    atomicity: 'sequential',
    how: 'one subvolume after the other',
    cuts: ['v1', 'v2'].map((volume) => ({
      volume,
      snapshot: { provider: 'btrfs', volume, label: 'stillpoint-r', at: `/s/${volume}` },
      called: at(110),
      fixed: at(150),
    })),
    spans: [],
  },
  leftOut: [],
  events: [],
};

function withHold(change: Partial<HoldEvidence>): Evidence {
  return { ...good, hold: { ...hold, ...change } };
}

function withCut(volume: string, called: number, fixed: number): Evidence {
  const cuts = good.cut.cuts.map((cut) =>
    cut.volume === volume ? { ...cut, called: at(called), fixed: at(fixed) } : cut,
  );
  return { ...good, cut: { ...good.cut, cuts } };
}

function seen(when: string, change: Partial<MemberObservation>): Evidence {
  return {
    ...good,
    members: good.members.map((each) =>
      each.when === when ? { when: each.when, seen: { ...primary, ...change } } : each,
    ),
  };
}

function without<K extends keyof HoldEvidence>(key: K): Evidence {
  const { [key]: _gone, ...rest } = hold;
  return { ...good, hold: rest as HoldEvidence };
}

/** One seeded violation each, with the one rule that must be named. A sequential cut adds `not-one-instant` to all of them. */
const violations: readonly (readonly [string, Evidence, string])[] = [
  ['late volume', withCut('v2', 190, 260), 'cut-after-thaw'],
  ['volume cut between the last word and the thaw', withCut('v2', 170, 185), 'cut-after-thaw'],
  [
    'thaw before cut',
    withHold({ askedBeforeThaw: answer(105), thawed: { ...hold.thawed, at: at(108) } }),
    'cut-after-thaw',
  ],
  ['cut before freeze', withCut('v1', 95, 150), 'cut-before-freeze'],
  [
    'forgotten WAL path',
    { ...good, volumes: good.volumes.slice(0, 1), cut: { ...good.cut, cuts: good.cut.cuts.slice(0, 1) } },
    'path-not-covered',
  ],
  ['volume of the group not cut', { ...good, cut: { ...good.cut, cuts: good.cut.cuts.slice(0, 1) } }, 'volume-not-cut'],
  [
    'session lost',
    withHold({ thawed: { ...hold.thawed, heldThroughout: false, said: 'terminating connection' } }),
    'hold-lost',
  ],
  ['thaw not proved', withHold({ thawed: { ...hold.thawed, proved: false } }), 'thaw-unproved'],
  ['ended at the deadline', withHold({ thawed: { ...hold.thawed, by: 'deadline' } }), 'hold-ended-early'],
  ['script that exits 0 without freezing', withHold({ frozen: answer(100, false) }), 'freeze-unconfirmed'],
  [
    'engine thawed itself before the thaw',
    withHold({ askedBeforeThaw: answer(180, false) }),
    'hold-unconfirmed-before-thaw',
  ],
  ['engine never asked', without('askedBeforeThaw'), 'hold-unconfirmed-before-thaw'],
  ['journal file lost', withHold({ journalCollected: ['01'] }), 'journal-incomplete'],
  ['journal not named', without('journal'), 'journal-incomplete'],
  ['role change during the freeze', seen('frozen', { role: 'replica' }), 'role-changed'],
  ['epoch change at the cut', seen('cut', { epoch: '7/2' }), 'role-changed'],
  ['another member at the record', seen('record', { member: 'db2' }), 'role-changed'],
  ['role never observed', { ...good, members: [] }, 'role-not-observed'],
  [
    'role not observed at the cut',
    { ...good, members: good.members.filter((each) => each.when !== 'cut') },
    'role-not-observed',
  ],
  ['cut fixed before it was called', withCut('v1', 150, 120), 'clock-disordered'],
  ['frozen before the freeze was called', withHold({ freezeCalled: at(101) }), 'clock-disordered'],
  ['thawed before frozen', withHold({ thawed: { ...hold.thawed, at: at(99) } }), 'clock-disordered'],
];

describe('judge', () => {
  it('calls evidence without a flaw application-consistent', () => {
    assert.deepEqual(judge(good), { verdict: 'application-consistent', reasons: [] });
  });

  it('needs no journal where the hold stops writers', () => {
    const { journal: _none, ...rest } = hold;
    assert.equal(
      judge({ ...good, hold: { ...rest, kind: 'writes-stopped', journalCollected: [] } }).verdict,
      'application-consistent',
    );
  });

  for (const [name, evidence, rule] of violations) {
    it(`names ${rule} for: ${name}`, () => {
      const { verdict, reasons } = judge(evidence);
      assert.equal(verdict, 'unproven');
      const rules = reasons.map((each) => each.rule);
      assert.ok(rules.includes(rule), `${rule} is not among ${rules.join(', ')}`);
      assert.ok(rules.includes('not-one-instant'));
      assert.ok(reasons.every((each) => each.said.length > 0));
    });
  }

  it('names every violation when there are several', () => {
    const evidence: Evidence = {
      ...withHold({ frozen: answer(100, false), journalCollected: [] }),
      members: seen('cut', { role: 'replica' }).members,
    };
    const rules = judge(evidence).reasons.map((each) => each.rule);
    assert.deepEqual(rules, [
      'freeze-unconfirmed',
      'journal-incomplete',
      'journal-incomplete',
      'role-changed',
      'not-one-instant',
    ]);
  });

  it('calls a cut of one instant crash-consistent when only the hold failed', () => {
    const oneInstant = { ...good.cut, atomicity: 'one-instant' as const, how: 'one subvolume' };
    const lost = { ...withHold({ thawed: { ...hold.thawed, heldThroughout: false } }), cut: oneInstant };
    assert.equal(judge(lost).verdict, 'crash-consistent');
    assert.deepEqual(
      judge(lost).reasons.map((each) => each.rule),
      ['hold-lost'],
    );
    assert.equal(judge({ ...good, hold: null, cut: oneInstant }).verdict, 'crash-consistent');
  });

  it('calls a cut without a hold unproven when the volumes were not cut at one instant', () => {
    const { verdict, reasons } = judge({ ...good, hold: null });
    assert.equal(verdict, 'unproven');
    assert.deepEqual(
      reasons.map((each) => each.rule),
      ['no-hold', 'not-one-instant'],
    );
  });

  it('never calls a cut of one instant good when a path is missing or the member changed', () => {
    const oneInstant = { ...good.cut, atomicity: 'one-instant' as const, how: 'one subvolume' };
    for (const [, evidence] of violations) {
      const { verdict } = judge({ ...evidence, cut: { ...evidence.cut, atomicity: oneInstant.atomicity } });
      assert.notEqual(verdict, 'application-consistent');
    }
    assert.equal(judge({ ...seen('cut', { role: 'replica' }), cut: oneInstant }).verdict, 'unproven');
  });

  it('is application-consistent only if every cut lies between the freeze and the last word', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 300, noNaN: true }),
        fc.double({ min: 0, max: 300, noNaN: true }),
        (a, b) => {
          const [called, fixed] = a < b ? [a, b] : [b, a];
          const inside = called >= 100 && fixed <= 180;
          assert.equal(judge(withCut('v2', called, fixed)).verdict === 'application-consistent', inside);
        },
      ),
    );
  });
});
