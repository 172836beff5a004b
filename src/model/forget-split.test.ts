import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { whyKept, type ForgetSeen } from './forget-split.ts';

const free: ForgetSeen = {
  point: { id: 'p1', workload: 'orders', volumes: [] },
  others: [{ id: 'p2', verdict: 'application-consistent' }],
  snapshots: [{ id: 'snap-1', state: 'completed', ours: true }],
  volumes: [{ id: 'vol-9', state: 'in-use' }],
  fastIn: [],
};

describe('a point that is a snapshot of a disk', () => {
  it('may be forgotten when another one is left and nobody is at work on it', () => {
    assert.deepEqual(whyKept(free), []);
  });

  const kept: readonly (readonly [string, Partial<ForgetSeen>, RegExp])[] = [
    ['is the last one', { others: [] }, /no other application-consistent point of orders/],
    ['leaves none that is good', { others: [{ id: 'p2', verdict: 'crash-consistent' }] }, /no other/],
    ['is another one by its tag', { snapshots: [{ id: 'snap-1', state: 'completed', ours: false }] }, /not the tag/],
    ['is still copied', { snapshots: [{ id: 'snap-1', state: 'pending', ours: true }] }, /still being copied/],
    ['is being restored', { volumes: [{ id: 'vol-9', state: 'creating' }] }, /vol-9 is being made/],
    ['has fast restore', { fastIn: ['zone-a'] }, /on in zone-a/],
  ];
  for (const [name, change, why] of kept) {
    it(`is kept when it ${name}`, () => {
      const said = whyKept({ ...free, ...change });
      assert.equal(said.length, 1);
      assert.match(said[0] ?? '', why);
    });
  }
});
