import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { irisConfig, limitsFor, secondsOf } from './config.ts';

describe('iris: configuration', () => {
  it('has defaults, and accepts what it puts out', () => {
    const config = irisConfig.parse({});
    assert.equal(config.instances, 'all');
    assert.equal(config.requireSuspendLimit, true);
    assert.ok(config.allowNotJournaled.includes('irislocaldata'));
    assert.deepEqual(irisConfig.parse(config), config);
  });

  it('always has a limit inside the engine, above the budget', () => {
    const config = irisConfig.parse({});
    assert.deepEqual(limitsFor(config, 4_200), { wdSuspendLimitS: 10, freezeTimeoutS: 10 });
    for (const budgetMs of [1, 999, 1000, 60_000, 600_000, 3_600_000]) {
      const limits = limitsFor(config, budgetMs);
      assert.ok(limits.wdSuspendLimitS * 1000 > budgetMs);
      assert.ok(limits.freezeTimeoutS <= 600, 'never above 600 s without a word');
    }
  });

  it('takes limits that are given', () => {
    const config = irisConfig.parse({ freezeTimeout: '20m', wdSuspendLimit: '90s' });
    assert.deepEqual(limitsFor(config, 1000), { wdSuspendLimitS: 90, freezeTimeoutS: 1200 });
    assert.equal(secondsOf('1h'), 3600);
  });

  it('refuses what could not be meant', () => {
    for (const bad of [
      { instances: [] },
      { instances: ['-W'] },
      { wdSuspendLimit: '300' },
      { wdSuspendLimit: '0s' },
      { logDirectory: 'tmp' },
      { logDirectory: '/tmp/$(x)' },
      { user: 'root;x' },
      { login: { user: 'a\nb', password: { env: 'X' } } },
      { login: { user: 'a', password: { env: 'X', file: 'Y' } } },
      { wdsuspendlimit: '3s' },
    ]) {
      assert.equal(irisConfig.safeParse(bad).success, false, JSON.stringify(bad));
    }
    assert.equal(irisConfig.safeParse({ login: { user: 'a', password: { env: 'X' } } }).success, true);
  });
});
