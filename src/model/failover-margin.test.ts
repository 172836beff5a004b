import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { ClusterMember, ClusterView, FailoverRule, Health, Quorum } from './cluster.ts';
import { budgetWithin, failoverMargin, stunToExpect, type Silence } from './failover-margin.ts';

function member(name: string, role: ClusterMember['role'], more: Partial<ClusterMember> = {}): ClusterMember {
  return {
    name,
    role,
    health: 'healthy',
    reported: role,
    leadsQuorum: false,
    mayTakeOver: true,
    findings: [],
    ...more,
  };
}

interface Parts {
  readonly standby?: Partial<ClusterMember>;
  readonly primary?: Partial<ClusterMember>;
  readonly quorum?: Partial<Quorum>;
  readonly failover?: Partial<FailoverRule>;
}

function view({ standby, primary, quorum, failover }: Parts = {}): ClusterView {
  return {
    manager: 'm',
    name: 'c',
    epoch: '1',
    members: [member('a', 'primary', primary), member('b', 'replica', standby)],
    quorum: { kind: 'dcs', health: 'healthy', said: 'etcd', ...quorum },
    failover: { automatic: true, detectionMs: 10_000, said: 'ttl', ...failover },
    findings: [],
  };
}

const still: Silence = { stunMs: 1000, holdMs: 500 };
const risksOf = (some: ClusterView, silence: Silence = still, name = 'b'): readonly string[] =>
  failoverMargin(some, name, silence).risks.map(({ code }) => code);
const { leadsQuorum: _leads, ...withoutLead } = member('b', 'replica');

describe('the margin', () => {
  it('is half of the detection time less a late answer, and a silence must be below it', () => {
    const answer = failoverMargin(view(), 'b', { stunMs: 4749, holdMs: 0 });
    assert.deepEqual(answer, { allowed: true, silenceMs: 4749, marginMs: 4750, heldOff: false, risks: [] });
    assert.deepEqual(risksOf(view(), { stunMs: 4750, holdMs: 0 }), ['margin']);
  });

  it('counts stun, hold and a late guard together, the guard only with a hold', () => {
    assert.deepEqual(risksOf(view(), { stunMs: 3000, holdMs: 749 }), []);
    assert.deepEqual(risksOf(view(), { stunMs: 3000, holdMs: 750 }), ['margin']);
    assert.deepEqual(risksOf(view(), { stunMs: 0, holdMs: 3750 }), ['margin']);
  });

  it('says the figures', () => {
    const said = (silence: Silence): string => failoverMargin(view(), 'b', silence).risks[0]?.said ?? '';
    assert.equal(
      said({ stunMs: 4000.4, holdMs: 800 }),
      'a silence of 4800 ms (stun 4000, hold 800, guard late by 1000) is not below 4750 ms, the margin of a failover that begins after 10000 ms',
    );
    assert.match(said({ stunMs: 5000, holdMs: 0 }), /stun 5000, hold 0\) is not below/);
  });

  it('is never below zero, and refuses then', () => {
    const answer = failoverMargin(view({ failover: { detectionMs: 300 } }), 'b', still);
    assert.equal(answer.marginMs, 0);
    assert.equal(answer.allowed, false);
  });

  it('is not there when nobody acts by himself, and a stun of any length is allowed', () => {
    const answer = failoverMargin(view({ failover: { automatic: false } }), 'b', { stunMs: undefined, holdMs: 60_000 });
    assert.deepEqual(answer, { allowed: true, silenceMs: 60_000, heldOff: false, risks: [] });
  });

  it('refuses an unknown stun and an unknown detection time', () => {
    assert.deepEqual(risksOf(view(), { stunMs: undefined, holdMs: 0 }), ['stun-unknown']);
    const { detectionMs: _known, ...unknown } = view().failover;
    assert.deepEqual(risksOf({ ...view(), failover: unknown }), ['detection-unknown']);
  });

  it('says an unknown stun as none beside a hold that is too long', () => {
    assert.deepEqual(risksOf(view(), { stunMs: undefined, holdMs: 9000 }), ['stun-unknown', 'margin']);
  });
});

describe('the state of the cluster', () => {
  it('refuses a member that is not healthy or not there, whatever it costs', () => {
    assert.deepEqual(risksOf(view({ standby: { health: 'trouble' } }), { stunMs: 0, holdMs: 0 }), ['member-unwell']);
    assert.deepEqual(risksOf(view(), { stunMs: 0, holdMs: 0 }, 'z'), ['member-unwell']);
    assert.deepEqual(risksOf(view({ standby: { health: 'down' } })), ['member-unwell']);
  });

  it('refuses while another one that matters is not well', () => {
    assert.deepEqual(risksOf(view({ primary: { health: 'down' } })), ['others-unwell']);
    assert.deepEqual(risksOf(view({ standby: { health: 'unknown' } }), still, 'a'), ['others-unwell']);
    assert.deepEqual(risksOf(view({ standby: { health: 'down', mayTakeOver: false } }), still, 'a'), []);
    assert.deepEqual(risksOf(view({ primary: { health: 'down', mayTakeOver: false } })), ['others-unwell']);
  });

  it('refuses while nobody is primary', () => {
    assert.deepEqual(risksOf(view({ primary: { role: 'replica' } })), ['no-primary']);
  });

  it('refuses a lead of the quorum, and one that is not known where a store decides', () => {
    assert.deepEqual(risksOf(view({ standby: { leadsQuorum: true } })), ['quorum-lead']);
    const unknown = { ...view(), members: [member('a', 'primary'), withoutLead] };
    assert.deepEqual(risksOf(unknown), ['quorum-lead-unknown']);
    assert.deepEqual(risksOf({ ...unknown, quorum: { kind: 'votes', health: 'healthy', said: '' } }), []);
  });

  it('refuses an unwell quorum unless there is none', () => {
    assert.deepEqual(risksOf(view({ quorum: { health: 'trouble' } })), ['quorum-unwell']);
    assert.deepEqual(risksOf(view({ quorum: { kind: 'none', health: 'unknown' } })), []);
  });

  it('is no matter when nothing is silent', () => {
    const bad = view({ primary: { health: 'down' }, standby: { leadsQuorum: true }, quorum: { health: 'down' } });
    assert.deepEqual(risksOf(bad, { stunMs: 0, holdMs: 0 }), []);
  });
});

describe('failover that is held off', () => {
  it('takes the margin, the unknown stun and the quorum away, and leaves the others', () => {
    const heldOff = { failover: { heldOff: true } };
    assert.deepEqual(
      risksOf(view({ ...heldOff, quorum: { health: 'down' } }), { stunMs: undefined, holdMs: 90_000 }),
      [],
    );
    assert.deepEqual(risksOf(view({ ...heldOff, standby: { leadsQuorum: true } })), ['quorum-lead']);
    assert.deepEqual(risksOf(view({ ...heldOff, primary: { health: 'down' } })), ['others-unwell']);
  });

  it('is not in force when the manager says that it is not', () => {
    assert.deepEqual(risksOf(view({ failover: { heldOff: false } }), { stunMs: 9000, holdMs: 0 }), ['margin']);
  });
});

describe('the budget', () => {
  const within = (budgetMs: number, silence: Silence, parts: Parts = {}): number =>
    budgetWithin(budgetMs, failoverMargin(view(parts), 'b', silence), silence);

  it('is cut to what the margin leaves after the stun and a late guard', () => {
    assert.equal(within(5000, still), 2750);
    assert.equal(within(1000, still), 1000);
    assert.equal(within(5000, { stunMs: 4500, holdMs: 1 }), 0);
    assert.equal(within(5000, { stunMs: undefined, holdMs: 1 }), 0);
  });

  it('is left alone where the hold is no silence, failover is held off, or nobody acts', () => {
    assert.equal(within(5000, { stunMs: 4000, holdMs: 0 }), 5000);
    assert.equal(within(5000, still, { failover: { heldOff: true } }), 5000);
    assert.equal(within(5000, still, { failover: { automatic: false } }), 5000);
  });
});

describe('the stun to expect', () => {
  const twenty = Array.from({ length: 20 }, (_, index) => 1000 + index);

  it('is not known from fewer than twenty, and a quarter above the longest from then on', () => {
    assert.equal(stunToExpect([]), undefined);
    assert.equal(stunToExpect(twenty.slice(1)), undefined);
    assert.equal(stunToExpect(twenty), 1019 * 1.25);
  });

  it('is twice the longest where that is far above the usual one', () => {
    assert.equal(stunToExpect([...twenty, 3030]), 3030 * 1.25);
    assert.equal(stunToExpect([...twenty, 3031]), 6062);
  });

  it('is the bound until a stun was longer', () => {
    assert.equal(stunToExpect([], 0), 0);
    assert.equal(stunToExpect([900, 2000], 2000), 2000);
    assert.equal(stunToExpect([900, 2001], 2000), 2001 * 1.25);
  });
});

const health = fc.constantFrom<Health[]>('healthy', 'healthy', 'healthy', 'trouble', 'down', 'unknown');
const anyView = fc
  .record({
    standby: fc.record({ health, leadsQuorum: fc.boolean(), mayTakeOver: fc.boolean() }),
    primary: fc.record({ health, role: fc.constantFrom<ClusterMember['role'][]>('primary', 'replica') }),
    quorum: fc.record({ kind: fc.constantFrom<Quorum['kind'][]>('arbiter', 'dcs', 'votes', 'none'), health }),
    failover: fc.record({ automatic: fc.boolean(), heldOff: fc.boolean(), detectionMs: fc.nat(60_000) }),
  })
  .map(view);
const anySilence = fc.record({ stunMs: fc.nat(20_000), holdMs: fc.nat(20_000) });

describe('any answer', () => {
  it('is no milder for more silence', () => {
    fc.assert(
      fc.property(anyView, anySilence, fc.nat(10_000), fc.nat(10_000), (some, silence, stunMs, holdMs) => {
        const more = { stunMs: silence.stunMs + stunMs, holdMs: silence.holdMs + holdMs };
        const codes = risksOf(some, more);
        for (const code of risksOf(some, silence)) assert.ok(codes.includes(code), code);
      }),
    );
  });

  it('is no milder for a stun that nobody knows than for none', () => {
    fc.assert(
      fc.property(anyView, fc.nat(20_000), (some, holdMs) => {
        const codes = risksOf(some, { stunMs: undefined, holdMs });
        for (const code of risksOf(some, { stunMs: 0, holdMs })) assert.ok(codes.includes(code), code);
      }),
    );
  });

  it('leaves a budget that, with the stun and a late guard, does not exceed the margin, and not less than the hold', () => {
    fc.assert(
      fc.property(anyView, anySilence, fc.integer({ min: 1, max: 60_000 }), (some, silence, budgetMs) => {
        const answer = failoverMargin(some, 'b', silence);
        if (!answer.allowed || answer.marginMs === undefined || answer.heldOff || silence.holdMs === 0) return;
        const left = budgetWithin(budgetMs, answer, silence);
        assert.ok(left + silence.stunMs + 1000 <= answer.marginMs);
        assert.ok(left >= Math.min(budgetMs, silence.holdMs));
        assert.ok(left <= budgetMs);
      }),
    );
  });

  it('keeps the risk of a moved lead when failover is held off', () => {
    fc.assert(
      fc.property(anyView, anySilence, (some, silence) => {
        const heldOff = { ...some, failover: { ...some.failover, heldOff: true } };
        const keeps = (codes: readonly string[]): boolean => codes.includes('quorum-lead');
        assert.equal(keeps(risksOf(heldOff, silence)), keeps(risksOf(some, silence)));
      }),
    );
  });

  it('expects no less than the longest stun so far', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(60_000), { minLength: 1, maxLength: 60 }), fc.nat(60_000), (observed, boundMs) => {
        const longest = Math.max(...observed);
        const expected = [stunToExpect(observed), stunToExpect(observed, boundMs)];
        for (const each of expected) assert.ok(each === undefined || each >= longest);
        assert.notEqual(expected[1], undefined);
      }),
    );
  });
});
