import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lostCanary } from './drill.ts';

const found = (value: number): Parameters<typeof lostCanary>[1] => [
  { severity: 'info', check: 'canary', said: `prefix 1..${value}`, value },
];

describe('canary of a restored copy', () => {
  it('must reach the last number that was acknowledged before the cut', () => {
    assert.equal(lostCanary({ canary: { acknowledged: 5 } }, found(5)), undefined);
    assert.equal(lostCanary({ canary: { acknowledged: 5 } }, found(9)), undefined, 'the journal may hold later ones');
    assert.match(lostCanary({ canary: { acknowledged: 5 } }, found(4))?.said ?? '', /5 was acknowledged.*ends at 4/);
    assert.equal(lostCanary({ canary: { acknowledged: 5 } }, [])?.severity, 'error', 'a canary that is gone is lost');
  });

  it('asks nothing where nothing was written', () => {
    assert.equal(lostCanary({}, []), undefined);
    assert.equal(lostCanary({ canary: { acknowledged: 0 } }, []), undefined);
  });
});
