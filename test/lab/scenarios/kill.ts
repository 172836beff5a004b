/** Stillpoint is killed at the steps of a backup of LVM volumes, the flow, the guard or both; then `recover`, and nothing may be left. */
import assert from 'node:assert/strict';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readJournals } from '../../../src/flows/journal.ts';
import { systemClock, within } from '../../../src/platform/clock.ts';
import {
  identify,
  isAlive,
  killExactly,
  processesMarked,
  type ProcessIdentity,
} from '../../../src/platform/process.ts';
import { guest as here } from '../guest/guest.ts';
import { isSound, judgeFiles, openScene, startLoad, type Judgement, type Load, type Scene } from '../guest/scene.ts';
import { buildStandard, databasesOn, lastNoted, leftoversSince, standardDisks } from '../guest/standard.ts';
import { inventory, writes, type Inventory } from '../guest/storage.ts';
import { processState } from '../../e2e/stage.ts';
import type { Json, Scenario } from '../scenario.ts';

const victims = ['flow', 'guard', 'both'] as const;
const steps = ['locate', 'choose', 'predict', 'prepare', 'freeze', 'cut', 'thaw', 'judge', 'copy', 'record', 'expire'];
const reachMs = 180_000;

interface Case {
  readonly workload: 'thin' | 'thick';
  readonly transition: string;
  readonly victim: (typeof victims)[number];
}

const sample: readonly Case[] = [
  { workload: 'thin', transition: 'after:cut', victim: 'both' },
  { workload: 'thick', transition: 'before:record', victim: 'flow' },
];

const all: readonly Case[] = (['thin', 'thick'] as const).flatMap((workload, which) =>
  steps.flatMap((step, index) =>
    ['before', 'after'].map((when, late) => ({
      workload,
      transition: `${when}:${step}`,
      victim: victims[(which + index + late) % 3] ?? 'both',
    })),
  ),
);

interface Done extends Case {
  readonly recover: number | null;
  readonly left: readonly string[];
  readonly processes: readonly string[];
  readonly writesOn: boolean;
  readonly points: readonly { readonly id: string; readonly verdict: string; readonly judged: Judgement }[];
  readonly ms: number;
}

/** Stops the flow there, kills, and lets what is left go on. */
async function killAt(scene: Scene, { workload, transition, victim }: Case, mark: string): Promise<void> {
  const flow = scene.start(['backup', workload], { STILLPOINT_FAULT: `stop:${transition}`, STILLPOINT_STAGE: mark });
  const until = systemClock.monoMs() + reachMs;
  let state = await processState(flow.pid);
  while (state !== 'T' && state !== undefined && systemClock.monoMs() < until) {
    await systemClock.sleep(50);
    state = await processState(flow.pid);
  }
  if (state !== 'T') throw new Error(`the flow did not reach ${transition}: ${flow.stderrTail()}`);
  const guard = await guardOf(scene, flow.pid);
  if (victim !== 'flow' && guard !== undefined && isAlive(guard)) killExactly(guard, 'SIGKILL');
  if (victim !== 'guard') flow.kill('SIGKILL');
  flow.kill('SIGCONT');
  const ended = await within(systemClock, reachMs, flow.exited, () => undefined);
  if (ended === undefined) throw new Error(`the flow did not end after ${transition}: ${flow.stderrTail()}`);
}

async function guardOf(scene: Scene, flow: number): Promise<ProcessIdentity | undefined> {
  const { runs } = await readJournals(scene.stateDirectory);
  const traces = (runs.at(-1)?.records ?? []).flatMap((record) => (record.type === 'intent' ? record.traces : []));
  const guard = traces.flatMap((trace) => (trace.kind === 'guard' ? [trace.process] : [])).at(-1);
  return guard?.pid === flow ? undefined : guard;
}

async function judgeCase(scene: Scene, each: Case, load: Load, before: Inventory, known: Set<string>): Promise<Done> {
  const began = systemClock.monoMs();
  const mark = `${each.workload}-${each.transition}-${each.victim}`;
  await killAt(scene, each, mark);
  const recovered = await scene.run(['recover']);
  if (recovered.exitCode !== 0) here.log(`recover: ${JSON.stringify(recovered.json)} ${recovered.stderr}`);
  const noted = await lastNoted(load.log);
  const writesOn = await eventually(async () => (await lastNoted(load.log)) > noted, 20_000);
  const ended = (): boolean => processesMarked('STILLPOINT_STAGE', mark).length === 0;
  await eventually(() => Promise.resolve(ended()), 20_000);
  const left = await leftoversSince(before, scene);
  const points: Done['points'][number][] = [];
  for (const point of await scene.points()) {
    if (known.has(point.id)) continue;
    known.add(point.id);
    const { directory, answer } = await scene.restore(point.id);
    if (answer.exitCode !== 0) throw new Error(`${point.id} does not restore: ${JSON.stringify(answer)}`);
    const judged = await judgeFiles(
      load.files.map((file) => join(directory, file)),
      load.log,
      Date.parse(point.hold?.frozenAt ?? point.cutAt),
    );
    await rm(directory, { recursive: true });
    points.push({ id: point.id, verdict: point.verdict, judged });
  }
  const processes = processesMarked('STILLPOINT_STAGE', mark).flatMap(({ pid }) =>
    identify(pid) === undefined ? [] : [String(pid)],
  );
  return {
    ...each,
    recover: recovered.exitCode,
    left,
    processes,
    writesOn,
    points,
    ms: Math.round(systemClock.monoMs() - began),
  };
}

async function eventually(holds: () => Promise<boolean>, ms: number): Promise<boolean> {
  const until = systemClock.monoMs() + ms;
  while (systemClock.monoMs() < until) {
    if (await holds()) return true;
    await systemClock.sleep(50);
  }
  return await holds();
}

export const scenario: Scenario = {
  name: 'kill',
  about:
    'flow and guard killed at the steps of a backup of LVM volumes: recover leaves nothing frozen, suspended, half-made or mounted',
  disks: standardDisks,
  memMiB: 768,
  timeoutMs: 90 * 60_000,
  async run(_guest, { full }) {
    const { places, state } = await buildStandard();
    const files = { thin: databasesOn(places.slice(0, 2), 'thin'), thick: databasesOn(places.slice(2, 4), 'thick') };
    const scene = await openScene(state, {
      thin: { application: { sqlite: { files: files.thin } }, storage: [{ 'lvm-thin': {} }] },
      thick: { application: { sqlite: { files: files.thick } }, storage: [{ 'lvm-thick': { snapshotSize: '48MiB' } }] },
    });
    for (const file of [...files.thin, ...files.thick]) await mkdir(dirname(file), { recursive: true });
    const before = await inventory();
    const known = new Set<string>();
    const done: Done[] = [];
    for (const workload of ['thin', 'thick'] as const) {
      const load = await startLoad(workload, files[workload], { pauseMs: 50 });
      for (const each of (full ? all : sample).filter((one) => one.workload === workload))
        done.push(await judgeCase(scene, each, load, before, known));
      await load.stop();
    }
    const writable = await Promise.all(places.map((place) => writes(place)));
    return { done, writable } as unknown as Json;
  },
  assess(json) {
    const { done, writable } = json as unknown as {
      readonly done: readonly Done[];
      readonly writable: readonly boolean[];
    };
    assert.ok(done.length >= sample.length);
    for (const each of done) {
      const said = JSON.stringify(each);
      assert.equal(each.recover, 0, said);
      assert.deepEqual(each.left, [], said);
      assert.deepEqual(each.processes, [], said);
      assert.ok(each.writesOn, said);
      for (const point of each.points) {
        assert.equal(point.verdict, 'application-consistent', said);
        assert.ok(isSound(point.judged), said);
      }
    }
    assert.ok(writable.every(Boolean));
  },
};
