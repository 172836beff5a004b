import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { loopVolume } from '../../../../test/doubles/loop-volume.ts';
import { systemExec } from '../../../platform/exec.ts';
import { findingsOf, layerOf, layersOf } from '../../../model/stack.ts';
import { localHost } from './host.ts';

const signal = new AbortController().signal;
const host = localHost(systemExec);
const timeoutMs = 15_000;

describe('the local host', () => {
  it('finds the stack below a path, through a symbolic link', async (t) => {
    const volume = await loopVolume('xfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    await mkdir(join(volume.mountPoint, 'data'));
    await symlink('data', join(volume.mountPoint, 'link'));
    const stack = await host.stackOf(join(volume.mountPoint, 'link'), signal);
    assert.equal(stack.path, join(volume.mountPoint, 'data'));
    assert.equal(stack.mountPoint, volume.mountPoint);
    assert.equal(stack.fileSystem, 'xfs');
    assert.match(stack.device, /^\/dev\/loop\d+$/);
    const layers = layersOf(stack);
    assert.deepEqual(
      layers.slice(0, 4).map(({ type }) => type),
      // The file behind the loop device lies on a file system too.
      ['mount', 'filesystem', 'loop', 'mount'],
    );
    assert.equal(layers[2]?.details['backingFile'], volume.image);
    const holder = await host.stackOf(volume.image, signal);
    assert.deepEqual(layers.slice(3), layersOf({ top: { ...holder.top, findings: [] } }));
    assert.equal(new Set(layers.map(({ id }) => id)).size, layers.length);
  });

  it('finds the btrfs subvolume of a path, and where it can be seen whole', async (t) => {
    const volume = await loopVolume('btrfs');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const at = (name: string): string => join(volume.mountPoint, name);
    for (const name of ['db', 'db/nested']) {
      await systemExec.check({ argv: ['btrfs', 'subvolume', 'create', at(name)], timeoutMs });
    }
    await mkdir(at('db/data'));
    await mkdir(at('bind'));
    await mkdir(at('only'));
    const subvolumeOf = async (path: string): Promise<readonly unknown[]> => {
      const layer = layerOf(await host.stackOf(path, signal), 'subvolume');
      return [layer?.name, layer?.details['root']];
    };
    assert.deepEqual(await subvolumeOf(volume.mountPoint), ['/', volume.mountPoint]);
    assert.deepEqual(await subvolumeOf(at('db/data')), ['/db', at('db')]);
    assert.deepEqual(await subvolumeOf(at('db/nested')), ['/db/nested', at('db/nested')]);

    const { device } = await host.stackOf(volume.mountPoint, signal);
    await systemExec.check({ argv: ['mount', '-o', 'subvol=db', device, at('only')], timeoutMs });
    await systemExec.check({ argv: ['mount', '--bind', at('db/data'), at('bind')], timeoutMs });
    try {
      assert.deepEqual(await subvolumeOf(at('only/data')), ['/db', at('only')]);
      assert.deepEqual(await subvolumeOf(at('only/nested')), ['/db/nested', at('only/nested')]);
      assert.deepEqual(await subvolumeOf(at('bind')), ['/db', undefined]);
    } finally {
      await systemExec.check({ argv: ['umount', at('bind')], timeoutMs });
      await systemExec.check({ argv: ['umount', at('only')], timeoutMs });
    }
  });

  it('finds every device of a btrfs, and says of both that a clone stands beside', async (t) => {
    const volume = await loopVolume('ext4', { bytes: 700 * 1024 * 1024 });
    if ('skip' in volume) return t.skip(volume.skip);
    await using _ = volume;
    const at = (name: string): string => join(volume.mountPoint, name);
    await using stack = new AsyncDisposableStack();
    const run = async (...argv: [string, ...string[]]): Promise<string> =>
      (await systemExec.check({ argv, timeoutMs })).stdout.trim();
    const loops: string[] = [];
    for (const name of ['one', 'two']) {
      await run('truncate', '-s', '256M', at(name));
      const loop = await run('losetup', '-f', '--show', at(name));
      loops.push(loop);
      stack.defer(async () => void (await run('losetup', '-d', loop)));
    }
    const [one = '', two = ''] = loops;
    const made = await systemExec.run({
      argv: ['mkfs.btrfs', '-q', '-d', 'raid1', '-m', 'raid1', one, two],
      timeoutMs,
    });
    if (made.exitCode !== 0) return t.skip(`needs mkfs.btrfs: ${made.stderr}`);
    await mkdir(at('pair'));
    await run('mount', one, at('pair'));
    stack.defer(async () => void (await run('umount', at('pair'))));
    const found = await host.stackOf(at('pair'), signal);
    const devices = layersOf(found).filter(({ type }) => type === 'loop');
    assert.deepEqual(
      devices.map(({ name }) => name).filter((name) => loops.includes(name)),
      [one, two],
    );
    // Both files lie on the same file system, which is one layer.
    assert.equal(layersOf(found).filter(({ id }) => id === `mount:${volume.mountPoint}`).length, 1);
    assert.deepEqual(
      findingsOf(found).filter(({ check }) => check === 'clone'),
      [],
    );

    const again = await run('losetup', '-f', '--show', at('two'));
    stack.defer(async () => void (await run('losetup', '-d', again)));
    const beside = findingsOf(await localHost(systemExec).stackOf(at('pair'), signal)).filter(
      ({ check }) => check === 'clone',
    );
    assert.deepEqual(beside, [
      { severity: 'error', check: 'clone', said: `${two} and ${again} both write to ${at('two')}` },
    ]);
  });

  it('goes below an overlay to the file system of its upper directory', async (t) => {
    const volume = await loopVolume('ext4');
    if ('skip' in volume) return t.skip(volume.skip);
    await using _ = volume;
    const at = (name: string): string => join(volume.mountPoint, name);
    for (const name of ['low', 'up', 'work', 'seen']) await mkdir(at(name));
    const options = `lowerdir=${at('low')},upperdir=${at('up')},workdir=${at('work')}`;
    const mounted = await systemExec.run({
      argv: ['mount', '-t', 'overlay', 'overlay', '-o', options, at('seen')],
      timeoutMs,
    });
    if (mounted.exitCode !== 0) return t.skip(`needs overlay in the kernel: ${mounted.stderr}`);
    try {
      const stack = await host.stackOf(at('seen'), signal);
      assert.deepEqual(
        layersOf(stack)
          .slice(0, 5)
          .map(({ type, name }) => `${type} ${name}`),
        [
          `mount ${at('seen')}`,
          'filesystem overlay',
          `mount ${volume.mountPoint}`,
          'filesystem ext4',
          `loop ${(await host.stackOf(volume.mountPoint, signal)).device}`,
        ],
      );
      assert.equal(layerOf(stack, 'filesystem')?.details['upper'], at('up'));
      // Seen from the directory around it, it is a mount that no cut of that directory's stack holds.
      const around = await host.stackOf(volume.mountPoint, signal);
      assert.deepEqual(
        findingsOf(around).map(({ said }) => said),
        [`${at('seen')} is a mount of its own and not on this stack`],
      );
    } finally {
      await systemExec.check({ argv: ['umount', at('seen')], timeoutMs });
    }
  });

  it('takes a file system without a device as it is', async () => {
    const stack = await host.stackOf('/proc', signal);
    assert.equal(stack.fileSystem, 'proc');
    const { type, name, below } = layersOf(stack).at(-1) ?? assert.fail();
    assert.deepEqual({ type, name, below }, { type: 'other', name: 'proc', below: [] });
  });

  it('says when the device of a mount cannot be seen, as in a container', async () => {
    const blind = localHost({
      ...systemExec,
      run: (command) =>
        systemExec.run(command.argv[0] === 'lsblk' ? { ...command, argv: ['lsblk', '/dev/not-there'] } : command),
      check: async () => ({
        ...(await systemExec.run({ argv: ['true'], timeoutMs })),
        stdout: JSON.stringify({
          filesystems: [
            {
              target: '/',
              source: '/dev/not-there',
              fstype: 'ext4',
              options: 'rw',
              uuid: null,
              fsroot: '/',
              'maj:min': '8:1',
            },
          ],
        }),
      }),
    });
    const layer = layersOf(await blind.stackOf('/', signal)).at(-1);
    assert.equal(layer?.type, 'other');
    assert.equal(layer.name, '/dev/not-there');
    assert.match(layer.details['lsblk'] ?? '', /not-there/);
  });

  it('throws for a path that is missing', async () => {
    await assert.rejects(host.stackOf('/no/such/path', signal), { code: 'io', message: '/no/such/path is missing' });
  });

  it('counts free bytes where the nearest existing parent lies', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'stillpoint-host-'));
    t.after(() => rm(directory, { recursive: true }));
    assert.ok((await host.freeBytes(join(directory, 'not', 'yet'))) > 0);
    const volume = await loopVolume('ext4');
    if ('skip' in volume) {
      t.skip(volume.skip);
      return;
    }
    await using _ = volume;
    const free = await host.freeBytes(join(volume.mountPoint, 'x'));
    assert.ok(free > 10_000_000 && free < 64 * 1024 * 1024, `${free}`);
  });
});
