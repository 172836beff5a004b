import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { config, milliseconds } from './config.ts';

describe('the configuration of dm-thin', () => {
  it('has a limit with a unit, of a minute at most', () => {
    assert.deepEqual(config.parse({}), { limit: '2s', atLeast: 2 });
    assert.deepEqual(config.parse(config.parse({ limit: '500ms', atLeast: 1 })), { limit: '500ms', atLeast: 1 });
    for (const limit of ['2', '0s', '1h', '61s', '61000ms', ' 2s', 2]) {
      assert.ok(!config.safeParse({ limit }).success, String(limit));
    }
    assert.ok(!config.safeParse({ atLeast: 0 }).success);
    assert.ok(!config.safeParse({ atLeats: 2 }).success);
    assert.deepEqual([milliseconds('500ms'), milliseconds('60s')], [500, 60_000]);
  });
});
