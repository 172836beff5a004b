import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { changedByExtents, type Extent, type ExtentMap } from './extents.ts';
import { covers, normalize, overlaps, totalBytes, type Ranges } from './ranges.ts';

function extent(logical: number, physical: number, length: number, ...flags: string[]): Extent {
  return { logical, physical, length, flags: new Set(flags) };
}

const block = 4;
const size = 10 * block;

function changed(base: ExtentMap, now: ExtentMap, baseSize = size, nowSize = size): Ranges {
  return changedByExtents({ base, now, baseSize, nowSize });
}

describe('changedByExtents', () => {
  it('takes a block at the same place for the same, and only that', () => {
    const base = [extent(0, 100, 20, 'shared'), extent(24, 200, 16, 'shared', 'last', 'eof')];
    assert.deepEqual(changed(base, base), []);
    const now = [
      extent(0, 100, 8, 'shared'),
      extent(8, 300, 4),
      extent(12, 112, 8, 'shared'),
      extent(20, 400, 4),
      extent(24, 200, 8, 'shared', 'last'),
    ];
    assert.deepEqual(changed(base, now), [
      { offset: 8, length: 4 },
      { offset: 20, length: 4 },
      { offset: 32, length: 8 },
    ]);
    assert.deepEqual(changed([], []), []);
  });

  it('believes no address that a flag makes doubtful, or that nobody says is shared', () => {
    for (const flag of [
      'inline',
      'not_aligned',
      'delalloc',
      'unknown_loc',
      'tail_packed',
      'encrypted',
      'encoded',
      'merged',
      '0x80',
    ]) {
      const doubtful = [extent(0, 100, size, 'shared', 'last', flag)];
      const plain = [extent(0, 100, size, 'shared', 'last')];
      for (const [base, now] of [
        [doubtful, plain],
        [plain, doubtful],
        [doubtful, doubtful],
      ] as const) {
        assert.deepEqual(changed(base, now), [{ offset: 0, length: size }], flag);
      }
    }
    const alone = [extent(0, 100, size)];
    const shared = [extent(0, 100, size, 'shared')];
    for (const [base, now] of [
      [alone, shared],
      [shared, alone],
    ] as const) {
      assert.deepEqual(changed(base, now), [{ offset: 0, length: size }]);
    }
  });

  it('does not take space that was never written for the same as what was', () => {
    const unwritten = [extent(0, 100, size, 'shared', 'unwritten')];
    assert.deepEqual(changed(unwritten, [extent(0, 100, size, 'shared')]), [{ offset: 0, length: size }]);
    assert.deepEqual(changed(unwritten, unwritten), []);
  });

  it('counts what lies behind the older end as changed, and asks for nothing behind the newer one', () => {
    const map = [extent(0, 100, size, 'shared')];
    assert.deepEqual(changed(map, map, 13, 30), [{ offset: 13, length: 17 }]);
    assert.deepEqual(changed(map, map, 30, 13), []);
    assert.deepEqual(changed(map, [], 30, 13), [{ offset: 0, length: 13 }]);
    assert.deepEqual(changed([], [], 0, 13), [{ offset: 0, length: 13 }]);
    assert.deepEqual(changed([], [], 13, 0), []);
  });

  it('reads a file whole whose map makes no sense', () => {
    const good = [extent(0, 100, size, 'shared')];
    const backwards = [extent(20, 120, 20, 'shared'), extent(0, 100, 20, 'shared')];
    assert.deepEqual(changed(good, backwards), [{ offset: 0, length: size }]);
    assert.deepEqual(changed(backwards, good), [{ offset: 0, length: size }]);
  });

  it('also looks at which blocks of the device changed, where there are two devices', () => {
    const base = [extent(0, 100, 20), extent(24, 200, 16, 'encoded')];
    const ask = (changedPhysical: Ranges): Ranges =>
      changedByExtents({ base, now: base, baseSize: 24, nowSize: 24, changedPhysical });
    assert.deepEqual(ask([]), []);
    assert.deepEqual(
      ask([
        { offset: 90, length: 12 },
        { offset: 119, length: 1 },
      ]),
      [
        { offset: 0, length: 2 },
        { offset: 19, length: 1 },
      ],
    );
    assert.deepEqual(ask([{ offset: 120, length: 80 }]), []);
  });
});

/**
 * A file system that shares blocks: files are maps of blocks, a block that two files hold is never written, one that nobody holds is
 * given to the next who asks, lowest first, so that freed ones come back soon.
 */
class Store {
  readonly blocks = new Map<number, string>();
  readonly files: Map<number, { at: number; unwritten: boolean }>[] = [new Map()];
  readonly sizes: number[] = [0];
  #written = 0;

  owners(at: number): number {
    return this.files.filter((file) => [...file.values()].some((one) => one.at === at)).length;
  }

  free(): number {
    for (let at = 0; ; at += 1) if (this.owners(at) === 0) return at;
  }

  live(): Map<number, { at: number; unwritten: boolean }> {
    const [file] = this.files;
    assert.ok(file !== undefined);
    return file;
  }

  write(index: number): void {
    const old = this.live().get(index);
    const at = old !== undefined && this.owners(old.at) === 1 ? old.at : this.free();
    this.live().set(index, { at, unwritten: false });
    this.blocks.set(at, `content ${(this.#written += 1)}`);
    this.sizes[0] = Math.max(this.sizes[0] ?? 0, (index + 1) * block);
  }

  preallocate(index: number): void {
    if (!this.live().has(index)) this.live().set(index, { at: this.free(), unwritten: true });
  }

  punch(index: number): void {
    this.live().delete(index);
  }

  /** Moves the blocks elsewhere without changing what they hold, as defragmentation does. */
  move(index: number): void {
    const old = this.live().get(index);
    if (old === undefined) return;
    const at = this.free();
    this.blocks.set(at, this.blocks.get(old.at) ?? '');
    this.live().set(index, { ...old, at });
  }

  truncate(blocks: number): void {
    for (const index of this.live().keys()) if (index >= blocks) this.live().delete(index);
    this.sizes[0] = blocks * block;
  }

  snapshot(): number {
    this.sizes.push(this.sizes[0] ?? 0);
    return this.files.push(new Map(this.live())) - 1;
  }

  drop(snapshot: number): void {
    this.files[snapshot] = new Map();
  }

  map(file: number): ExtentMap {
    const rows: Extent[] = [];
    for (const [index, { at, unwritten }] of [...(this.files[file] ?? [])].toSorted(([a], [b]) => a - b)) {
      const flags = [...(unwritten ? ['unwritten'] : []), ...(this.owners(at) > 1 ? ['shared'] : [])];
      const last = rows.at(-1);
      const joins =
        last !== undefined &&
        last.logical + last.length === index * block &&
        last.physical + last.length === at * block &&
        [...last.flags].join() === flags.join();
      if (joins) rows[rows.length - 1] = extent(last.logical, last.physical, last.length + block, ...flags);
      else rows.push(extent(index * block, at * block, block, ...flags));
    }
    return rows;
  }

  reads(file: number, index: number): string {
    const found = this.files[file]?.get(index);
    return found === undefined || found.unwritten ? 'zeros' : (this.blocks.get(found.at) ?? '');
  }
}

const blocksOfFile = 12;
const act = fc.oneof(
  { weight: 6, arbitrary: fc.record({ what: fc.constant('write' as const), index: fc.nat(blocksOfFile - 1) }) },
  fc.record({
    what: fc.constantFrom('punch' as const, 'preallocate' as const, 'move' as const),
    index: fc.nat(blocksOfFile - 1),
  }),
  fc.record({ what: fc.constant('truncate' as const), index: fc.nat(blocksOfFile) }),
  fc.record({ what: fc.constantFrom('snapshot' as const, 'drop' as const), index: fc.constant(0) }),
);
type Act = typeof act extends fc.Arbitrary<infer T> ? T : never;

function play(store: Store, acts: readonly Act[]): void {
  for (const { what, index } of acts) {
    switch (what) {
      case 'snapshot':
        store.snapshot();
        break;
      case 'drop':
        // Blocks of snapshots in between come free and are used again, by other content.
        store.drop(store.files.length - 1 > 1 ? store.files.length - 1 : 99);
        break;
      case 'write':
      case 'move':
      case 'punch':
      case 'preallocate':
      case 'truncate':
        store[what](index);
        break;
      default:
        what satisfies never;
    }
  }
}

describe('changedByExtents on a simulated store', () => {
  it('never misses a byte while both snapshots live, whatever was freed, used again, moved or cut off', () => {
    let found = 0;
    let differing = 0;
    fc.assert(
      fc.property(fc.array(act, { maxLength: 25 }), fc.array(act, { maxLength: 25 }), (before, between) => {
        const store = new Store();
        play(
          store,
          before.filter(({ what }) => what !== 'snapshot' && what !== 'drop'),
        );
        const base = store.snapshot();
        play(store, between);
        const now = store.snapshot();
        const [baseSize = 0, nowSize = 0] = [store.sizes[base], store.sizes[now]];
        const ranges = changedByExtents({ base: store.map(base), now: store.map(now), baseSize, nowSize });
        assert.deepEqual(normalize(ranges), ranges);
        assert.ok(ranges.every(({ offset, length }) => offset + length <= nowSize));
        found += totalBytes(ranges);
        for (let index = 0; index * block < nowSize; index += 1) {
          const same = index * block < baseSize && store.reads(base, index) === store.reads(now, index);
          if (same) continue;
          differing += block;
          assert.ok(covers(ranges, index * block, block), `block ${index}`);
        }
      }),
      { numRuns: 3000 },
    );
    // Otherwise "everything changed" would pass too.
    assert.ok(differing > 0 && found < 1.5 * differing, `${found} bytes told for ${differing}`);
  });

  it('never misses a byte of two snapshots of one device, written in place', () => {
    let spared = 0;
    fc.assert(
      fc.property(fc.array(act, { maxLength: 25 }), fc.array(act, { maxLength: 25 }), (before, between) => {
        const store = new Store();
        play(
          store,
          before.filter(({ what }) => what !== 'snapshot' && what !== 'drop'),
        );
        const old = { map: store.map(0), size: store.sizes[0] ?? 0, blocks: new Map(store.blocks) };
        const reads = Array.from({ length: blocksOfFile }, (_, index) => store.reads(0, index));
        // No snapshot within the file system: the device under it is cut, and every block of the file is written in place.
        play(
          store,
          between.filter(({ what }) => what !== 'snapshot' && what !== 'drop'),
        );
        const changedPhysical = normalize(
          [...store.blocks]
            .filter(([at, content]) => old.blocks.get(at) !== content)
            .map(([at]) => ({ offset: at * block, length: block })),
        );
        const nowSize = store.sizes[0] ?? 0;
        const ranges = changedByExtents({
          base: old.map,
          now: store.map(0),
          baseSize: old.size,
          nowSize,
          changedPhysical,
        });
        for (let index = 0; index * block < nowSize; index += 1) {
          const same = index * block < old.size && reads[index] === store.reads(0, index);
          if (!same) assert.ok(covers(ranges, index * block, block), `block ${index}`);
          else if (!overlaps(ranges, index * block, block)) spared += 1;
        }
      }),
      { numRuns: 2000 },
    );
    assert.ok(spared > 0);
  });
});
