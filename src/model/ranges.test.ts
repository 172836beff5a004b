import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  alignTo,
  clip,
  covers,
  intersect,
  normalize,
  overlaps,
  part,
  subtract,
  totalBytes,
  union,
  type Ranges,
} from './ranges.ts';

const space = 80;

const anyRanges = fc.array(fc.record({ offset: fc.nat(60), length: fc.nat(19) }), { maxLength: 12 });
const normalRanges = anyRanges.map(normalize);

/** The slow and obvious way: one flag for each byte. */
function bytes(ranges: Ranges): boolean[] {
  const all = Array.from({ length: space }, () => false);
  for (const { offset, length } of ranges) all.fill(true, offset, offset + length);
  return all;
}

function assertNormal(ranges: Ranges): void {
  let end = -1;
  for (const { offset, length } of ranges) {
    assert.ok(length > 0, 'no empty range');
    assert.ok(offset > end, 'ascending, none touching the one before');
    end = offset + length;
  }
}

function assertBytes(ranges: Ranges, expected: readonly boolean[]): void {
  assertNormal(ranges);
  assert.deepEqual(bytes(ranges), expected);
}

describe('ranges', () => {
  it('merges what touches or overlaps, drops what is empty, and sorts', () => {
    const messy = [
      { offset: 30, length: 5 },
      { offset: 7, length: 0 },
      { offset: 0, length: 10 },
      { offset: 10, length: 2 },
      { offset: 2, length: 3 },
    ];
    assert.deepEqual(normalize(messy), [
      { offset: 0, length: 12 },
      { offset: 30, length: 5 },
    ]);
    assert.equal(messy[0]?.offset, 30, 'the list given is left as it was');
  });

  it('holds the same bytes in normal form, by any order of the list', () => {
    fc.assert(
      fc.property(anyRanges, (ranges) => {
        assertBytes(normalize(ranges), bytes(ranges));
        assert.deepEqual(normalize(ranges.toReversed()), normalize(ranges));
        assert.deepEqual(normalize(normalize(ranges)), normalize(ranges));
      }),
    );
  });

  it('unites, intersects and subtracts as sets of bytes do', () => {
    fc.assert(
      fc.property(normalRanges, normalRanges, (a, b) => {
        const [inA, inB] = [bytes(a), bytes(b)];
        assertBytes(
          union(a, b),
          inA.map((x, i) => x || inB[i] === true),
        );
        assertBytes(
          intersect(a, b),
          inA.map((x, i) => x && inB[i] === true),
        );
        assertBytes(
          subtract(a, b),
          inA.map((x, i) => x && inB[i] !== true),
        );
      }),
      { numRuns: 1000 },
    );
    assert.deepEqual(union(), []);
  });

  it('finds by search what a look at every byte finds', () => {
    fc.assert(
      fc.property(normalRanges, fc.nat(60), fc.nat(19), (ranges, offset, length) => {
        const asked = bytes(ranges).slice(offset, offset + length);
        assert.equal(covers(ranges, offset, length), asked.every(Boolean));
        assert.equal(overlaps(ranges, offset, length), asked.some(Boolean));
        assertBytes(
          part(ranges, offset, length),
          bytes(ranges).map((x, i) => x && i >= offset && i < offset + length),
        );
      }),
      { numRuns: 1000 },
    );
  });

  it('counts, clips and aligns', () => {
    fc.assert(
      fc.property(normalRanges, fc.nat(space), fc.integer({ min: 1, max: 16 }), (ranges, size, block) => {
        const inside = bytes(ranges);
        assert.equal(totalBytes(ranges), inside.filter(Boolean).length);
        assertBytes(
          clip(ranges, size),
          inside.map((x, i) => x && i < size),
        );
        const aligned = alignTo(ranges, block);
        assertNormal(aligned);
        const blockHas = (i: number): boolean => {
          const first = Math.floor(i / block) * block;
          return inside.slice(first, first + block).some(Boolean);
        };
        assert.deepEqual(
          bytes(aligned).slice(0, space),
          inside.map((_, i) => blockHas(i)),
        );
        for (const { offset, length } of aligned) assert.deepEqual([offset % block, length % block], [0, 0]);
      }),
      { numRuns: 1000 },
    );
  });

  it('stays exact beyond what 32 bits hold', () => {
    const tera = 2 ** 40;
    assert.deepEqual(alignTo([{ offset: tera + 1, length: 1 }], 4096), [{ offset: tera, length: 4096 }]);
    assert.equal(covers([{ offset: 0, length: 5 * tera }], 4 * tera, tera), true);
  });
});
