import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { readConfig } from '../../src/config/load.ts';
import { backup } from '../../src/flows/backup.ts';
import { lockWorkload } from '../../src/flows/environment.ts';
import { recover } from '../../src/flows/recover.ts';
import { prepareRecovery } from '../../src/flows/materialize.ts';
import { planSplitBackup } from '../../src/flows/mirror-split-plan.ts';
import { restoreAsIs } from '../../src/model/recovery.ts';
import { readRecord } from '../../src/flows/record.ts';
import { forgetSplit } from '../../src/flows/mirror-split-forget.ts';
import type { Point } from '../../src/model/point.ts';
import { splitRestore } from '../../src/flows/mirror-split-restore.ts';
import { assertRestoredOrOld, assertWhole, minuteMs, splitStage, type SplitStage } from './mirror-split-stage.ts';
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

describe('a restore that is cancelled', () => {
  for (const [transition, isDone] of [
    ['after:leave', false],
    ['before:take', true],
    ['after:take', true],
  ] as const) {
    it(`${transition} ${isDone ? 'is done all the same, and says so' : 'has the old disks again'}`, async () => {
      const controller = new AbortController();
      let isArmed = false;
      await using stage = await splitStage({
        at: (now) => (isArmed && now === transition ? controller.abort() : undefined),
      });
      stage.standIn.write('before');
      const { point } = await stage.backup();
      stage.standIn.write('after');
      isArmed = true;
      const run = splitRestore(stage.workload, stage.environment, { point, signal: controller.signal });
      if (isDone) await run;
      else await assert.rejects(run, { code: 'cancelled' });
      assert.equal(assertRestoredOrOld(stage.standIn), isDone ? 'restored' : 'old');
      assert.deepEqual((await stage.recover()).runs, []);
    });
  }
});

describe('two that recover at once', () => {
  it('are one: the other leaves the cluster to it', async () => {
    await using stage = await splitStage({
      at: (now) => (now === 'after:break' ? new Promise(() => undefined) : undefined),
    });
    void stage.backup();
    while (stage.standIn.mirror().status === 'Normal') await setImmediate();
    await stage.endProcess();
    const lock = await lockWorkload(stage.environment, stage.workload.name);
    const request = { discard: undefined, signal: never };
    const { fault: _, ...unharmed } = stage.environment;
    const { runs, findings } = await recover([stage.workload], unharmed, request);
    assert.deepEqual(runs, []);
    assert.match(findings[0]?.said ?? '', /another process is at work/);
    lock.release();
    assert.deepEqual(
      (await stage.recover()).runs.map(({ how }) => how),
      ['undone'],
    );
    assertWhole(stage.standIn, 0);
  });
});

describe('a restore with fast restore', () => {
  it('has it on until both volumes are there, and leaves alone what somebody else has on', async () => {
    await using stage = await splitStage({ fastRestore: true, standIn: { fastMs: 3 * minuteMs } });
    const { standIn } = stage;
    standIn.write('before');
    const { point } = await stage.backup();
    const snapshot = point.volumes[0]?.snapshot ?? '';
    const others = ['--availability-zones', 'ap-northeast-1a', '--source-snapshot-ids', snapshot];
    standIn.ec2('enable-fast-snapshot-restores', ...others);
    const { findings } = await splitRestore(stage.workload, stage.environment, { point, signal: never });
    assert.deepEqual(findings, []);
    assert.deepEqual(standIn.state.snapshots[snapshot]?.fast, ['ap-northeast-1a']);
    const made = Object.values(standIn.state.volumes).filter(({ snapshot: from }) => from === snapshot);
    assert.deepEqual(
      made.map(({ madeFast }) => madeFast),
      [true, true],
    );
    assert.match(stage.notes.join(), /fast restore is not on yet/);
  });

  it('is given up before anything else is touched when it does not come on in time', async () => {
    await using stage = await splitStage({
      fastRestore: true,
      standIn: { fastMs: 60 * minuteMs },
      limits: { fast: 5 * minuteMs },
    });
    const { point } = await stage.backup();
    const request = { point, signal: never };
    await assert.rejects(splitRestore(stage.workload, stage.environment, request), {
      code: 'command-failed',
      message: /is not on in ap-northeast-1a, ap-northeast-1c/,
    });
    assert.deepEqual(Object.values(stage.standIn.state.snapshots)[0]?.fast, []);
    assertWhole(stage.standIn, 1);
  });
});

describe('a point that is forgotten', () => {
  const forget = async (stage: SplitStage, point: Point, dryRun = false): Promise<unknown> => {
    const others = (await stage.environment.catalog()).points().filter(({ id }) => id !== point.id);
    return await forgetSplit(stage.workload, stage.environment, { point, others, dryRun, signal: never });
  };

  it('goes with its snapshot and nothing else, and not in a dry run', async () => {
    await using stage = await splitStage();
    const { point: first } = await stage.backup();
    const { point: second } = await stage.backup();
    stage.standIn.ec2('create-snapshot', '--volume-id', 'vol-i-2', '--description', "somebody's");
    await forget(stage, first, true);
    assertWhole(stage.standIn, 3);
    assert.deepEqual(await forget(stage, first), { point: first.id, snapshots: [first.volumes[0]?.snapshot] });
    assertWhole(stage.standIn, 2);
    assert.equal((await stage.scene.repository.snapshots()).length, 1);
    await assert.rejects(forget(stage, second), { code: 'point-needed', message: /no other/ });
    assertWhole(stage.standIn, 2);
  });

  it('is kept while its volumes are made, while its run is copied, and when its snapshot is not ours', async () => {
    await using stage = await splitStage();
    const { standIn } = stage;
    const { point } = await stage.backup();
    await stage.backup();
    const snapshot = point.volumes[0]?.snapshot ?? '';
    standIn.ec2('create-volume', '--snapshot-id', snapshot, '--availability-zone', 'ap-northeast-1a');
    await assert.rejects(forget(stage, point), { code: 'point-needed', message: /a restore is under way/ });
    standIn.advance(minuteMs);
    standIn.change(({ snapshots }) => void Object.assign(snapshots[snapshot] ?? assert.fail(), { tags: {} }));
    await assert.rejects(forget(stage, point), { code: 'point-needed', message: /has not the tag/ });
    assert.equal(Object.keys(standIn.state.snapshots).length, 2);
    assert.equal((await stage.environment.catalog()).points().length, 2);
  });

  it('is an alarm when its snapshot cannot be deleted, and is no point by then; recover finishes it', async () => {
    await using stage = await splitStage();
    const { point } = await stage.backup();
    await stage.backup();
    stage.standIn.fault({ where: 'aws ec2 delete-snapshot', how: 'fails', times: 1_000_000 });
    await assert.rejects(forget(stage, point), { code: 'undo-failed' });
    assert.equal((await stage.environment.catalog()).points().length, 1);
    stage.standIn.change((state) => void state.faults.splice(0));
    const { runs, failures } = await stage.recover();
    assert.deepEqual([runs.map(({ how }) => how), failures], [['finished'], []]);
    assertWhole(stage.standIn, 1);
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
