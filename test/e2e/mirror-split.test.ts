import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readRecord } from '../../src/flows/record.ts';
import { splitRestore } from '../../src/flows/mirror-split-restore.ts';
import { assertWhole, splitStage } from './mirror-split-stage.ts';
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
