import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { config } from './config.ts';
import { createSnapshot, createVolume } from './commands.ts';
import { parseConsole, parseInstance, parseSnapshots, parseVolumes } from './parse.ts';

const instance = (state: string, device = '/dev/sdb'): string =>
  JSON.stringify({
    Reservations: [
      {
        Instances: [
          {
            ...{ InstanceId: 'i-1', Placement: { AvailabilityZone: 'a' }, State: { Name: state } },
            BlockDeviceMappings: [
              { DeviceName: device, Ebs: { VolumeId: 'vol-1', Status: 'attached', DeleteOnTermination: true } },
            ],
          },
        ],
      },
    ],
  });

describe('what aws prints', () => {
  it('is an instance with what is at the device', () => {
    assert.deepEqual(parseInstance(instance('stopped'), 'i-1', '/dev/sdb'), {
      ...{ state: 'stopped', zone: 'a', attached: { volume: 'vol-1', state: 'attached' }, deletedWithMachine: true },
    });
    const other = parseInstance(instance('terminated', '/dev/sda'), 'i-1', '/dev/sdb');
    assert.deepEqual([other.state, other.attached, other.deletedWithMachine], ['unknown', null, undefined]);
    assert.equal(parseInstance(instance('running'), 'i-2', '/dev/sdb').attached, undefined);
    assert.throws(() => parseInstance('{}', 'i-1', '/dev/sdb'), { code: 'command-failed' });
  });

  it('is snapshots, volumes and a console', () => {
    const snapshot = { SnapshotId: 's', VolumeId: 'v', State: 'pending' };
    assert.deepEqual(parseSnapshots(JSON.stringify({ Snapshots: [snapshot] })), [
      { id: 's', volume: 'v', state: 'pending' },
    ]);
    const volume = { VolumeId: 'v', AvailabilityZone: 'a', State: 'available', SnapshotId: 's' };
    assert.deepEqual(parseVolumes(JSON.stringify({ Volumes: [volume] })), [
      { id: 'v', zone: 'a', state: 'available', snapshot: 's' },
    ]);
    assert.equal(parseConsole(JSON.stringify({ Output: '1\n2\n3\n4\n5\n6\n' })), '2\n3\n4\n5\n6');
    assert.equal(parseConsole('{}'), '');
  });
});

describe('commands', () => {
  it('carry the tags of the run, the region and the profile', () => {
    const where = { region: 'eu-central-1', profile: 'backup' };
    assert.deepEqual(createSnapshot(where, 'vol-1', 'run'), [
      ...['aws', 'ec2', 'create-snapshot', '--volume-id', 'vol-1', '--description', 'stillpoint run'],
      ...['--region', 'eu-central-1', '--profile', 'backup', '--output', 'json', '--no-cli-pager'],
      ...['--tag-specifications', 'ResourceType=snapshot,Tags=[{Key=stillpoint-run,Value=run}]'],
    ]);
    assert.match(
      createVolume({ volumeType: 'gp3' }, 's', 'a', 'run', 'one').join(' '),
      /Key=stillpoint-server,Value=one/,
    );
  });

  it('take no server without a device', () => {
    const instances = { one: 'i-1', two: 'i-2' };
    const device = { device: '/dev/sdb', partitions: ['/dev/xvdb1'] };
    assert.ok(config.safeParse({ instances, devices: { one: device, two: device } }).success);
    assert.ok(!config.safeParse({ instances, devices: { one: device } }).success);
    assert.ok(!config.safeParse({ instances: { one: 'i-1' }, devices: { one: device } }).success);
  });
});
