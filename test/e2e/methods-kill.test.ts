/** The process of a backup by the other methods is killed, at its steps and in the middle of a stream. What it leaves is taken away. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { recoveryOf } from '../../src/cli/select.ts';
import { backup } from '../../src/flows/backup.ts';
import { recover } from '../../src/flows/recover.ts';
import { restore } from '../../src/flows/restore.ts';
import { shipJournals } from '../../src/flows/ship-journals.ts';
import { fileOf, readRows, toyFiles, writeRow } from '../doubles/toy-files.ts';
import { never, scene, type Scene } from './toy-scene.ts';

const parts = ['rows', 'more'];

/** Kills a run of the scene in `place` once it is there. */
async function killedAt(place: string, method: string, where: string): Promise<void> {
  const script = fileURLToPath(new URL('toy-run.ts', import.meta.url));
  const child = spawn(process.execPath, [script, place, method, where], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const first = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    assert.equal(String(first[0]), 'here\n');
  } finally {
    child.kill('SIGKILL');
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

async function latest(stage: Scene, to?: string): Promise<readonly (readonly (number | undefined)[])[]> {
  const catalog = await stage.environment.catalog();
  const [points, journals] = [catalog.points('toys'), catalog.journals('toys')];
  const plan = recoveryOf({ workload: 'toys', point: undefined, points, journals, to });
  const beside = join(stage.state, 'beside');
  await restore(stage.workload, stage.environment, {
    plan,
    target: { kind: 'directory', path: beside },
    signal: never,
  });
  try {
    return await Promise.all(parts.map((part) => readRows(fileOf(beside + stage.data, part))));
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

async function home(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'sp-kill-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Whether the point is there afterwards: once its snapshot is written it is real, and is found again. */
const kills: readonly (readonly [string, string, boolean])[] = [
  ['online', 'before:prepare', false],
  ['online', 'before:copy', false],
  ['online', 'stream', false],
  ['online', 'finish', false],
  ['online', 'after:copy', true],
  ['online', 'before:record', true],
  ['online', 'after:record', true],
  ['concurrent', 'stream', false],
  ['concurrent', 'finish', false],
  ['cold', 'before:freeze', false],
  ['cold', 'after:freeze', false],
  ['cold', 'before:cut', false],
  ['cold', 'after:cut', false],
  ['cold', 'before:copy', false],
  ['cold', 'after:record', true],
];

describe('a run that is killed', () => {
  for (const [method, where, there] of kills) {
    it(`${method} at ${where} leaves nothing, and the next one works`, async () => {
      await using place = await home();
      await killedAt(place.path, method, where);
      await using stage = await scene({ home: place.path, parts, journal: true });
      const done = await recover([stage.workload], stage.environment, { discard: undefined, signal: never });
      assert.deepEqual(done.failures, []);
      assert.equal(existsSync(join(stage.data, toyFiles.users)), false, 'users work');
      const left = await stage.left();
      assert.equal(left.length, there ? 2 : 0, left.join());
      assert.equal(await writeRow(stage.data, toyFiles.rows, 2), true);
      if (there) assert.deepEqual(await latest(stage), [[1], []]);
      const next = await backup(stage.workload, stage.environment, {
        method: 'online',
        level: undefined,
        signal: never,
      });
      assert.equal(next.outcome, 'complete');
      assert.equal(next.point.level, there && method === 'online' ? 'incremental' : 'full');
      assert.deepEqual(await latest(stage), [[1, 2], []]);
    });
  }

  for (const recovered of [true, false]) {
    it(`after a shipment and before the catalog loses nothing, ${recovered ? 'recovered' : 'not recovered'}`, async () => {
      await using place = await home();
      {
        await using stage = await scene({ home: place.path, parts, journal: true });
        await backup(stage.workload, stage.environment, { method: 'online', level: undefined, signal: never });
        assert.equal(await writeRow(stage.data, toyFiles.rows, 2), true);
      }
      await killedAt(place.path, '', 'shipped');
      await using stage = await scene({ home: place.path, parts, journal: true });
      const recovering = async (): Promise<void> => {
        const done = await recover([stage.workload], stage.environment, { discard: undefined, signal: never });
        assert.deepEqual(done.failures, []);
      };
      assert.deepEqual((await stage.environment.catalog()).journals('toys'), []);
      assert.equal(await writeRow(stage.data, 'more.toy', 3), true);
      if (recovered) await recovering();
      const again = await shipJournals(stage.workload, stage.environment, { switch: 'yes', signal: never });
      // A second copy costs space; a file that counts as shipped and is not would cost the data.
      assert.deepEqual([again.outcome, again.shipped.length], ['complete', recovered ? 2 : 4]);
      assert.deepEqual(await latest(stage, 'latest'), [[1, 2], [3]]);
      for (const _round of [1, 2]) {
        await recovering();
        assert.equal((await stage.environment.catalog()).journals('toys').length, 4);
        assert.deepEqual(await latest(stage, 'latest'), [[1, 2], [3]]);
      }
    });
  }
});
