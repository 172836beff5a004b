/**
 * The file system of a real database is frozen with it, and the guard or the sentinel are killed meanwhile. The judge is another
 * process that writes to the file system: it must get on within the budget and a second.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it, type TestContext } from 'node:test';
import { launchGuard } from '../../src/guard/launch.ts';
import type { GuardClient, GuardStatus } from '../../src/guard/protocol.ts';
import { bootId, systemClock } from '../../src/platform/clock.ts';
import { systemExec } from '../../src/platform/exec.ts';
import { loopVolume, type LoopFileSystem } from '../doubles/loop-volume.ts';

const timeoutMs = 10_000;
const budgetMs = 1500;

interface Stage extends AsyncDisposable {
  readonly client: GuardClient;
  readonly status: GuardStatus;
  readonly database: string;
  /** Appends a byte in a process of its own; resolves with the milliseconds that it had to wait. */
  write(): Promise<number>;
}

async function stage(t: TestContext, kind: LoopFileSystem, mode: 'wal' | 'delete'): Promise<Stage | undefined> {
  const volume = await loopVolume(kind);
  if ('skip' in volume) {
    t.skip(volume.skip);
    return undefined;
  }
  const { mountPoint } = volume;
  const database = join(mountPoint, 'orders.db');
  const made = new DatabaseSync(database);
  made.exec(`PRAGMA journal_mode = ${mode}; CREATE TABLE sale (what TEXT); INSERT INTO sale VALUES ('one')`);
  const state = await mkdtemp(join(tmpdir(), 'sp-frozen-'));
  // Whatever goes wrong, nothing stays frozen: the unmount would wait for it.
  const rescue = systemExec.start({ argv: ['sh', '-c', 'sleep 40; fsfreeze -u "$1"', 'rescue', mountPoint] });
  const device = String((await stat(mountPoint, { bigint: true })).dev);
  const token = {
    runId: 'r',
    workload: 'orders',
    engine: 'sqlite',
    identity: 'stillpoint:r',
    fileSystems: [{ mountPoint, device, bootId: bootId() }],
  };
  const { client, status } = await launchGuard(
    {
      workload: 'orders',
      application: { kind: 'sqlite', config: { file: database, canary: false } },
      token,
      budgetMs,
      socket: join(state, 'g.sock'),
      stateDirectory: state,
      resultFile: join(state, 'result.json'),
    },
    systemExec,
  );
  return {
    client,
    status,
    database,
    async write() {
      const began = systemClock.monoMs();
      await systemExec.check({
        argv: ['sh', '-c', 'echo x >> "$1"', 'write', join(mountPoint, 'written')],
        timeoutMs: 30_000,
      });
      return systemClock.monoMs() - began;
    },
    async [Symbol.asyncDispose]() {
      client.close();
      await systemExec.run({ argv: ['fsfreeze', '-u', mountPoint], timeoutMs });
      made.close();
      rescue.kill('SIGKILL');
      await volume[Symbol.asyncDispose]();
      await rm(state, { recursive: true, force: true });
    },
  };
}

/** Returns once it is frozen, with a write under way. */
async function freeze(on: Stage): Promise<{ readonly written: Promise<number> }> {
  await on.client.call('prepare');
  const { answer } = await on.client.call('freeze');
  assert.equal(answer.frozen, true, answer.said);
  return { written: on.write() };
}

for (const [kind, mode] of [
  ['xfs', 'wal'],
  ['ext4', 'delete'],
] as const) {
  describe(`SQLite (${mode}) on a frozen ${kind}`, () => {
    it('is held until the word, and says so', async (t) => {
      const on = await stage(t, kind, mode);
      if (on === undefined) return;
      await using _ = on;
      const { written } = await freeze(on);
      await systemClock.sleep(300);
      const report = await on.client.call('thaw');
      assert.deepEqual(
        [report.answer.thawed, report.answer.heldThroughout, report.by],
        [true, true, 'word'],
        report.answer.said,
      );
      assert.equal(report.before?.asked?.frozen, true, report.before?.asked?.said ?? 'nobody asked');
      assert.ok((await written) >= 200, 'the file system was not frozen');
      await on.client.call('release');
    });

    it('is thawed at the deadline', async (t) => {
      const on = await stage(t, kind, mode);
      if (on === undefined) return;
      await using _ = on;
      const waited = await (await freeze(on)).written;
      assert.ok(waited > budgetMs / 2 && waited <= budgetMs + 1000, `${waited} ms`);
    });

    for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
      it(`is thawed by the sentinel after ${signal} to the guard`, async (t) => {
        const on = await stage(t, kind, mode);
        if (on === undefined) return;
        await using _ = on;
        const { written } = await freeze(on);
        await systemClock.sleep(100);
        process.kill(on.status.guard.pid, signal);
        const waited = await written;
        assert.ok(waited <= budgetMs + 1000, `${waited} ms`);
      });
    }

    it('is thawed by the guard after SIGKILL to the sentinel, when its owner goes', async (t) => {
      const on = await stage(t, kind, mode);
      if (on === undefined) return;
      await using _ = on;
      const { written } = await freeze(on);
      await systemClock.sleep(100);
      process.kill(on.status.sentinelPid, 'SIGKILL');
      on.client.close();
      const waited = await written;
      assert.ok(waited <= budgetMs + 1000, `${waited} ms`);
    });
  });
}
