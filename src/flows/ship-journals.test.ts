import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { JournalFile } from '../model/journal.ts';
import { coverageOf } from './ship-journals.ts';

/** Seconds after midnight. */
function at(seconds: number): string {
  return new Date(Date.UTC(2026, 0, 1) + seconds * 1_000).toISOString();
}

function file(name: string, begin: number, end: number | undefined, more: Partial<JournalFile> = {}): JournalFile {
  const closed = end === undefined ? {} : { end: String(end), endedAt: at(end) };
  return {
    part: 'a',
    name,
    path: `/j/${name}`,
    begin: String(begin),
    beganAt: at(begin),
    bytes: 1,
    ...closed,
    ...more,
  };
}

describe('what a shipped journal file covers', () => {
  const first = file('j1', 0, 10);
  const second = file('j2', 10, 20, { beganAt: at(12) });

  it('is all until its successor began', () => {
    assert.equal(coverageOf([first, second], undefined)(first), at(12));
    assert.equal(coverageOf([first, second], at(100))(first), at(12));
  });

  it('is its last change where nothing follows', () => {
    assert.equal(coverageOf([first], at(100))(first), at(10));
    const { endedAt: _none, ...silent } = first;
    assert.equal(coverageOf([silent], undefined)(silent), at(0));
  });

  it('is all until the switch that we asked for', () => {
    const open = file('j2', 10, undefined, { beganAt: at(31) });
    assert.equal(coverageOf([first, open], at(30.25))(first), at(30.25));
    assert.equal(coverageOf([first, open], undefined)(first), at(31));
    const later = { ...first, endedAt: at(30.5) };
    assert.equal(coverageOf([later, open], at(30.25))(later), at(30.5));
    const { endedAt: _none, ...silent } = first;
    assert.equal(coverageOf([silent, open], at(30.25))(silent), at(30.25));
  });

  it('takes a beginning that is exact to the second for one by our switch', () => {
    const open = file('j2', 10, undefined, { beganAt: at(30) });
    assert.equal(coverageOf([first, open], at(30.9))(first), at(30.9));
  });

  it('is not all until a switch that the engine did not make', () => {
    const open = file('j2', 10, undefined, { beganAt: at(12) });
    assert.equal(coverageOf([first, open], at(30))(first), at(12));
  });

  it('looks only at the same part, and only behind the file', () => {
    const other = file('k2', 10, 20, { part: 'b', beganAt: at(11) });
    assert.equal(coverageOf([first, other, second], undefined)(first), at(12));
    const idle = file('idle', 10, 10, { beganAt: at(11) });
    const all = [first, idle, second];
    assert.equal(coverageOf(all, undefined)(first), at(11));
    assert.equal(coverageOf(all, undefined)(idle), at(12));
  });
});
