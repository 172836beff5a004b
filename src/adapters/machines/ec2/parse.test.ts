import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { config } from './config.ts';
import { createSnapshot, createVolume, disableFast, enableFast } from './commands.ts';
import {
  parseConsole,
  parseFastStates,
  parseInstance,
  parseSnapshots,
  parseUnsuccessful,
  parseVolumes,
} from './parse.ts';

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
      { id: 'v', zone: 'a', state: 'available', snapshot: 's', madeFast: undefined },
    ]);
    assert.equal(parseVolumes(JSON.stringify({ Volumes: [{ ...volume, FastRestored: true }] }))[0]?.madeFast, true);
    assert.equal(parseConsole(JSON.stringify({ Output: '1\n2\n3\n4\n5\n6\n' })), '2\n3\n4\n5\n6');
    assert.equal(parseConsole('{}'), '');
  });
});

describe('fast restore', () => {
  it('is on, beginning or off by zone, of the one snapshot', () => {
    const told = ['enabling', 'optimizing', 'enabled', 'disabling', 'disabled', 'new word'].map((State, index) => ({
      ...{ SnapshotId: 's', AvailabilityZone: `z${index}`, State },
    }));
    const other = { SnapshotId: 'other', AvailabilityZone: 'z9', State: 'enabled' };
    assert.deepEqual(parseFastStates(JSON.stringify({ FastSnapshotRestores: [...told, other] }), 's'), {
      ...{ z0: 'beginning', z1: 'beginning', z2: 'on', z3: 'off', z4: 'off', z5: 'unknown' },
    });
  });

  it('may be refused in a zone by a call that was well', () => {
    assert.equal(parseUnsuccessful(JSON.stringify({ Successful: [{}] }), 'v'), '');
    const errors = [
      { AvailabilityZone: 'a', Error: { Code: 'Quota', Message: 'too many' } },
      { AvailabilityZone: 'b', Error: { Code: 'Quota' } },
      { Error: {} },
      {},
    ];
    assert.equal(
      parseUnsuccessful(JSON.stringify({ Unsuccessful: [{ FastSnapshotRestoreStateErrors: errors }] }), 'v'),
      'a: too many; b: Quota; some zone: no reason; some zone: no reason',
    );
    assert.throws(() => parseUnsuccessful('nothing', 'v'), { code: 'command-failed' });
  });

  it('is switched by snapshot and zones', () => {
    assert.deepEqual(enableFast({}, 's', ['a', 'b']).slice(2), [
      ...['enable-fast-snapshot-restores', '--availability-zones', 'a', 'b', '--source-snapshot-ids', 's'],
      ...['--output', 'json'],
    ]);
    assert.equal(disableFast({}, 's', ['a'])[2], 'disable-fast-snapshot-restores');
  });
});

describe('commands', () => {
  it('carry the tags of the run, the region and the profile', () => {
    const where = { region: 'eu-central-1', profile: 'backup' };
    assert.deepEqual(createSnapshot(where, 'vol-1', 'run'), [
      ...['aws', 'ec2', 'create-snapshot', '--volume-id', 'vol-1', '--description', 'stillpoint run'],
      ...['--region', 'eu-central-1', '--profile', 'backup', '--output', 'json'],
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
    const several = config.safeParse({ instances, devices: { one: [device, device], two: device } });
    assert.match(several.error?.issues[0]?.message ?? '', /a mirror on several volumes is not handled/);
  });
});
