import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { mountOption, overlayDirectories, parseFindmnt, parseLsblk, parseSuspended, parseTargets } from './parse.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');
const command = 'tool -J';

describe('parseFindmnt', () => {
  it('reads a bind mount out of a btrfs subvolume', () => {
    assert.deepEqual(parseFindmnt(transcript('findmnt-2.38-btrfs-bind.json'), command), {
      target: '/tmp/v/bind',
      source: '/dev/loop5',
      fileSystem: 'btrfs',
      options: 'rw,relatime,discard=async,space_cache=v2,subvolid=256,subvol=/db',
      uuid: '4cd0a70c-ca74-4b34-b401-bb865308943c',
      root: '/db/data',
      number: '0:51',
    });
  });

  it('reads file systems with and without a device and a uuid', () => {
    const disk = parseFindmnt(transcript('findmnt-2.38-ext4-root.json'), command);
    assert.deepEqual([disk.target, disk.source, disk.fileSystem, disk.root], ['/', '/dev/vda', 'ext4', '/']);
    for (const name of ['proc', 'overlay']) {
      const mount = parseFindmnt(transcript(`findmnt-2.38-${name}.json`), command);
      assert.deepEqual([mount.source, mount.fileSystem, mount.uuid], [name, name, null]);
    }
  });

  it('takes the upper one of two mounts on the same directory', () => {
    const one = {
      target: '/a',
      source: 'x',
      fstype: 'tmpfs',
      options: 'rw',
      uuid: null,
      fsroot: '/',
      'maj:min': '0:1',
    };
    const text = JSON.stringify({ filesystems: [one, { ...one, source: 'y' }] });
    assert.equal(parseFindmnt(text, command).source, 'y');
  });

  it('names the command when anything is missing', () => {
    const whole = {
      target: '/a',
      source: 'x',
      fstype: 'tmpfs',
      options: 'rw',
      uuid: null,
      fsroot: '/',
      'maj:min': '0:1',
    };
    const broken: unknown[] = [
      [],
      null,
      {},
      { filesystems: {} },
      { filesystems: [] },
      { filesystems: ['x'] },
      { filesystems: [[]] },
      { filesystems: [{ ...whole, uuid: 7 }] },
      ...Object.keys(whole).map((key) => ({ filesystems: [{ ...whole, [key]: undefined }] })),
    ];
    for (const one of broken) {
      assert.throws(() => parseFindmnt(JSON.stringify(one), command), { code: 'command-failed', message: /`tool -J`/ });
    }
    assert.throws(() => parseFindmnt('findmnt: oops', command), { message: '`tool -J` printed no JSON' });
  });
});

describe('parseLsblk', () => {
  it('reads a disk, a loop device, an array and a suspended volume', () => {
    const [disk] = parseLsblk(transcript('lsblk-2.38-disk.json'), command);
    const none = {
      suspended: false,
      serial: undefined,
      wwn: undefined,
      hctl: undefined,
      transport: undefined,
      below: [],
    };
    assert.deepEqual(disk, {
      ...none,
      path: '/dev/vda',
      kernelName: 'vda',
      type: 'disk',
      number: '254:0',
      size: '274877906944',
      readOnly: 'false',
      vendor: '0x1af4',
      model: undefined,
    });
    const [loop] = parseLsblk(transcript('lsblk-2.38-loop.json'), command);
    assert.deepEqual([loop?.path, loop?.type, loop?.number], ['/dev/loop5', 'loop', '7:5']);
    const [array] = parseLsblk(transcript('lsblk-2.38-md-healthy.json'), command);
    assert.equal(array?.type, 'raid10');
    assert.deepEqual(
      array.below.map(({ path }) => path),
      ['/dev/ubda', '/dev/ubdb', '/dev/ubdc', '/dev/ubdd'],
    );
    const [half] = parseLsblk(transcript('lsblk-2.38-lv-half-suspended.json'), command);
    assert.equal(half?.suspended, true);
  });

  it('names the command when anything is missing', () => {
    const whole = { path: '/dev/a', kname: 'a', type: 'disk', 'maj:min': '8:0', size: 1, ro: false };
    assert.equal(parseLsblk(JSON.stringify({ blockdevices: [whole] }), command).length, 1);
    for (const key of ['path', 'kname', 'type', 'maj:min']) {
      const broken = JSON.stringify({ blockdevices: [{ ...whole, [key]: undefined }] });
      assert.throws(() => parseLsblk(broken, command), { code: 'command-failed', message: /`tool -J`/ });
    }
    assert.throws(() => parseLsblk('{}', command), { code: 'command-failed' });
  });
});

describe('parseTargets and parseSuspended', () => {
  it('list mount points and suspended devices', () => {
    const mounts = JSON.stringify({ filesystems: [{ target: '/' }, { target: '/srv' }] });
    assert.deepEqual(parseTargets(mounts, command), ['/', '/srv']);
    assert.deepEqual(parseSuspended(transcript('lsblk-2.38-states-suspended.json'), command), ['/dev/mapper/vg0-st']);
  });
});

describe('overlayDirectories', () => {
  it('finds upper and lower directories, with what a backslash protects', () => {
    const { options } = parseFindmnt(transcript('findmnt-2.38-overlay.json'), command);
    assert.deepEqual(overlayDirectories(options), { upper: '/tmp/v/lo/u', lower: ['/tmp/v/lo/l'] });
    assert.deepEqual(overlayDirectories(String.raw`ro,lowerdir=/a\:b:/c\,d`), {
      upper: undefined,
      lower: ['/a:b', '/c,d'],
    });
    assert.deepEqual(overlayDirectories('rw'), { upper: undefined, lower: [] });
  });
});

describe('mountOption', () => {
  it('gives the value of an option, also one with an equals sign, or nothing', () => {
    assert.equal(mountOption('rw,subvolid=256,subvol=/a=b', 'subvol'), '/a=b');
    assert.equal(mountOption('rw,subvolid=256', 'subvol'), undefined);
  });
});
