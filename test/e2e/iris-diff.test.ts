/** What the members of a mirror have not alike, by the command line on the stand-in. It is no proof for a real mirror. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { compileCache } from '../doubles/compile-cache.ts';
import { both, MirrorBench, mirrorName } from '../doubles/iris/mirror-bench.ts';
import { newSettings } from '../doubles/iris/settings.ts';
import { whyNoIris } from '../doubles/iris/stand-in.ts';
import { systemExec, type CommandResult } from '../../src/platform/exec.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

describe('mirror diff', { skip: whyNoIris() ?? false, timeout: 300_000 }, () => {
  it('prints what differs by kind, and its exit code says whether anything does', async () => {
    await using bench = await MirrorBench.start();
    const directory = await mkdtemp(join(tmpdir(), 'sp-diff-'));
    try {
      const config = {
        stateDirectory: join(directory, 'state'),
        repository: { store: { local: join(directory, 'repository') }, passwordFile: join(directory, 'password') },
        workloads: {
          orders: {
            application: { iris: { instances: ['A'] } },
            topology: { 'iris-mirror': { mirror: mirrorName, instances: both } },
            members: { db1: {} },
          },
        },
      };
      const file = join(directory, 'stillpoint.yaml');
      await writeFile(file, JSON.stringify(config));
      const run = (...more: readonly string[]): Promise<CommandResult> =>
        systemExec.run({
          argv: [process.execPath, main, 'mirror', 'diff', 'orders', '--config', file, ...more],
          env: { ...compileCache(), PATH: `${bench.standIn.bin}:${process.env['PATH']}` },
          timeoutMs: 120_000,
        });
      const alike = await run();
      assert.equal(alike.exitCode, 0, alike.stdout + alike.stderr);
      assert.match(alike.stdout, /^db2 held against db1: nothing differs$/m);
      assert.match(alike.stdout, /not in any list, see to it by hand:\n {2}sql-gateways: /);

      bench.standIn.change('B', (instance) => {
        instance.settings = newSettings();
        delete instance.settings['Security.Users']?.['backup'];
      });
      const other = await run();
      assert.equal(other.exitCode, 3, other.stderr);
      assert.match(other.stdout, /^db2 held against db1: 1 difference$/m);
      assert.match(
        other.stdout,
        /^users: export and import.*\n.*\n *backup +missing +db2 +backup is on db1 and not on db2/m,
      );
      const told = await run('--json');
      assert.equal(told.exitCode, 3);
      const document = JSON.parse(told.stdout) as {
        outcome: string;
        found: readonly { name: string; state: string }[];
      };
      assert.equal(document.outcome, 'degraded');
      assert.deepEqual(
        document.found.map(({ name, state }) => [name, state]),
        [['backup', 'missing']],
      );

      bench.standIn.faults('B', { accessDenied: true });
      const silent = await run();
      assert.equal(silent.exitCode, 5, silent.stdout);
      assert.match(silent.stderr, /fewer than two members of STAGE told their settings: db2: the login was refused/);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});
