/**
 * Backups that read only what changed, over a provider that finds changes by comparing its copies byte by byte, or lies about them. The
 * judge is the repository: what a point holds must be the bytes of the snapshot.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { open, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { backup, type BackupResult } from '../../src/flows/backup.ts';
import { recover } from '../../src/flows/recover.ts';
import { StillpointError } from '../../src/model/errors.ts';
import { normalize } from '../../src/model/ranges.ts';
import type { ByteRange } from '../../src/model/storage.ts';
import { newRunId, type Workload } from '../../src/flows/environment.ts';
import { systemClock } from '../../src/platform/clock.ts';
import type { OpenSnapshot, SnapshotProvider } from '../../src/ports/snapshot-provider.ts';
import { fileOf } from '../doubles/toy-files.ts';
import { never, overriding, scene, type Scene } from './toy-scene.ts';

const block = 4096;
const bytes = 3_000_000;

type Map = 'honest' | 'empty' | 'unsure' | 'throws';

/** The bytes that differ, block by block. */
async function differences(one: string, other: string): Promise<readonly ByteRange[]> {
  const [a, b] = [await readFile(one), await readFile(other)];
  const ranges: ByteRange[] = [];
  for (let offset = 0; offset < b.length; offset += block) {
    const length = Math.min(block, b.length - offset);
    if (!a.subarray(offset, offset + length).equals(b.subarray(offset, offset + length)))
      ranges.push({ offset, length });
  }
  return normalize(ranges);
}

function telling(real: SnapshotProvider, map: () => Map): SnapshotProvider {
  return overriding(real, {
    async open(ref) {
      const now = await real.open(ref);
      const snapshot: OpenSnapshot = {
        at: (original) => now.at(original),
        statOf: (original) => now.statOf?.(original),
        async changedSince(baseRef) {
          if (map() === 'unsure') return undefined;
          if (map() === 'throws') throw new StillpointError('command-failed', 'the map is broken', { hint: 'none' });
          const base = await real.open(baseRef);
          return {
            source: `a comparison that is ${map()}`,
            async of(original) {
              const [was, is] = [base.at(original), now.at(original)];
              const stat = base.statOf?.(original);
              if (was === undefined || is === undefined || stat?.type !== 'file') return undefined;
              return { base: stat, ranges: map() === 'empty' ? [] : await differences(was, is) };
            },
            [Symbol.asyncDispose]: async () => await base[Symbol.asyncDispose](),
          };
        },
        [Symbol.asyncDispose]: async () => await now[Symbol.asyncDispose](),
      };
      return snapshot;
    },
  });
}

interface Stage extends AsyncDisposable {
  readonly scene: Scene;
  readonly workload: Workload;
  readonly big: string;
  map: Map;
  backup(workload?: Workload): Promise<BackupResult>;
  /** Changes some bytes of the big file. */
  change(offset: number, length: number): Promise<void>;
  /** Runs whose snapshots are there. */
  bases(): Promise<readonly string[]>;
  /** The point holds the big file as it is now. */
  holds(result: BackupResult): Promise<void>;
}

async function stage(): Promise<Stage> {
  const state: { map: Map } = { map: 'honest' };
  const made = await scene({ parts: ['rows', 'big'], provider: (real) => telling(real, () => state.map) });
  const workload: Workload = { ...made.workload, changedBlocks: true };
  const big = fileOf(made.data, 'big');
  await writeFile(big, randomBytes(bytes));
  return {
    scene: made,
    workload,
    big,
    get map() {
      return state.map;
    },
    set map(map: Map) {
      state.map = map;
    },
    backup: async (other = workload) => await backup(other, made.environment, { level: undefined, signal: never }),
    async change(offset, length) {
      await using file = await open(big, 'r+');
      await file.write(randomBytes(length), 0, length, offset);
    },
    bases: async () => [
      ...new Set(
        (await readdir(join(made.state, 'staging'))).map((name) => name.replace(/^stillpoint-(.*)-[^-]*$/, '$1')),
      ),
    ],
    async holds(result) {
      const stored = await made.repository.readFile(result.point.repositorySnapshot, big);
      assert.ok(Buffer.from(stored ?? '').equals(await readFile(big)), `point ${result.point.id} holds other bytes`);
    },
    [Symbol.asyncDispose]: async () => await made[Symbol.asyncDispose](),
  };
}

const warnings = (result: BackupResult): string =>
  result.findings
    .filter(({ severity, check }) => severity === 'warning' && check === 'changed-blocks')
    .map(({ said }) => said)
    .join('; ');

describe('a backup that asks what changed', () => {
  it('reads the changed blocks and a sample, and keeps exactly one base', async () => {
    await using on = await stage();
    const first = await on.backup();
    assert.equal(first.evidence.changedBlocks, undefined);
    assert.equal((await on.bases()).length, 1);
    await on.change(1_000_000, 10);
    const second = await on.backup();
    assert.equal(second.outcome, 'complete');
    assert.ok(second.point.bytes.read < bytes / 4, `${second.point.bytes.read} bytes were read`);
    assert.equal(second.evidence.changedBlocks?.maps[0]?.source, 'a comparison that is honest');
    assert.equal(second.evidence.changedBlocks?.maps[0]?.base, `stillpoint-${first.point.id}`);
    assert.deepEqual(second.point.changedBlocks, second.evidence.changedBlocks);
    assert.ok(second.evidence.changedBlocks.sampledBytes > 0);
    await on.holds(second);
    assert.deepEqual(await on.bases(), [second.point.id]);
  });

  it('notices a map that lies: reads everything at once, says so, and trusts it not in the next run', async () => {
    await using on = await stage();
    await on.backup();
    await on.change(0, 1000);
    const honest = await on.backup();
    await writeFile(on.big, randomBytes(bytes));
    on.map = 'empty';
    const lied = await on.backup();
    assert.equal(lied.outcome, 'degraded');
    assert.equal(lied.point.level, 'full');
    assert.match(warnings(lied), /where the storage called it unchanged.*everything is read now.*drill/);
    assert.match(warnings(lied), new RegExp(honest.point.id));
    assert.deepEqual(lied.evidence.changedBlocks?.maps, []);
    assert.match(lied.evidence.changedBlocks.wrong ?? '', /called it unchanged/);
    await on.holds(lied);
    // It still lies, and is not asked.
    await writeFile(on.big, randomBytes(bytes));
    const next = await on.backup();
    assert.match(warnings(next), /everything is read: in the run of/);
    assert.equal(next.evidence.changedBlocks, undefined);
    await on.holds(next);
    on.map = 'honest';
    await on.change(5, 5);
    const trusted = await on.backup();
    assert.equal(trusted.evidence.changedBlocks?.maps.length, 2);
    await on.holds(trusted);
  });

  for (const map of ['unsure', 'throws'] as const) {
    it(`reads everything, and says so, when the map ${map === 'unsure' ? 'cannot be told' : 'fails'}`, async () => {
      await using on = await stage();
      await on.backup();
      await on.change(1_000_000, 10);
      on.map = map;
      const next = await on.backup();
      assert.match(warnings(next), map === 'unsure' ? /cannot say it for certain/ : /the map is broken/);
      assert.ok(next.point.bytes.read >= bytes);
      await on.holds(next);
    });
  }

  it('keeps the base through recover, and removes it once it is not wanted any more', async () => {
    await using on = await stage();
    await on.backup();
    // The point of a split mirror, of another disk, is newer.
    const catalog = await on.scene.environment.catalog();
    const [newest] = catalog.points(on.workload.name);
    assert.ok(newest !== undefined);
    const cutAt = new Date(Date.parse(newest.cutAt) + 1).toISOString();
    catalog.addPoint({ ...newest, id: newRunId(systemClock), method: 'mirror-split', cutAt });
    const recovered = await recover([on.workload], on.scene.environment, { discard: undefined, signal: never });
    assert.equal(recovered.snapshotsRemoved, 0);
    assert.equal((await on.bases()).length, 1);
    const off = { ...on.workload, changedBlocks: false };
    await on.backup(off);
    assert.deepEqual(await on.bases(), []);
    await on.backup();
    assert.equal((await on.bases()).length, 1);
    await recover([off], on.scene.environment, { discard: undefined, signal: never });
    assert.deepEqual(await on.bases(), []);
    const again = await on.backup();
    assert.ok(warnings(again).length > 0, 'the base is gone, which is said');
    await on.holds(again);
  });
});
