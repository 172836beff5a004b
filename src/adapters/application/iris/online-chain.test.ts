import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  chooseLevel,
  describe as describeBackup,
  idIn,
  type Mark,
  readDirtyMark,
  readMark,
  unprovenClosing,
  unprovenOn,
  unprovenSince,
  writeDirtyMark,
  writeMark,
} from './online-chain.ts';
import type { Label, Memory, Remembered } from './parse-label.ts';

const id = (n: number): string => `00000000-0000-4000-8000-00000000000${n}`;
const full = { id: id(1), index: 100, name: 'NOV 21 2026 10:00AM Full' };
const self = { id: id(2), index: 200, name: 'NOV 21 2026 11:00AM Incremental' };
const below: Mark = { self, full };
const entry = (index: number, n: number, what: Parameters<typeof describeBackup>[1]): Remembered => ({
  index,
  description: describeBackup(id(n), what),
});
const foreign: Remembered = { index: 250, description: 'nightly' };
const confirmation: Remembered = { index: 260, description: 'stillpoint 20261121-x of 2026-11-21T10:00:00.000Z' };
const past = [entry(200, 2, 'incremental'), entry(100, 1, 'full')];
const memory: Memory = { lastFull: describeBackup(id(1), 'full'), history: past, aborting: false };
const label: Label = {
  description: describeBackup(id(3), 'incremental'),
  level: 'incremental',
  name: 'NOV 21 2026 12:00PM Incremental',
  previous: self.name,
  lastFull: 'NOV 21 2026 10:00AM',
  index: 300,
  directories: [],
};
const after: Memory = { ...memory, history: [entry(300, 3, 'incremental'), ...past] };

describe('iris: the chain of the own backup', () => {
  it('keeps a mark through its text', () => {
    assert.deepEqual(readMark(writeMark(below)), below);
    const odd = { ...self, name: 'NOV 21 2026 11:00AM Cumulative Incremental' };
    assert.deepEqual(readMark(writeMark({ self: odd, full })), { self: odd, full });
    assert.deepEqual(readDirtyMark(writeDirtyMark({ id: id(4), index: 7 })), { id: id(4), index: 7 });
    assert.deepEqual([readMark('0x12'), readDirtyMark(writeMark(below))], [undefined, undefined]);
    assert.equal(idIn(describeBackup(id(5), 'cumulative')), id(5));
    assert.deepEqual(
      [idIn('stillpoint x full'), idIn(undefined), idIn(confirmation.description)],
      [undefined, undefined, undefined],
    );
  });

  it('takes an incremental only on the last backup of all', () => {
    assert.deepEqual(chooseLevel('incremental', below, memory), { level: 'incremental' });
    assert.deepEqual(chooseLevel('incremental', below, { ...memory, history: [confirmation, ...past] }), {
      level: 'incremental',
    });
    const larger: readonly (readonly [Memory['history'], RegExp])[] = [
      [[foreign, ...past], /nightly/],
      [past.slice(1), /not the one/],
      [[], /but nothing/],
      [undefined, /cannot be read/],
      [[{ index: 200, description: 'nightly' }, ...past.slice(1)], /nightly/],
      [[{ ...foreign, description: 'stillpoint x of y' }, ...past], /stillpoint x of y/],
    ];
    for (const [history, why] of larger) {
      const choice = chooseLevel('incremental', below, { ...memory, history });
      assert.ok('level' in choice && choice.level === 'cumulative');
      assert.match(choice.why ?? '', why);
    }
  });

  it('takes a cumulative only on the full of the chain', () => {
    assert.deepEqual(chooseLevel('cumulative', below, { ...memory, history: undefined }), { level: 'cumulative' });
    for (const lastFull of [undefined, 'nightly', describeBackup(id(2), 'full')]) {
      for (const asked of ['cumulative', 'incremental'] as const) {
        const choice = chooseLevel(asked, below, { ...memory, lastFull });
        assert.ok('misfit' in choice);
        assert.match(choice.misfit, lastFull === undefined ? /knows of none/ : /is not that of this chain/);
      }
    }
  });

  it('believes a level afterwards only by label, history and last full together', () => {
    assert.equal(unprovenOn(below, label, after), undefined);
    assert.equal(unprovenOn(below, { ...label, level: 'full' }, { ...after, lastFull: undefined }), undefined);
    const cumulative: Label = { ...label, level: 'cumulative', previous: 'whatever' };
    assert.equal(unprovenOn(below, cumulative, { ...after, history: undefined }), undefined);
    const spoilt: readonly (readonly [Label, Memory, RegExp])[] = [
      [label, { ...after, lastFull: 'nightly' }, /another full/],
      [cumulative, { ...after, lastFull: 'nightly' }, /another full/],
      [{ ...label, lastFull: 'NOV 21 2026 10:01AM' }, after, /names a full of NOV 21 2026 10:01AM/],
      [{ ...cumulative, lastFull: '' }, after, /no date/],
      [{ ...label, previous: 'NOV 21 2026 11:30AM Incremental' }, after, /before it that of NOV 21 2026 11:30AM/],
      [{ ...label, previous: '' }, after, /no date/],
      [{ ...label, level: undefined }, after, /no level/],
      [label, { ...after, history: undefined }, /not in the engine's history/],
      [label, memory, /not in the engine's history/],
      // A backup of the same minute and type: the label cannot tell them apart, the history can.
      [label, { ...after, history: [entry(300, 3, 'incremental'), foreign, ...past] }, /nightly/],
      [label, { ...after, history: [entry(300, 3, 'incremental')] }, /nothing/],
    ];
    for (const [made, remembered, why] of spoilt) assert.match(unprovenOn(below, made, remembered) ?? '', why);
  });

  it('closes a live copy only if nothing else was made since', () => {
    const begin = { id: id(6), index: 400 };
    const end = { id: id(7), index: 410 };
    const mark = entry(400, 6, 'live-copy-begins');
    const open: Memory = { lastFull: mark.description, history: [mark], aborting: false };
    assert.equal(unprovenSince(begin, open), undefined);
    for (const [seen, why] of [
      [{ ...open, history: undefined }, /cannot be read/],
      [{ ...open, history: [] }, /"nothing"/],
      [{ ...open, history: [{ ...foreign, index: 405 }, mark] }, /nightly/],
      [{ ...open, history: [{ ...mark, description: 'nightly' }] }, /nightly/],
      [{ ...open, history: [mark, foreign] }, /was at work/],
      [{ ...open, lastFull: 'nightly' }, /for a full/],
    ] as const) {
      assert.match(unprovenSince(begin, seen) ?? '', why);
    }
    const own: Label = { ...label, index: 420 };
    const closing = [{ index: 420, description: own.description }, entry(410, 7, 'live-copy-ends'), mark];
    assert.equal(unprovenClosing(begin, end, own, { ...open, history: closing }), undefined);
    assert.equal(unprovenClosing(begin, end, { ...own, level: 'full' }, open), undefined);
    assert.match(unprovenClosing(begin, end, { ...own, level: 'cumulative' }, open) ?? '', /no incremental/);
    const others = [
      undefined,
      [],
      closing.slice(1),
      closing.toSpliced(1, 1),
      closing.toSpliced(1, 0, foreign),
      [...closing, foreign],
    ];
    for (const history of others) {
      assert.match(unprovenClosing(begin, end, own, { ...open, history }) ?? '', /does not show/);
    }
  });
});
