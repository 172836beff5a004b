/**
 * SIGKILL of the flow, of the guard, of both, before and after each step of a backup, for each engine and provider. The judge is an
 * independent writer: it must write again within the hold budget and a second, whatever was killed. STILLPOINT_TEST_FULL=1 runs every
 * case, otherwise every fourth, another fourth for each pair.
 */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { readJournals } from '../../src/flows/journal.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { isAlive, type ProcessIdentity } from '../../src/platform/process.ts';
import type { Point } from '../../src/model/point.ts';
import {
  endsWithin,
  eventually,
  longestGap,
  openStage,
  processState,
  type Engine,
  type Provider,
  type Stage,
} from './stage.ts';

const steps = ['locate', 'choose', 'predict', 'prepare', 'freeze', 'cut', 'thaw', 'judge', 'copy', 'record', 'expire'];
const victims = ['flow', 'guard', 'both'] as const;
/** What a writer may have to wait, and the budget where the hold stops writers. */
const budgetMs = 2000;
/** Backup mode stops nobody, and a copy of a cluster takes what the machine gives it. */
const copyRulesBudget = '30s';
const full = process.env['STILLPOINT_TEST_FULL'] === '1';

type Victim = (typeof victims)[number];

interface Case {
  readonly transition: string;
  readonly victim: Victim;
}

function cases(offset: number): readonly Case[] {
  const all = steps.flatMap((step) =>
    ['before', 'after'].flatMap((when) => victims.map((victim) => ({ transition: `${when}:${step}`, victim }))),
  );
  return full ? all : all.filter((_each, index) => index % 8 === offset % 8);
}

async function newestGuard(stage: Stage): Promise<ProcessIdentity | undefined> {
  const { runs } = await readJournals(stage.stateDirectory);
  const traces = (runs.at(-1)?.records ?? []).flatMap((record) => (record.type === 'intent' ? record.traces : []));
  return traces.flatMap((trace) => (trace.kind === 'guard' ? [trace.process] : [])).at(-1);
}

async function points(stage: Stage): Promise<readonly Point[]> {
  const listed = await stage.run(['points', '--json']);
  assert.equal(listed.exitCode, 0, listed.stderr + listed.stdout);
  return (JSON.parse(listed.stdout) as { points: readonly Point[] }).points;
}

/** Stops the flow at the transition, kills, and lets what is left go on. Returns when the kill happened. */
async function killAt(stage: Stage, { transition, victim }: Case): Promise<number> {
  const flow = stage.start(['backup', 'orders', '--json'], { STILLPOINT_FAULT: `stop:${transition}` });
  const stopped = await eventually(async () => ['T', undefined].includes(await processState(flow.pid)), 60_000);
  assert.ok(
    stopped && (await processState(flow.pid)) === 'T',
    `the flow did not reach ${transition}: ${flow.stderrTail()}`,
  );
  const guard = await newestGuard(stage);
  const at = systemClock.monoMs();
  if (victim !== 'flow' && guard !== undefined && isAlive(guard)) process.kill(guard.pid, 'SIGKILL');
  if (victim !== 'guard') flow.kill('SIGKILL');
  flow.kill('SIGCONT');
  assert.ok(await endsWithin(flow, 60_000), 'the flow ended');
  return at;
}

async function judgeCase(stage: Stage, each: Case, known: Set<string>): Promise<void> {
  const began = systemClock.monoMs();
  await killAt(stage, each);
  const recovered = await stage.run(['recover', '--json']);
  assert.equal(recovered.exitCode, 0, `recover: ${recovered.stderr}${recovered.stdout}`);
  const recoveredAt = systemClock.monoMs();
  const writesAgain = await eventually(
    async () => ((await stage.acknowledged()).at(-1)?.monoMs ?? 0) > recoveredAt,
    10_000,
  );
  assert.ok(writesAgain, 'nothing is left frozen');
  const gap = longestGap(await stage.acknowledged(), began, systemClock.monoMs());
  assert.ok(gap <= budgetMs + 1000, `the writer had to wait ${gap} ms`);
  const clean = await eventually(async () => (await stage.leftovers()).length === 0, 5_000);
  assert.ok(clean, `left behind: ${(await stage.leftovers()).join(', ')}`);
  for (const point of await points(stage)) {
    if (known.has(point.id)) continue;
    known.add(point.id);
    assert.equal(point.verdict, 'application-consistent');
    assert.equal(point.hold?.heldThroughout, true);
    const drilled = await stage.run(['drill', point.id, '--json']);
    assert.equal(
      drilled.exitCode,
      0,
      `a point that a kill left behind does not restore: ${drilled.stderr}${drilled.stdout}`,
    );
  }
}

const pairs: readonly (readonly [Engine, Provider])[] = [
  ['sqlite', 'btrfs'],
  ['sqlite', 'copy'],
  ['postgresql', 'btrfs'],
  ['postgresql', 'copy'],
  ['gtm', 'btrfs'],
  ['gtm', 'copy'],
];

for (const [index, [engine, provider]] of pairs.entries()) {
  describe(`kill matrix: ${engine} on ${provider}`, () => {
    it('leaves nothing frozen and nothing behind, and no point that claims too much', async (t) => {
      const budget = engine === 'postgresql' ? copyRulesBudget : `${budgetMs}ms`;
      const stage = await openStage(engine, provider, { budget, pauseMs: 2 });
      if (typeof stage === 'string') {
        t.skip(stage);
        return;
      }
      await using _stage = stage;
      const first = await stage.run(['backup', 'orders', '--json']);
      assert.equal(first.exitCode, 0, first.stderr + first.stdout);
      const known = new Set((await points(stage)).map((point) => point.id));
      const failures: string[] = [];
      const chosen = cases(index);
      for (const each of chosen) {
        await judgeCase(stage, each, known).catch((error: unknown) =>
          failures.push(`${each.transition} ${each.victim}: ${String(error)}`),
        );
      }
      const orphans = (await readdir(join(stage.repository, 'locks'))).length;
      t.diagnostic(
        `${engine} on ${provider}: ${chosen.length} kills, ${failures.length} failed, ${orphans} orphaned locks, ${known.size} points`,
      );
      assert.deepEqual(failures, []);
    });
  });
}
