/** Backups by the command line on real md and LVM, restored and judged by a writer that knows nothing of the tool. */
import assert from 'node:assert/strict';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemClock } from '../../../src/platform/clock.ts';
import { guest as here } from '../guest/guest.ts';
import {
  isSound,
  judgeFiles,
  openScene,
  startLoad,
  type Judgement,
  type Scene,
  type WorkloadSpec,
} from '../guest/scene.ts';
import { buildStandard, leftoversSince, standardDisks } from '../guest/standard.ts';
import { inventory, makeFileSystem, makeThick, writes } from '../guest/storage.ts';
import type { Scenario } from '../scenario.ts';

interface Combination {
  readonly name: string;
  readonly provider: string;
  /** Where the databases lie: one file in each. */
  readonly on: readonly string[];
  readonly storage: WorkloadSpec['storage'];
  readonly full?: true;
}

const combinations: readonly Combination[] = [
  { name: 'thin', provider: 'lvm-thin', on: ['thin1', 'thin2'], storage: [{ 'lvm-thin': {} }] },
  {
    name: 'thick',
    provider: 'lvm-thick',
    on: ['thick1', 'thick2'],
    storage: [{ 'lvm-thick': { snapshotSize: '48MiB' } }],
  },
  { name: 'auto', provider: 'lvm-thin', on: ['thin1'], storage: 'auto', full: true },
  { name: 'thick-one', provider: 'lvm-thick', on: ['thick2'], storage: [{ 'lvm-thick': {} }], full: true },
  { name: 'reflink', provider: 'reflink', on: ['thick1', 'thin1'], storage: [{ reflink: {} }], full: true },
  { name: 'btrfs', provider: 'btrfs', on: ['btrfs'], storage: [{ btrfs: {} }], full: true },
  { name: 'copy', provider: 'copy', on: ['thick2', 'thin2'], storage: [{ copy: {} }], full: true },
];

interface Made {
  readonly name: string;
  readonly exitCode: number | null;
  readonly error: string | undefined;
  readonly verdict: string | undefined;
  readonly providers: readonly string[];
  readonly atomicity: string | undefined;
  readonly heldMs: number | undefined;
  readonly judged: Judgement | undefined;
  readonly backupMs: number;
  readonly restoreMs: number;
  readonly read: number | undefined;
  readonly changedBlocks: string | undefined;
}

interface Result {
  readonly made: readonly Made[];
  readonly left: readonly string[];
  readonly writable: readonly boolean[];
  readonly check: number | null;
}

const filesOf = ({ name, on }: Combination): readonly string[] => on.map((each) => join('/mnt', each, name, 'app.db'));

async function judge(scene: Scene, each: Combination, kind: string): Promise<Made> {
  const answer = await scene.run(['backup', each.name]);
  const { point } = answer;
  const common = {
    name: `${each.name} ${kind}`,
    exitCode: answer.exitCode,
    error: answer.error === undefined ? undefined : `${answer.error.code}: ${answer.error.message}`,
    backupMs: answer.ms,
  };
  if (point === undefined)
    return {
      ...common,
      ...{ verdict: undefined, providers: [], atomicity: undefined, heldMs: undefined, judged: undefined },
      ...{ restoreMs: 0, read: undefined, changedBlocks: undefined },
    };
  const evidence = await scene.evidence(point.id);
  const restored = await scene.restore(point.id);
  if (restored.answer.exitCode !== 0) throw new Error(`restore: ${JSON.stringify(restored.answer)}`);
  const judged = await judgeFiles(
    filesOf(each).map((file) => join(restored.directory, file)),
    join(here.share, `load-${each.name}.log`),
    Date.parse(point.hold?.frozenAt ?? point.cutAt),
  );
  await rm(restored.directory, { recursive: true });
  return {
    ...common,
    verdict: point.verdict,
    providers: [...new Set(point.volumes.map((volume) => volume.provider))],
    atomicity: evidence.cut.atomicity,
    heldMs: point.hold?.heldMs,
    judged,
    restoreMs: restored.answer.ms,
    read: point.bytes.read,
    changedBlocks: point.changedBlocks === undefined ? undefined : JSON.stringify(point.changedBlocks),
  };
}

export const scenario: Scenario = {
  name: 'backup',
  about: 'backups under load on RAID10, LVM thick and thin over several volumes, restored and judged by the writer',
  disks: standardDisks,
  memMiB: 768,
  timeoutMs: 20 * 60_000,
  async run(guest, { full }) {
    const { places, state } = await buildStandard();
    // The database's directory is a subvolume: that is what btrfs cuts.
    if (full) {
      const btrfs = await makeFileSystem('btrfs', await makeThick('vg0', 'btrfs', 256), 'btrfs');
      await guest.check(['btrfs', 'subvolume', 'create', join(btrfs, 'btrfs')]);
    }
    const chosen = combinations.filter((each) => full || each.full !== true);
    const scene = await openScene(
      state,
      Object.fromEntries(
        chosen.map((each) => [each.name, { application: { sqlite: { files: filesOf(each) } }, storage: each.storage }]),
      ),
    );
    const before = await inventory();
    const made: Made[] = [];
    for (const each of chosen) {
      for (const file of filesOf(each)) await mkdir(dirname(file), { recursive: true });
      const load = await startLoad(each.name, filesOf(each), { pauseMs: 30 });
      await systemClock.sleep(1000);
      made.push(await judge(scene, each, 'full'));
      if (full || each.name === 'thin') made.push(await judge(scene, each, 'incremental'));
      await load.stop();
    }
    const checked = full ? await scene.run(['repo', 'check']) : undefined;
    return {
      made,
      left: await leftoversSince(before, scene),
      writable: await Promise.all(places.map((place) => writes(place))),
      check: checked?.exitCode ?? 0,
    } as unknown as Awaited<ReturnType<Scenario['run']>>;
  },
  assess(json) {
    const { made, left, writable, check } = json as unknown as Result;
    for (const each of made) {
      const said = JSON.stringify(each);
      assert.equal(each.exitCode, 0, said);
      assert.equal(each.verdict, 'application-consistent', said);
      assert.ok(each.judged !== undefined && isSound(each.judged), said);
      const combination = combinations.find(({ name }) => each.name.startsWith(`${name} `));
      assert.deepEqual(each.providers, [combination?.provider], said);
      if ((combination?.on.length ?? 0) > 1) assert.equal(each.atomicity, 'sequential', said);
    }
    assert.ok(writable.every(Boolean));
    assert.equal(check, 0);
    assert.deepEqual(left, []);
  },
};
