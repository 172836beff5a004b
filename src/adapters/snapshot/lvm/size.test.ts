import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseBytes, shareOut, wantedBytes, wholeBytes, type SizeRequest } from './size.ts';

const mib = 1024 ** 2;
const gib = 1024 ** 3;
const request: SizeRequest = {
  vg: 'a',
  originBytes: 100 * gib,
  extentBytes: 4 * mib,
  configured: undefined,
  bytesPerSecond: 0,
  keepMs: undefined,
};

describe('size of a snapshot', () => {
  it('reads sizes with a unit', () => {
    assert.equal(parseBytes('10GiB'), 10 * gib);
    assert.equal(parseBytes(' 1.5 MB '), 1_500_000);
    for (const text of ['10', '10 gib', '0MiB', '-1GiB', 'auto', '1constructor']) {
      assert.equal(parseBytes(text), undefined, text);
    }
  });

  it('is a tenth of the volume, 64 MiB, or what is written until the copy is done', () => {
    assert.equal(wantedBytes(request).wanted, 10 * gib);
    assert.equal(wantedBytes({ ...request, originBytes: 200 * mib }).wanted, 64 * mib);
    const busy = wantedBytes({ ...request, bytesPerSecond: 10 * mib, keepMs: 3_600_000 });
    assert.equal(busy.least, 10 * gib);
    assert.equal(busy.wanted, 2 * 3600 * 10 * mib);
    // Half an hour where nothing is known.
    assert.equal(wantedBytes({ ...request, bytesPerSecond: 10 * mib }).wanted, 2 * 1800 * 10 * mib);
    const configured = wantedBytes({ ...request, configured: 3 * mib, bytesPerSecond: gib });
    assert.deepEqual(configured, { least: 4 * mib, wanted: 4 * mib });
  });

  it('never is more than the volume with an entry for each of its chunks', () => {
    const most = wholeBytes(request.originBytes);
    assert.ok(most > request.originBytes && most < request.originBytes * 1.005);
    const { wanted } = wantedBytes({ ...request, bytesPerSecond: 10 * gib, keepMs: 3_600_000 });
    assert.ok(wanted >= most && wanted - most < request.extentBytes);
  });

  it('gives everybody the least before anybody more, and never more than there is', () => {
    const busy = { ...request, bytesPerSecond: 10 * mib, keepMs: 3_600_000 };
    assert.deepEqual(shareOut([request, request], new Map([['a', 20 * gib]])), [10 * gib, 10 * gib]);
    assert.deepEqual(shareOut([request, request], new Map([['a', 20 * gib - 1]])), [undefined, undefined]);
    assert.deepEqual(shareOut([request], new Map()), [undefined]);
    const [quiet, more] = shareOut([request, busy], new Map([['a', 30 * gib]]));
    assert.equal(quiet, 10 * gib);
    assert.equal(more, 20 * gib);
    // Another group is another matter.
    const [, other] = shareOut([busy, { ...request, vg: 'b' }], new Map([['b', 10 * gib]]));
    assert.equal(other, 10 * gib);
  });

  it('holds to that for any group', () => {
    const requests = fc.array(
      fc.record({
        vg: fc.constantFrom('a', 'b'),
        originBytes: fc.integer({ min: 4 * mib, max: 10 * gib }),
        extentBytes: fc.constant(4 * mib),
        configured: fc.option(fc.integer({ min: 1, max: 10 * gib }), { nil: undefined }),
        bytesPerSecond: fc.integer({ min: 0, max: gib }),
        keepMs: fc.option(fc.integer({ min: 0, max: 86_400_000 }), { nil: undefined }),
      }),
      { maxLength: 6 },
    );
    const free = fc.integer({ min: 0, max: 20 * gib });
    fc.assert(
      fc.property(requests, free, free, (all, a, b) => {
        const sizes = shareOut(
          all,
          new Map([
            ['a', a],
            ['b', b],
          ]),
        );
        for (const [vg, left] of [
          ['a', a],
          ['b', b],
        ] as const) {
          const given = sizes.filter((_, index) => all[index]?.vg === vg);
          if (given.includes(undefined)) assert.ok(given.every((size) => size === undefined));
          assert.ok(given.reduce<number>((sum, size) => sum + (size ?? 0), 0) <= left);
        }
        sizes.forEach((size, index) => {
          const one = all[index];
          if (size === undefined || one === undefined) return;
          const { least, wanted } = wantedBytes(one);
          assert.ok(size >= least && size <= wanted && size % one.extentBytes === 0);
        });
      }),
    );
  });
});
