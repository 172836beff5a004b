import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readConfig } from '../../src/config/load.ts';
import { backup } from '../../src/flows/backup.ts';
import { prepareRecovery } from '../../src/flows/materialize.ts';
import { planSplitBackup } from '../../src/flows/mirror-split-plan.ts';
import { restoreAsIs } from '../../src/model/recovery.ts';
import { readRecord } from '../../src/flows/record.ts';
import { splitRestore } from '../../src/flows/mirror-split-restore.ts';
import { assertWhole, minuteMs, splitStage } from './mirror-split-stage.ts';
import { never } from './toy-scene.ts';

describe('a backup of the standby of a split mirror', () => {
  it('is of the state at the stop, and leaves the cluster as it was', async () => {
    await using stage = await splitStage();
    const { standIn } = stage;
    standIn.write('before');
    const { outcome, point, evidence } = await stage.backup();
    assert.equal(outcome, 'complete');
    assert.equal(point.verdict, 'application-consistent');
    const snapshot = point.volumes[0]?.snapshot ?? '';
    assert.deepEqual(standIn.data(snapshot), { fs: 'clean', rows: ['before'] });
    assertWhole(standIn, 1);
    const record = await readRecord(stage.scene.repository, point.repositorySnapshot);
    assert.deepEqual(record.evidence, JSON.parse(JSON.stringify(evidence)));
    assert.ok((evidence.split?.oneCopyMs ?? 0) > 60_000);
  });
});

describe('a restore of both sides', () => {
  it('gives both servers the disk of the point', async () => {
    await using stage = await splitStage();
    const { standIn } = stage;
    standIn.write('before');
    const { point } = await stage.backup();
    standIn.write('lost on purpose');
    const restored = await splitRestore(stage.workload, stage.environment, { point, signal: never });
    assert.deepEqual(standIn.data('server1').rows, ['before']);
    assert.deepEqual(standIn.data('server2').rows, ['before']);
    assert.deepEqual(
      restored.volumes.map(({ kept }) => kept),
      ['vol-i-1', 'vol-i-2'],
    );
    assert.deepEqual(standIn.data('vol-i-1').rows, ['before', 'lost on purpose']);
    assert.deepEqual(standIn.mirror(), { status: 'Normal', colours: ['GREEN', 'GREEN'] });
    assert.equal(standIn.state.group.current, 'server1');
  });
});

describe('the method mirror-split', () => {
  it('is planned with its commands and its refusals, and touches nothing', async () => {
    await using stage = await splitStage();
    const { standIn } = stage;
    const plan = await planSplitBackup(stage.workload, stage.environment, never);
    assert.deepEqual(plan.refusals, []);
    assert.deepEqual([plan.active, plan.standby, plan.volume], ['server1', 'server2', 'vol-i-2']);
    assert.deepEqual(
      plan.steps.slice(1, 7).map(({ does }) => does),
      [
        'server1: clpgrp -t failover1',
        'clpmonctrl -s -h SERVER -m mdw1, for both servers',
        'server2: clpmdctrl --break md1',
        'server1: clpgrp -s failover1',
        'server2: clpbackup.sh --pre; i-2 goes off',
        'aws ec2 create-snapshot --volume-id vol-i-2',
      ],
    );
    standIn.ok('server1', 'clpgrp', '-t', 'failover1');
    await assert.rejects(planSplitBackup(stage.workload, stage.environment, never), { code: 'role-unsuitable' });
    standIn.ok('server1', 'clpgrp', '-s', 'failover1');
    standIn.change(({ servers }) => void (servers[1] ?? assert.fail()).suspended.push('mdw1'));
    const refused = await planSplitBackup(stage.workload, stage.environment, never);
    assert.deepEqual(refused.refusals, ['mdw1 is suspended on server2 by somebody else']);
    assert.ok(!standIn.state.calls.some(({ what }) => /clpmdctrl|clpbackup|create-snapshot/.test(what)));
  });

  it('needs a mirror, machines and a full', async () => {
    await using stage = await splitStage();
    const { mirrorSplit: _, ...plain } = stage.workload;
    const request = { method: 'mirror-split', level: undefined, signal: never } as const;
    await assert.rejects(backup(plain, stage.environment, request), { code: 'method-unsupported' });
    const { cluster: __, ...alone } = stage.workload;
    await assert.rejects(backup(alone, stage.environment, request), { code: 'method-unsupported' });
    await assert.rejects(backup(stage.workload, stage.environment, { ...request, level: 'incremental' }), {
      code: 'usage',
    });
  });

  it('makes points that only both servers together can be restored from, and that recover finds again', async () => {
    await using stage = await splitStage();
    const { point } = await stage.backup();
    await assert.rejects(
      prepareRecovery(restoreAsIs(point), (path) => path, stage.environment),
      {
        code: 'method-unsupported',
        message: /a snapshot of a disk/,
      },
    );
    (await stage.environment.catalog()).removePoint(point.id);
    assert.deepEqual((await stage.recover()).pointsFound, [point.id]);
    const [found] = (await stage.environment.catalog()).points();
    assert.equal(found?.volumes[0]?.snapshot, point.volumes[0]?.snapshot);
    assertWhole(stage.standIn, 1);
  });

  it('restores nothing of a snapshot that is gone, and touches nothing then', async () => {
    await using stage = await splitStage();
    const { point } = await stage.backup();
    stage.standIn.ec2('delete-snapshot', '--snapshot-id', point.volumes[0]?.snapshot ?? '');
    const request = { point, signal: never };
    await assert.rejects(splitRestore(stage.workload, stage.environment, request), { code: 'point-incomplete' });
    assertWhole(stage.standIn, 0);
  });

  it('tells what it waits for, and when the time with one copy is longer than planned', async () => {
    await using stage = await splitStage({ limits: { oneCopy: 60_000 }, standIn: { resyncMs: 10 * minuteMs } });
    const { findings } = await stage.backup();
    assert.match(findings[1]?.said ?? '', /one copy and no failover for \d+ s, longer than the 60 s/);
    assert.equal(stage.alarms.length, 1);
    const said = stage.notes.join('\n');
    assert.match(said, /waiting: the standby copies what it missed, for \d+ s of at most 3600 s/);
  });

  it('is a part of the configuration', () => {
    const text = (partitions: string): string => `
repository: { store: { local: /var/backups/sp }, passwordEnv: P }
workloads:
  orders:
    application: { sqlite: { file: /srv/a.db } }
    method: mirror-split
    topology:
      clusterpro:
        group: failover1
        mirrors: { md1: { monitor: mdw1 } }
        servers: { server1: { ssh: { host: s1 } }, server2: { ssh: { host: s2 } } }
    members: { server1: {} }
    machines:
      ec2:
        instances: { server1: i-0a, server2: i-0b }
        devices:
          server1: { device: /dev/sdb, partitions: ${partitions} }
          server2: { device: /dev/sdb, partitions: [/dev/xvdb1, /dev/xvdb2] }
    mirrorSplit: { boot: 30m }
`;
    const found = readConfig(text('[/dev/xvdb1, /dev/xvdb2]'), 'stillpoint.yaml').workloads.get('orders');
    assert.equal(found?.machines?.kind, 'ec2');
    assert.deepEqual([found?.splitLimits.boot, found?.splitLimits.whole], [30 * minuteMs, 240 * minuteMs]);
    assert.throws(() => readConfig(text('[]'), 'stillpoint.yaml'), { code: 'config-invalid' });
  });
});
