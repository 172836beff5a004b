/**
 * The command line is killed (SIGKILL) at each step of a backup and of a restore of both sides, and in between; then `stillpoint recover`
 * as a command of its own. One cluster for all of it, as in life: each kill begins from what the one before left. STILLPOINT_TEST_FULL=1
 * runs every transition, otherwise a few.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { splitBackupSteps } from '../../src/flows/mirror-split.ts';
import { restoreSteps } from '../../src/flows/mirror-split-restore.ts';
import type { Point } from '../../src/model/point.ts';
import { assertWhole } from './mirror-split-stage.ts';
import { splitCliStage, type SplitCliStage } from './mirror-split-cli-stage.ts';
import { eventually } from './stage.ts';

const full = process.env['STILLPOINT_TEST_FULL'] === '1';

async function opened(t: TestContext, fastRestore = false): Promise<SplitCliStage | undefined> {
  const stage = await splitCliStage({ limits: { fastRestore } });
  if (typeof stage !== 'string') return stage;
  t.skip(stage);
  return undefined;
}

function transitionsOf(steps: readonly { readonly name: string }[], sample: readonly string[]): readonly string[] {
  const all = steps.flatMap(({ name }) => [`before:${name}`, `after:${name}`]);
  for (const each of sample) assert.ok(all.includes(each), each);
  return full ? all : sample;
}

interface Recovered {
  readonly runs: readonly { readonly how: string }[];
  readonly failures: readonly unknown[];
}

async function recovered(stage: SplitCliStage, how: 'finished' | 'undone' | 'either', where: string): Promise<void> {
  const { runs, failures } = (await stage.json(['recover'])) as unknown as Recovered;
  assert.deepEqual(failures, [], where);
  if (how !== 'either') for (const run of runs) assert.equal(run.how, how, where);
  const again = await stage.run(['recover']);
  assert.equal(again.stdout, 'nothing was left behind\n', where);
  assert.deepEqual(await stage.processes(), [], where);
}

async function points(stage: SplitCliStage): Promise<readonly Point[]> {
  return (await stage.json(['points', 'orders']))['points'] as readonly Point[];
}

/** Each point has its own snapshot, with the rows that were there at the cut, and there is no other snapshot. */
async function assertNoFalsePoint(
  stage: SplitCliStage,
  expected: ReadonlyMap<string, readonly string[]>,
): Promise<void> {
  const all = await points(stage);
  assert.equal(Object.keys(stage.standIn.state.snapshots).length, all.length);
  for (const { id, volumes, verdict } of all) {
    assert.equal(verdict, 'application-consistent');
    const rows = expected.get(id);
    const found = stage.standIn.data(volumes[0]?.snapshot ?? '');
    assert.deepEqual(found, { fs: 'clean', rows: rows ?? found.rows });
  }
}

describe('a backup through the command line that is killed', () => {
  it('leaves a whole cluster, and a point only when it is good', async (t) => {
    await using stage = await opened(t);
    if (stage === undefined) return;
    const { standIn } = stage;
    const expected = new Map<string, readonly string[]>();
    const check = async (where: string, how: 'finished' | 'undone' | 'either'): Promise<void> => {
      const rows = standIn.data('server1').rows;
      await recovered(stage, how, where);
      for (const { id } of await points(stage)) if (!expected.has(id)) expected.set(id, rows);
      await assertNoFalsePoint(stage, expected);
      assertWhole(standIn, expected.size);
    };
    for (const transition of transitionsOf(splitBackupSteps, ['after:cut', 'after:record'])) {
      const run = await stage.run(['backup', 'orders'], { STILLPOINT_FAULT: `exit:${transition}` });
      assert.equal(run.killedBy, 'SIGKILL', `${transition}: ${run.stderr}`);
      await check(transition, transition === 'after:record' ? 'finished' : 'undone');
    }
    assert.equal(expected.size, 1);
    if (!full) return;
    for (let calls = 60; ; calls += 60) {
      const before = standIn.state.calls.length;
      const running = stage.start(['backup', 'orders']);
      let ended = false;
      void running.exited.then(() => (ended = true));
      await eventually(() => ended || standIn.state.calls.length >= before + calls, 300_000);
      running.kill('SIGKILL');
      const { killedBy } = await running.exited;
      await check(`${calls} calls`, 'either');
      if (killedBy === null) break;
    }
  });
});

describe('a restore through the command line that is killed', () => {
  it('leaves the old disks on both sides or the new ones on both, nothing of its own, and no price', async (t) => {
    await using stage = await opened(t, true);
    if (stage === undefined) return;
    const { standIn } = stage;
    standIn.write('before');
    const point = (await stage.json(['backup', 'orders']))['point'] as Point;
    const snapshot = point.volumes[0]?.snapshot ?? '';
    const attached = (): readonly string[] =>
      Object.values(standIn.state.volumes).flatMap(({ id, attachment }) => (attachment === null ? [] : [id]));
    for (const transition of transitionsOf(restoreSteps, ['after:swap', 'after:take'])) {
      standIn.write(`before ${transition}`);
      const rows = standIn.data('server1').rows;
      const [volumes, pair] = [Object.keys(standIn.state.volumes), attached()];
      const args = ['restore', point.id, '--target', 'in-place', '--yes'];
      const run = await stage.run(args, { STILLPOINT_FAULT: `exit:${transition}` });
      assert.equal(run.killedBy, 'SIGKILL', `${transition}: ${run.stderr}`);
      const isTaken = ['after:take', 'before:prove', 'after:prove'].includes(transition);
      await recovered(stage, isTaken ? 'finished' : 'undone', transition);
      const { group, servers } = standIn.state;
      assert.deepEqual(standIn.mirror(), { status: 'Normal', colours: ['GREEN', 'GREEN'] }, transition);
      assert.deepEqual([group.status, group.current], ['Online', 'server1'], transition);
      for (const { startup, power, suspended } of servers)
        assert.deepEqual([startup, power, suspended], ['auto', 'running', []], transition);
      assert.deepEqual(standIn.data('server1').rows, isTaken ? ['before'] : rows, transition);
      standIn.write('last');
      assert.deepEqual(standIn.data('server2'), standIn.data('server1'), transition);
      // The new ones are gone when the old ones are back; the old ones are never removed.
      if (isTaken) assert.equal(Object.keys(standIn.state.volumes).length, volumes.length + 2, transition);
      else assert.deepEqual([Object.keys(standIn.state.volumes), attached()], [volumes, pair], transition);
      assert.deepEqual(standIn.state.snapshots[snapshot]?.fast, [], transition);
    }
    assert.deepEqual(standIn.state.failovers, []);
  });
});
