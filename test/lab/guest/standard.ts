/** The storage that most scenarios with Stillpoint inside use: four disks under md and LVM, a fifth for state and repository. */
import { join } from 'node:path';
import { guest } from './guest.ts';
import { acknowledgedIn, type Scene } from './scene.ts';
import {
  assembleAll,
  inventory,
  makeArray,
  makeFileSystem,
  makeGroup,
  makePool,
  makeThick,
  makeThin,
  mountAt,
  volumes,
  type Inventory,
} from './storage.ts';

const mib = 1024 ** 2;

export const standardDisks = [
  ...['a', 'b', 'c', 'd'].map((name) => ({ name, bytes: 1024 * mib })),
  { name: 'state', bytes: 1024 * mib },
];

export interface Standard {
  /** Mount points, of which each lies on a volume of its own: thin1 (xfs), thin2 (ext4), thick1 (xfs), thick2 (ext4). */
  readonly places: readonly string[];
  readonly state: string;
  /** What LVM said about volumes that did not come up at this boot. */
  readonly inactive: string;
}

/** RAID10, the group vg0, a pool with two thin volumes, two ordinary ones; the state's disk without any of that. */
export async function buildStandard(): Promise<Standard> {
  await makeGroup('vg0', [await makeArray(0, 'raid10', [0, 1, 2, 3])]);
  await makePool('vg0', 'pool', 640);
  return {
    places: [
      await makeFileSystem('xfs', await makeThin('vg0', 'pool', 'thin1', 320), 'thin1'),
      await makeFileSystem('ext4', await makeThin('vg0', 'pool', 'thin2', 128), 'thin2'),
      await makeFileSystem('xfs', await makeThick('vg0', 'thick1', 320), 'thick1'),
      await makeFileSystem('ext4', await makeThick('vg0', 'thick2', 96), 'thick2'),
    ],
    state: await makeFileSystem('ext4', guest.disk(4), 'state'),
    inactive: '',
  };
}

/** The same at a later boot. */
export async function openStandard(): Promise<Standard> {
  const inactive = await assembleAll();
  const places: string[] = [];
  for (const name of ['thin1', 'thin2', 'thick1', 'thick2']) places.push(await mountAt(`/dev/vg0/${name}`, name));
  return { places, state: await mountAt(guest.disk(4), 'state'), inactive };
}

export const databasesOn = (places: readonly string[], workload: string): readonly string[] =>
  places.map((place) => join(place, workload, 'app.db'));

/**
 * What is there and should not be: suspended devices, volumes of ours that no newest point accounts for, half-made volumes, mounts, loops,
 * repository locks. Devices are counted by their volumes. The base of the next backup, which is the newest point's snapshot, may stay.
 */
export async function leftoversSince(before: Inventory, scene: Scene): Promise<readonly string[]> {
  const after = await inventory();
  if (after.suspended.length > 0) return after.suspended.map((each) => `suspended: ${each}`);
  const points = await scene.points();
  const workloads = [...new Set(points.map((point) => point.workload))];
  const newest = workloads.flatMap((name) => {
    const own = points.filter((point) => point.workload === name).toSorted((a, b) => a.cutAt.localeCompare(b.cutAt));
    return own.slice(-1).map((point) => `stillpoint-${point.id}`);
  });
  const allowed = (name: string): boolean => newest.some((label) => name.replaceAll('--', '-').includes(label));
  const fresh = (list: 'volumes' | 'devices' | 'loops' | 'mounts'): readonly string[] =>
    after[list].filter((each) => !before[list].includes(each) && !allowed(each)).map((each) => `${list}: ${each}`);
  const halfMade = (await volumes()).filter((each) => /^....[IiSsXd]/.test(each.lv_attr));
  const locks = await guest.run(['ls', join(scene.repository, 'locks')]);
  return [
    ...fresh('volumes'),
    ...fresh('devices'),
    ...fresh('loops'),
    ...fresh('mounts'),
    ...halfMade.map((each) => `half-made: ${each.lv_name} ${each.lv_attr}`),
    ...locks.stdout.split('\n').flatMap((each) => (each === '' ? [] : [`lock: ${each}`])),
  ];
}

/** The last number that the writer noted. */
export async function lastNoted(log: string): Promise<number> {
  return (await acknowledgedIn(log)).at(-1)?.n ?? 0;
}
