import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytesAfter, covers, isPast, missingFrom, ownBeyond, reaches, sorted } from './gtid.ts';

describe('positions by GTID', () => {
  it('covers a target in every domain, whoever wrote it', () => {
    assert.equal(covers('0-1-5', '0-1-5'), true);
    assert.equal(covers('0-2-6, 1-1-9', '1-1-9,0-1-5'), true);
    assert.equal(covers('0-1-4', '0-1-5'), false);
    assert.equal(covers('0-1-5', '0-1-5,1-1-1'), false, 'a domain that it lacks');
    assert.equal(covers('0-1-5', ''), false, 'nothing is known of the target');
    assert.equal(covers('', '0-1-5'), false);
    assert.equal(covers('0-1-18446744073709551615', '0-1-18446744073709551614'), true);
    assert.equal(covers('0-1-18446744073709551614', '0-1-18446744073709551615'), false, 'beyond what a double tells');
  });

  it('finds what a server wrote and another one lacks', () => {
    assert.deepEqual(ownBeyond('1', '0-2-6,0-1-7', '0-1-5,0-2-6'), ['0-1-7']);
    assert.deepEqual(ownBeyond('1', '0-1-5,0-2-6', '0-1-5,0-2-9'), []);
    assert.deepEqual(ownBeyond('2', '0-1-5', ''), [], 'it wrote nothing itself');
    assert.deepEqual(ownBeyond('2', '3-2-1', '0-2-9'), ['3-2-1'], 'in a domain of its own');
  });

  it('brings domains into one order', () => {
    assert.equal(sorted('1-1-9, 0-1-5'), '0-1-5,1-1-9');
  });
});

describe('places in binary logs', () => {
  const logs = [
    { name: 'bin.000009', bytes: 100 },
    { name: 'bin.000010', bytes: 50 },
  ];

  it('counts the bytes to the end', () => {
    assert.equal(bytesAfter(logs, { file: 'bin.000009', offset: 40 }), 110);
    assert.equal(bytesAfter(logs, { file: 'bin.000010', offset: 60 }), 0);
    assert.equal(bytesAfter(logs, { file: 'bin.000008', offset: 4 }), undefined, 'it was purged');
  });

  it('knows a place at the end, and in a log that came since', () => {
    assert.equal(isPast(logs, { file: 'bin.000010', offset: 49 }), false);
    assert.equal(isPast(logs, { file: 'bin.000010', offset: 50 }), true);
    assert.equal(isPast(logs, { file: 'bin.000011', offset: 4 }), true);
    assert.equal(isPast(logs, { file: 'bin.000009', offset: 100 }), false);
    assert.equal(isPast(logs, { file: 'other.000011', offset: 4 }), false);
    assert.equal(isPast([], { file: 'bin.000011', offset: 4 }), false);
  });
});

describe('whether a copy can go on from a server', () => {
  it('needs that the server has what the copy has', () => {
    assert.deepEqual(missingFrom('0-1-500,0-2-700', '0-1-500'), []);
    assert.deepEqual(missingFrom('0-1-500,0-2-700', '0-2-701,1-1-3'), ['0-2-701', '1-1-3']);
  });

  it('needs every log since then', () => {
    assert.equal(reaches('0-1-500', ''), true);
    assert.equal(reaches('0-1-500', '0-1-500'), true);
    assert.equal(reaches('0-1-500', '0-2-501'), false);
    assert.equal(reaches('0-1-500', '1-1-1'), false);
  });
});
