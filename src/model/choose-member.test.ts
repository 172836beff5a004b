import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { chooseMember, type ChoiceRequest, type MemberPolicy } from './choose-member.ts';
import type { ClusterMember, ClusterView, Lag } from './cluster.ts';

const caughtUp: Lag = { ms: 0, caughtUp: true };

function member(name: string, role: ClusterMember['role'], more: Partial<ClusterMember> = {}): ClusterMember {
  const standby = role === 'backup' || role === 'replica' || role === 'async';
  return {
    name,
    role,
    health: 'healthy',
    reported: role,
    ...(standby ? { transfer: caughtUp, apply: caughtUp } : {}),
    mayTakeOver: true,
    findings: [],
    ...more,
  };
}

function request(policy: MemberPolicy, ...members: readonly ClusterMember[]): ChoiceRequest {
  const view: ClusterView = {
    manager: 'm',
    name: 'c',
    epoch: '1',
    members,
    quorum: { kind: 'none', health: 'healthy', said: '' },
    failover: { automatic: true, said: '' },
    findings: [],
  };
  return { view, policy, reachable: new Set(members.map(({ name }) => name)), maxLagMs: 10_000 };
}

const objectionsOf = (one: ClusterMember, policy: MemberPolicy = 'standby'): readonly string[] =>
  chooseMember(request(policy, one)).considered.flatMap(({ objections }) => objections.map(({ code }) => code));

describe('choosing a member', () => {
  it('prefers a standby, and takes the primary when no standby fits', () => {
    const [primary, backup] = [member('a', 'primary'), member('b', 'backup')];
    assert.equal(chooseMember(request('prefer-standby', primary, backup)).member, 'b');
    const down = member('b', 'backup', { health: 'down' });
    assert.equal(chooseMember(request('prefer-standby', primary, down)).member, 'a');
  });

  for (const [policy, chosen] of [
    ['primary', 'a'],
    ['standby', 'b'],
    ['async', 'c'],
    ['prefer-standby', 'b'],
  ] as const)
    it(`takes ${chosen} by the policy ${policy}`, () => {
      const members = [member('c', 'async'), member('a', 'primary'), member('b', 'replica')];
      assert.equal(chooseMember(request(policy, ...members)).member, chosen);
    });

  it('chooses nobody from an empty cluster, and nobody when none fits, and says why', () => {
    assert.deepEqual(chooseMember(request('primary')), { considered: [] });
    const choice = chooseMember(request('async', member('a', 'primary')));
    assert.equal('member' in choice, false);
    assert.match(
      choice.considered[0]?.objections[0]?.said ?? '',
      /^it is primary \(primary\), and the policy is async$/,
    );
  });

  it('takes the one that is least behind, then the first by name', () => {
    const behind = (ms: number): Partial<ClusterMember> => ({ apply: { ms, caughtUp: true } });
    const standbys = [member('a', 'replica', behind(900)), member('c', 'replica'), member('b', 'replica')];
    const { considered } = chooseMember(request('standby', ...standbys));
    assert.deepEqual(
      considered.map((each) => each.member),
      ['b', 'c', 'a'],
    );
    const late = member('a', 'replica', { transfer: { ms: 900, caughtUp: true } });
    assert.equal(chooseMember(request('standby', late, member('b', 'replica'))).member, 'b');
  });

  it('names those that the policy does not want behind those that it would want', () => {
    const members = [member('a', 'primary'), member('b', 'async'), member('c', 'replica', { health: 'down' })];
    const { considered } = chooseMember(request('standby', ...members));
    assert.deepEqual(
      considered.map((each) => each.member),
      ['c', 'a', 'b'],
    );
  });

  it('takes whoever leads the quorum last, whatever its role', () => {
    const leader = member('b', 'replica', { leadsQuorum: true });
    const unknown = member('c', 'replica');
    const other = member('d', 'replica', { leadsQuorum: false });
    assert.equal(chooseMember(request('standby', leader, unknown, other)).member, 'd');
    assert.equal(chooseMember(request('standby', leader, unknown)).member, 'c');
    const primary = member('a', 'primary', { leadsQuorum: false });
    assert.equal(chooseMember(request('prefer-standby', primary, leader)).member, 'a');
    assert.equal(chooseMember(request('standby', leader)).member, 'b');
  });

  it('keeps two members of one name', () => {
    assert.equal(chooseMember(request('primary', member('a', 'primary'), member('a', 'primary'))).considered.length, 2);
  });
});

describe('objections', () => {
  it('has none to a standby that is well', () => {
    assert.deepEqual(objectionsOf(member('b', 'backup')), []);
  });

  it('objects to a member that cannot be reached', () => {
    const choice = chooseMember({ ...request('primary', member('a', 'primary')), reachable: new Set(['b']) });
    assert.equal(choice.considered[0]?.objections[0]?.code, 'not-reachable');
  });

  for (const health of ['trouble', 'down', 'unknown'] as const)
    it(`objects to ${health}`, () => {
      assert.deepEqual(objectionsOf(member('b', 'backup', { health })), ['health']);
    });

  it('objects to an unknown role', () => {
    assert.deepEqual(objectionsOf(member('b', 'unknown')), ['role']);
  });

  for (const [name, lag, fits] of [
    ['a figure at the limit', { ms: 10_000, caughtUp: undefined }, true],
    ['a figure over the limit', { ms: 10_001, caughtUp: undefined }, false],
    ['a figure over the limit against the word', { ms: 10_001, caughtUp: true }, false],
    ['the word alone', { caughtUp: true }, true],
    ['not caught up, whatever the figure', { ms: 1, caughtUp: false }, false],
    ['nothing said', { caughtUp: undefined }, false],
  ] as const)
    it(`${fits ? 'accepts' : 'objects to'} lag: ${name}`, () => {
      assert.deepEqual(objectionsOf(member('b', 'replica', { transfer: lag })), fits ? [] : ['lag']);
      assert.deepEqual(objectionsOf(member('b', 'replica', { apply: lag })), fits ? [] : ['lag']);
      assert.deepEqual(objectionsOf(member('b', 'backup', { apply: lag })), fits ? [] : ['lag']);
      assert.deepEqual(objectionsOf(member('b', 'async', { apply: lag }), 'async'), fits ? [] : ['lag']);
    });

  it('objects to a standby whose lag is nowhere, and not to a primary without', () => {
    const { transfer: _transfer, apply: _apply, ...bare } = member('b', 'replica');
    assert.deepEqual(objectionsOf(bare), ['lag']);
    assert.deepEqual(objectionsOf(member('a', 'primary'), 'primary'), []);
  });

  it('objects to findings that are errors only', () => {
    const finding = (severity: 'warning' | 'error') => ({ severity, check: 'dejournaling', said: 'stopped' });
    assert.deepEqual(objectionsOf(member('b', 'backup', { findings: [finding('warning')] })), []);
    assert.deepEqual(objectionsOf(member('b', 'backup', { findings: [finding('error')] })), ['finding']);
  });
});

describe('a cluster that is not well', () => {
  it('has no member to be backed up while something is wrong with all of it', () => {
    const asked = request('prefer-standby', member('a', 'primary'), member('b', 'backup'));
    const view: ClusterView = {
      ...asked.view,
      findings: [{ severity: 'error', check: 'split', said: 'two primaries' }],
    };
    const choice = chooseMember({ ...asked, view });
    assert.equal(choice.member, undefined);
    assert.ok(
      choice.considered.every(({ objections }) => objections.some(({ said }) => said === 'split: two primaries')),
    );
    const warned: ClusterView = { ...asked.view, findings: [{ severity: 'warning', check: 'x', said: 'y' }] };
    assert.equal(chooseMember({ ...asked, view: warned }).member, 'b');
  });
});

const anyLag = fc.option(fc.record({ ms: fc.nat(20_000), caughtUp: fc.constantFrom(true, false, undefined) }), {
  nil: undefined,
});
const anyMember = fc
  .record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    role: fc.constantFrom<ClusterMember['role'][]>('primary', 'backup', 'replica', 'async', 'standalone', 'unknown'),
    health: fc.constantFrom<ClusterMember['health'][]>('healthy', 'healthy', 'trouble', 'down', 'unknown'),
    transfer: anyLag,
    apply: anyLag,
    leadsQuorum: fc.constantFrom(true, false, undefined),
  })
  .map(({ name, role, health, transfer, apply, leadsQuorum }) => ({
    name,
    role,
    health,
    reported: role,
    ...(transfer === undefined ? {} : { transfer }),
    ...(apply === undefined ? {} : { apply }),
    ...(leadsQuorum === undefined ? {} : { leadsQuorum }),
    mayTakeOver: true,
    findings: [],
  }));
const anyMembers = fc.uniqueArray(anyMember, { selector: ({ name }) => name, maxLength: 6 });
const anyPolicy = fc.constantFrom<MemberPolicy[]>('prefer-standby', 'primary', 'standby', 'async');

describe('any choice', () => {
  it('does not depend on the order of the members', () => {
    fc.assert(
      fc.property(
        anyMembers.chain((members) =>
          fc.tuple(fc.constant(members), fc.shuffledSubarray(members, { minLength: members.length })),
        ),
        anyPolicy,
        ([members, shuffled], policy) => {
          assert.deepEqual(chooseMember(request(policy, ...shuffled)), chooseMember(request(policy, ...members)));
        },
      ),
    );
  });

  it('has no objection to the chosen member, and one to everybody when nobody is chosen', () => {
    fc.assert(
      fc.property(anyMembers, anyPolicy, fc.subarray(['a', 'b', 'c', 'd', 'e', 'f']), (members, policy, reachable) => {
        const choice = chooseMember({ ...request(policy, ...members), reachable: new Set(reachable) });
        assert.equal(choice.considered.length, members.length);
        const fit = choice.considered.filter(({ objections }) => objections.length === 0).map((each) => each.member);
        assert.equal(choice.member, fit[0]);
        if (choice.member !== undefined) assert.ok(reachable.includes(choice.member));
        assert.deepEqual(
          choice.considered.slice(0, fit.length).map((each) => each.member),
          fit,
        );
      }),
    );
  });

  it('never leads the quorum while a member that fits does not', () => {
    fc.assert(
      fc.property(anyMembers, anyPolicy, (members, policy) => {
        const choice = chooseMember(request(policy, ...members));
        const leads = (name: string): boolean =>
          members.some((each) => each.name === name && each.leadsQuorum === true);
        if (choice.member === undefined || !leads(choice.member)) return;
        for (const { member: name, objections } of choice.considered) assert.ok(objections.length > 0 || leads(name));
      }),
    );
  });
});
