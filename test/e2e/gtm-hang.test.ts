/**
 * mupip and dse that hang or are killed in a hold of GT.M, through the command line. A wrapper stands before the real programs; which call
 * hangs, and whether before or after it did its work, is written into a file. The judge is the load: it must write again within the
 * budget of the hold and a second, and nothing may be left.
 */
import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { findDistributions } from '../../src/adapters/application/gtm/engine.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { eventually, longestGap, openStage, type Stage } from './stage.ts';

const budgetMs = 2_000;

/** The engine's directory with wrappers for mupip and dse, which look into `plan` at each call. */
async function wrapped(t: TestContext): Promise<{ readonly distribution: string; readonly plan: string }> {
  const home = await mkdtemp(join(tmpdir(), 'sp-wrapped-'));
  t.after(async () => rm(home, { recursive: true, force: true }));
  await chmod(home, 0o755);
  const real = findDistributions().at(-1) ?? '';
  const distribution = join(home, 'dist');
  const plan = join(home, 'plan');
  await mkdir(distribution);
  for (const name of await readdir(real)) {
    if (name !== 'mupip' && name !== 'dse') await symlink(join(real, name), join(distribution, name));
  }
  for (const name of ['mupip', 'dse']) {
    // The plan: a pattern of the call, when (before, after, kill), and how often. `gtm_dist` must name the directory of the real program.
    const script = `#!/bin/sh
call="${name} $*"
export gtm_dist=${real}
if [ -s ${plan} ]; then
  IFS='|' read -r pattern when left <${plan}
  case "$call" in
  $pattern)
    if [ "$left" -gt 0 ]; then
      echo "$pattern|$when|$((left - 1))" >${plan}
      case "$when" in
      before) exec sleep 1000 ;;
      after) ${real}/${name} "$@" </dev/null; exec sleep 1000 ;;
      kill) ${real}/${name} "$@" </dev/null; kill -KILL $$ ;;
      esac
    fi ;;
  esac
fi
exec ${real}/${name} "$@"
`;
    await writeFile(join(distribution, name), script, { mode: 0o755 });
  }
  return { distribution, plan };
}

interface Case {
  readonly what: string;
  /** pattern | when | how often */
  readonly plan: string;
  /** A point may come of it all the same. */
  readonly mayPass?: boolean;
}

const cases: readonly Case[] = [
  { what: 'the freeze hangs before it froze', plan: 'mupip freeze -on*|before|1' },
  { what: 'the freeze froze and hangs', plan: 'mupip freeze -on*|after|1' },
  { what: 'the freeze froze and is killed', plan: 'mupip freeze -on*|kill|1' },
  { what: 'the first thaw hangs before it thawed', plan: 'mupip freeze -off*|before|1' },
  { what: 'the first thaw thawed and hangs', plan: 'mupip freeze -off*|after|1' },
  { what: 'the first thaw is killed', plan: 'mupip freeze -off*|kill|1', mayPass: true },
];

async function judged(stage: Stage, plan: string, each: Case): Promise<void> {
  const began = systemClock.monoMs();
  await writeFile(plan, `${each.plan}\n`);
  await chmod(plan, 0o666);
  const made = await stage.run(['backup', 'orders', '--json']);
  assert.match(await readFile(plan, 'utf8'), /\|0\n$/, `${each.what}: the call was never made`);
  const passed = made.exitCode === 0;
  assert.ok(!passed || each.mayPass === true, `${each.what}: a point came of it\n${made.stdout}`);
  assert.ok(passed || made.exitCode === 5 || made.exitCode === 6, `${each.what}: ${made.exitCode} ${made.stderr}`);
  await writeFile(plan, '');
  const recovered = await stage.run(['recover', '--json']);
  assert.equal(recovered.exitCode, 0, `${each.what}: ${recovered.stdout}`);
  const at = systemClock.monoMs();
  assert.ok(
    await eventually(async () => ((await stage.acknowledged()).at(-1)?.monoMs ?? 0) > at, 10_000),
    `${each.what}: the load writes again`,
  );
  const gap = longestGap(await stage.acknowledged(), began, systemClock.monoMs());
  assert.ok(gap <= budgetMs + 1_000, `${each.what}: the load had to wait ${gap} ms`);
  assert.ok(
    await eventually(async () => (await stage.leftovers()).length === 0, 10_000),
    `${each.what}: left ${(await stage.leftovers()).join(', ')}`,
  );
}

describe('GT.M: calls that hang or are killed in the hold', () => {
  for (const freeze of ['plain', 'online'] as const) {
    it(`never keep a ${freeze} freeze beyond budget and a second`, async (t) => {
      const distribution = findDistributions().length === 0 ? undefined : await wrapped(t);
      const stage = await openStage('gtm', 'btrfs', {
        budget: `${budgetMs}ms`,
        application: { freeze, ...(distribution === undefined ? {} : { distribution: distribution.distribution }) },
      });
      if (typeof stage === 'string' || distribution === undefined) {
        t.skip(typeof stage === 'string' ? stage : 'needs GT.M');
        return;
      }
      await using _stage = stage;
      const failures: string[] = [];
      for (const each of cases)
        await judged(stage, distribution.plan, each).catch((error) => failures.push(String(error)));
      assert.deepEqual(failures, []);
      const made = await stage.run(['backup', 'orders', '--json', '--drill']);
      assert.equal(made.exitCode, 0, made.stderr + made.stdout);
    });
  }
});
