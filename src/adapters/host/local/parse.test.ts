import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { layersOf } from '../../../model/stack.ts';
import { mountOption, parseFindmnt, parseLsblk } from './parse.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');
const command = 'tool -J';

describe('parseFindmnt', () => {
  it('reads a bind mount out of a btrfs subvolume', () => {
    assert.deepEqual(parseFindmnt(transcript('findmnt-2.38-btrfs-bind.json'), command), {
      target: '/tmp/v/bind',
      source: '/dev/loop0',
      fileSystem: 'btrfs',
      options: 'rw,relatime,discard=async,space_cache=v2,subvolid=256,subvol=/db',
      uuid: 'b8306498-117a-4468-9d36-e9c88ca953d5',
      root: '/db/data',
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
    const one = { target: '/a', source: 'x', fstype: 'tmpfs', options: 'rw', uuid: null, fsroot: '/' };
    const text = JSON.stringify({ filesystems: [one, { ...one, source: 'y' }] });
    assert.equal(parseFindmnt(text, command).source, 'y');
  });

  it('names the command when anything is missing', () => {
    const whole = { target: '/a', source: 'x', fstype: 'tmpfs', options: 'rw', uuid: null, fsroot: '/' };
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
  it('reads a loop device and a disk', () => {
    assert.deepEqual(parseLsblk(transcript('lsblk-2.38-loop.json'), command), [
      {
        id: 'block:7:0',
        type: 'loop',
        name: '/dev/loop0',
        details: { type: 'loop', number: '7:0', size: '268435456', readOnly: 'false' },
        findings: [],
        below: [],
      },
    ]);
    assert.deepEqual(
      parseLsblk(transcript('lsblk-2.38-disk.json'), command).map(({ type, name }) => [type, name]),
      [['disk', '/dev/vda']],
    );
  });

  it('walks down through volume manager, encryption, array and partitions, each once', () => {
    const block = (name: string, type: string, number: string, children?: unknown[]): unknown => ({
      name,
      path: `/dev/${name}`,
      type,
      'maj:min': number,
      size: 1,
      ro: false,
      ...(children === undefined ? {} : { children }),
    });
    const disk = block('sda', 'disk', '8:0');
    const array = block('md0', 'raid10', '9:0', [
      block('sda1', 'part', '8:1', [disk]),
      block('sda2', 'part', '8:2', [disk]),
    ]);
    const crypt = block('mapper/c', 'crypt', '253:1', [
      array,
      block('md1', 'linear', '9:1'),
      block('md2', 'md', '9:2'),
    ]);
    const top = block('mapper/vg-lv', 'lvm', '253:0', [crypt, block('rom', 'rom', '11:0')]);
    const [read] = parseLsblk(JSON.stringify({ blockdevices: [top] }), command);
    assert.deepEqual(
      layersOf({ top: read ?? assert.fail() }).map(({ type, name }) => `${type} ${name}`),
      [
        'lv /dev/mapper/vg-lv',
        'crypt /dev/mapper/c',
        'md /dev/md0',
        'partition /dev/sda1',
        'disk /dev/sda',
        'partition /dev/sda2',
        'md /dev/md1',
        'md /dev/md2',
        'other /dev/rom',
      ],
    );
  });

  it('names the command when anything is missing', () => {
    for (const one of [{}, { blockdevices: [{}] }, { blockdevices: [{ 'maj:min': '8:0' }] }]) {
      assert.throws(() => parseLsblk(JSON.stringify(one), command), { code: 'command-failed', message: /`tool -J`/ });
    }
  });
});

describe('mountOption', () => {
  it('gives the value of an option, also one with an equals sign, or nothing', () => {
    assert.equal(mountOption('rw,subvolid=256,subvol=/a=b', 'subvol'), '/a=b');
    assert.equal(mountOption('rw,subvolid=256', 'subvol'), undefined);
  });
});
