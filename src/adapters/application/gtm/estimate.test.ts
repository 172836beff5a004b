import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { openGtm, whyNoGtm } from '../../../../test/doubles/gtm.ts';
import { testPlatform } from '../../../../test/doubles/postgres-subject.ts';
import type { Marks } from '../../../model/journal.ts';
import type { Level } from '../../../model/point.ts';
import { gtmConfig } from './config.ts';
import { wentWell } from './engine.ts';
import { estimate } from './estimate.ts';
import { GtmOnline } from './online.ts';

const limits = { limitMs: 60_000 };
const never = new AbortController().signal;

describe('gtm: estimates', { skip: whyNoGtm() ?? false }, () => {
  it('come near to what the engine then writes', async (t: TestContext) => {
    const db = await openGtm({ regions: 2 });
    t.after(() => db[Symbol.asyncDispose]());
    const config = gtmConfig.parse(db.config);
    const take = async (level: Level, since?: Marks): Promise<{ readonly bytes: number; readonly to: Marks }> => {
      const scratch = await mkdtemp(join(tmpdir(), 'sp-gtm-estimate-'));
      t.after(() => rm(scratch, { recursive: true, force: true }));
      await using run = await new GtmOnline(config, testPlatform).start({ level, since, scratch, signal: never });
      let bytes = 0;
      for (const stream of run.streams) for await (const piece of stream.open()) bytes += (piece as Buffer).length;
      const answer = await run.finish();
      assert.ok(answer.finished, answer.said);
      return { bytes, to: answer.to };
    };
    /** 4000 reads of some 10,000 blocks: a change of one tenth is met within a tenth; the rest is for buffers not yet written. */
    const near = (guess: number | undefined, real: number): void =>
      assert.ok(guess !== undefined && guess > real / 1.3 && guess < real * 1.3, `guessed ${guess}, wrote ${real}`);
    await db.fill(40_000_000);
    const [first, ...others] = await estimate(config, testPlatform, {}, never);
    assert.deepEqual(others, []);
    assert.equal(first?.level, 'full');
    const full = await take('full');
    near(first.bytes, full.bytes);
    const change = async (from: number, to: number): Promise<void> => {
      const code = `for i=${from}:1:${to} set ^fill(i)=$justify(-i,900)`;
      assert.ok(wentWell(await db.gtm.xecute(code, limits)));
    };
    await change(1, 3_000);
    const incremental = await take('incremental', full.to);
    await change(3_001, 9_000);
    const found = await estimate(config, testPlatform, { cumulative: full.to, incremental: incremental.to }, never);
    assert.deepEqual(
      found.map((each) => each.level),
      ['full', 'cumulative', 'incremental'],
    );
    const [, cumulative, next] = found;
    near(next?.bytes, (await take('incremental', incremental.to)).bytes);
    near(cumulative?.bytes, (await take('cumulative', full.to)).bytes);
    assert.ok((cumulative?.bytes ?? 0) > (next?.bytes ?? 0));
  });
});
