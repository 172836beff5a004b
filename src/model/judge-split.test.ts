import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Evidence } from './evidence.ts';
import { judgeSplit, type SplitRule } from './judge-split.ts';
import { judge } from './judge.ts';
import type { ServerSeen, SplitEvidence, SplitLook, SplitSeen } from './mirror-split.ts';

type When = SplitLook['when'];

const attached = { volume: 'vol-2', state: 'attached' };
const well: ServerSeen = {
  ...{ machine: 'running', attached, answers: true, bootId: 'a', services: 'running', startup: 'automatic' },
  ...{ word: 'Online', colour: 'GREEN', suspended: [] },
};
const held: ServerSeen = { ...well, suspended: ['mdw1'] };
const off: ServerSeen = { ...well, machine: 'stopped', answers: false, services: 'unknown', colour: 'unknown' };
const online: SplitSeen['group'] = { status: 'online', on: 'one' };
const offline: SplitSeen['group'] = { status: 'offline', on: null };
const at = (monoMs: number) => ({ monoMs, wall: '2026-01-01T00:00:00.000Z' });

const seenAt: Readonly<Record<When, SplitSeen>> = {
  chosen: { servers: { one: well, two: well }, group: online, mirror: 'Normal' },
  'before-break': { servers: { one: held, two: held }, group: offline, mirror: 'Normal' },
  'after-break': { servers: { one: held, two: { ...held, colour: 'RED' } }, group: offline, mirror: 'Abnormal' },
  'before-leave': { servers: { one: held, two: { ...held, colour: 'RED' } }, group: online, mirror: 'Abnormal' },
  off: { servers: { one: held, two: off }, group: online, mirror: 'Abnormal' },
  'after-cut': { servers: { one: held, two: off }, group: online, mirror: 'Abnormal' },
  record: { servers: { one: well, two: well }, group: online, mirror: 'Normal' },
};
const order: readonly When[] = ['chosen', 'before-break', 'after-break', 'before-leave', 'off', 'after-cut', 'record'];

function evidence(
  change: Partial<Record<When, Partial<SplitSeen>>> = {},
  more: Partial<SplitEvidence> = {},
): SplitEvidence {
  return {
    before: {
      ...{ active: 'one', standby: 'two' },
      monitors: ['one', 'two'].map((server) => ({ monitor: 'mdw1', server })),
    },
    ...{ machine: 'i-2', device: '/dev/sdb', volume: 'vol-2' },
    snapshot: { id: 'snap-1', volume: 'vol-2', state: 'completed' },
    looks: order.map((when, index) => ({
      when,
      seen: { ...seenAt[when], ...change[when] },
      at: at(index < 5 ? index : index + 10),
    })),
    ...{ called: at(5), returned: at(6), oneCopyMs: 1 },
    ...more,
  };
}

const two = (when: When, change: Partial<ServerSeen>): Partial<Record<When, Partial<SplitSeen>>> => ({
  [when]: { servers: { ...seenAt[when].servers, two: { ...(seenAt[when].servers['two'] ?? well), ...change } } },
});
const without = (when: When): Partial<Record<When, Partial<SplitSeen>>> => ({
  [when]: { servers: { one: seenAt[when].servers['one'] ?? well } },
});

describe('the verdict on a split mirror', () => {
  it('is good when nothing is broken', () => assert.deepEqual(judgeSplit(evidence()), []));

  const seeded: readonly (readonly [SplitRule, SplitEvidence])[] = [
    ['split-not-observed', evidence({}, { looks: evidence().looks.slice(1) })],
    ['group-not-stopped', evidence({ 'before-break': { group: online } })],
    ['group-not-stopped', evidence({ 'after-break': { group: { status: 'unknown', on: null } } })],
    ['mirror-not-whole', evidence({ chosen: { mirror: 'Recovering' } })],
    ['mirror-not-whole', evidence({ 'before-break': { mirror: 'Abnormal' } })],
    ['mirror-not-whole', evidence({ record: { mirror: 'Recovering' } })],
    ['standby-not-isolated', evidence(two('after-break', { colour: 'GREEN' }))],
    ['standby-not-isolated', evidence(two('before-leave', { colour: 'YELLOW' }))],
    ['machine-not-off', evidence(two('off', { machine: 'stopping' }))],
    ['machine-not-off', evidence(two('after-cut', { machine: 'running' }))],
    ['volume-changed', evidence(two('after-cut', { attached: null }))],
    ['volume-changed', evidence(two('off', { attached: { volume: 'vol-9', state: 'attached' } }))],
    ['volume-changed', evidence({}, { snapshot: { id: 's', volume: 'vol-9', state: 'completed' } })],
    ['monitor-resumed', evidence(two('before-leave', { suspended: [] }))],
    ['monitor-resumed', evidence({ 'after-cut': { servers: { one: well, two: off } } })],
    ['snapshot-incomplete', evidence({}, { snapshot: { id: 's', volume: 'vol-2', state: 'pending' } })],
    ['split-disordered', evidence({}, { called: at(3) })],
  ];
  for (const [rule, found] of seeded) {
    it(`names ${rule}`, () => assert.deepEqual([...new Set(judgeSplit(found).map((each) => each.rule))], [rule]));
  }

  it('takes a server that nobody told of for all that it may be', () => {
    const rules = (when: When) => judgeSplit(evidence(without(when))).map((each) => each.rule);
    assert.deepEqual(rules('after-break'), ['standby-not-isolated', 'volume-changed', 'monitor-resumed']);
    assert.deepEqual(rules('off'), ['machine-not-off', 'volume-changed']);
  });
});

describe('judge', () => {
  const observation = { ...{ manager: 'm', cluster: 'c', epoch: 'g@one', member: 'one' }, role: 'primary' as const };
  const whole = (split: SplitEvidence, isSeen: boolean): Evidence => ({
    ...{ schema: 'stillpoint.evidence/1', runId: 'r', workload: 'w', bootId: 'b' },
    engine: { name: 'e', version: '', facts: {} },
    ...{ required: [], volumes: [], members: [], hold: null, leftOut: [], events: [] },
    cut: { atomicity: 'one-instant', how: '', cuts: [], spans: [] },
    ...(isSeen
      ? {
          cluster: {
            ...{ chosen: observation, considered: [], heldOff: false },
            seen: (['cut', 'record'] as const).map((when) => ({ when, seen: observation, at: at(1) })),
          },
        }
      : {}),
    split,
  });

  it('is application-consistent by the rules of the split and of the cluster together', () => {
    assert.deepEqual(judge(whole(evidence(), true)), { verdict: 'application-consistent', reasons: [] });
    const rules = (found: Evidence) => judge(found).reasons.map(({ rule }) => rule);
    assert.deepEqual(rules(whole(evidence(), false)), ['role-not-observed']);
    const bad = judge(whole(evidence({ 'before-break': { group: online } }), true));
    assert.deepEqual([bad.verdict, bad.reasons[0]?.rule], ['unproven', 'group-not-stopped']);
    const moved = whole(evidence(), true);
    const elsewhere = { when: 'record' as const, seen: { ...observation, epoch: 'g@two' }, at: at(2) };
    const cluster = {
      ...(moved.cluster ?? assert.fail()),
      seen: [...(moved.cluster?.seen ?? []).slice(0, 1), elsewhere],
    };
    assert.deepEqual(rules({ ...moved, cluster }), ['role-changed']);
  });
});
