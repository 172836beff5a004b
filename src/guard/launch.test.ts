import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { systemExec } from '../platform/exec.ts';
import { launchGuard } from './launch.ts';

const spec = {
  workload: 'orders',
  application: { kind: 'toy', config: {} },
  token: { workload: 'orders', runId: 'r', engine: 'toy', identity: 'stillpoint:r' },
  budgetMs: 1_000,
  socket: '/nowhere/g.sock',
  stateDirectory: '/nowhere',
  resultFile: '/nowhere/result.json',
};

describe('a guard that does not start', () => {
  it('is told with the error that ended it, or with its last line', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'sp-launch-'));
    t.after(async () => rm(directory, { recursive: true, force: true }));
    const main = join(directory, 'main.mjs');
    for (const [program, said] of [
      [
        "class OwnError extends Error { name = 'OwnError'; }\nthrow new OwnError('the sentinel is gone');",
        'OwnError: the sentinel is gone',
      ],
      ["console.error('first'); console.error('no room left'); process.exitCode = 1;", 'no room left'],
    ] as const) {
      await writeFile(main, program);
      await assert.rejects(launchGuard(spec, systemExec, main), {
        code: 'guard-lost',
        message: `the guard did not start: ${said}`,
      });
    }
  });
});
