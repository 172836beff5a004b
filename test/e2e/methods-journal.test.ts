/** Journals that are shipped, kept, purged and rolled forward, with the toy: real files, a real repository, a real catalog. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { appendFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { openCatalog } from '../../src/catalog/catalog.ts';
import { recoveryOf } from '../../src/cli/select.ts';
import { backup } from '../../src/flows/backup.ts';
import { restore } from '../../src/flows/restore.ts';
import { purgeJournals } from '../../src/flows/purge-journals.ts';
import { shipJournals, watchJournals, type ShipResult } from '../../src/flows/ship-journals.ts';
import { journalStatus, verifyJournals } from '../../src/flows/survey-journals.ts';
import { syncCatalog } from '../../src/flows/sync-catalog.ts';
import { StillpointError } from '../../src/model/errors.ts';
import type { JournalFile } from '../../src/model/journal.ts';
import type { Method, Point } from '../../src/model/point.ts';
import type { RecoveryPlan } from '../../src/model/recovery.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { fileOf, readRows, toyFiles, writeRow } from '../doubles/toy-files.ts';
import { changed, never, scene, type Scene } from './toy-scene.ts';

const parts = ['rows', 'more'];
const withJournal = { parts, journal: true } as const;

async function write(stage: Scene, part: string, ...rows: readonly number[]): Promise<void> {
  for (const row of rows) assert.equal(await writeRow(stage.data, `${part}.toy`, row), true, `row ${row}`);
}

async function make(stage: Scene, method: Method): Promise<Point> {
  return (await backup(stage.workload, stage.environment, { method, level: undefined, signal: never })).point;
}

async function ship(stage: Scene, how: 'yes' | 'no' = 'yes', workload = stage.workload): Promise<ShipResult> {
  return await shipJournals(workload, stage.environment, { switch: how, signal: never });
}

async function planTo(stage: Scene, to: string | undefined, point?: Point): Promise<RecoveryPlan> {
  const catalog = await stage.environment.catalog();
  const [points, journals] = [catalog.points('toys'), catalog.journals('toys')];
  return recoveryOf({ workload: 'toys', point, points, journals, to });
}

async function restored(stage: Scene, plan: RecoveryPlan): Promise<readonly (readonly (number | undefined)[])[]> {
  const beside = join(stage.state, 'beside');
  const target = { kind: 'directory', path: beside } as const;
  try {
    const done = await restore(stage.workload, stage.environment, { plan, target, signal: never });
    assert.equal(done.journals, plan.journals.length);
    assert.deepEqual(
      (await readdir(beside)).filter((name) => name.startsWith('.restore')),
      [],
    );
    return await Promise.all(parts.map((part) => readRows(fileOf(beside + stage.data, part))));
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

/** A moment with nothing around it: times of the toy are exact to the millisecond. */
async function moment(): Promise<string> {
  await systemClock.sleep(5);
  const { wall } = systemClock.now();
  await systemClock.sleep(5);
  return wall;
}

async function refusal(work: Promise<unknown>, code: string): Promise<StillpointError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof StillpointError, `${String(error)} instead of ${code}`);
  assert.equal(error.code, code, error.message);
  assert.notEqual(error.hint, undefined);
  return error;
}

const namesOf = (files: readonly Pick<JournalFile, 'part' | 'name'>[]): readonly string[] =>
  files.map((file) => file.name);

describe('shipping journals', () => {
  it('ships what is there once, and what is new the next time', async () => {
    await using stage = await scene(withJournal);
    await write(stage, 'rows', 2, 3);
    const first = await ship(stage);
    assert.equal(first.outcome, 'complete');
    assert.deepEqual(namesOf(first.shipped), ['rows.000001', 'more.000001']);
    assert.ok(first.bytes > 0 && first.coversTo !== null);
    const without = await ship(stage, 'no');
    assert.deepEqual([without.outcome, without.shipped, without.coversTo], ['complete', [], first.coversTo]);
    await write(stage, 'more', 4);
    const second = await ship(stage);
    assert.deepEqual(namesOf(second.shipped), ['rows.000002', 'more.000002']);
    assert.ok((second.coversTo ?? '') > first.coversTo);
    assert.equal((await stage.repository.snapshots()).length, 2);
  });

  it('does not lose the file behind one without a change', async () => {
    await using stage = await scene(withJournal);
    const base = await make(stage, 'online');
    for (let round = 0; round < 4; round++) await ship(stage);
    await write(stage, 'rows', 2);
    await ship(stage);
    await ship(stage);
    await write(stage, 'rows', 3);
    const last = await ship(stage);
    assert.deepEqual([last.outcome, last.findings], ['complete', []]);
    const plan = await planTo(stage, 'latest', base);
    assert.equal(plan.journals.length, 2 * 7);
    assert.deepEqual(await restored(stage, plan), [[1, 2, 3], []]);
    const files = (await journalStatus(stage.workload, stage.environment, never)).files;
    assert.deepEqual(
      files.filter((file) => !file.shipped).map((file) => file.name),
      ['rows.000008', 'more.000008'],
    );
  });

  it('never says that it covers more than what is there', async () => {
    await using stage = await scene(withJournal);
    await write(stage, 'rows', 2);
    const before = await moment();
    const { coversTo } = await ship(stage);
    assert.ok((coversTo ?? '') > before);
    await write(stage, 'rows', 3);
    const journals = stage.workload.application.journals ?? assert.fail();
    // A part that the switch leaves alone: its open file holds changes from before the switch.
    const lazy = changed(stage.workload.application, {
      journals: changed(journals, {
        switch: async () => {
          const { beginJournals } = await import('../doubles/toy-files.ts');
          await beginJournals(stage.data, ['more']);
        },
      }),
    });
    await systemClock.sleep(1_100);
    await write(stage, 'rows', 4);
    const again = await ship(stage, 'yes', { ...stage.workload, application: lazy });
    assert.deepEqual(namesOf(again.shipped), ['more.000002']);
    const shipped = (await stage.environment.catalog()).journals('toys');
    const last = shipped.findLast((file) => file.part === 'rows');
    assert.equal(last?.coversTo, coversTo);
    assert.equal(again.coversTo, coversTo);
  });

  it('names a gap and calls itself degraded', async () => {
    await using stage = await scene(withJournal);
    await ship(stage);
    await write(stage, 'rows', 2);
    const journals = stage.workload.application.journals ?? assert.fail();
    await journals.switch(never);
    await rm(join(stage.data, toyFiles.journal, 'rows.000002'));
    await write(stage, 'rows', 3);
    const gap = await ship(stage);
    assert.equal(gap.outcome, 'degraded');
    assert.match(
      gap.findings.map((each) => each.said).join(),
      /rows has a gap: rows\.000001 ends at 1, and rows\.000003/,
    );
    assert.equal(gap.findings.length, 1);
    const verified = await verifyJournals(stage.workload, stage.environment);
    assert.deepEqual(
      verified.findings.map((each) => each.severity),
      ['error'],
    );
    assert.equal((await journalStatus(stage.workload, stage.environment, never)).findings.length, 1);
  });

  it('is refused while another shipment of the workload is at work', async () => {
    await using stage = await scene(withJournal);
    const journals = stage.workload.application.journals ?? assert.fail();
    let inside: StillpointError | undefined;
    const slow = changed(stage.workload.application, {
      journals: changed(journals, {
        switch: async () => {
          inside = await refusal(ship(stage), 'workload-busy');
          await refusal(
            purgeJournals(stage.workload, stage.environment, { dryRun: false, signal: never }),
            'workload-busy',
          );
          await journals.switch(never);
        },
      }),
    });
    const done = await ship(stage, 'yes', { ...stage.workload, application: slow });
    assert.ok(inside !== undefined);
    assert.equal(done.shipped.length, 2);
    assert.equal((await ship(stage)).outcome, 'complete');
  });

  it('goes on beside a backup', async () => {
    let beside: ShipResult | undefined;
    await using stage = await scene({
      ...withJournal,
      at: async (transition) => {
        if (transition === 'before:copy') beside = await ship(stage);
      },
    });
    await make(stage, 'online');
    assert.equal(beside?.shipped.length, 2);
  });

  it('says which file it could not read, and ships nothing of it', async () => {
    await using stage = await scene(withJournal);
    const journals = stage.workload.application.journals ?? assert.fail();
    const purging = changed(stage.workload.application, {
      journals: changed(journals, {
        list: async () => {
          const listed = await journals.list(never);
          await rm(join(stage.data, toyFiles.journal, 'more.000001'));
          return listed;
        },
      }),
    });
    const error = await refusal(ship(stage, 'yes', { ...stage.workload, application: purging }), 'journal-missing');
    assert.match(error.message, /more\.000001/);
    assert.deepEqual(await stage.left(), []);
    assert.deepEqual((await stage.environment.catalog()).journals('toys'), []);
  });

  it('has nothing to ship where the engine has no journals', async () => {
    await using stage = await scene({ application: (real) => changed(real, { journals: undefined }) });
    await refusal(ship(stage), 'method-unsupported');
    await refusal(journalStatus(stage.workload, stage.environment, never), 'method-unsupported');
    await refusal(
      purgeJournals(stage.workload, stage.environment, { dryRun: true, signal: never }),
      'method-unsupported',
    );
  });

  it('ships again and again until it is told to end, and outlives a shipment that fails', async () => {
    const controller = new AbortController();
    await using stage = await scene(withJournal);
    const journals = stage.workload.application.journals ?? assert.fail();
    const findings: string[] = [];
    let switches = 0;
    const flaky = changed(stage.workload.application, {
      journals: changed(journals, {
        switch: async () => {
          switches += 1;
          if (switches === 1) throw new StillpointError('database-unreachable', 'the toy sleeps', { hint: 'wake it' });
          await journals.switch(never);
        },
      }),
    });
    const results: ShipResult[] = [];
    await watchJournals(
      { ...stage.workload, application: flaky },
      {
        ...stage.environment,
        reporter: { ...stage.environment.reporter, finding: (finding) => findings.push(finding.said) },
      },
      {
        everyMs: 5,
        bytes: 1_000_000,
        signal: controller.signal,
        onShipped: (result) => {
          results.push(result);
          if (results.length === 2) controller.abort();
        },
      },
    );
    assert.equal(results.length, 2);
    assert.deepEqual(findings, ['not shipped: the toy sleeps']);
  });
});

describe('rolling forward', () => {
  for (const method of ['online', 'concurrent', 'snapshot', 'cold'] as const) {
    it(`goes from a point of ${method} to a time, to the end of a file, and to the latest state`, async () => {
      await using stage = await scene(withJournal);
      await write(stage, 'rows', 2);
      const point = await make(stage, method);
      assert.equal(point.starts.length, 2);
      await write(stage, 'rows', 3);
      await write(stage, 'more', 1);
      await ship(stage);
      await write(stage, 'rows', 4);
      const between = await moment();
      await write(stage, 'rows', 5);
      await write(stage, 'more', 2);
      await ship(stage);
      await write(stage, 'rows', 6);
      const last = await ship(stage);
      await write(stage, 'rows', 7);
      assert.deepEqual(await restored(stage, await planTo(stage, undefined)), [[1, 2], []]);
      assert.deepEqual(await restored(stage, await planTo(stage, between)), [[1, 2, 3, 4], [1]]);
      assert.deepEqual(await restored(stage, await planTo(stage, 'rows.000001')), [[1, 2, 3], [1]]);
      const latest = await planTo(stage, 'latest');
      assert.equal(latest.reachesTo, last.coversTo);
      assert.deepEqual(await restored(stage, latest), [
        [1, 2, 3, 4, 5, 6],
        [1, 2],
      ]);
    });
  }

  it('goes from the last level of a chain', async () => {
    await using stage = await scene(withJournal);
    await make(stage, 'online');
    await write(stage, 'rows', 2);
    const point = await make(stage, 'online');
    await write(stage, 'rows', 3);
    await write(stage, 'more', 4);
    await ship(stage);
    const plan = await planTo(stage, 'latest');
    assert.deepEqual([plan.levels.length, plan.point.id], [1, point.id]);
    assert.deepEqual(await restored(stage, plan), [[1, 2, 3], [4]]);
  });

  it('refuses a time that was not shipped so far, and one before every point', async () => {
    await using stage = await scene(withJournal);
    const early = await moment();
    await make(stage, 'online');
    await ship(stage);
    const late = await moment();
    await write(stage, 'rows', 2);
    const error = await refusal(planTo(stage, late), 'journal-gap');
    assert.match(error.hint ?? '', /journal ship toys/);
    await refusal(planTo(stage, early), 'no-point');
    await ship(stage);
    assert.deepEqual(await restored(stage, await planTo(stage, late)), [[1], []]);
  });

  it('names what is missing before anything is touched', async () => {
    await using stage = await scene(withJournal);
    await make(stage, 'online');
    await write(stage, 'rows', 2);
    const { shipped } = await ship(stage);
    const plan = await planTo(stage, 'latest');
    await stage.repository.removeSnapshot(shipped[0]?.snapshot ?? assert.fail());
    const target = { kind: 'directory', path: join(stage.state, 'beside') } as const;
    const error = await refusal(
      restore(stage.workload, stage.environment, { plan, target, signal: never }),
      'point-incomplete',
    );
    assert.match(error.message, /journal file rows\.000001/);
    assert.equal(existsSync(target.path), false);
  });

  it('names a file that the snapshot which should hold it does not hold', async () => {
    await using stage = await scene(withJournal);
    await make(stage, 'online');
    await write(stage, 'rows', 2);
    await ship(stage);
    const plan = await planTo(stage, 'latest');
    const moved = { ...plan, journals: plan.journals.map((file) => ({ ...file, path: `${file.path}.moved` })) };
    const target = { kind: 'directory', path: join(stage.state, 'beside') } as const;
    const error = await refusal(
      restore(stage.workload, stage.environment, { plan: moved, target, signal: never }),
      'point-incomplete',
    );
    assert.match(error.message, /rows\.000001 is not in repository snapshot/);
    assert.equal(existsSync(target.path), false);
  });

  it('leaves nothing of a restore whose journal the engine refuses', async () => {
    await using stage = await scene(withJournal);
    await make(stage, 'online');
    await write(stage, 'rows', 2);
    await ship(stage);
    const plan = await planTo(stage, 'latest');
    const target = { kind: 'directory', path: join(stage.state, 'beside') } as const;
    const faulty = stage.faulty('refuses-journal');
    await refusal(restore(faulty, stage.environment, { plan, target, signal: never }), 'journal-misfit');
    assert.equal(existsSync(target.path), false);
    const before = await readRows(fileOf(stage.data, 'rows'));
    await refusal(
      restore(faulty, stage.environment, { plan, target: { kind: 'in-place' }, signal: never }),
      'journal-misfit',
    );
    assert.deepEqual(await readRows(fileOf(stage.data, 'rows')), before);
    assert.deepEqual(
      (await readdir(stage.data)).filter((name) => name.includes('before')),
      [],
    );
    assert.deepEqual(await readdir(join(stage.state, 'work')), []);
  });

  it('notices a file that is not what was shipped', async () => {
    await using stage = await scene(withJournal);
    await make(stage, 'online');
    await write(stage, 'rows', 2);
    await ship(stage);
    const plan = await planTo(stage, 'latest');
    const altered = { ...plan, journals: plan.journals.map((file) => ({ ...file, sha256: 'another' })) };
    const target = { kind: 'directory', path: join(stage.state, 'beside') } as const;
    await refusal(
      restore(stage.workload, stage.environment, { plan: altered, target, signal: never }),
      'repository-damaged',
    );
    assert.equal(existsSync(target.path), false);
  });

  it('is planned alike from a catalog that was rebuilt from the repository alone', async () => {
    await using stage = await scene(withJournal);
    await make(stage, 'online');
    await write(stage, 'rows', 2);
    await ship(stage);
    await make(stage, 'online');
    await make(stage, 'concurrent');
    await write(stage, 'rows', 3);
    await make(stage, 'cold');
    const between = await moment();
    await write(stage, 'more', 4);
    await ship(stage);
    await ship(stage);
    const elsewhere = await mkdtemp(join(tmpdir(), 'sp-catalog-'));
    const rebuilt = await openCatalog(elsewhere);
    try {
      const { findings, found } = await syncCatalog(stage.repository, rebuilt);
      assert.deepEqual(findings, []);
      assert.equal(found.length, 4);
      const catalog = await stage.environment.catalog();
      assert.deepEqual(rebuilt.points('toys'), catalog.points('toys'));
      assert.deepEqual(rebuilt.journals('toys'), catalog.journals('toys'));
      for (const to of [undefined, 'latest', between, 'rows.000001']) {
        const [points, journals] = [rebuilt.points('toys'), rebuilt.journals('toys')];
        const plan = recoveryOf({ workload: 'toys', point: undefined, points, journals, to });
        assert.deepEqual(plan, await planTo(stage, to));
      }
      assert.deepEqual((await syncCatalog(stage.repository, rebuilt)).found, [], 'twice is once');
      const [first] = [...rebuilt.shipments()];
      await stage.repository.removeSnapshot(first ?? assert.fail());
      await syncCatalog(stage.repository, rebuilt);
      assert.equal(rebuilt.shipments().size, 2);
      assert.ok(rebuilt.journals('toys').every((file) => file.snapshot !== first));
    } finally {
      rebuilt.close();
      await rm(elsewhere, { recursive: true, force: true });
    }
  });
});

describe('purging journals', () => {
  const purge = async (stage: Scene, dryRun = false, workload = stage.workload): ReturnType<typeof purgeJournals> =>
    await purgeJournals(workload, stage.environment, { dryRun, signal: never });
  const onDisk = async (stage: Scene): Promise<readonly string[]> =>
    (await readdir(join(stage.data, toyFiles.journal))).toSorted();

  /** Shipped 1 and 2, closed but not shipped 3, open 4. */
  async function stocked(): Promise<Scene> {
    const stage = await scene(withJournal);
    const journals = stage.workload.application.journals ?? assert.fail();
    for (const row of [2, 3]) {
      await write(stage, 'rows', row);
      await ship(stage);
    }
    await write(stage, 'rows', 4);
    await journals.switch(never);
    await write(stage, 'rows', 5);
    return stage;
  }

  it('takes what was shipped and nobody needs, and nothing else', async () => {
    await using stage = await stocked();
    await writeFile(
      join(stage.data, toyFiles.needed),
      JSON.stringify([{ part: 'rows', name: 'rows.000002', why: 'db2 has not received it' }]),
    );
    const before = await onDisk(stage);
    const dry = await purge(stage, true);
    assert.deepEqual(await onDisk(stage), before, 'a dry run changes nothing');
    const done = await purge(stage);
    assert.deepEqual(namesOf(done.removed), ['rows.000001', 'more.000001', 'more.000002']);
    assert.deepEqual([dry.removed, dry.kept, dry.bytes], [done.removed, done.kept, done.bytes]);
    assert.deepEqual(
      done.kept.map(({ file, keep }) => `${file.name}: ${keep.join()}`),
      [
        'rows.000002: db2 has not received it',
        'rows.000003: it is not in the repository',
        'rows.000004: the engine writes to it',
        'more.000003: it is not in the repository',
        'more.000004: the engine writes to it',
      ],
    );
    const gone = new Set(namesOf(done.removed));
    assert.deepEqual(
      await onDisk(stage),
      before.filter((name) => !gone.has(name)),
    );
    assert.deepEqual((await purge(stage)).removed, [], 'twice is once');
    const after = await ship(stage);
    assert.deepEqual([after.outcome, after.findings], ['complete', []], 'the chain in the repository goes on');
  });

  it('keeps a file whose copy in the repository lost its data', async () => {
    await using stage = await stocked();
    for (const name of [...stage.store.files.keys()]) if (name.startsWith('data/')) stage.store.files.delete(name);
    const before = await onDisk(stage);
    const done = await purge(stage);
    assert.deepEqual(done.removed, []);
    assert.equal(
      done.kept.filter(({ keep }) => keep.some((why) => why.startsWith('its copy in the repository is not whole')))
        .length,
      4,
    );
    assert.deepEqual(await onDisk(stage), before);
    const verified = await verifyJournals(stage.workload, stage.environment);
    assert.ok(verified.findings.length >= 4);
  });

  it('keeps a file whose copy in the repository has flipped bits, which no look at its structure shows', async () => {
    await using stage = await stocked();
    const before = await onDisk(stage);
    const verify = async (): ReturnType<typeof verifyJournals> =>
      await verifyJournals(stage.workload, stage.environment);
    stage.store.gets.length = 0;
    await verify();
    const read = new Set(stage.store.gets);
    for (const [name, content] of [...stage.store.files]) {
      if (!name.startsWith('data/') || read.has(name)) continue;
      const flipped = Buffer.from(content);
      // Everywhere but in the pack's own list at its end.
      for (let at = 0; at < flipped.length - 165; at += 20) flipped[at] = (flipped[at] ?? 0) ^ 1;
      stage.store.files.set(name, flipped);
    }
    assert.deepEqual((await verify()).findings, [], 'the structure is whole');
    const files = (await purge(stage, true)).kept.filter(({ keep }) => keep.some((why) => why.includes('not whole')));
    assert.ok(files.length > 0);
    const done = await purge(stage);
    const bad = new Set(files.map(({ file }) => file.name));
    assert.deepEqual(
      namesOf(done.removed).filter((name) => bad.has(name)),
      [],
    );
    assert.deepEqual(
      [...bad].filter((name) => !before.includes(name) || !existsSync(join(stage.data, toyFiles.journal, name))),
      [],
    );
    assert.deepEqual(await readdir(join(stage.state, 'work')), []);
  });

  it('keeps a file whose snapshot was forgotten', async () => {
    await using stage = await stocked();
    for (const { id } of await stage.repository.snapshots()) await stage.repository.removeSnapshot(id);
    assert.deepEqual((await purge(stage)).removed, []);
  });

  it('keeps a file that is not the one that was shipped', async () => {
    await using stage = await stocked();
    const file = join(stage.data, toyFiles.journal, 'rows.000001');
    // The same name, part and positions, after a reset of the engine for example.
    await appendFile(file, '\n');
    const done = await purge(stage);
    assert.deepEqual(
      done.kept.filter(({ file: { name } }) => name === 'rows.000001').map(({ keep }) => keep),
      [['it differs from its copy in the repository']],
    );
    assert.equal(existsSync(file), true);
  });

  it('asks again right before each file goes', async () => {
    await using stage = await stocked();
    const journals = stage.workload.application.journals ?? assert.fail();
    const awaking = changed(stage.workload.application, {
      journals: changed(journals, {
        remove: async (file: JournalFile) => {
          await journals.remove(file);
          // A member of the cluster comes back after the first one is gone.
          await writeFile(
            join(stage.data, toyFiles.needed),
            JSON.stringify([{ part: 'rows', name: 'rows.000002', why: 'db2 is back' }]),
          );
        },
      }),
    });
    const done = await purge(stage, false, { ...stage.workload, application: awaking });
    assert.deepEqual(namesOf(done.removed), ['rows.000001', 'more.000001', 'more.000002']);
    assert.equal(existsSync(join(stage.data, toyFiles.journal, 'rows.000002')), true);
  });

  it('never goes by what was shipped of another data set', async () => {
    await using stage = await stocked();
    const stranger = changed(stage.workload.application, {
      locate: async (signal: AbortSignal) => ({
        ...(await stage.workload.application.locate(signal)),
        identity: 'another',
      }),
    });
    const done = await purge(stage, false, { ...stage.workload, application: stranger });
    assert.deepEqual(done.removed, []);
  });
});
