/** The method mirror-split through the command line, as a user has it: processes, SSH servers, the program `aws`, signals. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it, type TestContext } from 'node:test';
import type { Point } from '../../src/model/point.ts';
import { assertRestoredOrOld, assertWhole } from './mirror-split-stage.ts';
import { splitCliStage, type SplitCliOptions, type SplitCliStage } from './mirror-split-cli-stage.ts';
import { eventually } from './stage.ts';

const full = process.env['STILLPOINT_TEST_FULL'] === '1';
async function opened(t: TestContext, options?: SplitCliOptions): Promise<SplitCliStage | undefined> {
  const stage = await splitCliStage(options);
  if (typeof stage !== 'string') return stage;
  t.skip(stage);
  return undefined;
}

async function pointOf(stage: SplitCliStage, exitCode = 0): Promise<Point> {
  const { point } = await stage.json(['backup', 'orders', '--method', 'mirror-split'], exitCode);
  return point as Point;
}

describe('the command line with the method mirror-split', () => {
  it('checks, plans, backs up, shows, restores both sides and has nothing to recover', async (t) => {
    await using stage = await opened(t, { realSsh: true, limits: { oneCopy: '1s' } });
    if (stage === undefined) return;
    const { standIn } = stage;
    const run = (args: readonly string[]): ReturnType<SplitCliStage['run']> => stage.run(args);
    standIn.write('before');
    const checked = await run(['check', 'orders']);
    assert.equal(checked.exitCode, 0, checked.stdout);
    assert.match(checked.stdout, /server1 is active; server2 would be taken out, and vol-i-2 cut/);
    const planned = await run(['plan', 'orders']);
    assert.equal(planned.exitCode, 0, planned.stderr);
    assert.match(planned.stdout, / 7 {2}cut .* aws ec2 create-snapshot --volume-id vol-i-2\n/);
    assert.match(planned.stdout, /planned: at most 1.0+ s/);

    const made = await run(['backup', 'orders', '--method', 'mirror-split']);
    assert.equal(made.exitCode, 0, made.stderr);
    assert.match(made.stdout, /complete: a full point, application-consistent/);
    assert.match(made.stdout, /users were locked out for \d+ s/);
    // What is waited for, while it is.
    assert.match(made.stderr, /waiting: server2 boots\n/);
    assert.match(made.stderr, /waiting: snap-\w+ is copied to where snapshots are kept\n/);
    assert.match(made.stderr, /one copy and no failover for \d+ s, longer than the 1 s that were planned/);
    assert.match(await readFile(stage.alarms, 'utf8'), /"alarm":"mirror-split"/);
    assertWhole(standIn, 1);

    const { points } = await stage.json(['points', 'orders']);
    const [point] = points as readonly Point[];
    assert.ok(point);
    assert.deepEqual(standIn.data(point.volumes[0]?.snapshot ?? ''), { fs: 'clean', rows: ['before'] });
    const shown = await run(['show', point.id]);
    assert.match(shown.stdout, /server2 was isolated and its machine i-2 off while vol-i-2 at \/dev\/sdb was cut/);

    standIn.write('lost on purpose');
    const refused = await run(['restore', point.id, '--target', 'in-place']);
    assert.equal(refused.exitCode, 2);
    assert.match(refused.stderr, /HINT: give --yes/);
    const beside = await run(['restore', point.id, '--target', '/nowhere']);
    assert.equal(beside.exitCode, 2);
    const restored = await run(['restore', point.id, '--target', 'in-place', '--yes']);
    assert.equal(restored.exitCode, 0, restored.stderr);
    assert.match(restored.stdout, /server1 +vol-\w+; vol-i-1 is kept/);
    assert.match(restored.stderr, /waiting: server\d boots\n/);
    assert.deepEqual([standIn.data('server1').rows, standIn.data('server2').rows], [['before'], ['before']]);
    assert.deepEqual(standIn.mirror(), { status: 'Normal', colours: ['GREEN', 'GREEN'] });

    const recovered = await run(['recover']);
    assert.deepEqual([recovered.exitCode, recovered.stdout], [0, 'nothing was left behind\n']);
  });

  it('is refused by exit code 4 while the mirror is not whole, and so says the plan', async (t) => {
    await using stage = await opened(t);
    if (stage === undefined) return;
    stage.standIn.ok('server1', 'clpmonctrl', '-s', '-h', 'server1', '-m', 'mdw1');
    const planned = await stage.run(['plan', 'orders']);
    assert.equal(planned.exitCode, 4);
    assert.match(planned.stdout, /refused: mdw1 is suspended on server1 by somebody else/);
    const checked = await stage.run(['check', 'orders']);
    assert.equal(checked.exitCode, 5);
    const { error } = await stage.json(['backup', 'orders'], 4);
    assert.equal((error as { readonly code: string }).code, 'role-unsuitable');
    assert.deepEqual(stage.standIn.state.servers[0]?.suspended, ['mdw1']);
  });

  it('comes back to a whole cluster after Ctrl-C, says so, and ends with 130', async (t) => {
    await using stage = await opened(t);
    if (stage === undefined) return;
    const { standIn } = stage;
    standIn.write('before');
    const running = stage.start(['backup', 'orders']);
    assert.ok(await eventually(() => standIn.state.servers[1]?.power !== 'running', 120_000), running.stderrTail());
    running.kill('SIGINT');
    assert.ok(await eventually(() => running.stderrTail().includes('undo'), 120_000), running.stderrTail());
    // An impatient one changes nothing.
    running.kill('SIGINT');
    const { exitCode } = await running.exited;
    assert.equal(exitCode, 130, running.stderrTail());
    assert.match(running.stderrTail(), /undo {2}quiesce/);
    assert.match(running.stderrTail(), /please wait/);
    assertWhole(standIn, 0);
    const recovered = await stage.run(['recover']);
    assert.equal(recovered.stdout, 'nothing was left behind\n');
  });

  it('tells by exit code 6 and an alarm that a standby does not come back, and recover finishes when it does', async (t) => {
    if (!full) return t.skip('needs STILLPOINT_TEST_FULL=1: takes minutes');
    await using stage = await opened(t, { limits: { boot: '20s' } });
    if (stage === undefined) return;
    const { standIn } = stage;
    standIn.fault({ where: 'boot', how: 'never-back' });
    const failed = await stage.run(['backup', 'orders']);
    assert.equal(failed.exitCode, 6, failed.stderr);
    assert.match(failed.stderr, /server2 boots.*console ends with.*HINT: .*`stillpoint recover`/s);
    assert.match(await readFile(stage.alarms, 'utf8'), /server2 boots/);
    standIn.boot('server2');
    const recovered = await stage.run(['recover']);
    assert.equal(recovered.exitCode, 0, recovered.stderr);
    assert.match(recovered.stdout, /backup \S+ of orders was undone\n {2}the mirror of server1 and server2 is whole/);
    assertWhole(standIn, 0);
  });

  it('forgets a point with its snapshot, but never the last good one', async (t) => {
    await using stage = await opened(t);
    if (stage === undefined) return;
    const { standIn } = stage;
    const first = await pointOf(stage);
    const alone = await stage.run(['repo', 'forget', first.id]);
    assert.equal(alone.exitCode, 4, alone.stdout);
    assert.match(alone.stderr, /no other application-consistent point of orders would be left/);
    const second = await pointOf(stage);
    const tried = await stage.run(['repo', 'forget', first.id, '--dry-run']);
    assert.match(tried.stdout, new RegExp(`^${first.id} would be forgotten, with snap-`));
    const both = await stage.run(['repo', 'forget', first.id, second.id, '--dry-run']);
    assert.equal(both.exitCode, 4, both.stdout);
    assert.equal(Object.keys(standIn.state.snapshots).length, 2);

    const killed = await stage.run(['repo', 'forget', first.id], { STILLPOINT_FAULT: 'exit:before:delete' });
    assert.equal(killed.killedBy, 'SIGKILL');
    assert.equal(Object.keys(standIn.state.snapshots).length, 2);
    const recovered = await stage.run(['recover']);
    assert.match(recovered.stdout, /forget \S+ of orders was finished\n/);
    assert.deepEqual(Object.keys(standIn.state.snapshots), [second.volumes[0]?.snapshot]);
    const { points } = await stage.json(['points']);
    assert.deepEqual(
      (points as readonly Point[]).map(({ id }) => id),
      [second.id],
    );
  });

  it('works with the real `aws` program over HTTP', async (t) => {
    // A second for each of its calls.
    if (!full) return t.skip('needs STILLPOINT_TEST_FULL=1: takes minutes');
    await using stage = await opened(t, { realAws: true });
    if (stage === undefined) return;
    const { standIn } = stage;
    standIn.write('before');
    const point = await pointOf(stage);
    assertWhole(standIn, 1);
    standIn.write('after');
    const restored = await stage.run(['restore', point.id, '--target', 'in-place', '--yes']);
    assert.equal(restored.exitCode, 0, restored.stderr);
    assert.deepEqual(standIn.data('server2').rows, ['before']);
  });

  it('has fast restore on for the volumes only, with its price in the plan, and off again after a kill', async (t) => {
    // A sample of the kills with fast restore runs always (mirror-split-cli-kill.test.ts).
    if (!full) return t.skip('needs STILLPOINT_TEST_FULL=1: takes minutes');
    await using stage = await opened(t, { limits: { fastRestore: true } });
    if (stage === undefined) return;
    const { standIn } = stage;
    standIn.write('before');
    const point = await pointOf(stage);
    standIn.write('after');
    const snapshot = point.volumes[0]?.snapshot ?? '';
    const args = ['restore', point.id, '--target', 'in-place'];
    const planned = await stage.run([...args, '--plan']);
    assert.match(planned.stdout, /fast-on +aws ec2 enable-fast-snapshot-restores .*billed for each zone by the minute/);
    const killed = await stage.run([...args, '--yes'], { STILLPOINT_FAULT: 'exit:after:fast-on' });
    assert.equal(killed.killedBy, 'SIGKILL');
    assert.equal(standIn.state.snapshots[snapshot]?.fast.length, 2);
    const recovered = await stage.run(['recover']);
    assert.equal(recovered.exitCode, 0, recovered.stderr);
    assert.equal(standIn.state.snapshots[snapshot]?.fast.length, 0);
    const restored = await stage.run([...args, '--yes']);
    assert.equal(restored.exitCode, 0, restored.stderr);
    assert.match(restored.stderr, /fast restore of \S+ is switched on/);
    assert.deepEqual(standIn.state.snapshots[snapshot]?.fast, []);
    const made = Object.values(standIn.state.volumes).filter((volume) => volume.snapshot === snapshot);
    assert.deepEqual(
      made.map(({ madeFast }) => madeFast),
      [true, true],
    );
    assert.equal(assertRestoredOrOld(standIn), 'restored');
  });
});
