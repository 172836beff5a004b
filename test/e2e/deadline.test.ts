/**
 * Holds that nobody ends in the ordinary way: the flow stopped, guard and sentinel stopped or killed, the state disk full. The judge is
 * the independent writer, which must get on within the budget and a second.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { codeOf } from '../../src/model/errors.ts';
import { systemClock } from '../../src/platform/clock.ts';
import type { RunningProcess } from '../../src/platform/exec.ts';
import { endsWithin, eventually, longestGap, openStage, processState, type Engine, type Stage } from './stage.ts';

const budgetMs = 1500;

interface InHold {
  readonly flow: RunningProcess;
  readonly fromMs: number;
  readonly guard: number;
  readonly sentinel: number;
}

/** A backup that is stopped in the middle of its hold. */
async function stopInHold(stage: Stage): Promise<InHold> {
  const fromMs = systemClock.monoMs();
  const flow = stage.start(['backup', 'orders', '--json'], { STILLPOINT_FAULT: 'stop:before:cut' });
  const stopped = await eventually(async () => (await processState(flow.pid)) === 'T', 60_000);
  assert.ok(stopped, flow.stderrTail());
  const processes = await stage.processes();
  const guard = processes.find((each) => /guard\/main\.\w+ guard/.test(each.command))?.pid ?? assert.fail('no guard');
  const sentinel =
    processes.find((each) => /guard\/main\.\w+ sentinel/.test(each.command))?.pid ?? assert.fail('no sentinel');
  return { flow, fromMs, guard, sentinel };
}

/** The writer gets on although nobody helps: no recover was run, and the flow is as it was left. */
async function writerGetsOn(stage: Stage, fromMs: number): Promise<void> {
  await systemClock.sleep(budgetMs + 1000);
  const now = systemClock.monoMs();
  const gap = longestGap(await stage.acknowledged(), fromMs, now);
  assert.ok(gap <= budgetMs + 1000, `the writer had to wait ${gap} ms`);
}

async function cleanUp(stage: Stage, flow: RunningProcess): Promise<void> {
  flow.kill('SIGKILL');
  await flow.exited;
  const recovered = await stage.run(['recover', '--json']);
  assert.equal(recovered.exitCode, 0, recovered.stderr + recovered.stdout);
  const clean = await eventually(async () => (await stage.leftovers()).length === 0, 5_000);
  assert.ok(clean, (await stage.leftovers()).join(', '));
  // The short budget was for the deadline; a whole copy may take longer on a busy machine.
  await stage.setBudget('30s');
  const again = await stage.run(['backup', 'orders', '--json']);
  assert.equal(again.exitCode, 0, again.stderr + again.stdout);
}

async function fill(directory: string): Promise<void> {
  const piece = Buffer.alloc(64 * 1024, 1);
  for (let n = 0; n < 100_000; n++) {
    try {
      await writeFile(join(directory, `filler-${n}`), piece);
    } catch (error) {
      if (codeOf(error) === 'ENOSPC') return;
      throw error;
    }
  }
  assert.fail('the disk does not fill up');
}

const engines: readonly Engine[] = ['sqlite', 'postgresql'];

for (const engine of engines) {
  describe(`the hold ends by itself: ${engine}`, () => {
    const scenario = (name: string, run: (stage: Stage, held: InHold) => Promise<void>, smallState = false): void => {
      it(name, async (t) => {
        const stage = await openStage(engine, 'copy', {
          budget: `${budgetMs}ms`,
          ...(smallState ? { stateBytes: 96 * 1024 * 1024 } : {}),
        });
        if (typeof stage === 'string') {
          t.skip(stage);
          return;
        }
        await using _stage = stage;
        const held = await stopInHold(stage);
        await run(stage, held);
        await cleanUp(stage, held.flow);
      });
    };

    scenario('at the deadline while the flow is stopped', async (stage, { fromMs }) => {
      await writerGetsOn(stage, fromMs);
    });

    scenario('by the sentinel when flow and guard are stopped', async (stage, { fromMs, guard }) => {
      process.kill(guard, 'SIGSTOP');
      await writerGetsOn(stage, fromMs);
      assert.equal(await processState(guard), undefined, 'the hung guard was ended');
    });

    scenario('by the flow when guard and sentinel are stopped', async (stage, { flow, fromMs, guard, sentinel }) => {
      process.kill(sentinel, 'SIGSTOP');
      process.kill(guard, 'SIGSTOP');
      flow.kill('SIGCONT');
      assert.ok(await endsWithin(flow, 30_000), 'the flow ended');
      // The third party waits for the first two, so its bound is its own patience on top of theirs.
      const gap = longestGap(await stage.acknowledged(), fromMs, systemClock.monoMs());
      assert.ok(gap <= 2 * budgetMs + 4000, `the writer had to wait ${gap} ms`);
      process.kill(sentinel, 'SIGKILL');
    });

    scenario('at once when guard and sentinel are killed', async (stage, { fromMs, guard, sentinel }) => {
      process.kill(sentinel, 'SIGKILL');
      process.kill(guard, 'SIGKILL');
      await writerGetsOn(stage, fromMs);
    });

    scenario(
      'at the deadline while the disk of the state directory is full',
      async (stage, { flow, fromMs }) => {
        await fill(stage.stateDirectory);
        await writerGetsOn(stage, fromMs);
        flow.kill('SIGCONT');
        const { exitCode } = await flow.exited;
        assert.notEqual(exitCode, 0, 'no point is made of a hold that was over');
        await stage.unfill();
      },
      true,
    );
  });
}
