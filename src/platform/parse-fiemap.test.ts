import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseFiemap } from './parse-fiemap.ts';

const transcript = (name: string): string =>
  readFileSync(join(import.meta.dirname, '../../test/transcripts', name), 'utf8');

function plain(
  output: string,
  files: readonly string[],
): Record<string, readonly (readonly [number, number, number, string])[]> {
  const rows = [...parseFiemap(output, files)].map(
    ([file, map]) =>
      [
        file,
        map.map(({ logical, physical, length, flags }) => [logical, physical, length, [...flags].join()] as const),
      ] as const,
  );
  return Object.fromEntries(rows);
}

describe('parseFiemap', () => {
  it('reads shared, rewritten, preallocated and empty files of xfs, and passes over one that is gone', () => {
    const files = ['a', 'gone', 'a2', 'pre', 'pre2', 'hole', 'empty', 'blank is 5 (5 blocks of 1 bytes)'];
    const shared = 'last,shared,eof';
    assert.deepEqual(plain(transcript('filefrag-1.47-v-b1-xfs.txt'), files), {
      a: [
        [0, 1114112, 3072, 'shared'],
        // A row without flags: what follows its last colon is the next row.
        [3072, 1168384, 1024, ''],
        [4096, 1118208, 47104, shared],
      ],
      a2: [[0, 1114112, 51200, shared]],
      pre: [[0, 65536, 1048576, 'last,unwritten,eof']],
      pre2: [],
      hole: [],
      empty: [],
      'blank is 5 (5 blocks of 1 bytes)': [[0, 1114112, 51200, shared]],
    });
  });

  it('reads inline and compressed files of btrfs', () => {
    assert.deepEqual(plain(transcript('filefrag-1.47-v-b1-btrfs.txt'), ['small', 'packed']), {
      small: [[0, 0, 4096, 'last,not_aligned,inline,eof']],
      packed: [
        [0, 13631488, 131072, 'encoded'],
        [131072, 13635584, 131072, 'encoded'],
        [262144, 13639680, 131072, 'encoded'],
        [393216, 13643776, 8192, 'last,encoded,eof'],
      ],
    });
  });

  const good = [
    'Filesystem type is: 58465342',
    'File size of f is 8192 (8192 blocks of 1 bytes)',
    ' ext:     logical_offset:        physical_offset: length:   expected: flags:',
    '   0:        0..    4095:      40960..     45055:   4096:            ',
    '   1:     4096..    8191:      81920..     86015:   4096:      45056: last,eof',
    'f: 2 extents found',
    '',
  ];

  it('tells nothing of a file of which something is not understood or missing', () => {
    const read = (...lines: readonly string[]): number => parseFiemap(lines.join('\n'), ['f']).size;
    assert.equal(read(...good), 1);
    for (let left = 1; left < good.length - 1; left += 1) {
      // The heading of the columns says nothing about a file; each other line counts.
      assert.equal(read(...good.toSpliced(left, 1)), left === 2 ? 1 : 0, `without line ${left}`);
      assert.equal(read(...good.toSpliced(left, 0, 'ioctl: something new')), left === 1 ? 1 : 0, `before line ${left}`);
    }
    assert.equal(read(...good.slice(0, -1)), 0, 'cut off before the end of the last line');
    const replaced = (from: string, to: string): number => read(...good.join('\n').replace(from, to).split('\n'));
    assert.equal(replaced('8192 blocks of 1 bytes', '2 blocks of 4096 bytes'), 0);
    assert.equal(replaced('4095:  ', '4096:  '), 0);
    assert.equal(replaced('45055', '45056'), 0);
    assert.equal(replaced('last,eof', 'eof'), 0);
  });

  it('keeps files apart by the order in which they were asked for', () => {
    assert.deepEqual([...parseFiemap(good.join('\n'), ['x', 'f', 'y']).keys()], ['f']);
    assert.equal(parseFiemap(good.join('\n') + good.join('\n'), ['f']).size, 1);
  });
});
