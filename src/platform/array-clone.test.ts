import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { loopVolume } from '../../test/doubles/loop-volume.ts';
import type { LayerType, StorageLayer, StorageStack } from '../model/storage.ts';
import { chooseMembers, closeArrayClone, openArrayClone } from './array-clone.ts';
import { systemExec } from './exec.ts';
import { sha256OfFile } from './files.ts';

const exec = systemExec;

function layer(
  type: LayerType,
  id: string,
  below: readonly StorageLayer[] = [],
  details: StorageLayer['details'] = {},
): StorageLayer {
  return { id, type, name: `/dev/${id}`, details, findings: [], below };
}

function stackOn(device: StorageLayer, fileSystem = 'xfs'): StorageStack {
  const top = layer('mount', 'mount:/srv', [layer('filesystem', 'filesystem:1', [device])]);
  return { path: '/srv', mountPoint: '/srv', device: device.name, fileSystem, top };
}

describe('the members of a clone', () => {
  const a = layer('disk', 'block:8:0', [], { serial: 'S-A' });
  const b = layer('disk', 'block:8:16', [], { volume: 'vol-b' });
  const array = layer('md', 'md:1', [layer('partition', 'block:8:1', [a]), b]);
  const stack = stackOn(array);

  it('are found by id, name, serial number or volume', () => {
    const chosen = chooseMembers(stack, [
      { original: 'S-A', device: '/copies/a' },
      { original: 'vol-b', device: '/copies/b' },
    ]);
    assert.deepEqual(
      [...chosen].map(([id, { device }]) => [id, device]),
      [
        ['block:8:0', '/copies/a'],
        ['block:8:16', '/copies/b'],
      ],
    );
    const upper = chooseMembers(stack, [{ original: '/dev/md:1', device: '/copies/md' }]);
    assert.deepEqual([...upper.keys()], ['md:1'], 'a copy of the whole array needs none of its disks');
  });

  it('must be all, none twice, and none of another stack', () => {
    const one = { original: 'block:8:0', device: '/copies/a' };
    const two = { original: 'block:8:16', device: '/copies/b' };
    const refused = (members: Parameters<typeof chooseMembers>[1], message: RegExp): void =>
      assert.throws(() => chooseMembers(stack, members), { code: 'volume-unsafe', message });
    refused([one], /no copy is given for \/dev\/block:8:16/);
    refused([], /no copy is given for \/dev\/block:8:0, \/dev\/block:8:16/);
    refused([one, two, { original: 'sdx', device: '/copies/x' }], /has no disk sdx/);
    refused([one, { ...two, device: '/copies/a' }], /given for two disks/);
    refused([one, two, { original: 'S-A', device: '/copies/a2' }], /two copies are given/);
  });
});

describe('a clone of a copied disk', () => {
  it('opens an image beside its mounted original and leaves image and machine as they were', async (t) => {
    const volume = await loopVolume('ext4');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const stateDirectory = await mkdtemp(join(tmpdir(), 'stillpoint-arrays-'));
    t.after(() => rm(stateDirectory, { recursive: true, force: true }));
    await writeFile(join(volume.mountPoint, 'file'), 'cut');
    await exec.check({ argv: ['sync', '-f', volume.mountPoint], timeoutMs: 60_000 });
    const copy = join(stateDirectory, 'copy of disk.img');
    await cp(volume.image, copy);
    const before = await sha256OfFile(copy);
    await writeFile(join(volume.mountPoint, 'file'), 'later');
    const request = {
      exec,
      stateDirectory,
      name: 'stillpoint-test',
      members: [{ original: 'block:8:0', device: copy }],
      stack: stackOn(layer('disk', 'block:8:0'), 'ext4'),
    };
    for (const newFileSystemUuid of [false, true]) {
      await using clone = await openArrayClone({ ...request, newFileSystemUuid });
      assert.equal(await readFile(join(clone.mountPoint, 'file'), 'utf8'), 'cut');
      await assert.rejects(writeFile(join(clone.mountPoint, 'file'), 'x'), { code: 'EROFS' });
    }
    assert.deepEqual(await readdir(join(stateDirectory, 'arrays')), []);

    // Another process closes what was left open, twice.
    const left = await openArrayClone(request);
    await closeArrayClone({ exec, stateDirectory, name: 'stillpoint-test' });
    await closeArrayClone({ exec, stateDirectory, name: 'stillpoint-test' });
    await left[Symbol.asyncDispose]();
    assert.deepEqual(await readdir(join(stateDirectory, 'arrays')), []);
    assert.equal(await sha256OfFile(copy), before);
    assert.equal(await readFile(join(volume.mountPoint, 'file'), 'utf8'), 'later');
  });

  it('says what it cannot open, and leaves nothing behind', async (t) => {
    if (process.getuid?.() !== 0) {
      t.skip('needs root: attaches loop devices');
      return;
    }
    const stateDirectory = await mkdtemp(join(tmpdir(), 'stillpoint-arrays-'));
    t.after(() => rm(stateDirectory, { recursive: true, force: true }));
    const copy = join(stateDirectory, 'empty.img');
    await writeFile(copy, new Uint8Array(1024 * 1024));
    const disk = layer('disk', 'block:8:0');
    const open = (stack: StorageStack): ReturnType<typeof openArrayClone> =>
      openArrayClone({ exec, stateDirectory, name: 'x', members: [{ original: disk.id, device: copy }], stack });
    await assert.rejects(open(stackOn(disk)), { code: 'command-failed', message: /mount/ });
    const crypt = layer('crypt', 'block:253:0', [disk]);
    await assert.rejects(open(stackOn(crypt)), { code: 'volume-unsafe', message: /crypt.* cannot be opened/ });
    await assert.rejects(open(stackOn(disk, 'zfs')), { code: 'volume-unsafe', message: /a zfs cannot be opened/ });
    assert.deepEqual(await readdir(join(stateDirectory, 'arrays')), []);
  });
});
