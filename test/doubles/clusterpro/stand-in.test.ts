import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { systemExec } from '../../../src/platform/exec.ts';
import { clusterproStandIn, type ClusterproStandIn } from './stand-in.ts';

const minuteMs = 60_000;

interface Snap {
  readonly SnapshotId: string;
}

interface Volumes {
  readonly Volumes: readonly { readonly State: string; readonly Attachments: readonly { readonly State: string }[] }[];
}

function suspendBoth(standIn: ClusterproStandIn): void {
  for (const server of ['server1', 'server2'])
    assert.equal(standIn.ok('server1', 'clpmonctrl', '-s', '-h', server, '-m', 'mdw1'), 'Command succeeded.\n');
}

/** The published backup of the standby's side, by hand. Gives the snapshot's id. */
function backup(standIn: ClusterproStandIn): string {
  assert.equal(standIn.ok('server1', 'clpgrp', '-t', 'failover1'), 'Command succeeded.\n');
  suspendBoth(standIn);
  assert.equal(standIn.ok('server2', 'clpmdctrl', '--break', 'md1'), 'md1: Isolated completed successfully\n');
  assert.equal(standIn.ok('server1', 'clpgrp', '-s', 'failover1'), 'Command succeeded.\n');
  standIn.write('after the break');
  assert.equal(
    standIn.ok('server2', 'clpbackup.sh', '--pre'),
    [
      'clpbackup.sh : Beginning backup-mode.',
      'All backup flags have set to <ON>.',
      'clpbackup.sh : Changing the setting of cluster services to Manual Startup.',
      'clpbackup.sh : Shutting down...',
      'Command succeeded.',
      'clpbackup.sh : Command succeeded.',
      '',
    ].join('\n'),
  );
  standIn.advance(minuteMs);
  const { SnapshotId } = standIn.ec2<Snap>('create-snapshot', '--volume-id', 'vol-i-2', '--description', 'Mirror');
  standIn.ec2('start-instances', '--instance-ids', 'i-2');
  standIn.advance(minuteMs);
  assert.equal(
    standIn.ok('server2', 'clpbackup.sh', '--post'),
    [
      'clpbackup.sh : Starting Mirror Agent.',
      'Command succeeded.',
      'clpbackup.sh : Ending backup-mode.',
      'All backup flags have set to <OFF>.',
      'clpbackup.sh : Changing the setting of cluster services to Auto Startup.',
      'clpbackup.sh : Stopping Mirror Agent.',
      'Command succeeded.',
      'clpbackup.sh : Rebooting...',
      '',
    ].join('\n'),
  );
  standIn.advance(minuteMs);
  standIn.ok('server1', 'clpmonctrl', '-r', '-h', 'server1', '-m', 'mdw1');
  standIn.advance(2 * minuteMs);
  return SnapshotId;
}

/** The published restore of both sides, by hand. `snapshots` are those of server1 and server2. */
function restore(
  standIn: ClusterproStandIn,
  snapshots: readonly [string, string],
  more: { readonly device?: string; readonly post?: readonly string[]; readonly keepGroup?: boolean } = {},
): readonly string[] {
  if (more.keepGroup !== true) standIn.ok('server1', 'clpgrp', '-t', 'failover1');
  const said: string[] = [];
  for (const server of ['server1', 'server2']) said.push(standIn.ok(server, 'clprestore.sh', '--pre'));
  standIn.advance(minuteMs);
  const zones = ['ap-northeast-1a', 'ap-northeast-1c'];
  for (const [index, snapshot] of snapshots.entries()) {
    const instance = `i-${index + 1}`;
    const made = standIn.ec2<{ readonly VolumeId: string }>(
      ...[
        'create-volume',
        '--availability-zone',
        zones[index] ?? '',
        '--snapshot-id',
        snapshot,
        '--volume-type',
        'gp3',
      ],
    );
    standIn.ec2('detach-volume', '--volume-id', `vol-${instance}`);
    standIn.advance(minuteMs);
    standIn.ec2(
      ...['attach-volume', '--volume-id', made.VolumeId, '--instance-id', instance],
      ...['--device', more.device ?? '/dev/sdb'],
    );
    standIn.advance(minuteMs);
    standIn.ec2('start-instances', '--instance-ids', instance);
  }
  standIn.advance(minuteMs);
  for (const server of ['server1', 'server2']) {
    const { stdout } = standIn.run(server, 'clprestore.sh', ...(more.post ?? ['--post', '--skip-copy']));
    said.push(stdout);
  }
  standIn.advance(minuteMs);
  return said;
}

describe('the published backup of the standby', () => {
  it('cuts what was there when the group stopped, and ends in a mirror that is whole', async () => {
    await using standIn = await clusterproStandIn();
    assert.equal(standIn.write('before'), true);
    assert.deepEqual(standIn.data('server1'), standIn.data('server2'));
    assert.equal(
      standIn.ok('server2', 'clpmdstat', '--mirror', 'md1'),
      [
        'Mirror Status: Normal',
        '',
        'md1              server1              server2',
        '------------------------------------------------------------',
        'Mirror Color     GREEN                GREEN',
        '',
      ].join('\n'),
    );
    const snapshot = backup(standIn);
    assert.deepEqual(standIn.data(snapshot), { fs: 'clean', rows: ['before'] });
    assert.deepEqual(standIn.mirror(), { status: 'Normal', colours: ['GREEN', 'GREEN'] });
    assert.deepEqual(standIn.data('server2'), { fs: 'mounted', rows: ['before', 'after the break'] });
    assert.deepEqual(standIn.data('server1'), standIn.data('server2'));
    assert.deepEqual(standIn.state.failovers, []);
  });

  it('keeps the standby out while it is off, and refuses commands there as SSH does', async () => {
    await using standIn = await clusterproStandIn();
    suspendBoth(standIn);
    standIn.ok('server2', 'clpmdctrl', '--break', 'md1');
    standIn.write('only here');
    assert.deepEqual(standIn.data('server2').rows, []);
    standIn.ok('server2', 'clpbackup.sh', '--pre');
    const { exitCode, stderr } = standIn.run('server2', 'clpstat');
    assert.equal(exitCode, 255);
    assert.match(stderr, /Connection refused/);
    assert.deepEqual(standIn.mirror(), { status: 'Abnormal', colours: ['GREEN', 'GRAY'] });
    standIn.advance(minuteMs);
    const instances = standIn.ec2<object>('describe-instances', '--instance-ids', 'i-2');
    assert.match(JSON.stringify(instances), /"Name":"stopped"/);
    // Started again without --post it stays out: its services are not started with the system.
    standIn.ec2('start-instances', '--instance-ids', 'i-2');
    standIn.advance(10_000);
    assert.match(JSON.stringify(standIn.ec2('describe-instances', '--instance-ids', 'i-2')), /"Name":"running"/);
    assert.equal(standIn.run('server2', 'lsblk').exitCode, 255, 'running for EC2, and still booting');
    standIn.advance(10 * minuteMs);
    assert.equal(standIn.run('server2', 'clpstat').exitCode, 1);
    assert.equal(standIn.mirror().status, 'Abnormal');
    // The active server dies meanwhile: nobody may come up with the old side.
    standIn.crash('server1');
    standIn.advance(minuteMs);
    assert.deepEqual(standIn.state.failovers, []);
  });
});

describe('backups in the wrong order', () => {
  it('mirrors again behind our back when the monitors are not suspended', async () => {
    await using standIn = await clusterproStandIn();
    standIn.ok('server1', 'clpgrp', '-t', 'failover1');
    standIn.ok('server1', 'clpmonctrl', '-s', '-h', 'server1', '-m', 'mdw1');
    standIn.ok('server2', 'clpmdctrl', '--break', 'md1');
    assert.deepEqual(standIn.mirror().colours, ['GREEN', 'RED']);
    standIn.advance(15_000);
    assert.deepEqual(standIn.mirror(), { status: 'Recovering', colours: ['YELLOW', 'YELLOW'] });
    assert.match(
      standIn.ok('server1', 'clpmdstat', '--mirror', 'md1'),
      /Status: +Recovering\nDirection: +src server1\n/,
    );
    const { exitCode, stdout } = standIn.run('server2', 'clpbackup.sh', '--pre');
    assert.equal(exitCode, 1);
    assert.match(stdout, /Command failed/);
    // A cut now shows half of a copy.
    const { SnapshotId } = standIn.ec2<Snap>('create-snapshot', '--volume-id', 'vol-i-2');
    assert.equal(standIn.data(SnapshotId).fs, 'partial');
    standIn.advance(minuteMs);
    assert.equal(standIn.mirror().status, 'Normal');
  });

  it('refuses --pre on a side that is not broken, and where the group is', async () => {
    await using standIn = await clusterproStandIn();
    assert.equal(standIn.run('server2', 'clpbackup.sh', '--pre').exitCode, 1);
    suspendBoth(standIn);
    assert.equal(standIn.run('server1', 'clpmdctrl', '--break', 'md1').exitCode, 1, 'the active side');
    standIn.ok('server2', 'clpmdctrl', '--break', 'md1');
    const again = standIn.run('server2', 'clpmdctrl', '--break', 'md1');
    assert.equal(again.exitCode, 1);
    assert.match(again.stderr, /The status of md1 is invalid\./);
    assert.equal(standIn.run('server1', 'clpbackup.sh', '--pre').exitCode, 1);
    assert.equal(standIn.run('server2', 'clpbackup.sh', '--post').exitCode, 1, 'it was never begun');
  });

  it('cuts a mounted file system when the group was not stopped', async () => {
    await using standIn = await clusterproStandIn();
    standIn.write('a');
    suspendBoth(standIn);
    standIn.ok('server2', 'clpmdctrl', '--break', 'md1');
    standIn.ok('server2', 'clpbackup.sh', '--pre');
    const { SnapshotId } = standIn.ec2<Snap>('create-snapshot', '--volume-id', 'vol-i-2');
    assert.deepEqual(standIn.data(SnapshotId), { fs: 'mounted', rows: ['a'] });
  });

  it('does not mirror again by itself while a monitor of the active server is suspended', async () => {
    await using standIn = await clusterproStandIn({ autoRecovery: false });
    backup(standIn);
    assert.deepEqual(standIn.mirror(), { status: 'Abnormal', colours: ['GREEN', 'RED'] });
    standIn.ok('server1', 'clpmdctrl', '--recovery', 'md1');
    standIn.advance(minuteMs);
    assert.equal(standIn.mirror().status, 'Normal');
  });
});

describe('the published restore of both sides', () => {
  it('brings both back from one snapshot, without a copy', async () => {
    await using standIn = await clusterproStandIn();
    standIn.write('wanted');
    const snapshot = backup(standIn);
    standIn.write('deleted everything');
    const said = restore(standIn, [snapshot, snapshot]);
    assert.equal(
      said[0],
      [
        'clprestore.sh : Changing the setting of cluster services to Manual Startup.',
        'clprestore.sh : Shutting down...',
        'Command succeeded.',
        'clprestore.sh : Command succeeded.',
        '',
      ].join('\n'),
    );
    assert.equal(
      said[2],
      [
        'Mirror info will be set as default.',
        'The main handle on initializing mirror disk <md1> success.',
        'Initializing mirror disk complete.',
        'clprestore.sh : Changing the setting of cluster services to Auto Startup.',
        'clprestore.sh : Rebooting...',
        '',
      ].join('\n'),
    );
    assert.deepEqual(standIn.mirror(), { status: 'Normal', colours: ['GREEN', 'GREEN'] });
    assert.deepEqual(standIn.data('server1').rows, ['wanted']);
    assert.deepEqual(standIn.data('server2'), standIn.data('server1'));
    assert.equal(standIn.write('goes on'), true);
  });

  it('calls two sides normal that differ, when --skip-copy is used with two snapshots', async () => {
    await using standIn = await clusterproStandIn();
    standIn.write('one');
    const first = backup(standIn);
    standIn.write('two');
    const second = backup(standIn);
    restore(standIn, [first, second]);
    assert.equal(standIn.mirror().status, 'Normal');
    assert.notDeepEqual(standIn.data('server1').rows, standIn.data('server2').rows);
  });

  it('copies the whole disk without --skip-copy', async () => {
    await using standIn = await clusterproStandIn();
    standIn.write('one');
    const first = backup(standIn);
    standIn.write('two');
    const second = backup(standIn);
    restore(standIn, [first, second], { post: ['--post'] });
    assert.match(standIn.mirror().status, /^(?:No Construction|Recovering)$/);
    standIn.advance(2 * minuteMs);
    assert.equal(standIn.mirror().status, 'Normal');
    assert.deepEqual(standIn.data('server1').rows, standIn.data('server2').rows);
  });

  it('loses the partitions where the device has another name', async () => {
    await using standIn = await clusterproStandIn();
    const snapshot = backup(standIn);
    const said = restore(standIn, [snapshot, snapshot], { device: '/dev/sdf' });
    assert.match(said[2] ?? '', /Command failed/);
    assert.match(standIn.ok('server1', 'lsblk'), /xvdf1/);
    assert.deepEqual(
      Object.values(standIn.state.volumes)
        .filter(({ attachment }) => attachment !== null)
        .map(({ id }) => standIn.data(id).fs),
      ['destroyed', 'destroyed'],
    );
    assert.equal(standIn.write('x'), false);
  });

  it('is guarded while the initial construction is on', async () => {
    await using standIn = await clusterproStandIn({ initialConstruction: true });
    const snapshot = backup(standIn);
    const said = restore(standIn, [snapshot, snapshot]);
    assert.match(said[2] ?? '', /Command failed/);
    assert.deepEqual(standIn.data('server1').rows, ['after the break'].slice(1));
    assert.equal(standIn.run('server1', 'clpstat').exitCode, 1, 'the cluster did not start');
  });

  it('moves the group to the other server when it was not stopped', async () => {
    await using standIn = await clusterproStandIn();
    standIn.ok('server1', 'clprestore.sh', '--pre');
    assert.equal(standIn.state.group.current, 'server2');
    assert.equal(standIn.state.failovers.length, 1);
  });
});

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
