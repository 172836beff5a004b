import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StillpointError } from '../../../model/errors.ts';
import { chooseSince, mark } from './marks.ts';
import type { Counters } from './parse-backup.ts';

function region(
  name: string,
  current: number,
  marks: Partial<Record<'record' | 'database' | 'bytestream', number>>,
): Counters {
  const one = (value: number | undefined): string => mark(BigInt(value ?? 1));
  return {
    region: name,
    file: `/srv/g/${name}.dat`,
    current: one(current),
    record: one(marks.record),
    database: one(marks.database),
    bytestream: one(marks.bytestream),
    blockBytes: 4096,
    totalBlocks: 100,
    startingSector: 8193,
  };
}

const since = (a: number, b: number): Record<string, string> => ({ A: mark(BigInt(a)), B: mark(BigInt(b)) });

test('the mark of the engine that is exactly the level below is taken', () => {
  const counters = [
    region('A', 900, { bytestream: 700, record: 300 }),
    region('B', 90, { bytestream: 70, record: 30 }),
  ];
  assert.equal(chooseSince(counters, since(700, 70)).qualifier, '-since=bytestream');
  assert.equal(chooseSince(counters, since(300, 30)).qualifier, '-since=record');
  assert.deepEqual(chooseSince(counters, since(300, 30)).from, since(300, 30));
});

test('one number for all regions needs none of the marks that others may move', () => {
  const counters = [region('A', 900, { bytestream: 50 }), region('B', 90, { bytestream: 50 })];
  assert.equal(chooseSince(counters, since(50, 50)).qualifier, `-transaction=${mark(50n)}`);
});

test('a mark that was moved in only one region is not used: that region would lack blocks', () => {
  const counters = [
    region('A', 900, { bytestream: 701, record: 300 }),
    region('B', 90, { bytestream: 70, record: 30 }),
  ];
  const chosen = chooseSince(counters, since(700, 70));
  assert.equal(chosen.qualifier, '-since=record');
  for (const name of ['A', 'B']) assert.ok(BigInt(chosen.from[name] ?? 0) <= BigInt(since(700, 70)[name] ?? 0), name);
});

test('without any usable mark all regions begin at the lowest number', () => {
  const counters = [
    region('A', 900, { bytestream: 899, record: 899, database: 899 }),
    region('B', 90, { bytestream: 89, record: 89, database: 89 }),
  ];
  const chosen = chooseSince(counters, since(700, 70));
  assert.equal(chosen.qualifier, `-transaction=${mark(70n)}`);
  assert.deepEqual(chosen.from, since(70, 70));
});

test('a level does not fit on other regions, nor on a state that is newer than the database', () => {
  const refused = (counters: readonly Counters[], marks: Record<string, string>, said: RegExp): void => {
    assert.throws(
      () => chooseSince(counters, marks),
      (error) => error instanceof StillpointError && error.code === 'level-misfit' && said.test(error.message),
    );
  };
  refused([region('A', 900, {})], since(700, 70), /regions are not those.*B/);
  refused([region('A', 900, {}), region('B', 90, {}), region('C', 9, {})], since(700, 70), /regions are not those.*C/);
  refused([region('A', 699, {}), region('B', 90, {})], since(700, 70), /older.*A is at/);
});

test('numbers are compared in one form', () => {
  assert.equal(mark('0x1fe9a'), '0x000000000001FE9A');
  assert.equal(mark(1n), mark('0x0000000000000001'));
});
