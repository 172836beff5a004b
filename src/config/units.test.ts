import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { formatDuration, formatSize, parseDuration, parseSize } from './units.ts';

describe('parseDuration', () => {
  const good: readonly [string, number][] = [
    ['500ms', 500],
    ['5s', 5_000],
    ['1.5s', 1_500],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
    [' 5 s ', 5_000],
    ['0s', 0],
  ];
  for (const [text, value] of good)
    it(`${text} is ${value} ms`, () => assert.deepEqual(parseDuration(text), { value }));

  const form = 'must be a duration such as 500ms, 5s, 2m or 1h';
  const bad: readonly [string, string][] = [
    ['5', 'needs a unit, such as 5s'],
    ['2.5', 'needs a unit, such as 2.5s'],
    ['', form],
    ['s', form],
    ['-5s', form],
    ['5 minutes', form],
    ['1h30m', form],
    ['5S', `${form}; did you mean 5s?`],
    ['5toString', form],
  ];
  for (const [text, problem] of bad) {
    it(`${JSON.stringify(text)} is refused`, () => assert.deepEqual(parseDuration(text), { problem }));
  }

  it('reads what formatDuration writes', () => {
    fc.assert(fc.property(fc.nat(1e10), (ms) => assert.deepEqual(parseDuration(formatDuration(ms)), { value: ms })));
    assert.deepEqual([0, 1, 90_000, 60_000, 5_400_000, 86_400_000].map(formatDuration), [
      '0s',
      '1ms',
      '90s',
      '1m',
      '90m',
      '24h',
    ]);
  });
});

describe('parseSize', () => {
  const good: readonly [string, number][] = [
    ['64KiB', 65_536],
    ['2GiB', 2_147_483_648],
    ['10MB', 10_000_000],
    ['1kB', 1_000],
    ['1KB', 1_000],
    ['1.5KiB', 1_536],
    ['1.0001kB', 1_000],
    ['7B', 7],
  ];
  for (const [text, value] of good) it(`${text} is ${value} bytes`, () => assert.deepEqual(parseSize(text), { value }));

  const form = 'must be a size such as 64KiB, 10MB or 2GiB';
  const bad: readonly [string, string][] = [
    ['64', 'needs a unit, such as 64MiB'],
    ['64kib', `${form}; did you mean 64KiB?`],
    ['64 bytes', form],
    ['big', form],
  ];
  for (const [text, problem] of bad) {
    it(`${JSON.stringify(text)} is refused`, () => assert.deepEqual(parseSize(text), { problem }));
  }

  it('reads what formatSize writes', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (bytes) => assert.deepEqual(parseSize(formatSize(bytes)), { value: bytes })),
    );
    assert.deepEqual([0, 1, 1001, 1024, 10_000_000, 2 ** 31].map(formatSize), [
      '0B',
      '1B',
      '1001B',
      '1KiB',
      '10MB',
      '2GiB',
    ]);
  });
});
