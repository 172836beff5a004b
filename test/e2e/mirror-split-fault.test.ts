/** Every command fails, hangs, does nothing, or loses its connection before or after it acted: once, and for ever. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StillpointError } from '../../src/model/errors.ts';
import { splitRestore } from '../../src/flows/mirror-split-restore.ts';
import { assertRestoredOrOld, assertWhole, splitStage, type SplitStage } from './mirror-split-stage.ts';
import { never } from './toy-scene.ts';

/** All of them take ten minutes: `STILLPOINT_TEST_FULL=1`. */
const full = process.env['STILLPOINT_TEST_FULL'] === '1';
const all = ['fails', 'hangs', 'lost', 'acts-then-lost', 'does-nothing'] as const;
const ofBackup = [
  ...['clpgrp -t', 'clpmonctrl -s', 'clpmdctrl --break', 'clpgrp -s', 'clpbackup.sh --pre', 'clpbackup.sh --post'],
  ...['clpmonctrl -r', 'clpstat --long', 'clpstat -m', 'clpmdstat', 'cat', 'systemctl', 'lsblk'],
  ...['aws ec2 create-snapshot', 'aws ec2 start-instances', 'aws ec2 describe-instances', 'aws ec2 describe-snapshots'],
];
const ofRestore = [
  ...['clpgrp -t', 'clpgrp -s', 'clprestore.sh --pre', 'clprestore.sh --post', 'lsblk', 'cat', 'systemctl'],
  ...['aws ec2 create-volume', 'aws ec2 detach-volume', 'aws ec2 attach-volume', 'aws ec2 start-instances'],
  ...['aws ec2 describe-instances', 'aws ec2 describe-volumes', 'aws ec2 enable-fast-snapshot-restores'],
  ...['aws ec2 disable-fast-snapshot-restores', 'aws ec2 describe-fast-snapshot-restores'],
];

/** Undefined when it went well. Nobody may be left without a word. */
async function failureOf(stage: SplitStage, run: () => Promise<unknown>): Promise<StillpointError | undefined> {
  try {
    await run();
    return undefined;
  } catch (error) {
    assert.ok(error instanceof StillpointError, String(error));
    if (error.exitCode === 6) assert.ok(error.hint !== undefined && stage.alarms.length > 0, error.message);
    return error;
  }
}

async function mend(stage: SplitStage, failure: StillpointError | undefined): Promise<void> {
  stage.standIn.change((state) => void state.faults.splice(0));
  if (failure?.exitCode !== 6) return;
  assert.deepEqual((await stage.recover()).failures, [], failure.message);
}

type How = (typeof all)[number];

const repeats: readonly { readonly name: string; readonly times: number; readonly sample: readonly How[] }[] = [
  { name: 'once', times: 1, sample: ['acts-then-lost', 'does-nothing'] },
  { name: 'for ever', times: 1_000_000, sample: ['fails'] },
];

/** All, or of each command one way in turns, and every other one for ever. */
function chosen(index: number): readonly {
  readonly name: string;
  readonly times: number;
  readonly hows: readonly How[];
}[] {
  return repeats.flatMap(({ name, times, sample }) => {
    if (full) return [{ name, times, hows: [...all] }];
    const how = sample[index % sample.length];
    return how === undefined || (times > 1 && index % 2 === 1) ? [] : [{ name, times, hows: [how] }];
  });
}

describe('a backup by a split mirror', () => {
  for (const [index, where] of ofBackup.entries()) {
    for (const { name, times, hows } of chosen(index)) {
      it(`is good, or undone, or an alarm, when \`${where}\` goes wrong ${name}`, async () => {
        for (const how of hows) {
          await using stage = await splitStage();
          const { standIn } = stage;
          standIn.write('before');
          standIn.fault({ where, how, times });
          const failure = await failureOf(stage, () => stage.backup());
          await mend(stage, failure);
          const points = (await stage.environment.catalog()).points();
          assert.equal(points.length, failure === undefined ? 1 : 0, how);
          for (const { volumes } of points)
            assert.deepEqual(standIn.data(volumes[0]?.snapshot ?? ''), { fs: 'clean', rows: ['before'] });
          assertWhole(standIn, points.length);
        }
      });
    }
  }

  for (const where of ['clpstat', 'clpmdstat', 'cat', 'systemctl', 'aws ec2 describe-instances']) {
    it(`is good, or undone, or an alarm, when \`${where}\` goes wrong while the mirror is apart`, async () => {
      for (const how of full ? all : (['hangs'] as const)) {
        for (const { times } of repeats) {
          await using stage = await splitStage({
            at: (transition) => (transition === 'after:break' ? stage.standIn.fault({ where, how, times }) : undefined),
          });
          stage.standIn.write('before');
          const failure = await failureOf(stage, () => stage.backup());
          await mend(stage, failure);
          assertWhole(stage.standIn, failure === undefined ? 1 : 0);
        }
      }
    });
  }

  it('raises an alarm with the console when the standby does not come back, and goes on when it does', async () => {
    await using stage = await splitStage();
    stage.standIn.fault({ where: 'boot', how: 'never-back' });
    const failure = await failureOf(stage, () => stage.backup());
    assert.equal(failure?.code, 'undo-failed');
    assert.match(failure.message, /server2 boots.*console ends with.*Wait for Network/s);
    stage.standIn.boot('server2');
    await mend(stage, failure);
    assertWhole(stage.standIn, 0);
  });

  it('calls a person at once when the active server dies, and starts the group nowhere', async () => {
    await using stage = await splitStage({
      at: (transition) => (transition === 'before:power-on' ? stage.standIn.crash('server1') : undefined),
    });
    const failure = await failureOf(stage, () => stage.backup());
    assert.equal(failure?.code, 'undo-failed');
    assert.match(failure.message, /server1, on which the group was, is down/);
    assert.match(failure.hint ?? '', /only a person/);
    assert.ok(
      !stage.standIn.state.calls.some(({ server, what }) => server === 'server2' && what.startsWith('clpgrp -s')),
    );
  });

  it('is refused when the mirror is not whole, or somebody suspended its monitor, which stays so', async () => {
    await using stage = await splitStage();
    stage.standIn.ok('server1', 'clpmonctrl', '-s', '-h', 'server1', '-m', 'mdw1');
    const failure = await failureOf(stage, () => stage.backup());
    assert.equal(failure?.code, 'role-unsuitable');
    assert.match(failure.message, /mdw1 is suspended on server1 by somebody else/);
    assert.deepEqual(stage.standIn.state.servers[0]?.suspended, ['mdw1']);
    assert.equal(stage.standIn.state.group.status, 'Online');
  });

  it('is discarded when somebody resumes a monitor meanwhile', async () => {
    await using stage = await splitStage({
      standIn: { autoRecovery: false },
      at: (transition) => {
        if (transition !== 'before:cut') return;
        stage.standIn.ok('server1', 'clpmonctrl', '-r', '-h', 'server1', '-m', 'mdw1');
      },
      limits: { autoRecovery: 1 },
    });
    const failure = await failureOf(stage, () => stage.backup());
    assert.equal(failure?.code, 'verdict-too-weak');
    assert.match(failure.message, /monitor-resumed/);
    assertWhole(stage.standIn, 0);
  });

  it('is undone when it is cancelled while the standby is off', async () => {
    const controller = new AbortController();
    await using stage = await splitStage({
      at: (transition) => (transition === 'after:cut' ? controller.abort() : undefined),
    });
    const failure = await failureOf(stage, () => stage.backup(controller.signal));
    assert.equal(failure?.code, 'cancelled');
    assertWhole(stage.standIn, 0);
  });
});

describe('a restore of both sides', () => {
  for (const [index, where] of ofRestore.entries()) {
    for (const { name, times, hows } of chosen(index)) {
      it(`ends with the old disks or the new ones on both when \`${where}\` goes wrong ${name}`, async () => {
        for (const how of hows) {
          await using stage = await splitStage({ fastRestore: true });
          const { standIn } = stage;
          standIn.write('before');
          const { point } = await stage.backup();
          standIn.write('after');
          standIn.fault({ where, how, times });
          const failure = await failureOf(stage, () =>
            splitRestore(stage.workload, stage.environment, { point, signal: never }),
          );
          await mend(stage, failure);
          assertRestoredOrOld(standIn);
        }
      });
    }
  }
});
