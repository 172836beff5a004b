import assert from 'node:assert/strict';
import { it } from 'node:test';
import { runRounds } from './rounds.ts';
import type { RoundsSubject } from './subject.ts';

const full = process.env['STILLPOINT_TEST_FULL'] === '1';
/** Enough that a role change in one of a hundred backups shows. */
const fullRounds = 200;

export interface RoundsTest {
  /** The reason why it cannot run here, or undefined. */
  readonly why: () => Promise<string | undefined>;
  readonly subject: () => Promise<RoundsSubject>;
  /** Of the sample. A full run takes one at random and prints it; STILLPOINT_ROUNDS=SEED or SEED/ROUND repeats it. */
  readonly seed: number;
  readonly sample: number;
}

export function roundsTest({ why, subject, seed: fixed, sample }: RoundsTest): void {
  it(
    'changes no role, makes no wrong point and leaves nothing held, whatever is killed',
    { timeout: 3_500_000 },
    async (t) => {
      const missing = await why();
      if (missing !== undefined) return t.skip(missing);
      const asked = seedFrom(process.env['STILLPOINT_ROUNDS']);
      const seed = asked.seed ?? (full ? Math.floor(Math.random() * 1_000_000) : fixed);
      const say = (line: string): void => {
        if (full || asked.seed !== undefined) process.stdout.write(`${line}\n`);
      };
      say(`seed ${seed}`);
      await using at = await subject();
      const { tally, table, anomalies } = await runRounds(at, {
        ...{ seed, rounds: full ? fullRounds : sample, judgeAll: !full, say },
        ...(asked.only === undefined ? {} : { only: asked.only }),
      });
      for (const line of table.split('\n')) t.diagnostic(line);
      assert.deepEqual(anomalies, [], `repeat with STILLPOINT_ROUNDS=${seed}`);
      if (asked.only === undefined) assert.ok(tally.judged > 0, 'no point was judged');
      assert.deepEqual([tally.unexplained, tally.wrong], [0, 0]);
    },
  );
}

/** `SEED` or `SEED/ROUND` in the environment: the same choices again. */
function seedFrom(text: string | undefined): { readonly seed?: number; readonly only?: number } {
  const [, seed, only] = /^(\d+)(?:\/(\d+))?$/.exec(text ?? '') ?? [];
  return {
    ...(seed === undefined ? {} : { seed: Number(seed) }),
    ...(only === undefined ? {} : { only: Number(only) }),
  };
}
