import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { loopVolume } from '../../../../test/doubles/loop-volume.ts';
import { blockNumber, devicesOf, devicesUnder, fileSystemNumber, mapperName, mounts } from './devices.ts';

describe('what lies below a path', () => {
  it('goes on through a loop device to the file system of its file', async (t) => {
    for (const kind of ['xfs', 'btrfs'] as const) {
      const volume = await loopVolume(kind);
      if ('skip' in volume) {
        t.skip(volume.skip);
        return;
      }
      await using _ = volume;
      const table = await mounts();
      const mount = table.find(({ mountPoint }) => mountPoint === volume.mountPoint);
      const loop = await blockNumber(mount?.source ?? '');
      assert.ok(loop !== undefined);
      const under = await devicesUnder(volume.mountPoint, table);
      assert.ok(under.has(loop), `${kind}: its own device`);
      assert.ok(under.has(await fileSystemNumber(volume.image)), `${kind}: where the image lies`);
      assert.ok((await devicesOf(loop, table)).has(await fileSystemNumber(volume.image)));
      assert.equal(await mapperName(loop), undefined);
    }
  });

  it('does not name what is none', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-devices-'));
    t.after(() => rm(directory, { recursive: true }));
    await writeFile(join(directory, 'file'), '');
    assert.equal(await blockNumber(join(directory, 'file')), undefined);
    assert.equal(await blockNumber(join(directory, 'none')), undefined);
    assert.ok((await devicesUnder(directory, await mounts())).has(await fileSystemNumber(directory)));
  });
});
