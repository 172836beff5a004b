import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { systemExec } from '../../../src/platform/exec.ts';
import { clusterproStandIn } from './stand-in.ts';

const minuteMs = 60_000;

interface Snap {
  readonly SnapshotId: string;
}

interface Volumes {
  readonly Volumes: readonly { readonly State: string; readonly Attachments: readonly { readonly State: string }[] }[];
}

describe('failover', () => {
  it('comes after the heartbeat timeout of a dead server, times the ratio', async () => {
    await using standIn = await clusterproStandIn();
    standIn.write('kept');
    standIn.ok('server2', 'clptoratio', '-r', '3', '-t', '1h');
    assert.equal(standIn.ok('server1', 'clptoratio', '-s'), 'present toratio : 3\n');
    standIn.crash('server1');
    standIn.advance(89_000);
    assert.equal(standIn.state.group.current, 'server1');
    assert.equal(standIn.write('lost'), false);
    standIn.advance(2_000);
    assert.equal(standIn.state.group.current, 'server2');
    assert.deepEqual(standIn.data('server2').rows, ['kept']);
    standIn.write('newer');
    standIn.boot('server1');
    standIn.advance(50_000);
    assert.equal(standIn.mirror().status, 'Recovering');
    standIn.advance(minuteMs);
    assert.deepEqual(standIn.mirror(), { status: 'Normal', colours: ['GREEN', 'GREEN'] });
    assert.deepEqual(standIn.data('server1').rows, ['kept', 'newer']);
  });

  it('comes for a machine that stands still, and not for one that is back in time', async () => {
    await using standIn = await clusterproStandIn();
    standIn.stun('server1', 29_000);
    standIn.advance(minuteMs);
    assert.deepEqual(standIn.state.failovers, []);
    assert.equal(standIn.write('on'), true);
    standIn.stun('server1', 31_000);
    standIn.advance(30_500);
    assert.equal(standIn.state.group.current, 'server2');
    standIn.advance(1_000);
    assert.equal(standIn.state.servers[0]?.power, 'booting', 'it resets itself');
  });

  it('lapses with the ratio', async () => {
    await using standIn = await clusterproStandIn();
    standIn.ok('server1', 'clptoratio', '-r', '100', '-t', '2m');
    standIn.advance(119_000);
    assert.equal(standIn.state.ratio, 100);
    standIn.advance(2_000);
    assert.equal(standIn.state.ratio, 1);
  });
});

describe('EC2', () => {
  it('keeps its states and refuses what it must', async () => {
    await using standIn = await clusterproStandIn();
    const refused = (pattern: RegExp, ...args: readonly string[]): void => {
      const { exitCode, stderr } = standIn.run('client', 'aws', 'ec2', ...args);
      assert.equal(exitCode, 254, args.join(' '));
      assert.match(stderr, pattern);
    };
    const { SnapshotId } = standIn.ec2<Snap>('create-snapshot', '--volume-id', 'vol-i-1');
    const create = ['create-volume', '--availability-zone', 'ap-northeast-1a', '--snapshot-id', SnapshotId];
    refused(/IncorrectState/, ...create);
    standIn.advance(3 * minuteMs);
    const { VolumeId } = standIn.ec2<{ readonly VolumeId: string }>(...create);
    const attach = ['attach-volume', '--volume-id', VolumeId, '--instance-id'];
    refused(/IncorrectState/, ...attach, 'i-1', '--device', '/dev/sdc');
    standIn.advance(minuteMs);
    refused(/ZoneMismatch/, ...attach, 'i-2', '--device', '/dev/sdc');
    refused(/already in use/, ...attach, 'i-1', '--device', '/dev/sdb');
    refused(/InvalidVolume.NotFound/, 'detach-volume', '--volume-id', 'vol-none');
    // In use by a running system: it stays.
    standIn.ec2('detach-volume', '--volume-id', 'vol-i-1');
    standIn.advance(minuteMs);
    const { Volumes } = standIn.ec2<Volumes>('describe-volumes', '--volume-ids', 'vol-i-1');
    assert.equal(Volumes[0]?.Attachments[0]?.State, 'busy');
    const fast = ['--availability-zones', 'ap-northeast-1a', 'ap-northeast-1c', '--source-snapshot-ids', SnapshotId];
    standIn.ec2('enable-fast-snapshot-restores', ...fast);
    assert.equal(standIn.state.snapshots[SnapshotId]?.fast.length, 2);
    standIn.ec2('disable-fast-snapshot-restores', ...fast);
    assert.equal(standIn.state.snapshots[SnapshotId]?.fast.length, 0);
  });
});

describe('the executables', () => {
  it('are processes that share the state, exit as over SSH, and hang when told to', async () => {
    await using standIn = await clusterproStandIn();
    const run = (server: string, argv: readonly [string, ...string[]], timeoutMs = 60_000) =>
      systemExec.run({ argv: [join(standIn.bin(server), argv[0]), ...argv.slice(1)], timeoutMs });
    const { exitCode, stdout } = await run('server1', ['clpmdstat', '--mirror', 'md1']);
    assert.equal(exitCode, 0);
    assert.equal(stdout, standIn.ok('server2', 'clpmdstat', '--mirror', 'md1'));
    const both = ['server1', 'server2'].map((server) => run(server, ['clpmonctrl', '-s', '-h', server, '-m', 'mdw1']));
    assert.deepEqual(
      (await Promise.all(both)).map((each) => each.exitCode),
      [0, 0],
    );
    assert.deepEqual(
      standIn.state.servers.map(({ suspended }) => suspended),
      [['mdw1'], ['mdw1']],
    );
    const made = await run('client', ['aws', 'ec2', 'create-snapshot', '--volume-id', 'vol-i-1']);
    assert.equal(made.exitCode, 0);
    assert.deepEqual(Object.keys(standIn.state.snapshots), [(JSON.parse(made.stdout) as Snap).SnapshotId]);
    standIn.fault({ where: 'clpgrp', how: 'hangs' });
    assert.equal((await run('server1', ['clpgrp', '-t', 'failover1'], 2_000)).timedOut, true);
    standIn.crash('server2');
    assert.equal((await run('server2', ['clpstat'])).exitCode, 255);
  });
});

describe('faults', () => {
  it('fails, does nothing, loses the connection before or after, and hangs', async () => {
    await using standIn = await clusterproStandIn();
    const suspend = ['clpmonctrl', '-s', '-h', 'server1', '-m', 'mdw1'] as const;
    const isSuspended = (): boolean => standIn.state.servers[0]?.suspended.length === 1;
    standIn.fault({ where: 'clpmonctrl -s', how: 'fails', said: 'Busy.', code: 7 });
    const failed = standIn.run('server2', ...suspend);
    assert.deepEqual([failed.exitCode, failed.stderr], [7, 'Error: Busy.']);
    standIn.fault({ where: 'clpmonctrl -s', how: 'does-nothing' });
    assert.equal(standIn.ok('server2', ...suspend), 'Command succeeded.\n');
    assert.equal(isSuspended(), false);
    standIn.fault({ where: 'clpmonctrl -s', how: 'lost' });
    assert.equal(standIn.run('server2', ...suspend).exitCode, 255);
    assert.equal(isSuspended(), false);
    standIn.fault({ where: 'clpmonctrl -s', how: 'acts-then-lost' });
    assert.equal(standIn.run('server2', ...suspend).exitCode, 255);
    assert.equal(isSuspended(), true);
    standIn.fault({ where: 'boot', server: 'server2', how: 'never-back' });
    standIn.boot('server2');
    standIn.advance(60 * minuteMs);
    assert.equal(standIn.run('server2', 'clpstat').exitCode, 255);
  });
});
