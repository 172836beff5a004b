import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { assertOwnThin, idOf, isOurRange, Ledger, refOf } from './ledger.ts';
import { originOf, thinOf, volumeOf, type MountedThin } from './place.ts';

const thin: MountedThin = {
  name: 'vg0-a',
  pool: 'vg0-pool-tpool',
  origin: 1,
  sectors: 655_360,
  mountPoint: '/mnt/a: b',
  root: '/',
  fileSystem: 'xfs',
};
const volume = volumeOf(thin, ['data']);
const ref = refOf(volume, thin.pool, 'stillpoint-20260102-x');

async function ledgerIn(t: TestContext): Promise<{ readonly ledger: Ledger; readonly directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'stillpoint-ledger-'));
  t.after(() => rm(directory, { recursive: true }));
  const ledger = new Ledger(directory);
  await ledger.make();
  return { ledger, directory };
}

describe('the numbers of thin snapshots', () => {
  it('follow from label and volume, and keep away from those of LVM', () => {
    assert.equal(idOf(ref.label, volume.id), idOf(ref.label, volume.id));
    const ids = Array.from({ length: 200 }, (_, index) => idOf(`stillpoint-${index}`, volume.id));
    assert.ok(ids.every((id) => id >= 2 ** 23 && id < 2 ** 24 && isOurRange(id)));
    assert.ok(new Set(ids).size > 190);
    assert.ok(!isOurRange(1) && !isOurRange(2 ** 24));
  });

  it('belong to their reference, or it is refused', () => {
    assert.deepEqual(assertOwnThin(ref), { pool: thin.pool, id: idOf(ref.label, volume.id) });
    const strange = [
      { ...ref, label: 'daily' },
      { ...ref, label: `${ref.label}-x` },
      { ...ref, at: `dm-thin:${thin.pool}:1` },
      { ...ref, at: '/mnt/a' },
      { ...ref, volume: 'dm-thin:vg0-b:/mnt/b' },
    ];
    for (const one of strange) assert.throws(() => assertOwnThin(one), { code: 'undo-failed' });
  });
});

describe('a thin volume', () => {
  it('can be found again from plain data', () => {
    assert.deepEqual(thinOf(JSON.parse(JSON.stringify(volume))), thin);
    assert.deepEqual(originOf(volume.id), { name: 'vg0-a', mountPoint: '/mnt/a: b' });
    assert.throws(() => originOf('btrfs:x:/'));
  });
});

describe('the ledger', () => {
  it('knows a snapshot from before its cut until after its deletion', async (t) => {
    const { ledger, directory } = await ledgerIn(t);
    const id = idOf(ref.label, ref.volume);
    assert.equal(await ledger.find(ref), undefined);
    await ledger.settle(ref);
    await ledger.add(ref, { thin, id });
    assert.equal((await ledger.find(ref))?.state, 'cutting');
    await assert.rejects(ledger.add(ref, { thin, id }), { code: 'cut-failed' });
    await ledger.settle(ref);
    const again = new Ledger(directory);
    const found = await again.find(ref);
    assert.deepEqual([found?.state, found?.id, found?.thin], ['cut', id, thin]);
    assert.deepEqual(await again.labels(volume), [ref.label]);
    assert.deepEqual([...((await again.ids()).get(thin.pool) ?? [])], [id]);
    await again.remove(ref);
    await again.remove(ref);
    assert.deepEqual(await again.labels(volume), []);
    assert.deepEqual(await readdir(join(directory, 'dm-thin')), []);
  });
});
