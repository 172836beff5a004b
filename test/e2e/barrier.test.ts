/** Groups over real SSH to hosts in network namespaces of their own, with kills. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { describe, it, type TestContext } from 'node:test';
import { join } from 'node:path';
import { controlSocket } from '../../src/adapters/host/ssh/host.ts';
import type { Point } from '../../src/model/point.ts';
import { systemClock } from '../../src/platform/clock.ts';
import type { CommandResult, RunningProcess } from '../../src/platform/exec.ts';
import { openBarrierStage, steps, type BarrierStage, type StageHost } from './barrier-stage.ts';
import { eventually, longestGap, processState } from './stage.ts';

const full = process.env['STILLPOINT_TEST_FULL'] === '1';
const hosts = Number(process.env['STILLPOINT_TEST_HOSTS'] ?? (full ? 8 : 3));
const budgetMs = 5_000;
/** A busy machine starts and schedules late; what is proved is that nothing stays frozen until somebody comes. */
const slackMs = 2_000;

async function stageOf(t: TestContext, count: number = hosts): Promise<BarrierStage | undefined> {
  const stage = await openBarrierStage(count);
  if (typeof stage !== 'string') return stage;
  t.skip(stage);
  return undefined;
}

function documentOf(
  result: CommandResult,
): { readonly point: Point; readonly points: readonly Point[] } & Record<string, unknown> {
  assert.equal(
    result.exitCode,
    0,
    `${result.argv.slice(2).join(' ')}: ${result.stderr.slice(-3000)}${result.stdout.slice(-2000)}`,
  );
  return JSON.parse(result.stdout) as never;
}

async function backup(stage: BarrierStage): Promise<Point> {
  return documentOf(await stage.run(['backup', 'shop', '--json'])).point;
}

/** Starts a backup that stops itself when all are frozen, and returns once it has. */
async function untilFrozen(stage: BarrierStage): Promise<RunningProcess> {
  const run = stage.start(['backup', 'shop', '--json'], { STILLPOINT_FAULT: 'stop:after:freeze' });
  const stopped = await eventually(async () => (await processState(run.pid)) === 'T', 120_000);
  assert.ok(stopped, `it did not come to the freeze: ${run.stderrTail()}`);
  return run;
}

/** Of all ssh clients for this host: the one that runs the part, and the one that holds the connection for all. */
async function clientsOf(host: StageHost): Promise<readonly number[]> {
  const found: number[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ');
    // The shared connection renames itself after its socket, whose name stands in the client's arguments.
    const shared = line.startsWith('ssh: ') && line.includes(controlSocket(host.server.config));
    if (shared || (line.startsWith('ssh ') && line.includes(host.address))) found.push(Number(pid));
  }
  return found;
}

/** After a fault: nobody is frozen, there is no point of the group, `recover` finds nothing more, and the next backup works. */
async function assertGivenUp(stage: BarrierStage, from: number): Promise<void> {
  const before = (await stage.rounds()).at(-1)?.n ?? 0;
  const writes = await eventually(async () => ((await stage.rounds()).at(-1)?.n ?? 0) > before + 3, budgetMs + 20_000);
  assert.ok(writes, 'a database is still frozen');
  const gap = longestGap(await stage.rounds(), from, systemClock.monoMs());
  assert.ok(gap <= budgetMs + 1_000 + slackMs, `nobody could write for ${gap} ms`);
  await eventually(async () => (await stage.processes()).length === 0, 60_000);
  // A host may still be at its undoing; then the second one finds nothing.
  const recovered = await stage.run(['recover', '--json']);
  assert.equal(recovered.exitCode, 0, recovered.stdout);
  const look = async (host: StageHost): Promise<void> => {
    const own = await host.run(['recover', '--json']);
    assert.equal(own.exitCode, 0, own.stdout);
    const status = JSON.parse((await host.run(['status', host.name, '--json'])).stdout) as {
      status: { state: string };
    };
    assert.equal(status.status.state, 'thawed');
  };
  await Promise.all(stage.hosts.map(look));
  assert.deepEqual(await stage.leftovers(), []);
  const groups = documentOf(await stage.run(['points', 'shop', '--json'])).points;
  assert.deepEqual(groups, []);
  const point = await backup(stage);
  assert.equal(point.parts?.length, stage.hosts.length);
}

describe('a group of hosts', { concurrency: false }, () => {
  it('is one point of all of them, which restores to one instant', async (t) => {
    const stage = await stageOf(t);
    if (stage === undefined) return;
    await using _ = stage;
    const plan = documentOf(await stage.run(['plan', 'shop', '--json']))['plan'] as {
      parts: readonly { plan: unknown }[];
    };
    assert.ok(plan.parts.every((part) => part.plan !== null));
    const point = await backup(stage);
    assert.equal(point.verdict, 'application-consistent');
    assert.equal(point.parts?.length, stage.hosts.length);
    assert.ok((point.hold?.heldMs ?? Infinity) < budgetMs);
    const target = join(stage.home, 'restored');
    documentOf(await stage.run(['restore', point.id, '--target', target, '--json']));
    const seen = steps(stage.hosts.map(({ name, database }) => join(target, name, database)));
    assert.ok((seen[0] ?? 0) > 0, 'nothing was written before the cut');
    for (const [index, each] of seen.entries()) {
      assert.ok(
        each <= (seen[index - 1] ?? Infinity),
        `${seen.join(' ')}: a later write is there without an earlier one`,
      );
      assert.ok((seen[0] ?? 0) - each <= 1, `${seen.join(' ')} are not of one instant`);
    }
    const drill = documentOf(await stage.run(['drill', point.id, '--json']));
    assert.equal((drill['drill'] as { outcome: string }).outcome, 'passed');
    const shown = documentOf(await stage.run(['show', point.id, '--json', '--svg', join(stage.home, 'a.svg')]));
    assert.equal((shown['evidence'] as { together: { parts: unknown[] } }).together.parts.length, stage.hosts.length);
    assert.deepEqual(await stage.leftovers(), []);
  });

  it('thaws when its coordinator is killed while all are frozen', async (t) => {
    const stage = await stageOf(t);
    if (stage === undefined) return;
    await using _ = stage;
    const from = systemClock.monoMs();
    const killed = await stage.run(['backup', 'shop'], { STILLPOINT_FAULT: 'exit:after:freeze' });
    assert.equal(killed.killedBy, 'SIGKILL');
    await assertGivenUp(stage, from);
  });

  it(
    "thaws when a part's flow is killed while it is frozen",
    { skip: full ? false : 'STILLPOINT_TEST_FULL=1' },
    async (t) => {
      const stage = await stageOf(t);
      if (stage === undefined) return;
      await using _ = stage;
      const victim = stage.hosts[1];
      assert.ok(victim !== undefined);
      await victim.setFault('exit:after:freeze');
      const from = systemClock.monoMs();
      const failed = await stage.run(['backup', 'shop', '--json']);
      assert.equal(failed.exitCode, 6, failed.stdout);
      assert.match(failed.stdout, /shard2/);
      await victim.setFault('');
      await assertGivenUp(stage, from);
    },
  );

  it(
    "thaws when a part's guard is killed while all are frozen",
    { skip: full ? false : 'STILLPOINT_TEST_FULL=1' },
    async (t) => {
      const stage = await stageOf(t);
      if (stage === undefined) return;
      await using _ = stage;
      const victim = stage.hosts[1];
      assert.ok(victim !== undefined);
      const from = systemClock.monoMs();
      const run = await untilFrozen(stage);
      process.kill(await victim.guardPid(), 'SIGKILL');
      run.kill('SIGCONT');
      assert.notEqual((await run.exited).exitCode, 0);
      await assertGivenUp(stage, from);
    },
  );

  it('thaws when the network of a part is cut while all are frozen', async (t) => {
    const stage = await stageOf(t);
    if (stage === undefined) return;
    await using _ = stage;
    const victim = stage.hosts[1];
    assert.ok(victim !== undefined);
    const from = systemClock.monoMs();
    const run = await untilFrozen(stage);
    await victim.link('down');
    run.kill('SIGCONT');
    // Nobody can say how that host is: an alarm, and no point.
    assert.equal((await run.exited).exitCode, 6);
    const asked = await stage.run(['recover', '--json']);
    assert.notEqual(asked.exitCode, 0, 'a host that does not answer is not known to be thawed');
    await victim.link('up');
    await assertGivenUp(stage, from);
  });

  it(
    'thaws when the SSH clients of a part are stopped',
    { skip: full ? false : 'STILLPOINT_TEST_FULL=1' },
    async (t) => {
      const stage = await stageOf(t);
      if (stage === undefined) return;
      await using _ = stage;
      const victim = stage.hosts[1];
      assert.ok(victim !== undefined);
      const from = systemClock.monoMs();
      const run = await untilFrozen(stage);
      const clients = await clientsOf(victim);
      assert.notEqual(clients.length, 0);
      for (const pid of clients) process.kill(pid, 'SIGSTOP');
      run.kill('SIGCONT');
      const { exitCode } = await run.exited;
      for (const pid of clients) if ((await processState(pid)) !== undefined) process.kill(pid, 'SIGCONT');
      assert.notEqual(exitCode, 0);
      await assertGivenUp(stage, from);
    },
  );

  it('is over within 5 s of Ctrl-C', { skip: full ? false : 'STILLPOINT_TEST_FULL=1' }, async (t) => {
    const stage = await stageOf(t);
    if (stage === undefined) return;
    await using _ = stage;
    const from = systemClock.monoMs();
    const run = await untilFrozen(stage);
    run.kill('SIGINT');
    const told = systemClock.monoMs();
    run.kill('SIGCONT');
    const { exitCode } = await run.exited;
    assert.ok(exitCode === 130 || exitCode === 6, String(exitCode));
    assert.ok(systemClock.monoMs() - told < 5_000 + slackMs);
    await assertGivenUp(stage, from);
  });
});
