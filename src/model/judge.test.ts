import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { ClusterObservation } from './cluster.ts';
import type { Evidence, HoldEvidence, OnlineEvidence } from './evidence.ts';
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

const clustered: ClusterObservation = {
  ...{ manager: 'patroni', cluster: 'orders', epoch: '7', member: 'db2', role: 'replica', primary: 'db1' },
};

/** The cluster as it was seen at the cut and at the record, with a change in one of the two looks. */
function inCluster(
  from: Evidence,
  when?: 'cut' | 'record',
  change?: Partial<ClusterObservation> | 'missing',
): Evidence {
  const looks = (['cut', 'record'] as const).map((each) => ({
    when: each,
    seen: { ...clustered, ...(each === when && change !== 'missing' ? change : {}) },
    at: at(150),
  }));
  const seenThere = change === 'missing' ? looks.filter((each) => each.when !== when) : looks;
  return { ...from, cluster: { chosen: clustered, considered: [], heldOff: false, seen: seenThere } };
}

/** As MariaDB's backup stages: commits wait, pages do not. */
function commitsStopped(atomicity: Evidence['cut']['atomicity']): Evidence {
  return { ...withHold({ kind: 'one-instant' }), cut: { ...good.cut, atomicity } };
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
  ['failover seen at the cut', inCluster(good, 'cut', { epoch: '8', primary: 'db2', role: 'primary' }), 'role-changed'],
  ['another primary at the record', inCluster(good, 'record', { primary: 'db3' }), 'role-changed'],
  ['another cluster of that name', inCluster(good, 'record', { manager: 'streaming' }), 'role-changed'],
  ['cluster not looked at after the cut', inCluster(good, 'cut', 'missing'), 'role-not-observed'],
  ['cluster not looked at at the record', inCluster(good, 'record', 'missing'), 'role-not-observed'],
  ['cut fixed before it was called', withCut('v1', 150, 120), 'clock-disordered'],
  ['frozen before the freeze was called', withHold({ freezeCalled: at(101) }), 'clock-disordered'],
  ['thawed before frozen', withHold({ thawed: { ...hold.thawed, at: at(99) } }), 'clock-disordered'],
];

describe('judge', () => {
  it('calls evidence without a flaw application-consistent', () => {
    assert.deepEqual(judge(good), { verdict: 'application-consistent', reasons: [] });
    assert.deepEqual(judge(inCluster(good)), { verdict: 'application-consistent', reasons: [] });
  });

  it('needs no journal where the hold stops writers', () => {
    const { journal: _none, ...rest } = hold;
    assert.equal(
      judge({ ...good, hold: { ...rest, kind: 'writes-stopped', journalCollected: [] } }).verdict,
      'application-consistent',
    );
  });

  it('wants one instant where the hold stops commits only', () => {
    assert.deepEqual(judge(commitsStopped('one-instant')), { verdict: 'application-consistent', reasons: [] });
    const { verdict, reasons } = judge(commitsStopped('sequential'));
    assert.equal(verdict, 'unproven');
    assert.deepEqual(
      reasons.map(({ rule }) => rule),
      ['not-one-instant'],
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

const incremental: OnlineEvidence = {
  asked: 'incremental',
  made: 'incremental',
  from: { a: '10', b: '20' },
  to: { a: '15', b: '20' },
  onTopOf: { a: '10', b: '20' },
  dirty: false,
  finished: true,
  said: 'backup complete',
  began: at(100),
  ended: at(200),
  streams: [
    { name: 'a.inc', bytes: 512 },
    { name: 'b.inc', bytes: 64 },
  ],
  spans: [],
};
const wholeFull: OnlineEvidence = { ...incremental, asked: 'full', made: 'full', from: {}, onTopOf: null };
const closing: OnlineEvidence = { ...incremental, dirty: true };

function withOnline(online: OnlineEvidence, more: Partial<Evidence> = {}): Evidence {
  return {
    ...good,
    volumes: [],
    hold: null,
    cut: { atomicity: 'sequential', how: "the engine's own backup", cuts: [], spans: [] },
    members: good.members.filter((each) => each.when !== 'frozen'),
    online,
    ...more,
  };
}

const membersBut = (when: string, change?: Partial<MemberObservation>): Partial<Evidence> => ({
  members: withOnline(incremental).members.flatMap((each) =>
    each.when !== when ? [each] : change === undefined ? [] : [{ when: each.when, seen: { ...primary, ...change } }],
  ),
});

/** One seeded violation each of what the engine's own backup must show. */
const onlineViolations: readonly (readonly [string, Evidence, string])[] = [
  [
    'an engine that did not say it was done',
    withOnline({ ...incremental, finished: false }),
    'engine-backup-unfinished',
  ],
  ['a full that was not finished', withOnline({ ...wholeFull, finished: false }), 'engine-backup-unfinished'],
  ['no stream at all', withOnline({ ...wholeFull, streams: [] }), 'engine-backup-unfinished'],
  [
    'streams without a byte',
    withOnline({ ...incremental, streams: [{ name: 'a.inc', bytes: 0 }] }),
    'engine-backup-unfinished',
  ],
  ['an end before the beginning', withOnline({ ...incremental, ended: at(99) }), 'clock-disordered'],
  ['no marks at the end', withOnline({ ...wholeFull, to: {} }), 'chain-broken'],
  [
    'a beginning behind the end of what is below',
    withOnline({ ...incremental, from: { a: '11', b: '20' } }),
    'chain-broken',
  ],
  ['a beginning before it', withOnline({ ...incremental, from: { a: '9', b: '20' } }), 'chain-broken'],
  ['a part that does not say where it begins', withOnline({ ...incremental, from: { a: '10' } }), 'chain-broken'],
  ['a part that does not say where it ends', withOnline({ ...incremental, to: { a: '15' } }), 'chain-broken'],
  ['a part that is new', withOnline({ ...incremental, to: { ...incremental.to, c: '1' } }), 'chain-broken'],
  [
    'a part that is new and whole in it',
    withOnline({ ...incremental, from: { ...incremental.from, c: '0' }, to: { ...incremental.to, c: '1' } }),
    'chain-broken',
  ],
  ['a part that is gone', withOnline({ ...incremental, from: { a: '10' }, to: { a: '15' } }), 'chain-broken'],
  ['a level that stands on nothing', withOnline({ ...incremental, onTopOf: null }), 'chain-broken'],
  [
    'a cumulative on an incremental',
    withOnline({ ...incremental, made: 'cumulative', from: { a: '5', b: '5' } }),
    'chain-broken',
  ],
  [
    'a live copy that a full does not close',
    withOnline({ ...closing, made: 'full', onTopOf: null }),
    'dirty-copy-open',
  ],
  ['a live copy with a later level', withOnline({ ...closing, from: { a: '12', b: '20' } }), 'chain-broken'],
  ['a role change until the end', withOnline(incremental, membersBut('cut', { role: 'replica' })), 'role-changed'],
  ['a new epoch at the record', withOnline(incremental, membersBut('record', { epoch: '8/1' })), 'role-changed'],
  ['another member', withOnline(wholeFull, membersBut('record', { member: 'db2' })), 'role-changed'],
  ['a failover during it', inCluster(withOnline(incremental), 'cut', { epoch: '8' }), 'role-changed'],
  ['a role not observed at the end', withOnline(incremental, membersBut('cut')), 'role-not-observed'],
  ['a role not observed at the record', withOnline(incremental, membersBut('record')), 'role-not-observed'],
  ['a role not observed before', withOnline(wholeFull, { members: [] }), 'role-not-observed'],
];

describe("judge of the engine's own backup", () => {
  for (const [name, online] of Object.entries({ incremental, full: wholeFull, 'live copy, closed': closing })) {
    it(`calls a flawless one application-consistent: ${name}`, () => {
      assert.deepEqual(judge(withOnline(online)), { verdict: 'application-consistent', reasons: [] });
    });
  }

  it('takes a full for what it is where an incremental was asked for', () => {
    assert.equal(judge(withOnline({ ...wholeFull, asked: 'incremental' })).verdict, 'application-consistent');
  });

  it('asks for no hold and no cut: nothing of ours cuts', () => {
    assert.equal(judge(withOnline(wholeFull, { required: good.required, volumes: good.volumes })).reasons.length, 0);
  });

  for (const [name, evidence, rule] of onlineViolations) {
    it(`names ${rule} for: ${name}`, () => {
      const { verdict, reasons } = judge(evidence);
      assert.equal(verdict, 'unproven');
      assert.ok(
        reasons.some((each) => each.rule === rule && each.said.length > 0),
        JSON.stringify(reasons),
      );
      assert.ok(reasons.every((each) => each.rule === rule));
    });
  }

  it('names every violation when there are several', () => {
    const online = { ...closing, made: 'full' as const, finished: false, streams: [], ended: at(0), to: {} };
    const { reasons } = judge(withOnline(online, { members: [] }));
    assert.deepEqual(
      reasons.map((each) => each.rule),
      [
        'engine-backup-unfinished',
        'engine-backup-unfinished',
        'clock-disordered',
        'chain-broken',
        'dirty-copy-open',
        'role-not-observed',
      ],
    );
  });

  it('never calls evidence good that something was done to', () => {
    const drop = (marks: Readonly<Record<string, string>>, part: string): Record<string, string> =>
      Object.fromEntries(Object.entries(marks).filter(([name]) => name !== part));
    const part = fc.constantFrom('a', 'b');
    const marksOf = fc.constantFrom('from', 'onTopOf' as const);
    type Mutation = (online: OnlineEvidence) => OnlineEvidence;
    const changes: fc.Arbitrary<Mutation> = fc.oneof(
      fc.tuple(fc.constantFrom('from', 'to', 'onTopOf' as const), part).map(([key, gone]): Mutation => (online) => ({
        ...online,
        [key]: drop(online[key] ?? {}, gone),
      })),
      fc.tuple(fc.subarray(['from', 'to', 'onTopOf'] as const, { minLength: 1, maxLength: 2 })).map(
        ([keys]): Mutation =>
          (online) =>
            keys.reduce((done, key) => ({ ...done, [key]: { ...done[key], c: '7' } }), online),
      ),
      fc.tuple(marksOf, part, fc.nat(99).map(String)).map(([key, name, mark]): Mutation => (online) => ({
        ...online,
        [key]: { ...online[key as 'from'], [name]: `${mark}!` },
      })),
      fc.constant<Mutation>((online) => ({ ...online, finished: false })),
      fc.constant<Mutation>((online) => ({ ...online, dirty: true, made: 'full' })),
      fc.constant<Mutation>((online) => ({ ...online, streams: [] })),
      fc.constant<Mutation>((online) => ({ ...online, onTopOf: null })),
      fc.constant<Mutation>((online) => ({ ...online, ended: at(50) })),
    );
    const when = fc.constantFrom('chosen', 'cut', 'record');
    const others: fc.Arbitrary<Partial<Evidence>> = fc.oneof(
      when.map((each) => membersBut(each)),
      fc
        .tuple(
          when,
          fc.constantFrom<Partial<MemberObservation>>({ member: 'db2' }, { role: 'backup' }, { epoch: '8/1' }),
        )
        .map(([each, change]) => membersBut(each, change)),
    );
    const start = fc.constantFrom(incremental, closing, { ...incremental, made: 'cumulative' as const });
    fc.assert(
      fc.property(start, changes, (online, change) => {
        assert.equal(judge(withOnline(change(online))).verdict, 'unproven');
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.oneof(start, fc.constant(wholeFull)), others, (online, more) => {
        assert.equal(judge(withOnline(online, more)).verdict, 'unproven');
      }),
      { numRuns: 200 },
    );
  });
});
