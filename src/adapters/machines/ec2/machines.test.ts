/** Every command by the real `aws` program, over HTTP to an address that speaks EC2's protocol in front of the stand-in. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ec2Endpoint, type Ec2Endpoint } from '../../../../test/doubles/clusterpro/ec2-endpoint.ts';
import { clusterproStandIn, type ClusterproStandIn } from '../../../../test/doubles/clusterpro/stand-in.ts';
import { systemExec } from '../../../platform/exec.ts';
import { config } from './config.ts';
import { Ec2 } from './machines.ts';

const device = { device: '/dev/sdb', partitions: ['/dev/xvdb1', '/dev/xvdb2'] };
const settings = config.parse({
  region: 'ap-northeast-1',
  instances: { server1: 'i-1', server2: 'i-2' },
  devices: { server1: device, server2: device },
});
const zone = 'ap-northeast-1c';
const minuteMs = 60_000;

describe('EC2 by the aws program', async () => {
  const skip = (await systemExec.which('aws')) === undefined ? 'needs the aws program' : false;
  const kept = { ...process.env };
  let standIn: ClusterproStandIn;
  let endpoint: Ec2Endpoint;
  before(async () => {
    standIn = await clusterproStandIn();
    endpoint = await ec2Endpoint(standIn);
    Object.assign(process.env, {
      ...{ AWS_ENDPOINT_URL: endpoint.url, AWS_ACCESS_KEY_ID: 'k', AWS_SECRET_ACCESS_KEY: 's' },
      // A refusal is an answer here, and not worth another try.
      AWS_MAX_ATTEMPTS: '1',
    });
  });
  after(async () => {
    process.env = kept;
    await endpoint[Symbol.asyncDispose]();
    await standIn[Symbol.asyncDispose]();
  });

  it('cuts a volume, makes one of the snapshot in its place, and takes all of it away again', { skip }, async () => {
    const machines = new Ec2(settings, systemExec);
    assert.deepEqual(await machines.look('server2'), {
      ...{ state: 'running', zone, attached: { volume: 'vol-i-2', state: 'attached' }, deletedWithMachine: false },
    });
    await machines.stop('server2');
    standIn.advance(minuteMs);
    await machines.snapshot('vol-i-2', 'run-1');
    standIn.advance(5 * minuteMs);
    const [cut] = await machines.snapshots('run-1');
    assert.deepEqual([cut?.volume, cut?.state], ['vol-i-2', 'completed']);
    const id = cut?.id ?? '';
    assert.deepEqual(await machines.snapshotOf(id), cut);
    assert.equal(await machines.snapshotOf('snap-0ff'), undefined);
    assert.deepEqual(await machines.snapshots('run-2'), []);

    const { fast } = machines;
    await fast.enable(id, [zone]);
    assert.deepEqual(await fast.states(id), { [zone]: 'beginning' });
    standIn.advance(5 * minuteMs);
    assert.deepEqual(await fast.states(id), { [zone]: 'on' });
    await machines.volumeFrom(id, zone, 'run-1', 'server2');
    await fast.disable(id, [zone]);
    assert.deepEqual(await fast.states(id), { [zone]: 'off' });
    standIn.advance(minuteMs);
    const [made] = await machines.volumes('run-1', 'server2');
    assert.deepEqual(made, { id: made?.id, zone, state: 'available', snapshot: id, madeFast: true });
    assert.deepEqual(await machines.volumesOf(id), [made]);
    assert.deepEqual(await machines.volumes('run-1', 'server1'), []);

    await machines.detach('vol-i-2', 'server2');
    standIn.advance(minuteMs);
    assert.equal((await machines.look('server2')).attached, null);
    await machines.attach(made?.id ?? '', 'server2');
    standIn.advance(minuteMs);
    assert.equal((await machines.look('server2')).attached?.volume, made?.id);
    await assert.rejects(machines.deleteVolume(made?.id ?? ''), { code: 'command-failed', message: /VolumeInUse/ });
    await machines.detach(made?.id ?? '', 'server2');
    standIn.advance(minuteMs);
    await machines.deleteVolume(made?.id ?? '');
    await machines.deleteSnapshot(id);
    assert.deepEqual([await machines.snapshots('run-1'), await machines.volumesOf(id)], [[], []]);
    await machines.start('server2');
    assert.notEqual((await machines.look('server2')).state, 'stopped');
    assert.match(await machines.console('server2'), /Wait for Network/);
    assert.ok(endpoint.asked.includes('DescribeFastSnapshotRestores'));
  });
});
