/**
 * Backups of a real GT.M database with two regions under a load whose transactions span both, by every method, and restored by the
 * command line. The judge is what the load had acknowledged, read from the restored copy by a plain `mumps` as its user would.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { systemClock } from '../../src/platform/clock.ts';
import type { Evidence } from '../../src/model/evidence.ts';
import type { Point } from '../../src/model/point.ts';
import { endsWithin, eventually, openStage, processState, type Stage, type StageOptions } from './stage.ts';

const full = process.env['STILLPOINT_TEST_FULL'] === '1';
/** Seconds to which the database is rolled forward, each chosen at random. */
const randomSeconds = full ? 20 : 4;

const coarseMs = 100;

interface Shown {
  readonly point: Point;
  readonly evidence: Evidence;
}

async function json<T>(stage: Stage, args: readonly string[], exitCode = 0): Promise<T> {
  const done = await stage.run([...args, '--json']);
  assert.equal(done.exitCode, exitCode, `${args.join(' ')}: ${done.stderr.slice(-3000)}${done.stdout}`);
  return JSON.parse(done.stdout) as T;
}

async function make(stage: Stage, ...args: readonly string[]): Promise<Shown> {
  const { point } = await json<{ point: Point }>(stage, ['backup', 'orders', ...args]);
  assert.equal(point.verdict, 'application-consistent');
  return await json<Shown>(stage, ['show', point.id]);
}

/** The last number that the load had acknowledged at a moment of the monotonic clock. */
async function acknowledgedAt(stage: Stage, monoMs: number): Promise<number> {
  return (await stage.acknowledged()).filter((each) => each.monoMs <= monoMs).at(-1)?.row ?? 0;
}

interface Restored {
  readonly last: number;
  readonly invariant: string;
  readonly integ: string;
}

/** Restores beside the live database and asks the copy, which is then open beside its original. */
async function restored(stage: Stage, t: TestContext, ...args: readonly string[]): Promise<Restored> {
  const { gtm } = stage;
  if (gtm === undefined) throw new Error('this stage has no GT.M');
  const target = await mkdtemp(join(tmpdir(), 'sp-restored-'));
  t.after(async () => rm(target, { recursive: true, force: true }));
  await json(stage, ['restore', ...args, '--target', target]);
  const at = join(target, gtm.globalDirectory);
  const integ = await gtm.mupip(at, 'integ', '-region', '*');
  const last = await gtm.mumps(at, 'last^spwriter', '1');
  const invariant = await gtm.mumps(at, 'inv^spwriter');
  await gtm.mupip(at, 'rundown', '-region', '*');
  assert.equal(integ.exitCode, 0, integ.stderr);
  return { last: Number(last.stdout), invariant: invariant.stdout.trim(), integ: integ.stderr };
}

function whole(copy: Restored): void {
  assert.match(copy.invariant, /invariant holds$/);
  assert.equal(copy.integ.match(/No errors detected by integ/g)?.length, 2, copy.integ);
}

async function scene(t: TestContext, options: Partial<StageOptions> = {}): Promise<Stage | undefined> {
  const stage = await openStage('gtm', 'btrfs', { budget: '5s', ...options });
  if (typeof stage === 'string') {
    t.skip(stage);
    return undefined;
  }
  t.after(async () => stage[Symbol.asyncDispose]());
  return stage;
}

async function eventuallyWrites(stage: Stage): Promise<boolean> {
  const seen = (await stage.acknowledged()).length;
  return await eventually(async () => (await stage.acknowledged()).length > seen, 15_000);
}

async function eventuallyMupip(stage: Stage): Promise<number | undefined> {
  let found: number | undefined;
  await eventually(async () => {
    found = (await stage.processes()).find((each) => /\/mupip backup /.test(each.command))?.pid;
    return found !== undefined;
  }, 15_000);
  return found;
}

/** Lets the command reach the transition, and kills. */
async function killStopped(
  stage: Stage,
  args: readonly string[],
  transition: string,
  victim: 'flow' | 'guard' | 'both',
): Promise<void> {
  const flow = stage.start(args, { STILLPOINT_FAULT: `stop:${transition}` });
  assert.ok(
    await eventually(async () => ['T', undefined].includes(await processState(flow.pid)), 60_000),
    `the flow did not reach ${transition}`,
  );
  assert.equal(await processState(flow.pid), 'T', flow.stderrTail());
  const guard = (await stage.processes()).find(
    (each) => /guard\/main\.ts/.test(each.command) && !/sentinel/.test(each.command),
  );
  if (victim !== 'flow' && guard !== undefined) process.kill(guard.pid, 'SIGKILL');
  if (victim !== 'guard') flow.kill('SIGKILL');
  flow.kill('SIGCONT');
  assert.ok(await endsWithin(flow, 60_000), 'the flow ended');
}

/** The live database took no harm: the load goes on, new processes can attach, and its structure is sound. */
async function unharmed(stage: Stage): Promise<void> {
  const before = (await stage.acknowledged()).length;
  const live = stage.gtm?.globalDirectory ?? '';
  const asked = await stage.gtm?.mumps(live, 'last^spwriter', '1');
  assert.equal(asked?.exitCode, 0, asked?.stderr);
  const integ = await stage.gtm?.mupip(live, 'integ', '-online', '-region', '*');
  assert.equal(integ?.exitCode, 0, integ?.stderr);
  await systemClock.sleep(200);
  assert.ok((await stage.acknowledged()).length > before, 'the load goes on');
  assert.deepEqual(await stage.leftovers(), []);
}

describe('GT.M: no acknowledged transaction is lost', () => {
  for (const freeze of ['plain', 'online'] as const) {
    it(`by snapshot with a ${freeze} freeze`, async (t) => {
      const stage = await scene(t, { application: { freeze } });
      if (stage === undefined) return;
      const { point, evidence } = await make(stage);
      const frozenAt = evidence.hold?.freezeCalled.monoMs ?? 0;
      const thawedAt = evidence.hold?.thawed.at.monoMs ?? 0;
      const copy = await restored(stage, t, point.id);
      whole(copy);
      assert.ok(
        copy.last >= (await acknowledgedAt(stage, frozenAt)),
        'all that was acknowledged before the freeze is there',
      );
      assert.ok(copy.last <= (await acknowledgedAt(stage, thawedAt + 50)) + 1, 'and nothing of after the thaw');
      await unharmed(stage);
    });
  }

  it("by each level of the engine's own backup", async (t) => {
    const stage = await scene(t);
    if (stage === undefined) return;
    const made: Shown[] = [];
    for (const level of ['full', 'incremental', 'incremental', 'cumulative', 'incremental']) {
      made.push(await make(stage, '--method', 'online', '--level', level));
      await systemClock.sleep(300);
    }
    assert.deepEqual(
      made.map(({ point }) => point.level),
      ['full', 'incremental', 'incremental', 'cumulative', 'incremental'],
    );
    const [base, , , cumulative, last] = made;
    assert.equal(cumulative?.point.parent, base?.point.id);
    assert.equal(last?.point.parent, cumulative?.point.id);
    for (const { point, evidence } of made) {
      const copy = await restored(stage, t, point.id);
      whole(copy);
      const { began, ended } = evidence.online ?? { began: { monoMs: 0 }, ended: { monoMs: 0 } };
      assert.ok(
        copy.last >= (await acknowledgedAt(stage, began.monoMs)),
        `${point.level} holds what was acknowledged before it began`,
      );
      assert.ok(
        copy.last <= (await acknowledgedAt(stage, ended.monoMs + 50)) + 1,
        `${point.level} holds nothing of later`,
      );
    }
    await unharmed(stage);
  });

  it("by live files that the engine's own incremental closes", async (t) => {
    const stage = await scene(t);
    if (stage === undefined) return;
    const { point, evidence } = await make(stage, '--method', 'concurrent');
    const copy = await restored(stage, t, point.id);
    whole(copy);
    assert.ok(copy.last >= (await acknowledgedAt(stage, evidence.online?.began.monoMs ?? 0)));
    await json(stage, ['drill', point.id]);
    await unharmed(stage);
  });

  it('by a cold backup, after which its users run again', async (t) => {
    const stage = await scene(t, { service: true });
    if (stage === undefined) return;
    const { point, evidence } = await make(stage, '--method', 'cold');
    assert.equal(point.hold?.heldThroughout, true);
    assert.ok(await eventuallyWrites(stage), 'the users run again');
    const copy = await restored(stage, t, point.id);
    whole(copy);
    const stoppedAt = evidence.hold?.frozen.at.monoMs ?? 0;
    assert.equal(copy.last, await acknowledgedAt(stage, stoppedAt), 'all that was ever acknowledged before');
    await json(stage, ['journal', 'ship', 'orders']);
    whole(await restored(stage, t, point.id, '--to', 'latest'));
    await unharmed(stage);
  });

  it('in place, and back again by the undo that the restore tells', async (t) => {
    const stage = await scene(t, { service: true });
    if (stage === undefined) return;
    const { gtm } = stage;
    assert.ok(gtm !== undefined);
    const { point } = await make(stage, '--method', 'online', '--level', 'full');
    await json(stage, ['journal', 'ship', 'orders']);
    const refused = await stage.run(['restore', point.id, '--target', 'in-place', '--yes', '--json']);
    assert.equal(refused.exitCode, 4, 'not while its users run');
    await stage.stopWriter();
    const acknowledged = (await stage.acknowledged()).at(-1)?.row ?? 0;
    const last = async (): Promise<number> =>
      Number((await gtm.mumps(gtm.globalDirectory, 'last^spwriter', '1')).stdout);
    const end = await last();
    // The writer may have been stopped between a commit and its word of it.
    assert.ok(end === acknowledged || end === acknowledged + 1, `${end} rows, ${acknowledged} acknowledged`);
    const { restore } = await json<{ restore: { movedAside: readonly { from: string; to: string }[] } }>(stage, [
      'restore',
      point.id,
      '--target',
      'in-place',
      '--yes',
    ]);
    const restoredTo = await last();
    assert.ok(restoredTo > 0 && restoredTo < end);
    assert.match((await gtm.mumps(gtm.globalDirectory, 'inv^spwriter')).stdout, /invariant holds/);
    assert.equal((await gtm.mupip(gtm.globalDirectory, 'integ', '-region', '*')).exitCode, 0);
    await gtm.mupip(gtm.globalDirectory, 'rundown', '-region', '*');
    for (const { from, to } of restore.movedAside.toReversed()) {
      await rename(from, `${from}.restored`);
      await rename(to, from);
    }
    assert.equal(await last(), end, 'the former database is back, whole');
    await stage.startWriter?.();
    assert.ok(await eventuallyWrites(stage), 'and can be written to');
    const journaled = await gtm.mupip(gtm.globalDirectory, 'dumpfhead', '-region', 'DEFAULT');
    assert.match(journaled.stdout, /jnl_state"\)=2/, 'journaling is on');
    const sure = (await stage.acknowledged()).at(-1)?.row ?? 0;
    await json(stage, ['journal', 'ship', 'orders']);
    const rolled = await restored(stage, t, point.id, '--to', 'latest');
    whole(rolled);
    assert.ok(rolled.last >= sure, `${rolled.last}, and ${sure} was acknowledged after the undo`);
    await unharmed(stage);
  });

  it('ships again and again, tells the lag, and estimates what the next levels write', async (t) => {
    const stage = await scene(t);
    if (stage === undefined) return;
    await make(stage, '--method', 'online', '--level', 'full');
    const watching = stage.start(['journal', 'ship', 'orders', '--watch', '--every', '1s', '--json']);
    const behind = async (): Promise<number | null> =>
      (await json<{ lagMs: number | null }>(stage, ['journal', 'status', 'orders'])).lagMs;
    assert.ok(await eventually(async () => (await behind()) !== null, 15_000));
    await systemClock.sleep(3_000);
    assert.ok(((await behind()) ?? Number.POSITIVE_INFINITY) < 10_000, 'the lag stays small');
    watching.kill('SIGTERM');
    assert.ok(await endsWithin(watching, 15_000));
    await json(stage, ['journal', 'verify', 'orders']);
    const { levels } = await json<{ levels: readonly { level: string; bytes: number | null }[] }>(stage, [
      'estimate',
      'orders',
    ]);
    const estimated = levels.find((each) => each.level === 'incremental')?.bytes ?? 0;
    const { evidence } = await make(stage, '--method', 'online', '--level', 'incremental');
    const real = (evidence.online?.streams ?? []).reduce((sum, stream) => sum + stream.bytes, 0);
    t.diagnostic(`incremental: ${estimated} bytes estimated, ${real} written`);
    assert.ok(estimated > real / 2 && estimated < real * 2);
    // Recovery after a crash goes back over the last seconds; what is older may go.
    await systemClock.sleep(12_000);
    await json(stage, ['journal', 'ship', 'orders']);
    const purged = await json<{ removed: readonly unknown[] }>(stage, ['journal', 'purge', 'orders']);
    assert.ok(purged.removed.length > 0, 'what is shipped and not needed goes');
    await json(stage, ['journal', 'ship', 'orders']);
    whole(await restored(stage, t, 'orders', '--to', 'latest'));
    await unharmed(stage);
  });

  for (const victim of ['flow', 'guard', 'both'] as const) {
    it(`and its users run again when ${victim === 'both' ? 'flow and guard are' : `the ${victim} is`} killed in a cold backup`, async (t) => {
      const stage = await scene(t, { service: true });
      if (stage === undefined) return;
      await killStopped(stage, ['backup', 'orders', '--method', 'cold', '--json'], 'after:freeze', victim);
      assert.ok(await eventuallyWrites(stage), 'the users run again, before anybody recovers');
      await json(stage, ['recover']);
      await make(stage, '--method', 'cold');
      assert.ok(await eventuallyWrites(stage));
      await unharmed(stage);
    });
  }

  for (const [method, transition] of [
    ['online', 'after:copy'],
    ['online', 'before:record'],
    ['concurrent', 'after:copy'],
  ] as const) {
    it(`and nothing is left when the flow is killed ${transition} of ${method}`, async (t) => {
      const stage = await scene(t);
      if (stage === undefined) return;
      await make(stage, '--method', 'online', '--level', 'full');
      await killStopped(stage, ['backup', 'orders', '--method', method, '--json'], transition, 'flow');
      await json(stage, ['recover']);
      const { point } = await make(stage, '--method', 'online', '--level', 'incremental');
      whole(await restored(stage, t, point.id));
      await unharmed(stage);
    });
  }

  it(`and nothing is left when flow or mupip are killed in the middle of the engine's own backup`, async (t) => {
    const stage = await scene(t, { databaseBytes: 200 * 1024 ** 2 });
    if (stage === undefined) return;
    for (let n = 0; n < (full ? 12 : 3); n++) {
      const backup = stage.start(['backup', 'orders', '--method', 'online', '--level', 'full', '--json']);
      const mupip = await eventuallyMupip(stage);
      await systemClock.sleep(Math.random() * 300);
      const flow = n % 3 === 0;
      if (flow) backup.kill('SIGKILL');
      else if (mupip !== undefined) process.kill(mupip, n % 3 === 1 ? 'SIGKILL' : 'SIGSTOP');
      if (n % 3 === 2) {
        // Hung for ever: the user gives up.
        await systemClock.sleep(500);
        backup.kill('SIGINT');
      }
      assert.ok(await endsWithin(backup, 30_000), 'the backup ended');
      await json(stage, ['recover']);
      assert.ok(
        await eventually(async () => (await stage.processes()).length === 0, 10_000),
        JSON.stringify(await stage.processes()),
      );
    }
    const { points } = await json<{ points: readonly Point[] }>(stage, ['points', 'orders']);
    for (const point of points) whole(await restored(stage, t, point.id));
    await unharmed(stage);
  });

  it(`rolled forward to ${randomSeconds} random seconds, from every kind of base`, async (t) => {
    const stage = await scene(t, { application: { freeze: 'plain' } });
    if (stage === undefined) return;
    const first = await make(stage);
    await json(stage, ['journal', 'ship', 'orders']);
    await make(stage, '--method', 'online', '--level', 'full');
    await systemClock.sleep(1_500);
    await json(stage, ['journal', 'ship', 'orders']);
    await make(stage, '--method', 'online', '--level', 'incremental');
    await systemClock.sleep(full ? 12_000 : 2_500);
    await json(stage, ['journal', 'ship', 'orders']);
    const { coversTo } = await json<{ coversTo: string }>(stage, ['journal', 'status', 'orders']);
    const acknowledged = await stage.acknowledged();
    const fromMs = Date.parse(first.point.cutAt) + 1_000;
    const untilMs = Date.parse(coversTo) - 1_000;
    assert.ok(untilMs > fromMs);
    for (let n = 0; n < randomSeconds; n++) {
      const second = Math.floor((fromMs + Math.random() * (untilMs - fromMs)) / 1_000) * 1_000;
      const copy = await restored(stage, t, 'orders', '--to', new Date(second).toISOString().replace('.000Z', 'Z'));
      whole(copy);
      const until = (ms: number): number => acknowledged.filter((each) => (each.wallMs ?? 0) < ms).at(-1)?.row ?? 0;
      const expected = until(second + 1_000);
      // The engine stamps its journal by the kernel's coarse clock, which may be some ticks behind the one of the acknowledgements.
      const most = until(second + 1_000 + coarseMs) + 1;
      assert.ok(copy.last >= expected, `second ${second}: ${copy.last}, and ${expected} was acknowledged in it`);
      assert.ok(copy.last <= most, `second ${second}: ${copy.last}, which is of later than ${most}`);
    }
    const latest = await restored(stage, t, first.point.id, '--to', 'latest');
    whole(latest);
    await unharmed(stage);
  });
});
