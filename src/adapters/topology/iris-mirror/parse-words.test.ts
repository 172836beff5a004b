import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  healthOfWord,
  isDatabaseWell,
  lagOfSeconds,
  lagOfWord,
  roleOfWord,
  togetherLag,
  worst,
} from './parse-words.ts';

const well = new Set(['primary', 'backup', 'connected', 'active', 'async']);

describe('words of a mirror', () => {
  it('for states', () => {
    for (const word of ['Primary', 'BACKUP', ' Connected ', 'Active', 'Async'])
      assert.equal(healthOfWord(word), 'healthy');
    for (const word of [
      'Trouble',
      'In Trouble',
      'TRANSITION',
      'Synchronizing',
      'Waiting',
      'Stopped',
      'Crashed',
      'Error',
    ])
      assert.equal(healthOfWord(word), 'trouble', word);
    assert.equal(healthOfWord('Down'), 'down');
    for (const word of ['', 'NOTINIT', 'Not Initialized', 'プライマリ', '备机', '活动', '1/2 Connected'])
      assert.equal(healthOfWord(word), 'unknown', word);
  });

  it('that nobody knows are never a healthy state, a role, a lag or a sound database', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'grapheme' }), fc.string()), (word) => {
        const plain = word.trim().toLowerCase();
        if (!well.has(plain)) assert.notEqual(healthOfWord(word), 'healthy');
        if (!['primary', 'backup', 'async'].includes(plain)) assert.equal(roleOfWord(word), 'unknown');
        if (!['', 'n/a', 'active', 'caught up'].includes(plain) && !/^0+$/.test(plain))
          assert.notEqual(lagOfWord(word)?.caughtUp, true);
        if (!['normal', 'dejournaling'].includes(plain)) assert.equal(isDatabaseWell(word), false);
      }),
    );
  });

  it('for roles and databases', () => {
    assert.deepEqual(['Primary', 'backup ', 'Async', 'Unknown', '主'].map(roleOfWord), [
      'primary',
      'backup',
      'async',
      'unknown',
      'unknown',
    ]);
    assert.equal(isDatabaseWell('Normal') && isDatabaseWell('Dejournaling '), true);
    for (const word of ['Dejournaling Stopped', 'Needs Catchup', 'Obsolete', 'Orphaned', ''])
      assert.equal(isDatabaseWell(word), false);
  });

  it('of which the gravest counts', () => {
    assert.equal(worst(['healthy', 'unknown', 'trouble', 'down']), 'down');
    assert.equal(worst(['healthy', 'unknown', 'trouble']), 'trouble');
    assert.equal(worst(['healthy', 'unknown']), 'unknown');
    assert.equal(worst(['healthy']), 'healthy');
    assert.equal(worst([]), 'unknown');
  });
});

describe('lags', () => {
  it('in words', () => {
    const cases: readonly (readonly [string, unknown])[] = [
      ['', undefined],
      ['N/A', undefined],
      ['Active', { ms: 0, caughtUp: true }],
      ['Caught up', { ms: 0, caughtUp: true }],
      ['Catchup', { caughtUp: false }],
      ['Disconnected on 06/13/2023 07:16:26', { caughtUp: false }],
      ['Warning! Dejournaling is stopped.', { caughtUp: false }],
      ['Warning! Some databases need attention.', { caughtUp: false }],
      ['1 second behind', { ms: 1000, caughtUp: undefined }],
      ['2 minutes, 3 seconds behind', { ms: 123_000, caughtUp: undefined }],
      ['1 day 2 hours', { ms: 93_600_000, caughtUp: undefined }],
      ['17', { ms: 17_000, caughtUp: undefined }],
      ['0', { ms: 0, caughtUp: true }],
      ['-1', { caughtUp: undefined }],
      ['3秒落后', { caughtUp: undefined }],
      ['被捕获', { caughtUp: undefined }],
      ['2 minutes of coffee', { caughtUp: undefined }],
    ];
    for (const [word, lag] of cases) assert.deepEqual(lagOfWord(word), lag, word);
  });

  it('in seconds', () => {
    assert.deepEqual(lagOfSeconds('0'), { ms: 0, caughtUp: true });
    assert.deepEqual(lagOfSeconds('3'), { ms: 3000, caughtUp: undefined });
    assert.deepEqual(lagOfSeconds('-1,not connected'), { caughtUp: undefined });
  });

  it('of several voices are the worst of them', () => {
    assert.equal(togetherLag([]), undefined);
    assert.equal(togetherLag([undefined]), undefined);
    assert.deepEqual(togetherLag([{ ms: 0, caughtUp: true }, undefined]), { ms: 0, caughtUp: true });
    assert.deepEqual(togetherLag([{ caughtUp: true }]), { caughtUp: true });
    assert.deepEqual(
      togetherLag([
        { ms: 0, caughtUp: true },
        { ms: 5, caughtUp: undefined },
      ]),
      {
        ms: 5,
        caughtUp: undefined,
      },
    );
    assert.deepEqual(togetherLag([{ ms: 0, caughtUp: true }, { caughtUp: false }]), { ms: 0, caughtUp: false });
    assert.deepEqual(togetherLag([{ caughtUp: undefined }]), { caughtUp: undefined });
  });
});
