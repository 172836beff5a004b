import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { forbiddenPairs, layerRule, layerRules, toFreeze, type CutBy, type PlannedCut } from './layer-rules.ts';

const kernels = ['3.10.0-1160.el7', '5.15.0', '6.1.176', '6.7.12', '6.8.0', '6.18.44'];
const all = [...new Set(layerRules.map(({ cutsBy }) => cutsBy))];

function cut(cutsBy: CutBy, ...fileSystems: string[]): PlannedCut {
  return { cutsBy, fileSystems: new Set(fileSystems) };
}

describe('the table of layers', () => {
  it('has exactly one row for every pair on every kernel', () => {
    for (const cutsBy of all) {
      for (const stopped of ['file-system', 'device'] as const) {
        for (const kernel of kernels) {
          const { rule } = layerRule(cutsBy, stopped, kernel);
          const others = layerRules.filter(
            (each) => each.cutsBy === cutsBy && each.stopped === stopped && layerRule(cutsBy, stopped, kernel) === each,
          );
          assert.equal(others.length, 1, `${cutsBy} ${stopped} ${kernel} ${rule}`);
        }
      }
    }
  });

  const expected: readonly (readonly [CutBy, 'file-system' | 'device', string, string])[] = [
    ['copy', 'file-system', '6.1.176', 'forbidden'],
    ['reflink', 'file-system', '6.1.176', 'forbidden'],
    ['btrfs', 'file-system', '6.18.44', 'forbidden'],
    ['zfs', 'file-system', '6.1.176', 'forbidden'],
    ['lvm-thick', 'file-system', '6.1.176', 'forbidden'],
    ['lvm-thick', 'file-system', '6.8.0', 'forbidden'],
    ['lvm-thin', 'file-system', '6.1.176', 'forbidden'],
    ['lvm-thin', 'file-system', '6.18.44', 'forbidden'],
    ['dm-thin', 'file-system', '6.1.176', 'forbidden'],
    ['vss', 'file-system', '6.1.176', 'forbidden'],
    ['disk', 'file-system', '6.1.176', 'required'],
    ['copy', 'device', '6.1.176', 'forbidden'],
    ['reflink', 'device', '6.1.176', 'forbidden'],
    ['btrfs', 'device', '6.1.176', 'forbidden'],
    ['zfs', 'device', '6.1.176', 'forbidden'],
    ['lvm-thick', 'device', '6.1.176', 'forbidden'],
    ['lvm-thin', 'device', '6.1.176', 'forbidden'],
    ['dm-thin', 'device', '6.1.176', 'required'],
    ['vss', 'device', '6.1.176', 'forbidden'],
    ['disk', 'device', '6.1.176', 'allowed'],
  ];
  for (const [cutsBy, stopped, kernel, rule] of expected) {
    it(`${rule}: ${stopped} stopped above ${cutsBy} on ${kernel}`, () => {
      assert.equal(layerRule(cutsBy, stopped, kernel).rule, rule);
    });
  }

  it('tests every row', () => {
    const tested = new Set(expected.map(([cutsBy, stopped, kernel]) => layerRule(cutsBy, stopped, kernel)));
    assert.deepEqual(
      layerRules.filter((each) => !tested.has(each)),
      [],
    );
  });

  it('says which kernels a row is for', () => {
    assert.match(layerRule('lvm-thick', 'file-system', '6.7').why, /EBUSY/);
    assert.doesNotMatch(layerRule('lvm-thick', 'file-system', '6.8').why, /EBUSY/);
    assert.match(layerRule('lvm-thin', 'file-system', '5.99').why, /EBUSY/);
  });

  it('throws for what is no kernel, and for what has no row', () => {
    assert.throws(() => layerRule('copy', 'device', 'Darwin'), /no version of a kernel/);
    assert.throws(() => layerRule('tape' as CutBy, 'device', '6.1'), /no rule/);
  });
});

describe('a plan of cuts', () => {
  it('freezes the file systems above disks, and no others', () => {
    const cuts = [cut('disk', 'a', 'b'), cut('lvm-thin', 'c')];
    assert.deepEqual([...toFreeze(cuts, '6.1')].toSorted(), ['a', 'b']);
    assert.deepEqual(forbiddenPairs(cuts, '6.1'), []);
  });

  it('refuses a cut on a file system that is frozen for another one', () => {
    const [said, ...more] = forbiddenPairs([cut('disk', 'a'), cut('reflink', 'a')], '6.1');
    assert.match(said ?? '', /reflink on the frozen a: .*blocks/);
    assert.deepEqual(more, []);
  });

  it('refuses a cut above a device that is suspended for another one', () => {
    const [said, ...more] = forbiddenPairs([cut('dm-thin', 'a', 'b'), cut('copy', 'b')], '6.1');
    assert.match(said ?? '', /copy on b with its device suspended/);
    assert.deepEqual(more, []);
  });

  it('never lets through a pair that the table forbids, and never refuses one that it does not', () => {
    const someCuts = fc.array(
      fc.record({ cutsBy: fc.constantFrom(...all), fileSystems: fc.subarray(['a', 'b', 'c']) }),
      { maxLength: 4 },
    );
    fc.assert(
      fc.property(someCuts, fc.constantFrom(...kernels), (plain, kernel) => {
        const cuts = plain.map(({ cutsBy, fileSystems }) => cut(cutsBy, ...fileSystems));
        const sound = cuts.every((one) =>
          cuts.every((other) =>
            [...one.fileSystems].every(
              (each) =>
                !other.fileSystems.has(each) ||
                (['file-system', 'device'] as const).every(
                  (stopped) =>
                    layerRule(other.cutsBy, stopped, kernel).rule !== 'required' ||
                    layerRule(one.cutsBy, stopped, kernel).rule !== 'forbidden',
                ),
            ),
          ),
        );
        assert.equal(forbiddenPairs(cuts, kernel).length === 0, sound);
      }),
    );
  });
});
