import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { journalChains, lastOwn, parseJournalName, parseJournalStats, partOf } from './parse-journal.ts';

describe('iris: names of journal files', () => {
  it('reads own, prefixed, mirrored and compressed ones', () => {
    assert.deepEqual(parseJournalName('20210811.003'), {
      name: '20210811.003',
      date: '20210811',
      number: 3,
      compressed: false,
      mirror: undefined,
    });
    assert.equal(parseJournalName('H20152_20170104.011')?.name, 'H20152_20170104.011');
    assert.equal(parseJournalName('MIRROR-MIRRORTEST-20230613.001z')?.mirror, 'MIRRORTEST');
    assert.equal(parseJournalName('20210811.003z')?.compressed, true);
    for (const other of ['journal.log', '20210811.3', '120210811.003', 'x20210811.003y', '']) {
      assert.equal(parseJournalName(other), undefined, other);
    }
    assert.equal(partOf('IRIS', 'MIRROR-M-20230613.001'), 'IRIS:M');
    assert.equal(partOf('IRIS', '20230613.001'), 'IRIS');
    assert.equal(partOf('IRIS', 'nonsense'), 'IRIS');
  });

  it('knows the newest of the own ones', () => {
    const names = [
      '20240102.001',
      '20240101.009',
      '20240102.010',
      '20240102.002z',
      'MIRROR-M-20250101.001',
      'journal.log',
    ];
    assert.equal(lastOwn(names), '20240102.010');
    assert.equal(lastOwn([]), undefined);
  });

  it('never throws', () => {
    fc.assert(fc.property(fc.string(), (text) => void journalChains('I', parseJournalStats(text), text)));
  });
});

describe('iris: chains of journal files', () => {
  const stat = (file: string, changed: number, born: number | string = changed - 5): string =>
    `100 ${changed} ${born} /j/${file}`;

  it('makes a chain for each part, and sees gaps', () => {
    const stats = parseJournalStats(
      [
        stat('20240101.002', 2000),
        stat('20240101.001', 1000, '-'),
        stat('20240102.001', 3000),
        stat('20240102.002z', 3500, 3499),
        stat('20240102.004', 4000),
        stat('20240104.002', 5000, 0),
        stat('MIRROR-M-20240101.001', 1500),
        stat('journal.log', 10),
        'nonsense',
        '',
      ].join('\n'),
    );
    const files = journalChains('I', stats, '20240104.002');
    assert.deepEqual(
      files.map(({ part, name, begin, end }) => [part, name, begin, end]),
      [
        ['I', '20240101.001', '20240101.001', '20240101.002'],
        ['I', '20240101.002', '20240101.002', '20240102.001'],
        ['I', '20240102.001', '20240102.001', '20240102.002'],
        // 003 is missing, and the next day does not begin with 1: nothing begins where these end.
        ['I', '20240102.002', '20240102.002', '20240102.003'],
        ['I', '20240102.004', '20240102.004', '20240102.005'],
        ['I', '20240104.002', '20240104.002', undefined],
        ['I:M', 'MIRROR-M-20240101.001', '20240101.001', '20240101.002'],
      ],
    );
    assert.equal(files[3]?.path, '/j/20240102.002z');
    assert.equal(files[3]?.beganAt, new Date(3000 * 1000).toISOString(), 'not when it was compressed');
    assert.equal(files[1]?.beganAt, new Date(1995 * 1000).toISOString());
    assert.equal(files[0]?.beganAt, new Date(1000 * 1000).toISOString());
    assert.equal(files[5]?.beganAt, new Date(4000 * 1000).toISOString());
    assert.equal(files[5]?.endedAt, undefined);
    assert.equal(files[0]?.endedAt, new Date(1000 * 1000).toISOString());
  });

  it('takes the plain form while both are there', () => {
    for (const lines of [
      [stat('20240101.001', 1000), stat('20240101.001z', 1100)],
      [stat('20240101.001z', 1100), stat('20240101.001', 1000)],
    ]) {
      const files = journalChains('I', parseJournalStats(lines.join('\n')), '');
      assert.deepEqual(
        files.map(({ path }) => path),
        ['/j/20240101.001'],
      );
    }
    const odd = { directory: '/j', file: 'journal.log', bytes: 1, changed: 1, born: 1 };
    assert.deepEqual(journalChains('I', [odd], ''), []);
  });
});
