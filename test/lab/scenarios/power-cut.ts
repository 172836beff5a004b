/** The power goes at random moments of backups under load. The same disks are booted again, and everything is asked whether it is whole. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemClock } from '../../../src/platform/clock.ts';
import { guest as here } from '../guest/guest.ts';
import { isSound, judgeFiles, openScene, startLoad, type Judgement, type Scene } from '../guest/scene.ts';
import {
  buildStandard,
  databasesOn,
  leftoversSince,
  openStandard,
  standardDisks,
  type Standard,
} from '../guest/standard.ts';
import { inventory, writes } from '../guest/storage.ts';
import type { Json, Scenario } from '../scenario.ts';
import type { Machine } from '../uml.ts';

const workload = 'orders';
const log = (directory: string): string => join(directory, `load-${workload}.log`);
const far = Number.MAX_SAFE_INTEGER;

/** What the boot after a cut found. */
interface After {
  readonly live: Judgement;
  readonly inactive: string;
  readonly recover: { readonly exitCode: number | null; readonly said: Json };
  readonly left: readonly string[];
  readonly points: readonly { readonly id: string; readonly verdict: string; readonly judged: Judgement }[];
  readonly check: number | null;
  readonly writable: readonly boolean[];
}

interface Result {
  readonly cuts: readonly { readonly afterMs: number; readonly found: After }[];
  readonly backupMs: number;
}

const open = async ({ state, places }: Standard): Promise<Scene> =>
  await openScene(state, {
    [workload]: {
      application: { sqlite: { files: databasesOn(places.slice(0, 2), workload) } },
      storage: [{ 'lvm-thin': {} }],
    },
  });

async function lookAround(standard: Standard, scene: Scene, known: readonly string[]): Promise<After> {
  const before = await inventory();
  const files = databasesOn(standard.places.slice(0, 2), workload);
  const live = await judgeFiles(files, log(here.share), far);
  const recovered = await scene.run(['recover']);
  const left = await leftoversSince(
    { ...before, volumes: plain(before.volumes), devices: plain(before.devices) },
    scene,
  );
  const points: After['points'][number][] = [];
  for (const point of await scene.points()) {
    if (known.includes(point.id)) continue;
    const { directory, answer } = await scene.restore(point.id);
    if (answer.exitCode !== 0) throw new Error(`the point ${point.id} does not restore: ${JSON.stringify(answer)}`);
    const copies = files.map((file) => join(directory, file));
    const judged = await judgeFiles(copies, log(here.share), Date.parse(point.hold?.frozenAt ?? point.cutAt));
    await rm(directory, { recursive: true });
    points.push({ id: point.id, verdict: point.verdict, judged });
  }
  return {
    live,
    inactive: standard.inactive,
    recover: { exitCode: recovered.exitCode, said: recovered.json as Json },
    left,
    points,
    check: (await scene.run(['repo', 'check'])).exitCode,
    writable: await Promise.all(standard.places.map((place) => writes(place))),
  };
}

/** Snapshots of a run that the cut killed were there at boot already, and are not excused by that. */
function plain(names: readonly string[]): readonly string[] {
  return names.filter((name) => !name.includes('stillpoint'));
}

/** Boots, waits for the load and a backup, and cuts `afterMs` later; what the boot found of the cut before it, if there was one. */
async function bootAndCut(
  machine: Machine,
  turn: number,
  known: readonly string[],
  delay: (backupMs: number) => number,
) {
  const parameters = { full: false, turn, known, last: false };
  const guest = await machine.start({ scenario: 'power-cut', parameters }, { timeoutMs: scenario.timeoutMs });
  if (!(await guest.sign(`backup-${turn}`, scenario.timeoutMs))) {
    const { error, log: said } = await guest.cutPower();
    throw new Error(error ?? `the backup of turn ${turn} did not begin: ${said.slice(-3000)}`);
  }
  const { found, backupMs } = JSON.parse(await readFile(join(machine.share, `backup-${turn}`), 'utf8')) as {
    readonly found: After | null;
    readonly backupMs: number;
  };
  const afterMs = delay(backupMs);
  await systemClock.sleep(afterMs);
  const { end, error } = await guest.cutPower();
  if (end !== 'cut') throw new Error(error ?? `the guest ended by itself: ${end}`);
  return { found, backupMs, afterMs };
}

export const scenario: Scenario = {
  name: 'power-cut',
  about:
    'the power goes at random moments of backups under load: no acknowledged row is lost, recover works, every point restores',
  disks: standardDisks,
  memMiB: 768,
  timeoutMs: 10 * 60_000,
  async host(machine, { full }) {
    const turns = full ? 30 : 3;
    const cuts: Result['cuts'][number][] = [];
    const known: string[] = [];
    let usualMs = 0;
    let afterMs = 0;
    const note = (found: After): void => {
      known.push(...found.points.map((point) => point.id));
      cuts.push({ afterMs, found });
    };
    for (let turn = 0; turn < turns; turn++) {
      // Spread over the whole backup, and a bit over its end.
      const cut = await bootAndCut(machine, turn, known, (ms) => {
        usualMs ||= ms;
        return Math.round(((turn + Math.random()) / turns) * 1.1 * usualMs);
      });
      if (cut.found !== null) note(cut.found);
      ({ afterMs } = cut);
    }
    const last = { full: false, turn: turns, known: [], last: true };
    const { result, error } = await machine.boot(
      { scenario: 'power-cut', parameters: last },
      { timeoutMs: scenario.timeoutMs },
    );
    if (error !== undefined || result === undefined) throw new Error(error ?? 'the last boot gave no result');
    note(result as unknown as After);
    return { cuts, backupMs: usualMs } as unknown as Json;
  },
  async run(guest, { turn, known, last }) {
    const first = turn === 0;
    const standard = first ? await buildStandard() : await openStandard();
    const scene = await open(standard);
    const found = first ? null : await lookAround(standard, scene, known as readonly string[]);
    if (last === true) return found as unknown as Json;
    const files = databasesOn(standard.places.slice(0, 2), workload);
    for (const file of files) await mkdir(dirname(file), { recursive: true });
    await startLoad(workload, files, { pauseMs: 30 });
    // One that is finished, for the cuts to be compared with.
    const made = first ? await scene.run(['backup', workload]) : undefined;
    if (made !== undefined && made.exitCode !== 0) throw new Error(`the first backup failed: ${JSON.stringify(made)}`);
    await guest.sign(`backup-${JSON.stringify(turn)}`, JSON.stringify({ found, backupMs: made?.ms ?? 0 }));
    for (;;) {
      const again = await scene.run(['backup', workload]);
      if (again.exitCode !== 0) throw new Error(`a backup failed: ${JSON.stringify(again)}`);
    }
  },
  assess(json) {
    const { cuts } = json as unknown as Result;
    assert.ok(cuts.length >= 3);
    assert.ok(cuts.some(({ found }) => found.points.length > 0));
    for (const { afterMs, found } of cuts) {
      const said = `cut after ${afterMs} ms: ${JSON.stringify(found)}`;
      assert.ok(isSound(found.live), said);
      assert.equal(found.recover.exitCode, 0, said);
      assert.deepEqual(found.left, [], said);
      assert.equal(found.check, 0, said);
      assert.ok(found.writable.every(Boolean), said);
      for (const point of found.points) {
        assert.equal(point.verdict, 'application-consistent', said);
        assert.ok(isSound(point.judged), said);
      }
    }
  },
};
