import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterproStandIn, type ClusterproStandIn } from './stand-in.ts';

const minuteMs = 60_000;

interface Snap {
  readonly SnapshotId: string;
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
