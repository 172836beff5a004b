import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { member, MemoryTopology } from '../../test/doubles/memory-topology.ts';
import { alarmEvents, alarmsOf, fullAt, primaryChange, type Alarm } from './cluster-alarms.ts';
import type { ClusterView } from './cluster.ts';

const limits = { maxLagMs: 10_000 };

async function viewOf(change: (topology: MemoryTopology) => void = () => undefined): Promise<ClusterView> {
  const topology = new MemoryTopology();
  change(topology);
  return await topology.view();
}

const codes = (alarms: readonly Alarm[]): readonly string[] =>
  alarms.map(({ code, member: who }) => `${code} ${who ?? '-'}`);

describe('alarms', () => {
  const cases: readonly (readonly [string, (topology: MemoryTopology) => void, readonly string[]])[] = [
    ['a healthy pair', () => undefined, []],
    ['a member that is down', (at) => at.change('beta', { health: 'down' }), ['member-down beta']],
    ['a member in trouble', (at) => at.change('alpha', { health: 'trouble' }), ['member-trouble alpha']],
    ['a member that nobody knows of', (at) => at.change('beta', { health: 'unknown' }), ['member-trouble beta']],
    ['no primary', (at) => at.change('alpha', { role: 'backup' }), ['no-primary -']],
    ['an engine alone', (at) => void (at.members = [member('one', 'standalone')]), []],
    [
      'a late journal',
      (at) => at.change('beta', { transfer: { ms: 10_001, caughtUp: false } }),
      ['transfer-behind beta'],
    ],
    ['a late apply', (at) => at.change('beta', { apply: { ms: 10_001, caughtUp: true } }), ['apply-behind beta']],
    ['within the limit', (at) => at.change('beta', { apply: { ms: 10_000, caughtUp: false } }), []],
    ['behind, nobody says how far', (at) => at.change('beta', { apply: { caughtUp: false } }), ['apply-behind beta']],
    ['some bytes behind', (at) => at.change('beta', { apply: { bytes: 5, caughtUp: false } }), []],
    ['no lag told', (at) => at.change('beta', { apply: { caughtUp: undefined } }), []],
    [
      'no arbiter',
      (at) => void (at.quorum = { kind: 'arbiter', health: 'unknown', said: 'no answer' }),
      ['quorum-lost -'],
    ],
    ['nobody to ask', (at) => void (at.quorum = { kind: 'none', health: 'down', said: '' }), []],
    ['failover held off', (at) => void (at.heldOffBy = 'a person'), ['failover-held-off -']],
    [
      'findings of a member',
      (at) =>
        at.change('beta', {
          findings: [
            { severity: 'warning', check: 'slot', said: 'lost' },
            { severity: 'info', check: 'version', said: '15' },
          ],
        }),
      ['finding beta'],
    ],
  ];
  for (const [name, change, expected] of cases) {
    it(name, async () => {
      assert.deepEqual(codes(alarmsOf(await viewOf(change), limits)), expected);
    });
  }

  it('are those of the cluster, too', async () => {
    const view = await viewOf();
    const findings = [
      { severity: 'error', check: 'split', said: 'two primaries' },
      { severity: 'info', check: 'version', said: '1' },
    ] as const;
    assert.deepEqual(codes(alarmsOf({ ...view, findings }, limits)), ['finding -']);
  });
});

describe('events of alarms', () => {
  const alarm = fc.record({
    code: fc.constantFrom('member-down', 'finding', 'quorum-lost'),
    member: fc.constantFrom('a', 'b'),
    about: fc.constantFrom('x', 'y'),
    severity: fc.constant('error'),
    said: fc.string(),
  }) as fc.Arbitrary<Alarm>;
  const alarms = fc.uniqueArray(alarm, { selector: ({ code, member: who, about }) => `${code} ${who} ${about}` });

  it('take what was to what is, whatever the figures in the words', () => {
    fc.assert(
      fc.property(alarms, alarms, (before, after) => {
        const key = ({ code, member: who, about }: Alarm): string => `${code} ${who} ${about}`;
        const now = new Set(before.map(key));
        for (const { kind, alarm: each } of alarmEvents(before, after)) {
          assert.equal(now.has(key(each)), kind === 'cleared', 'raised twice, or cleared without being raised');
          if (kind === 'cleared') now.delete(key(each));
          else now.add(key(each));
        }
        assert.deepEqual([...now].sort(), after.map(key).sort());
      }),
    );
  });

  it('are none while nothing but the words changes', () => {
    const [was, is] = ['1 s', '2 s'].map((said): Alarm => ({
      code: 'apply-behind',
      member: 'a',
      severity: 'warning',
      said,
    }));
    assert.ok(was !== undefined && is !== undefined);
    assert.deepEqual(alarmEvents([was], [is]), []);
  });
});

describe('a change of the primary', () => {
  it('is told by name and epoch', async () => {
    const before = await viewOf();
    const after = await viewOf((at) => at.failOver());
    assert.equal(primaryChange(before, before), undefined);
    assert.equal(primaryChange(before, after)?.member, 'beta');
    assert.match(
      primaryChange(before, await viewOf((at) => void (at.epoch = 3)))?.said ?? '',
      /alpha became primary anew/,
    );
    assert.equal(primaryChange(before, await viewOf((at) => at.change('alpha', { role: 'backup' }))), undefined);
  });
});

describe('when a disk is full', () => {
  it('is where the line through the samples meets nothing', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 40 }),
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 10 ** 6, max: 10 ** 9 }),
        (count, perSecond, start) => {
          const samples = Array.from({ length: count }, (_none, index) => ({
            atMs: 5000 + index * 1000,
            freeBytes: start - index * perSecond,
          }));
          const full = fullAt(samples);
          assert.ok(full !== undefined);
          const expected = 5000 + (start / perSecond) * 1000;
          assert.ok(Math.abs(full.atMs - expected) <= expected * 1e-6, `${full.atMs} for ${expected}`);
          assert.ok(Math.abs(full.bytesPerSecond - perSecond) <= perSecond * 1e-6);
        },
      ),
    );
  });

  it('is not told of a disk that empties, of two samples, or of one instant', () => {
    const at = (atMs: number, freeBytes: number) => ({ atMs, freeBytes });
    assert.equal(fullAt([]), undefined);
    assert.equal(fullAt([at(0, 9), at(1, 8)]), undefined);
    assert.equal(fullAt([at(0, 9), at(1, 9), at(2, 9)]), undefined);
    assert.equal(fullAt([at(0, 7), at(1, 8), at(2, 9)]), undefined);
    assert.equal(fullAt([at(1, 9), at(1, 8), at(1, 7)]), undefined);
  });
});
