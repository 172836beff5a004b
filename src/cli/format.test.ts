import assert from 'node:assert/strict';
import { it } from 'node:test';
import { bytes, duration, localTime, nearest, pairs, table } from './format.ts';

it('gives every size and duration a unit', () => {
  assert.deepEqual([0, 1023, 1024, 1536, 200 * 1024, 5 * 1024 ** 3].map(bytes), [
    '0 B',
    '1023 B',
    '1.0 KiB',
    '1.5 KiB',
    '200 KiB',
    '5.0 GiB',
  ]);
  assert.deepEqual([9.14, 212.4, 5000, 99_900, 150_000, 1_800_000, 7_500_000].map(duration), [
    '9.1 ms',
    '212 ms',
    '5.0 s',
    '99.9 s',
    '2 min 30 s',
    '30 min',
    '2 h 5 min',
  ]);
});

it('prints a time that can be read back as the same second', () => {
  const text = localTime('2026-01-31T18:30:05.987Z');
  assert.equal(Date.parse(text), Date.parse('2026-01-31T18:30:05Z'));
  assert.equal(localTime('no time'), 'unknown');
});

it('finds the word that was meant, and none for a stranger', () => {
  assert.equal(nearest('ordres', ['orders', 'billing']), 'orders');
  assert.equal(nearest('Orders', ['orders']), 'orders');
  assert.equal(nearest('zebra', ['orders', 'billing']), undefined);
});

it('lines columns up by their widest cell', () => {
  assert.deepEqual(
    table(
      ['id', 'size'],
      [
        ['a', '10 B'],
        ['long', '9 B'],
      ],
      undefined,
      new Set([1]),
    ),
    ['id    size', 'a     10 B', 'long   9 B'],
  );
});

it('leaves out what has no value, and indents further lines', () => {
  assert.deepEqual(
    pairs([
      ['a', 'x'],
      ['longer', ['1', '2']],
      ['gone', undefined],
      ['none', []],
    ]),
    ['  a        x', '  longer   1', '           2'],
  );
});
