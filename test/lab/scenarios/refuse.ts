/** Storage that must not be cut, and a snapshot that runs over: refused before anything is frozen, or no point. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemClock } from '../../../src/platform/clock.ts';
import { processesMarked } from '../../../src/platform/process.ts';
import { processState } from '../../e2e/stage.ts';
import { guest as here } from '../guest/guest.ts';
import { openScene, startLoad, type Answer, type Scene } from '../guest/scene.ts';
import { buildStandard, databasesOn, leftoversSince, standardDisks } from '../guest/standard.ts';
import { inventory, mountAt, writes } from '../guest/storage.ts';
import type { Json, Scenario } from '../scenario.ts';

interface Tried {
  readonly exitCode: number | null;
  readonly code: string | undefined;
  readonly message: string | undefined;
  readonly points: number;
  /** Whether the run's journal knows a freeze. */
  readonly froze: boolean;
}

interface Result {
  readonly good: Tried;
  readonly overflow: Tried;
  readonly degraded: Tried;
  readonly full: Tried;
  readonly again: Tried;
  readonly left: readonly string[];
  readonly writable: readonly boolean[];
}

async function tried(scene: Scene, answer: Answer): Promise<Tried> {
  const journals = await here.run(['sh', '-c', `cat $(ls -t ${scene.stateDirectory}/runs/*.journal | head -1)`]);
  return {
    exitCode: answer.exitCode,
    code: answer.error?.code,
    message: answer.error?.message,
    points: (await scene.points()).length,
    froze: journals.stdout.includes('"step":"freeze"'),
  };
}

/** The process of this mark that its fault point has stopped. */
async function stoppedProcess(mark: string): Promise<number> {
  for (let waited = 0; waited < 180_000; waited += 100) {
    for (const { pid } of processesMarked('STILLPOINT_STAGE', mark)) if ((await processState(pid)) === 'T') return pid;
    await systemClock.sleep(100);
  }
  throw new Error('the flow did not come to its fault point');
}

export const scenario: Scenario = {
  name: 'refuse',
  about:
    'a degraded array and a full pool are refused before anything is frozen; a snapshot that runs over makes no point',
  disks: standardDisks,
  memMiB: 768,
  timeoutMs: 20 * 60_000,
  async run(guest) {
    const { places, state } = await buildStandard();
    const thin = databasesOn(places.slice(1, 2), 'thin');
    const thick = databasesOn(places.slice(3, 4), 'thick');
    const scene = await openScene(state, {
      thin: { application: { sqlite: { files: thin } }, storage: [{ 'lvm-thin': {} }] },
      thick: { application: { sqlite: { files: thick } }, storage: [{ 'lvm-thick': { snapshotSize: '8MiB' } }] },
    });
    for (const file of [...thin, ...thick]) await mkdir(dirname(file), { recursive: true });
    await (await startLoad('thin', thin)).stop();
    const load = await startLoad('thick', thick, { pauseMs: 50 });
    const before = await inventory();
    const good = await tried(scene, await scene.run(['backup', 'thin']));

    // Held between cut and copy until more was written than the snapshot has space for.
    const held = scene.run(['backup', 'thick'], { STILLPOINT_FAULT: 'stop:before:copy', STILLPOINT_STAGE: 'overflow' });
    const stopped = await stoppedProcess('overflow');
    await writeFile(join(places[3] ?? '', 'noise'), Buffer.alloc(24 * 1024 ** 2, 'x'));
    await guest.check(['sync', '-f', places[3] ?? '']);
    process.kill(stopped, 'SIGCONT');
    const overflow = await tried(scene, await held);
    await load.stop();

    await guest.check(['mdadm', '/dev/md0', '--fail', guest.disk(0)]);
    const degraded = await tried(scene, await scene.run(['backup', 'thin']));
    await guest.check(['mdadm', '/dev/md0', '--remove', guest.disk(0)]);
    await guest.check(['mdadm', '/dev/md0', '--re-add', guest.disk(0)]);
    await guest.check(['mdadm', '--wait', '/dev/md0']).catch(() => undefined);

    // The pool's own space, not that of a file system on it: a thin volume without one takes what is left.
    await guest.check(['lvcreate', '-y', '-V', '1G', '-T', 'vg0/pool', '-n', 'filler']);
    // Queues when the pool is full, so it is not waited for.
    await guest.check(['lvchange', '--errorwhenfull', 'y', 'vg0/pool']);
    await guest.run(['dd', 'if=/dev/zero', 'of=/dev/vg0/filler', 'bs=1M', 'count=700', 'oflag=direct'], {
      timeoutMs: 120_000,
    });
    const full = await tried(scene, await scene.run(['backup', 'thin']));
    await guest.check(['lvremove', '-y', 'vg0/filler']);
    // Its file system met the full pool, too.
    await guest.check(['umount', places[1] ?? '']);
    await guest.run(['fsck.ext4', '-f', '-y', '/dev/vg0/thin2']);
    await mountAt('/dev/vg0/thin2', 'thin2');
    const again = await tried(scene, await scene.run(['backup', 'thin']));
    return {
      ...{ good, overflow, degraded, full, again },
      left: await leftoversSince(before, scene),
      writable: await Promise.all(places.map((place) => writes(place))),
    } as unknown as Json;
  },
  assess(json) {
    const { good, overflow, degraded, full, again, left, writable } = json as unknown as Result;
    assert.equal(good.exitCode, 0, JSON.stringify(good));
    assert.equal(good.points, 1);
    assert.notEqual(overflow.exitCode, 0);
    assert.equal(overflow.points, 1, `a snapshot that ran over became a point: ${JSON.stringify(overflow)}`);
    assert.equal(overflow.code, 'cut-failed', JSON.stringify(overflow));
    for (const each of [degraded, full]) {
      assert.equal(each.exitCode, 4, JSON.stringify(each));
      assert.equal(each.points, 1);
      assert.equal(each.froze, false, JSON.stringify(each));
    }
    assert.match(degraded.message ?? '', /degraded/);
    assert.equal(again.exitCode, 0, JSON.stringify(again));
    assert.deepEqual(left, []);
    assert.ok(writable.every(Boolean));
  },
};
