import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  parseArray,
  parseBtrfsDevices,
  parseExport,
  parseFiles,
  parseLinks,
  parseMapperStatus,
  parseSignatures,
} from './parse-system.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');

/** The transcript names files by the kernel's name of the array. */
function arrayOf(name: string): ReturnType<typeof parseArray> {
  const output = transcript(`sysfs-6.1-md-${name}.txt`).replaceAll(/^\/sys\/block\/md\d/gm, '/sys/dev/block/9:0');
  const files = output.split('\n').map((line) => line.slice(0, line.lastIndexOf(':')));
  const members = [...new Set(files.flatMap((file) => /dev-(\w+)\/state/.exec(file)?.[1] ?? []))];
  return parseArray(parseFiles(output, files), '9:0', members, parseExport(transcript(`mdadm-4.2-export-${name}.txt`)));
}

describe('parseFiles', () => {
  it('gives the first line of each file, though names hold colons', () => {
    const files = ['/sys/dev/block/9:0/md/level', '/sys/dev/block/9:0/md/uuid', '/sys/none'];
    const output = `${files[0]}:raid1\n${files[0]}:second\n${files[1]}:\n/sys/other:x\n\n`;
    assert.deepEqual(
      [...parseFiles(output, files)],
      [
        [files[0], 'raid1'],
        [files[1], ''],
      ],
    );
  });
});

describe('parseArray', () => {
  it('reads a healthy array', () => {
    assert.deepEqual(arrayOf('healthy'), {
      level: 'raid10',
      metadata: '1.2',
      uuid: '2d990c4b:e9ea4130:9c459fab:cb46a911',
      disks: 4,
      state: 'clean',
      degraded: 0,
      action: 'idle',
      mismatches: 0,
      members: ['a', 'b', 'c', 'd'].map((name, index) => ({
        name: `ubd${name}`,
        states: ['in_sync'],
        slot: String(index),
      })),
    });
  });

  it('reads a failed member, and one that is being rebuilt', () => {
    assert.deepEqual(arrayOf('degraded').members[3], { name: 'ubdd', states: ['faulty'], slot: undefined });
    assert.equal(arrayOf('degraded').degraded, 1);
    assert.equal(arrayOf('recovering').action, 'recover');
  });

  it('knows that a level without redundancy is never degraded', () => {
    const { degraded, action, state } = arrayOf('linear');
    assert.deepEqual([degraded, action, state], [undefined, undefined, 'clean']);
  });

  it('does without mdadm, and without anything', () => {
    const files = new Map([
      ['/sys/dev/block/9:0/md/uuid', '2d990c4b-e9ea-4130-9c45-9fabcb46a911'],
      ['/sys/dev/block/9:0/md/metadata_version', '1.2'],
      ['/sys/dev/block/9:0/md/level', ''],
      ['/sys/dev/block/9:0/md/degraded', 'odd'],
    ]);
    const array = parseArray(files, '9:0', ['sda'], new Map());
    assert.deepEqual(
      [array.uuid, array.metadata, array.level, array.degraded],
      ['2d990c4b:e9ea4130:9c459fab:cb46a911', '1.2', undefined, undefined],
    );
    assert.deepEqual(array.members, [{ name: 'sda', states: [], slot: undefined }]);
    assert.equal(parseArray(new Map(), '9:0', [], new Map()).uuid, undefined);
  });
});

describe('parseSignatures and parseExport', () => {
  it('read file systems, array members and physical volumes', () => {
    const found = parseSignatures(transcript('blkid-2.38-export.txt'));
    assert.deepEqual(
      found.find(({ device }) => device === '/dev/ubda'),
      {
        device: '/dev/ubda',
        type: 'linux_raid_member',
        uuid: '2d990c4b-e9ea-4130-9c45-9fabcb46a911',
        member: 'ab3e2508-75f2-966b-8b61-f5970ce50908',
      },
    );
    assert.equal(found.find(({ device }) => device === '/dev/md0')?.member, undefined);
    assert.deepEqual(parseSignatures('DEVNAME=/dev/a\nPTTYPE=gpt\n\n'), []);
    assert.deepEqual([...parseExport('=x\nno\nA=b=c')], [['A', 'b=c']]);
  });
});

describe('parseMapperStatus', () => {
  it('reads every target of every device', () => {
    const found = parseMapperStatus(transcript('dmsetup-1.02.185-status-healthy.txt'));
    assert.equal(found.size, 26);
    assert.deepEqual(found.get('vg0-pool-tpool'), [
      {
        target: 'thin-pool',
        words: ['2', '112/1024', '147/2048', '-', 'rw', 'no_discard_passdown', 'queue_if_no_space', '-', '256'],
      },
    ]);
    assert.deepEqual(found.get('vg0-d1-real'), [{ target: 'linear', words: [] }]);
    const two = parseMapperStatus('a: 0 8 linear \na: 8 8 error \nNo devices found\n');
    assert.deepEqual(
      two.get('a')?.map(({ target }) => target),
      ['linear', 'error'],
    );
    assert.equal(two.size, 1);
  });
});

describe('parseLinks', () => {
  it('finds all names of a device', () => {
    const found = parseLinks(
      '/dev/disk/by-id/google-data ../../sdb\n/dev/disk/azure/scsi1/lun0 ../../../sdb\n/dev/disk/by-label/x sdc\nodd\n',
    );
    assert.deepEqual(
      [...found],
      [
        ['sdb', ['by-id/google-data', 'azure/scsi1/lun0']],
        ['sdc', ['by-label/x']],
      ],
    );
  });
});

describe('parseBtrfsDevices', () => {
  it('counts errors and missing devices', () => {
    const at = '/sys/fs/btrfs/0bc49e4d-9d83-40ae-b959-657299ef5563/devinfo';
    const output = `${at}/1/missing:0\n${at}/2/missing:1\n${at}/1/error_stats:write_errs 2\n${at}/1/error_stats:corruption_errs 1\n`;
    assert.deepEqual(parseBtrfsDevices(output), { missing: ['2'], errors: 3 });
    assert.deepEqual(parseBtrfsDevices(''), { missing: [], errors: 0 });
  });
});
