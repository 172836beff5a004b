import assert from 'node:assert/strict';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { covers, overlaps } from '../../src/model/ranges.ts';
import type { RequiredPath, SnapshotRef } from '../../src/model/storage.ts';
import { dice } from './changed-blocks.ts';
import type { ProviderUnderTest } from './snapshot-provider.ts';

const signal = (): AbortSignal => new AbortController().signal;

/**
 * Many small writes to one large file between two cuts: none missed, and how many too many is told. A sample in the normal run, all of
 * them with STILLPOINT_TEST_FULL=1. `make` gives room for three times `bytes`.
 */
export function changedBlocksUnderLoad(
  name: string,
  make: () => Promise<ProviderUnderTest | { readonly skip: string }>,
  options: { readonly bytes?: number } = {},
): void {
  describe(`changed blocks under load: ${name}`, () => {
    it('misses none of many random writes', async (t) => {
      const made = await make();
      if ('skip' in made) {
        t.skip(made.skip);
        return;
      }
      try {
        await load(t, made, options.bytes ?? 256 * 1024 * 1024);
      } finally {
        await made.dispose();
      }
    });
  });
}

async function load(t: TestContext, made: ProviderUnderTest, bytes: number): Promise<void> {
  // Not so many that the small file of a provider in memory is changed all over.
  const writes = Math.min(process.env['STILLPOINT_TEST_FULL'] === '1' ? 20_000 : 3000, bytes / 8192);
  const roll = dice(7);
  const data = join(made.directory, 'load');
  await (made.makeData ?? ((path) => mkdir(path)))(data);
  const file = join(data, 'db');
  const image = Buffer.alloc(bytes);
  for (let offset = 0; offset < bytes; offset += 4) image.writeInt32LE(offset, offset);
  await writeFile(file, image);
  const provider = made.create();
  const path: RequiredPath = { path: data, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut: [] };
  const group = await provider.locate([path], signal());
  const refs: SnapshotRef[] = [];
  const cut = async (label: string): Promise<SnapshotRef> => {
    await provider.prepare(group, signal());
    const [one] = (await provider.cut(group, label, signal())).cuts;
    assert.ok(one !== undefined);
    refs.push(one.snapshot);
    return one.snapshot;
  };
  try {
    const base = await cut('stillpoint-load-1');
    const handle = await open(file, 'r+');
    for (let turn = 0; turn < writes; turn += 1) {
      const length = (1 + roll(4)) * 4096;
      const offset = roll((bytes - length) / 4096) * 4096;
      await handle.write(Buffer.alloc(length, 1 + roll(255)), 0, length, offset);
    }
    await handle.close();
    await using now = await made.create().open(await cut('stillpoint-load-2'));
    const from = performance.now();
    await using changes = await now.changedSince?.(base, signal());
    const answer = await changes?.of(file);
    const tookMs = Math.round(performance.now() - from);
    assert.ok(answer !== undefined);
    const is = await readFile(now.at(file) ?? '');
    let [changed, told, missed] = [0, 0, 0];
    for (let offset = 0; offset < bytes; offset += 4096) {
      const same = image.compare(is, offset, offset + 4096, offset, offset + 4096) === 0;
      if (!same) changed += 1;
      if (overlaps(answer.ranges, offset, 4096)) told += 1;
      if (!same && !covers(answer.ranges, offset, 4096)) missed += 1;
    }
    t.diagnostic(
      `${changes?.source ?? ''}: ${writes} writes changed ${changed} blocks of 4 KiB, ${missed} missed, ${told - changed} too many, ${tookMs} ms`,
    );
    assert.equal(missed, 0);
    assert.ok(changed > writes / 2 && told < changed * 1.5 + 100, `${told} blocks told for ${changed}`);
  } finally {
    for (const ref of refs) await made.create().delete(ref);
  }
}
