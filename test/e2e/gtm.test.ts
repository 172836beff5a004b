/**
 * Backups of a real GT.M database with two regions under a load whose transactions span both, by every method, and restored by the
 * command line. The judge is what the load had acknowledged, read from the restored copy by a plain `mumps` as its user would.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { systemClock } from '../../src/platform/clock.ts';
import type { Evidence } from '../../src/model/evidence.ts';
import type { Point } from '../../src/model/point.ts';
import { openStage, type Stage, type StageOptions } from './stage.ts';

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
