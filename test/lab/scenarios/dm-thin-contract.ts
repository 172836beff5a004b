import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { Scenario } from '../scenario.ts';
import { node, project } from '../guest/guest.ts';
import { differences, inventory } from '../guest/storage.ts';

interface Result {
  readonly exitCode: number | null;
  readonly passed: number;
  readonly failed: readonly string[];
  readonly left: readonly string[];
  readonly ids: readonly number[];
}

export const scenario: Scenario = {
  name: 'dm-thin-contract',
  full: true,
  about: 'the provider dm-thin keeps the contract of snapshot providers, and leaves nothing behind',
  disks: [{ name: 'a', bytes: 2 * 1024 ** 3 }],
  memMiB: 640,
  timeoutMs: 15 * 60_000,
  async run(guest) {
    const { makePair, poolIds } = await import('./dm-thin/pair.ts');
    await makePair();
    const before = await inventory();
    const file = join(project, 'test/lab/scenarios/dm-thin/contract.ts');
    const argv = [node, '--test', '--test-isolation=none', '--test-reporter=tap', file] as const;
    const { exitCode, stdout } = await guest.run(argv, { timeoutMs: 12 * 60_000 });
    guest.log(stdout);
    const tests = [...stdout.matchAll(/^ +(not )?ok \d+ - (.*?)(?: # (SKIP).*)?$/gm)];
    return {
      exitCode,
      passed: tests.filter(([, not, , skip]) => not === undefined && skip === undefined).length,
      failed: tests.filter(([, not]) => not !== undefined).map(([, , title]) => title ?? ''),
      left: differences(before, await inventory()),
      ids: await poolIds(),
    };
  },
  assess(json) {
    const result = json as unknown as Result;
    assert.deepEqual(result.failed, []);
    assert.equal(result.exitCode, 0);
    assert.ok(result.passed >= 22, `only ${result.passed} tests ran`);
    assert.deepEqual(result.left, []);
    assert.ok(
      result.ids.every((id) => id < 1000),
      `ids of ours are left: ${result.ids.join(', ')}`,
    );
  },
};
