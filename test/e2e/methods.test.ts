/**
 * The methods beside snapshots, with the toy as an engine that can all of them: its own backup in levels, the closed live copy, and cold.
 * Flow, guard, repository and catalog are real; what the toy acknowledged is held against what a restore gives back.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { backup, type BackupResult } from '../../src/flows/backup.ts';
import { drill } from '../../src/flows/drill.ts';
import type { Workload } from '../../src/flows/environment.ts';
import { estimateLevels } from '../../src/flows/estimate.ts';
import { recover } from '../../src/flows/recover.ts';
import { restore } from '../../src/flows/restore.ts';
import { runGuard } from '../../src/guard/guard.ts';
import { codeOf, StillpointError } from '../../src/model/errors.ts';
import type { Level, Method, Point } from '../../src/model/point.ts';
import { restoreAsIs, type RecoveryPlan } from '../../src/model/recovery.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { fileOf, readRows, toyFiles, writeRow, type ToyConfig } from '../doubles/toy-files.ts';
import { changed, endProcess, never, overriding, scene, type Scene } from './toy-scene.ts';

const parts = ['rows', 'more'];

/** Rows that the toy acknowledged, by part. */
type Rows = Readonly<Record<string, readonly number[]>>;

async function write(stage: Scene, part: string, ...rows: readonly number[]): Promise<void> {
  for (const row of rows) assert.equal(await writeRow(stage.data, `${part}.toy`, row), true, `row ${row}`);
}

async function rowsOf(stage: Scene, where = stage.data): Promise<Rows> {
  const read = async (part: string): Promise<readonly [string, readonly number[]]> => {
    const rows = await readRows(fileOf(where, part));
    assert.ok(rows.every((row) => row !== undefined));
    return [part, rows];
  };
  return Object.fromEntries(await Promise.all(parts.map(read)));
}

async function make(stage: Scene, method: Method, level?: Level, workload = stage.workload): Promise<BackupResult> {
  return await backup(workload, stage.environment, { method, level, signal: never });
}

async function pointsOf(stage: Scene): Promise<readonly Point[]> {
  return (await stage.environment.catalog()).points('toys');
}

/** What a restore beside the original gives back; the copy is removed again. */
async function restored(stage: Scene, plan: RecoveryPlan): Promise<Rows> {
  const beside = join(stage.state, `beside-${plan.point.id}`);
  try {
    await restore(stage.workload, stage.environment, {
      plan,
      target: { kind: 'directory', path: beside },
      signal: never,
    });
    const left = (await readdir(beside)).filter((name) => name.startsWith('.restore'));
    assert.deepEqual(left, []);
    return await rowsOf(stage, beside + stage.data);
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
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

/** A chain of every level, with what the toy had acknowledged at each. */
async function chainOf(stage: Scene): Promise<readonly { readonly made: BackupResult; readonly rows: Rows }[]> {
  const chain: { made: BackupResult; rows: Rows }[] = [];
  let next = 2;
  for (const level of ['full', 'incremental', 'cumulative', 'incremental', 'incremental'] as const) {
    await write(stage, 'rows', next++, next++);
    if (level !== 'incremental') await write(stage, 'more', next++);
    chain.push({ made: await make(stage, 'online', level), rows: await rowsOf(stage) });
  }
  return chain;
}

describe("the engine's own backup", () => {
  it('makes a chain of levels, and each of them restores to what was acknowledged', async () => {
    await using stage = await scene({ parts });
    const chain = await chainOf(stage);
    assert.deepEqual(
      chain.map(({ made: { outcome, point } }) => [outcome, point.level, point.verdict, point.hold]),
      ['full', 'incremental', 'cumulative', 'incremental', 'incremental'].map((level) => [
        'complete',
        level,
        'application-consistent',
        null,
      ]),
    );
    const ids = chain.map(({ made }) => made.point.id);
    assert.deepEqual(
      chain.map(({ made }) => made.point.parent),
      [null, ids[0], ids[0], ids[2], ids[3]],
    );
    const points = await pointsOf(stage);
    for (const { made, rows } of chain) {
      assert.deepEqual(await restored(stage, restoreAsIs(made.point, points)), rows);
      assert.ok(made.point.bytes.logical > 0);
    }
    const small = chain[4]?.made.evidence.online?.streams.reduce((sum, stream) => sum + stream.bytes, 0) ?? 0;
    assert.equal(small, 2 * 64 + 2 * 16, 'an incremental holds what is new and nothing else');
  });

  it('is an incremental where a chain is, and a full where none is, if nobody says', async () => {
    await using stage = await scene({ parts });
    const first = await make(stage, 'online');
    assert.deepEqual([first.outcome, first.point.level], ['complete', 'full']);
    const second = await make(stage, 'online');
    assert.deepEqual(
      [second.outcome, second.point.level, second.point.parent],
      ['complete', 'incremental', first.point.id],
    );
  });

  it('shows one moment of an engine that goes on writing', async () => {
    await using stage = await scene({ parts });
    const stop = new AbortController();
    let acknowledged = 1;
    const writing = (async () => {
      while (!stop.signal.aborted) {
        if (await writeRow(stage.data, toyFiles.rows, acknowledged + 1)) acknowledged += 1;
        await systemClock.sleep(1);
      }
    })();
    const spans: (readonly [number, number])[] = [];
    for (const level of ['full', 'incremental', 'incremental'] as const) {
      const before = acknowledged;
      await make(stage, 'online', level);
      spans.push([before, acknowledged + 1]);
    }
    const before = acknowledged;
    const live = await make(stage, 'concurrent');
    spans.push([before, acknowledged + 1]);
    stop.abort();
    await writing;
    const points = await pointsOf(stage);
    assert.equal(points[0]?.id, live.point.id);
    for (const [index, point] of points.toReversed().entries()) {
      const { rows = [] } = await restored(stage, restoreAsIs(point, points));
      assert.deepEqual(
        rows,
        Array.from(rows, (_row, at) => at + 1),
        'a prefix of what was written',
      );
      const [least, most] = spans[index] ?? [0, 0];
      assert.ok(rows.length >= least && rows.length <= most, `${rows.length} rows, not ${least} to ${most}`);
    }
  });

  it('passes a drill with all its levels', async () => {
    await using stage = await scene({ parts });
    const last = (await chainOf(stage)).at(-1)?.made.point ?? assert.fail();
    const plan = restoreAsIs(last, await pointsOf(stage));
    assert.equal(plan.levels.length, 3);
    const done = await drill(stage.workload, stage.environment, { plan, directory: undefined, signal: never });
    assert.equal(done.outcome, 'passed', JSON.stringify(done.findings));
    assert.match(done.findings[0]?.said ?? '', /^13 rows$/);
  });

  it('restores a chain in place, with the former files kept', async () => {
    await using stage = await scene({ parts });
    const chain = await chainOf(stage);
    await write(stage, 'rows', 99);
    const { made, rows } = chain[3] ?? assert.fail();
    const plan = restoreAsIs(made.point, await pointsOf(stage));
    const done = await restore(stage.workload, stage.environment, {
      plan,
      target: { kind: 'in-place' },
      signal: never,
    });
    assert.deepEqual(await rowsOf(stage), rows);
    assert.equal(done.levels, 2);
    assert.deepEqual(
      done.movedAside.map((each) => each.from),
      parts.map((part) => fileOf(stage.data, part)),
    );
    assert.deepEqual(await readdir(join(stage.state, 'work')), []);
  });

  for (const gone of [0, 2, 3]) {
    it(`names level ${gone} when it is missing, before anything is touched`, async () => {
      await using stage = await scene({ parts });
      const chain = await chainOf(stage);
      const lost = chain[gone]?.made.point ?? assert.fail();
      const top = chain[4]?.made.point ?? assert.fail();
      const points = await pointsOf(stage);
      await stage.repository.removeSnapshot(lost.repositorySnapshot);
      const target = { kind: 'directory', path: join(stage.state, 'beside') } as const;
      const work = restore(stage.workload, stage.environment, {
        plan: restoreAsIs(top, points),
        target,
        signal: never,
      });
      const error = await work.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof StillpointError, String(error));
      assert.match(error.message, new RegExp(lost.repositorySnapshot.slice(0, 8)));
      assert.equal(existsSync(target.path), false);
      const without = points.filter((each) => each.id !== lost.id);
      assert.match(
        (
          await refusal(
            Promise.resolve().then(() => restoreAsIs(top, without)),
            'point-incomplete',
          )
        ).message,
        new RegExp(lost.id),
      );
    });
  }

  it('names a level whose data is gone from the repository, before anything is touched', async () => {
    await using stage = await scene({ parts });
    await make(stage, 'online', 'full');
    const before = new Set(stage.store.files.keys());
    await write(stage, 'rows', 2, 3, 4);
    const { point } = await make(stage, 'online', 'incremental');
    await write(stage, 'rows', 5);
    const top = (await make(stage, 'online', 'incremental')).point;
    for (const name of [...stage.store.files.keys()]) {
      if (name.startsWith('data/') && !before.has(name)) stage.store.files.delete(name);
    }
    const plan = restoreAsIs(top, await pointsOf(stage));
    const target = { kind: 'directory', path: join(stage.state, 'beside') } as const;
    const work = restore(stage.workload, stage.environment, { plan, target, signal: never });
    const error = await work.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof StillpointError, String(error));
    assert.ok(['point-incomplete', 'repository-damaged'].includes(error.code), error.code);
    assert.equal(existsSync(target.path), false);
    assert.ok(plan.levels.some((each) => each.id === point.id));
  });

  it('never puts a level on one that it does not fit, whatever the catalog says', async () => {
    await using stage = await scene({ parts });
    const chain = await chainOf(stage);
    const [full, , , third, top] = chain.map(({ made }) => made.point);
    assert.ok(full !== undefined && third !== undefined && top !== undefined);
    const plan = restoreAsIs({ ...top, parent: full.id }, [full, third, top]);
    assert.deepEqual(
      plan.levels.map((each) => each.id),
      [top.id],
    );
    const target = { kind: 'directory', path: join(stage.state, 'beside') } as const;
    const error = await refusal(
      restore(stage.workload, stage.environment, { plan, target, signal: never }),
      'level-misfit',
    );
    assert.match(error.message, /rows begins at/);
    assert.equal(existsSync(target.path), false);
  });

  it('says loudly that it made a full: asked for another level without a chain, or because the engine did', async () => {
    await using stage = await scene({ parts });
    const lonely = await make(stage, 'online', 'cumulative');
    assert.deepEqual([lonely.outcome, lonely.point.level, lonely.point.parent], ['degraded', 'full', null]);
    assert.match(lonely.findings.map((each) => each.said).join(), /no whole chain/);
    await write(stage, 'rows', 2);
    const turned = await make(stage, 'online', 'incremental', stage.faulty('full-instead'));
    assert.deepEqual([turned.outcome, turned.point.level, turned.point.parent], ['degraded', 'full', null]);
    assert.match(turned.findings.map((each) => each.said).join(), /made a full: the block map is not valid/);
    assert.deepEqual(await restored(stage, restoreAsIs(turned.point)), { rows: [1, 2], more: [] });
    await write(stage, 'more', 7);
    const next = await make(stage, 'online', 'incremental');
    assert.equal(next.point.parent, turned.point.id, 'the chain goes on from it');
    assert.deepEqual(await restored(stage, restoreAsIs(next.point, await pointsOf(stage))), {
      rows: [1, 2],
      more: [7],
    });
  });

  it('estimates the next levels from the counters, and holds a backup against that', async () => {
    await using stage = await scene({ parts });
    const estimate = async (): Promise<readonly (number | null)[]> =>
      (await estimateLevels(stage.workload, stage.environment, await pointsOf(stage), never)).levels.map(
        (each) => each.bytes,
      );
    assert.deepEqual(await estimate(), [16, null, null]);
    await make(stage, 'online', 'full');
    await write(stage, 'rows', 2, 3);
    const second = await make(stage, 'online', 'incremental');
    assert.match(second.findings.map((each) => each.said).join(), /counters said 32 bytes, it wrote 160/);
    await write(stage, 'more', 4);
    assert.deepEqual(await estimate(), [64, 48, 16]);
    const mute = changed(stage.workload.application, { estimate: undefined });
    await refusal(
      estimateLevels({ ...stage.workload, application: mute }, stage.environment, [], never),
      'method-unsupported',
    );
  });

  it('keeps what the engine logged meanwhile, and warns of what it calls severe', async () => {
    await using stage = await scene({
      parts,
      at: async (transition, data) => {
        if (transition !== 'before:copy') return;
        const now = systemClock.wallMs();
        await writeFile(
          join(data, toyFiles.log),
          `${now - 3_600_000} severe old\n${now} info a line\n${now} severe a bad disk\n`,
        );
      },
    });
    const made = await make(stage, 'online');
    const logged = made.evidence.events.filter((event) => event.by === 'engine').map((event) => event.what);
    assert.deepEqual(logged, ['a line', 'severe: a bad disk']);
    assert.ok(made.findings.some((each) => each.check === 'engine-log' && each.said === 'a bad disk'));
  });
});

interface Misbehaviour {
  readonly fault: ToyConfig['fault'];
  readonly code: string;
  readonly says: RegExp;
  /** Where the full shows nothing of it. */
  readonly only?: 'levels';
}

const misbehaviours: readonly Misbehaviour[] = [
  { fault: 'will-not-start', code: 'command-failed', says: /does not start/ },
  { fault: 'ends-early', code: 'verdict-too-weak', says: /engine-backup-unfinished: .*of \d+ bytes/ },
  { fault: 'stream-fails', code: 'command-failed', says: /broke off/ },
  { fault: 'unfinished', code: 'verdict-too-weak', says: /engine-backup-unfinished.*exit 0/ },
  { fault: 'answers-nonsense', code: 'command-failed', says: /xyzzy/ },
  { fault: 'misfit', code: 'verdict-too-weak', says: /chain-broken/, only: 'levels' },
];

describe('an engine that misbehaves in its own backup', () => {
  const asks: readonly (readonly [string, Method, Level | undefined])[] = [
    ['full', 'online', 'full'],
    ['cumulative', 'online', 'cumulative'],
    ['incremental', 'online', 'incremental'],
    ['live copy', 'concurrent', undefined],
  ];
  for (const { fault, code, says, only } of misbehaviours) {
    for (const [name, method, level] of asks) {
      if (only === 'levels' && level === 'full') continue;
      it(`makes no point of it and leaves nothing: ${fault}, ${name}`, async () => {
        await using stage = await scene({ parts });
        await write(stage, 'rows', 2, 3, 4);
        const good = await make(stage, 'online', 'full');
        await write(stage, 'rows', 5, 6);
        await write(stage, 'more', 7);
        const before = await stage.left();
        const error = await refusal(make(stage, method, level, stage.faulty(fault)), code);
        assert.match(error.message, says);
        assert.deepEqual(await stage.left(), before);
        const next = await make(stage, 'online', 'incremental');
        assert.equal(next.point.parent, good.point.id, 'the chain is as it was');
        assert.deepEqual(await restored(stage, restoreAsIs(next.point, await pointsOf(stage))), await rowsOf(stage));
      });
    }
  }

  it('refuses a live copy that a full does not close', async () => {
    await using stage = await scene({ parts });
    const error = await refusal(make(stage, 'concurrent', undefined, stage.faulty('full-instead')), 'verdict-too-weak');
    assert.match(error.message, /dirty-copy-open/);
    assert.deepEqual(await stage.left(), []);
  });

  it('refuses a member that changed meanwhile', async () => {
    await using stage = await scene({
      parts,
      application: (real) => {
        const online = real.online ?? assert.fail();
        const start: typeof online.start = async (request) => {
          const run = await online.start(request);
          const located = await real.locate(never);
          await writeFile(join(located.identity, toyFiles.epoch), '2');
          return run;
        };
        return changed(real, { online: changed(online, { start }) });
      },
    });
    const error = await refusal(make(stage, 'online'), 'verdict-too-weak');
    assert.match(error.message, /role-changed/);
    assert.deepEqual(await stage.left(), []);
  });

  for (const method of ['online', 'concurrent'] as const) {
    it(`leaves nothing of ${method} when it is cancelled in the middle`, async () => {
      const controller = new AbortController();
      await using stage = await scene({
        parts,
        application: (real) => {
          const online = real.online ?? assert.fail();
          const start: typeof online.start = async (request) => {
            const run = await online.start(request);
            controller.abort();
            return run;
          };
          return changed(real, { online: changed(online, { start }) });
        },
      });
      const work = backup(stage.workload, stage.environment, { method, level: undefined, signal: controller.signal });
      assert.equal(codeOf(await work.catch((error: unknown) => error)), 'cancelled');
      assert.deepEqual(await stage.left(), []);
    });
  }

  it('has no method that the engine has not', async () => {
    await using stage = await scene({
      application: (real) => changed(real, { online: undefined, openStop: undefined }),
    });
    for (const method of ['online', 'concurrent', 'cold'] as const)
      await refusal(make(stage, method), 'method-unsupported');
    await using unmarked = await scene({
      application: (real) => changed(real, { online: changed(real.online ?? assert.fail(), { mark: undefined }) }),
    });
    await refusal(make(unmarked, 'concurrent'), 'method-unsupported');
    assert.equal((await make(unmarked, 'online')).outcome, 'complete');
    await refusal(make(unmarked, 'concurrent', 'incremental'), 'method-unsupported');
    await using able = await scene();
    await refusal(make(able, 'concurrent', 'incremental'), 'usage');
    assert.deepEqual([...(await stage.left()), ...(await able.left())], []);
  });
});

describe('a live copy that the engine closes', () => {
  it('drops what the copy caught after the marks, and takes all until the backup', async () => {
    let phase = 'before';
    await using stage = await scene({
      parts,
      application: (real) => {
        const online = real.online ?? assert.fail();
        const directory = async (): Promise<string> => (await real.locate(never)).identity;
        const mark = async (): Promise<Readonly<Record<string, string>>> => {
          const marks = (await online.mark?.(never)) ?? {};
          // In the live copy and in the level: once too often, if nobody cuts it off.
          for (const row of [2, 3]) await writeRow(await directory(), 'rows.toy', row);
          phase = 'marked';
          return marks;
        };
        const start: typeof online.start = async (request) => {
          assert.equal(phase, 'marked');
          assert.deepEqual([request.level, request.since], ['incremental', { rows: '1', more: '0' }]);
          // Not in the live copy any more.
          await writeRow(await directory(), 'rows.toy', 4);
          await writeRow(await directory(), 'more.toy', 5);
          const run = await online.start(request);
          await writeRow(await directory(), 'rows.toy', 6);
          return run;
        };
        return changed(real, { online: changed(online, { mark, start }) });
      },
    });
    const { point, outcome, evidence } = await make(stage, 'concurrent');
    assert.deepEqual(
      [outcome, point.level, point.parent, point.verdict],
      ['complete', 'full', null, 'application-consistent'],
    );
    assert.equal(evidence.online?.dirty, true);
    assert.deepEqual(await rowsOf(stage), { rows: [1, 2, 3, 4, 6], more: [5] });
    assert.deepEqual(await restored(stage, restoreAsIs(point)), { rows: [1, 2, 3, 4], more: [5] });
  });
});

const usersStopped = (stage: Scene): boolean => existsSync(join(stage.data, toyFiles.users));

describe('a cold backup', () => {
  it('stops the users for the cut and starts them again', async () => {
    const seen: (readonly [string, boolean, boolean])[] = [];
    await using stage = await scene({
      parts,
      at: async (transition, data) => {
        if (!['before:freeze', 'before:cut', 'after:cut', 'before:copy'].includes(transition)) return;
        seen.push([
          transition,
          existsSync(join(data, toyFiles.users)),
          await writeRow(data, 'more.toy', transition === 'before:copy' ? 9 : 8),
        ]);
      },
    });
    await write(stage, 'rows', 2, 3);
    const { point, outcome, evidence } = await make(stage, 'cold');
    assert.deepEqual([outcome, point.method, point.verdict], ['complete', 'cold', 'application-consistent']);
    assert.deepEqual(seen, [
      ['before:freeze', false, true],
      ['before:cut', true, false],
      ['after:cut', true, false],
      ['before:copy', false, true],
    ]);
    assert.equal(evidence.hold?.token.way, 'stop');
    assert.equal(evidence.canary, undefined, 'a canary would be a user');
    assert.deepEqual(await restored(stage, restoreAsIs(point)), { rows: [1, 2, 3], more: [8] });
    assert.deepEqual(await rowsOf(stage), { rows: [1, 2, 3], more: [8, 9] });
  });

  it('starts them again when the cut fails', async () => {
    let stopped = false;
    await using stage = await scene({
      provider: (real) =>
        overriding(real, {
          cut: () => {
            stopped = usersStopped(stage);
            return Promise.reject(new StillpointError('cut-failed', 'the array says no', { hint: 'ask it' }));
          },
        }),
    });
    const error = await refusal(make(stage, 'cold'), 'cut-failed');
    assert.match(error.message, /array says no/);
    assert.equal(stopped, true);
    assert.equal(usersStopped(stage), false);
    assert.deepEqual(await stage.left(), []);
  });

  it('starts them again when the run is cancelled', async () => {
    const controller = new AbortController();
    await using stage = await scene({
      at: async (transition) => (transition === 'before:cut' ? controller.abort() : undefined),
    });
    const work = backup(stage.workload, stage.environment, {
      method: 'cold',
      level: undefined,
      signal: controller.signal,
    });
    assert.equal(codeOf(await work.catch((error: unknown) => error)), 'cancelled');
    assert.equal(usersStopped(stage), false);
    assert.deepEqual(await stage.left(), []);
  });

  it('starts them again when the owner of the guard is killed', async () => {
    await using stage = await scene();
    const directory = await mkdtemp(join(tmpdir(), 'sp-owner-'));
    try {
      const socket = join(directory, 'g.sock');
      const sentinel = { pid: 0, alive: () => true, armed: () => undefined, thawed: () => undefined };
      let guarded: ReturnType<typeof runGuard> = Promise.resolve({ released: true });
      await new Promise<void>((resolve) => {
        guarded = runGuard(
          {
            workload: 'toys',
            application: stage.workload.applicationSpec,
            token: { runId: 'r', workload: 'toys', engine: 'toy', identity: 'stillpoint:r', way: 'stop' },
            budgetMs: 600_000,
            socket,
            stateDirectory: stage.state,
            resultFile: join(directory, 'result.json'),
          },
          stage.workload.application,
          sentinel,
          systemClock,
          resolve,
        );
      });
      const owner = spawn(process.execPath, [
        fileURLToPath(new URL('../doubles/toy-owner.ts', import.meta.url)),
        socket,
      ]);
      try {
        const [said] = (await once(owner.stdout, 'data')) as [Buffer];
        assert.equal(said.toString(), 'frozen\n');
        assert.equal(usersStopped(stage), true);
      } finally {
        owner.kill('SIGKILL');
      }
      assert.equal((await guarded).released, false);
      assert.equal(usersStopped(stage), false);
      const result: unknown = JSON.parse(await readFile(join(directory, 'result.json'), 'utf8'));
      assert.equal((result as { report: { by: string } }).report.by, 'owner-lost');
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  it('raises the alarm when they do not start, and recover starts them once they can be', async () => {
    await using stage = await scene({
      at: async (transition, data) =>
        transition === 'after:cut' ? await writeFile(join(data, toyFiles.broken), '') : undefined,
    });
    const error = await refusal(make(stage, 'cold'), 'thaw-unproven');
    assert.equal(error.exitCode, 6);
    assert.deepEqual(await pointsOf(stage), []);
    assert.deepEqual(await stage.repository.snapshots(), []);
    assert.equal(usersStopped(stage), true);
    await endProcess(stage);
    await refusal(make(stage, 'cold'), 'recover-first');
    await rm(join(stage.data, toyFiles.broken));
    const done = await recover([stage.workload], stage.environment, { discard: undefined, signal: never });
    assert.deepEqual(done.failures, []);
    assert.equal(usersStopped(stage), false);
    assert.deepEqual(await stage.left(), []);
  });
});

describe('the word to the engine that a point is proved', () => {
  const confirmed = async (stage: Scene): Promise<readonly string[]> =>
    (await readFile(join(stage.data, toyFiles.confirmed), 'utf8').catch(() => ''))
      .split('\n')
      .filter((id) => id !== '');

  it('comes after a drill that passed, and after nothing else', async () => {
    await using stage = await scene({ parts });
    const points = [await make(stage, 'online'), await make(stage, 'snapshot'), await make(stage, 'cold')];
    await restored(stage, restoreAsIs(points[0]?.point ?? assert.fail()));
    assert.deepEqual(await confirmed(stage), []);
    const bad: Workload = {
      ...stage.workload,
      application: changed(stage.workload.application, {
        async *verify() {
          yield { severity: 'error', check: 'start', said: 'does not start' };
        },
      }),
    };
    for (const { point } of points) {
      const plan = restoreAsIs(point);
      const request = { plan, directory: undefined, signal: never };
      assert.equal((await drill(bad, stage.environment, request)).outcome, 'failed');
    }
    assert.deepEqual(await confirmed(stage), []);
    for (const { point } of points) {
      const request = { plan: restoreAsIs(point), directory: undefined, signal: never };
      assert.equal((await drill(stage.workload, stage.environment, request)).outcome, 'passed');
    }
    assert.deepEqual(
      await confirmed(stage),
      points.map(({ point }) => point.id),
    );
  });
});
