/**
 * Whole backups of an engine that lies, loses its hold, hangs or changes its role: none may become a point, each names what it found,
 * and nothing is left behind. Guard and flow run in this process; everything else is real.
 */
import assert from 'node:assert/strict';
import { appendFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { backup } from '../../src/flows/backup.ts';
import { drill } from '../../src/flows/drill.ts';
import { recover } from '../../src/flows/recover.ts';
import { restore } from '../../src/flows/restore.ts';
import { restoreAsIs } from '../../src/model/recovery.ts';
import { StillpointError } from '../../src/model/errors.ts';
import type { SnapshotProvider } from '../../src/ports/snapshot-provider.ts';
import { toyFiles, writeRow } from '../doubles/toy-application.ts';
import { never, overriding, scene, type SceneOptions } from './toy-scene.ts';

const setEpoch = async (data: string): Promise<void> => await writeFile(join(data, toyFiles.epoch), '2');

/** Cuts honestly and says of one volume that it was fixed an hour late. */
function late(real: SnapshotProvider): SnapshotProvider {
  return overriding(real, {
    async cut(group, label, signal) {
      const done = await real.cut(group, label, signal);
      const cuts = done.cuts.map((cut) => ({ ...cut, fixed: { ...cut.fixed, monoMs: cut.fixed.monoMs + 3_600_000 } }));
      return { ...done, cuts };
    },
  });
}

/** Locates one volume more than it cuts. */
function forgetful(real: SnapshotProvider): SnapshotProvider {
  return overriding(real, {
    async cut(group, label, signal) {
      const done = await real.cut(group, label, signal);
      return { ...done, cuts: [] };
    },
  });
}

interface Violation {
  readonly name: string;
  readonly options: SceneOptions;
  readonly code: string;
  readonly names: RegExp;
}

const violations: readonly Violation[] = [
  {
    name: 'a freeze that says it is done and is not',
    options: { fault: 'lies' },
    code: 'verdict-too-weak',
    names: /hold-unconfirmed-before-thaw/,
  },
  {
    name: 'a hold that is lost before the thaw',
    options: { fault: 'loses' },
    code: 'verdict-too-weak',
    names: /hold-lost/,
  },
  {
    name: 'a freeze that never answers',
    options: { fault: 'hangs', budgetMs: 300 },
    code: 'hold-expired',
    names: /deadline/,
  },
  { name: 'a late volume', options: { provider: late }, code: 'verdict-too-weak', names: /cut-after-thaw/ },
  {
    name: 'a volume that was not cut',
    options: { provider: forgetful },
    code: 'verdict-too-weak',
    names: /volume-not-cut.*path-not-covered/,
  },
  {
    name: 'a role change before the cut',
    options: { at: async (transition, data) => (transition === 'after:freeze' ? await setEpoch(data) : undefined) },
    code: 'verdict-too-weak',
    names: /role-changed/,
  },
  {
    name: 'a role change before the record',
    options: { at: async (transition, data) => (transition === 'before:copy' ? await setEpoch(data) : undefined) },
    code: 'verdict-too-weak',
    names: /role-changed.*record/,
  },
];

describe('seeded violations through the whole flow', () => {
  for (const { name, options, code, names } of violations) {
    it(`refuses ${name}, names it and leaves nothing`, async () => {
      await using stage = await scene(options);
      await assert.rejects(
        backup(stage.workload, stage.environment, { level: undefined, signal: never }),
        (error: unknown) => {
          assert.ok(error instanceof StillpointError, String(error));
          assert.equal(error.code, code, error.message);
          assert.match(error.message, names);
          assert.notEqual(error.hint, undefined);
          return true;
        },
      );
      assert.deepEqual(await stage.left(), []);
      assert.equal(await writeRow(stage.data, toyFiles.rows, 2), true, 'writers write again');
    });
  }

  it('makes a point of an honest engine, drills it, and restores it beside and in place', async () => {
    await using stage = await scene();
    const made = await backup(stage.workload, stage.environment, { level: undefined, signal: never });
    assert.equal(made.outcome, 'complete');
    assert.equal(made.point.verdict, 'application-consistent');
    assert.equal(made.point.level, 'full');
    assert.ok((made.evidence.canary?.acknowledged ?? 0) >= 0);
    const drilled = await drill(stage.workload, stage.environment, {
      plan: restoreAsIs(made.point),
      directory: undefined,
      signal: never,
    });
    assert.equal(drilled.outcome, 'passed', JSON.stringify(drilled.findings));
    await writeRow(stage.data, toyFiles.rows, 2);
    const second = await backup(stage.workload, stage.environment, { level: 'incremental', signal: never });
    assert.equal(second.point.parent, made.point.id);
    const beside = join(stage.state, 'beside');
    const restored = await restore(stage.workload, stage.environment, {
      plan: restoreAsIs(second.point),
      target: { kind: 'directory', path: beside },
      signal: never,
    });
    assert.equal(restored.paths[0]?.at, beside + join(stage.data, toyFiles.rows));
    await appendFile(join(stage.data, toyFiles.rows), 'rubbish');
    const inPlace = await restore(stage.workload, stage.environment, {
      plan: restoreAsIs(second.point),
      target: { kind: 'in-place' },
      signal: never,
    });
    assert.equal(inPlace.movedAside[0]?.from, join(stage.data, toyFiles.rows));
    const names = await readdir(stage.data);
    assert.ok(
      names.some((each) => each.startsWith(`${toyFiles.rows}.before-`)),
      'the former file is kept',
    );
  });

  it('refuses a second run on the same workload at once', async () => {
    let inside: Promise<unknown> | undefined;
    await using stage = await scene({
      at: async (transition) => {
        if (transition !== 'before:cut') return;
        inside = assert.rejects(backup(stage.workload, stage.environment, { level: undefined, signal: never }), {
          code: 'workload-busy',
        });
        await inside;
      },
    });
    const made = await backup(stage.workload, stage.environment, { level: undefined, signal: never });
    assert.notEqual(inside, undefined);
    assert.equal(made.outcome, 'complete');
  });

  for (const transition of ['before:prepare', 'before:freeze', 'before:cut', 'after:cut', 'before:copy']) {
    it(`leaves nothing when it is cancelled ${transition}`, async () => {
      const controller = new AbortController();
      await using stage = await scene({
        at: async (reached) => (reached === transition ? controller.abort() : undefined),
      });
      await assert.rejects(backup(stage.workload, stage.environment, { level: undefined, signal: controller.signal }), {
        code: 'cancelled',
      });
      assert.deepEqual(await stage.left(), []);
      assert.equal(await writeRow(stage.data, toyFiles.rows, 2), true);
    });
  }

  it('says loudly that a full was made where an incremental was asked for', async () => {
    await using stage = await scene();
    const made = await backup(stage.workload, stage.environment, { level: 'incremental', signal: never });
    assert.equal(made.outcome, 'degraded');
    assert.equal(made.point.level, 'full');
    assert.match(made.findings.map((finding) => finding.said).join(), /no earlier point/);
  });

  it('recovers nothing, twice, where nothing was left', async () => {
    await using stage = await scene();
    for (const _round of [1, 2]) {
      const done = await recover([stage.workload], stage.environment, { discard: undefined, signal: never });
      assert.deepEqual(done.failures, []);
      assert.deepEqual(done.runs, []);
    }
  });
});
