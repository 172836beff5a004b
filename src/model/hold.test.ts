import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { needsOneInstant, stopsWriters, type HoldKind } from './hold.ts';

describe('kinds of a hold', () => {
  const expected: Readonly<Record<HoldKind, readonly [stops: boolean, needs: boolean]>> = {
    'writes-stopped': [true, false],
    'one-instant': [true, true],
    'copy-rules': [false, false],
    none: [false, true],
  };
  for (const [kind, answers] of Object.entries(expected) as [HoldKind, readonly [boolean, boolean]][]) {
    it(`${kind}: whether writers wait, and whether the cut must be one instant`, () => {
      assert.deepEqual([stopsWriters(kind), needsOneInstant(kind)], answers);
    });
  }
});
