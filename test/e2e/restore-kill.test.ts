/** Restores that are killed: what was not finished is undone, what was finished stays, and `status` tells of every hold. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { DatabaseSync } from 'node:sqlite';
import { systemExec } from '../../src/platform/exec.ts';
import { eventually, openStage, processState, type Stage } from './stage.ts';

function rowsOf(file: string): number {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    return Number(database.prepare('SELECT count(*) AS n FROM written').get()?.['n']);
  } finally {
    database.close();
  }
}

async function stageWithPoint(): Promise<{ readonly stage: Stage; readonly file: string }> {
  const stage = await openStage('sqlite', 'copy', { budget: '5s' });
  assert.ok(typeof stage !== 'string');
  const made = await stage.run(['backup', 'orders', '--json']);
  assert.equal(made.exitCode, 0, made.stdout + made.stderr);
  await stage.stopWriter();
  return { stage, file: join(stage.directory, 'db', 'app.db') };
}

describe('a restore that is killed', () => {
  it('in place and unfinished: the former database comes back whole', async () => {
    const { stage, file } = await stageWithPoint();
    await using _stage = stage;
    const before = rowsOf(file);
    await stage.run(['restore', 'orders', '--target', 'in-place', '--yes'], { STILLPOINT_FAULT: 'exit:before:adopt' });
    const recovered = await stage.run(['recover', '--json']);
    assert.equal(recovered.exitCode, 0, recovered.stdout + recovered.stderr);
    assert.equal(rowsOf(file), before);
    assert.deepEqual(
      (await readdir(join(stage.directory, 'db'))).filter((name) => name.includes('.before-')),
      [],
    );
  });

  it('in place and finished: what was written since stays', async () => {
    const { stage, file } = await stageWithPoint();
    await using _stage = stage;
    await stage.run(['restore', 'orders', '--target', 'in-place', '--yes'], { STILLPOINT_FAULT: 'exit:after:adopt' });
    const database = new DatabaseSync(file);
    database.exec("INSERT INTO written VALUES (1000000, 'after the restore')");
    database.close();
    const rows = rowsOf(file);
    for (const _round of [1, 2]) {
      const recovered = await stage.run(['recover', '--json']);
      assert.equal(recovered.exitCode, 0, recovered.stdout + recovered.stderr);
    }
    assert.equal(rowsOf(file), rows);
    const again = await stage.run(['backup', 'orders', '--json']);
    assert.equal(again.exitCode, 0, again.stdout + again.stderr);
  });

  it('beside: an unfinished one goes, a finished one stays', async () => {
    const { stage } = await stageWithPoint();
    await using _stage = stage;
    const target = join(stage.directory, 'beside');
    for (const [fault, stays] of [
      ['exit:before:adopt', false],
      ['exit:after:adopt', true],
    ] as const) {
      await stage.run(['restore', 'orders', '--target', target], { STILLPOINT_FAULT: fault });
      const recovered = await stage.run(['recover', '--json']);
      assert.equal(recovered.exitCode, 0, recovered.stdout + recovered.stderr);
      assert.equal(existsSync(target), stays, fault);
    }
  });
});

describe('status', () => {
  it('says frozen while a backup holds the database', async () => {
    const stage = await openStage('sqlite', 'copy', { budget: '20s' });
    assert.ok(typeof stage !== 'string');
    await using _stage = stage;
    const flow = stage.start(['backup', 'orders', '--json'], { STILLPOINT_FAULT: 'stop:before:thaw' });
    assert.ok(await eventually(async () => (await processState(flow.pid)) === 'T', 60_000));
    const { stdout } = await stage.run(['status', 'orders', '--json']);
    const { status } = JSON.parse(stdout) as {
      status: { state: string; holds: readonly { flow: string }[]; busy: boolean };
    };
    assert.equal(status.state, 'frozen');
    assert.equal(status.holds[0]?.flow, 'backup');
    assert.equal(status.busy, true);
    flow.kill('SIGCONT');
    assert.equal((await flow.exited).exitCode, 0);
  });
});

describe('recover', () => {
  it('removes a snapshot of a run that it knows, and leaves those of other installations alone', async (t) => {
    const stage = await openStage('sqlite', 'btrfs', { budget: '5s' });
    if (typeof stage === 'string') {
      t.skip(stage);
      return;
    }
    await using _stage = stage;
    // Killed with a snapshot that is no point's: nothing keeps it.
    await stage.run(['backup', 'orders', '--json'], { STILLPOINT_FAULT: 'exit:before:copy' });
    const [ours] = await stage.leftovers();
    assert.ok(ours !== undefined);
    const foreign = join(
      dirname(ours),
      basename(ours).replace(/^stillpoint-\d+-\d+-[0-9a-f]+/, 'stillpoint-20200101-000000-abcdef'),
    );
    await systemExec.check({ argv: ['btrfs', 'subvolume', 'snapshot', ours, foreign], timeoutMs: 60_000 });
    const recovered = await stage.run(['recover', '--json']);
    assert.equal(recovered.exitCode, 0, recovered.stdout + recovered.stderr);
    assert.equal(existsSync(ours), false);
    assert.equal(existsSync(foreign), true);
    assert.match(recovered.stdout, /not known here/);
  });
});
