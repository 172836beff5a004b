import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { askAround } from './ask-around.ts';

describe('asking all members at once', () => {
  it('lets standbys wait for the primary, and not for a server that is silent', async () => {
    const silence = Promise.withResolvers<string>();
    const seen = askAround<string, number, string>(['silent', 'standby', 'primary'], async (member, around) => {
      if (member === 'silent') return await silence.promise;
      if (member === 'primary') {
        around.answered(7, true);
        return member;
      }
      around.answered();
      const found = String(await around.primary);
      // Only now: had the standby waited for it, nothing would ever end.
      silence.resolve('gave up');
      return found;
    });
    assert.deepEqual(await seen, ['gave up', '7', 'primary']);
  });

  it('takes one that is not certain only when all have answered, and the certain one before it', async () => {
    const ask = async (members: readonly string[]): Promise<readonly string[]> =>
      await askAround<string, string, string>(members, async (member, around) => {
        around.answered(member === 'standby' ? undefined : member, member === 'certain');
        return (await around.primary) ?? 'nobody';
      });
    assert.deepEqual(await ask(['perhaps', 'certain', 'standby']), ['certain', 'certain', 'certain']);
    assert.deepEqual(await ask(['perhaps', 'standby']), ['perhaps', 'perhaps']);
    assert.deepEqual(await ask(['standby', 'standby']), ['nobody', 'nobody']);
  });

  it('counts a member whose question fails as answered', async () => {
    const asked = askAround<string, string, string>(['broken', 'standby'], async (member, around) => {
      if (member === 'broken') throw new Error('no answer');
      around.answered();
      assert.equal(await around.primary, undefined);
      return member;
    });
    await assert.rejects(asked, /no answer/);
  });
});
