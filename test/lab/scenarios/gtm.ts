/** GT.M with two regions on two LVM volumes, written in one transaction over both: the point must show both at one number. */
import assert from 'node:assert/strict';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { environmentOf } from '../../../src/adapters/application/gtm/commands.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { openGtm, whyNoGtm, type GtmDatabase } from '../../doubles/gtm.ts';
import { guest as here, type Guest } from '../guest/guest.ts';
import { openScene } from '../guest/scene.ts';
import { buildStandard, leftoversSince, standardDisks } from '../guest/standard.ts';
import { inventory, writes } from '../guest/storage.ts';
import type { Json, Scenario } from '../scenario.ts';

const limits = { limitMs: 120_000 };

interface Made {
  readonly workload: string;
  readonly exitCode: number | null;
  readonly said: Json;
  readonly volumes: number;
  readonly heldMs: number | undefined;
  readonly lost: number;
  readonly last: number;
  readonly invariant: string;
  readonly integ: number | null;
}

interface Result {
  readonly made: readonly Made[];
  readonly left: readonly string[];
  readonly writable: readonly boolean[];
}

/** The second region's file goes to a directory of its own, named by a variable as the first one's is. */
async function openOver(
  first: string,
  second: string,
): Promise<{ database: GtmDatabase; config: Readonly<Record<string, unknown>> }> {
  await mkdir(second, { recursive: true });
  await chmod(second, 0o755);
  const database = await openGtm({ regions: 2, directory: first, journal: false });
  const { place } = database.gtm;
  Object.assign(place.variables, { SPDB2: second });
  await database.gtm.gde(
    [
      'change -segment SECONDS -file_name="$SPDB2/b.dat"',
      'change -region SECOND -journal=(before_image,file="$SPDB2/b.mjl")',
    ],
    limits,
  );
  await here.check(['mv', join(first, 'b.dat'), join(second, 'b.dat')]);
  for (const region of ['DEFAULT', 'SECOND'])
    await database.gtm.mupip(['set', '-region', region, '-journal=enable,on,before'], limits);
  return { database, config: { ...database.config, environment: { SPDB: first, SPDB2: second } } };
}

/** What M itself says of a restored copy. */
async function ask(
  guest: Guest,
  database: GtmDatabase,
  root: string,
): Promise<Pick<Made, 'last' | 'invariant' | 'integ'>> {
  const { place } = database.gtm;
  const globalDirectory = join(root, place.globalDirectory);
  const variables = Object.fromEntries(Object.entries(place.variables).map(([name, at]) => [name, join(root, at)]));
  // The check of a database that may be in use takes notes in the working directory otherwise, which is read-only here.
  const env = { ...environmentOf({ ...place, globalDirectory, variables }), ...variables, gtm_snaptmpdir: '/tmp' };
  const run = (program: string, ...args: readonly string[]) =>
    guest.run([join(place.distribution, program), ...args], { env, timeoutMs: 120_000 });
  const integ = await run('mupip', 'integ', '-region', '*');
  const last = await run('mumps', '-run', 'last^spwriter', '1');
  const invariant = await run('mumps', '-run', 'inv^spwriter');
  await run('mupip', 'rundown', '-region', '*');
  return { last: Number(last.stdout), invariant: invariant.stdout.trim(), integ: integ.exitCode };
}

export const scenario: Scenario = {
  name: 'gtm',
  about:
    'GT.M over two LVM volumes, thin and thick: one transaction over both regions is whole in the restored copy, none is lost',
  disks: standardDisks,
  memMiB: 1024,
  timeoutMs: 20 * 60_000,
  full: true,
  whyNot: whyNoGtm,
  async run(guest) {
    const { places, state } = await buildStandard();
    const before = await inventory();
    const pairs = [
      {
        workload: 'thin',
        first: join(places[0] ?? '', 'm'),
        second: join(places[1] ?? '', 'm'),
        storage: { 'lvm-thin': {} },
      },
      {
        workload: 'thick',
        first: join(places[2] ?? '', 'm'),
        second: join(places[3] ?? '', 'm'),
        storage: { 'lvm-thick': { snapshotSize: '48MiB' } },
      },
    ] as const;
    const databases: Awaited<ReturnType<typeof openOver>>[] = [];
    for (const { first, second } of pairs) databases.push(await openOver(first, second));
    const scene = await openScene(
      state,
      Object.fromEntries(
        pairs.map(({ workload, storage }, index) => [
          workload,
          { application: { gtm: databases[index]?.config ?? {} }, storage: [storage] },
        ]),
      ),
    );
    const made: Made[] = [];
    for (const [index, { workload }] of pairs.entries()) {
      const database = databases[index]?.database;
      if (database === undefined) continue;
      const load = await database.load(1, 20);
      await systemClock.sleep(1000);
      const answer = await scene.run(['backup', workload]);
      const { point } = answer;
      // What was acknowledged while the freeze was being called may be on either side of it.
      const hold = point === undefined ? null : (await scene.evidence(point.id)).hold;
      const frozen = Date.parse(hold?.freezeCalled.wall ?? '');
      const due = (await load.acknowledged()).filter(({ ms }) => ms < frozen).at(-1)?.n ?? 0;
      await load.stop();
      const restored = point === undefined ? undefined : await scene.restore(point.id);
      const copy =
        restored?.answer.exitCode === 0
          ? await ask(guest, database, restored.directory)
          : { last: 0, invariant: JSON.stringify(restored?.answer.json), integ: null };
      made.push({
        workload,
        exitCode: answer.exitCode,
        said: answer.error ?? null,
        volumes: point?.volumes.length ?? 0,
        heldMs: point?.hold?.heldMs,
        lost: Math.max(0, due - copy.last),
        ...copy,
      });
    }
    const left = await leftoversSince(before, scene);
    for (const { database } of databases) await database[Symbol.asyncDispose]();
    const writable = await Promise.all(places.map((place) => writes(place)));
    return { made, left, writable } as unknown as Json;
  },
  assess(json) {
    const { made, left, writable } = json as unknown as Result;
    assert.equal(made.length, 2);
    for (const each of made) {
      const said = JSON.stringify(each);
      assert.equal(each.exitCode, 0, said);
      assert.equal(each.volumes, 2, said);
      assert.equal(each.integ, 0, said);
      assert.match(each.invariant, /invariant holds$/, said);
      assert.equal(each.lost, 0, said);
      assert.ok(each.last > 0, said);
    }
    assert.deepEqual(left, []);
    assert.ok(writable.every(Boolean));
  },
};
