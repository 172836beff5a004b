import assert from 'node:assert/strict';
import { join } from 'node:path';
import { node, project } from '../guest/guest.ts';
import { differences, inventory, makeFileSystem, makeGroup, makePool, makeThick, makeThin } from '../guest/storage.ts';
import type { Scenario } from '../scenario.ts';

interface Result {
  readonly exitCode: number | null;
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: number;
  readonly left: readonly string[];
}

const testMs = 40 * 60_000;

export const scenario: Scenario = {
  name: 'lvm-contract',
  about: 'LVM thin and ordinary volumes keep the contract of snapshot providers, and leave nothing behind',
  disks: [{ name: 'a', bytes: 3 * 1024 ** 3 }],
  memMiB: 640,
  timeoutMs: 45 * 60_000,
  full: true,
  async run(guest) {
    await makeGroup('vg0', [guest.disk(0)]);
    await makePool('vg0', 'pool', 512);
    await makeFileSystem('xfs', await makeThin('vg0', 'pool', 'thin-xfs', 320), 'thin-xfs');
    await makeFileSystem('ext4', await makeThick('vg0', 'thick-ext4', 96), 'thick-ext4');
    await makeFileSystem('ext4', await makeThin('vg0', 'pool', 'thin-ext4', 96), 'thin-ext4');
    await makeFileSystem('xfs', await makeThick('vg0', 'thick-xfs', 320), 'thick-xfs');
    const before = await inventory();
    const file = join(project, 'test/lab/scenarios/lvm/contract.ts');
    const argv = [node, '--test', '--test-isolation=none', '--test-reporter=tap', file] as const;
    const { exitCode, stdout } = await guest.run(argv, { timeoutMs: testMs });
    guest.log(stdout);
    const leaves = [...stdout.matchAll(/^ +(not )?ok \d+ - (.*?)(?: # (SKIP).*)?$/gm)].map(([, not, title, skip]) => ({
      title: title ?? '',
      failed: not !== undefined,
      skipped: skip !== undefined,
    }));
    return {
      exitCode,
      passed: leaves.filter((leaf) => !leaf.failed && !leaf.skipped).length,
      failed: leaves.filter((leaf) => leaf.failed).map((leaf) => leaf.title),
      skipped: leaves.filter((leaf) => leaf.skipped).length,
      left: differences(before, await inventory()),
    };
  },
  assess(json) {
    const result = json as unknown as Result;
    assert.deepEqual(result.failed, []);
    assert.equal(result.exitCode, 0);
    // Ordinary volumes cannot tell what changed: three tests of each.
    assert.equal(result.skipped, 2 * 3);
    assert.ok(result.passed >= 2 * 14 + 2 * 11, `only ${result.passed} tests ran`);
    assert.deepEqual(result.left, []);
  },
};
