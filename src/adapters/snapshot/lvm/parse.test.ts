import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  parseDeviceStates,
  parsePoolNumber,
  parseSnapshotStatus,
  parseVolumes,
  parseWritten,
  type LogicalVolume,
} from './parse.ts';

const transcripts = join(import.meta.dirname, '../../../../test/transcripts');
const transcript = (name: string): string => readFileSync(join(transcripts, name), 'utf8');

function named(file: string, name: string): LogicalVolume {
  const found = parseVolumes(transcript(file)).find((one) => one.name === name);
  assert.ok(found !== undefined, `${file} holds ${name}`);
  return found;
}

const snapshot = 'stillpoint-20260102-030405-000001-0123456789';

describe('lvs', () => {
  it('reads a thin volume, its pool and its snapshot', () => {
    const file = 'lvm-2.03.16-lvs-snapshots.json';
    const [thin, pool, cut] = [named(file, 't1'), named(file, 'pool'), named(file, snapshot)];
    assert.deepEqual(thin.segmentTypes, ['thin']);
    assert.equal(thin.poolUuid, pool.uuid);
    assert.equal(thin.thinId, 1);
    assert.equal(pool.chunkBytes, 65_536);
    assert.equal(pool.dataPercent, 14.15);
    assert.equal(pool.metadataPercent, 10.74);
    assert.deepEqual([pool.needsCheck, pool.health], [false, '']);
    assert.equal(cut.originUuid, thin.uuid);
    assert.equal(cut.thinId, 2);
    assert.equal(cut.attr[1], 'r');
    assert.ok(cut.active);
    assert.equal(cut.device, '/dev/mapper/vg0-stillpoint--20260102--030405--000001--0123456789');
    assert.deepEqual(cut.tags.slice(0, 3), ['stillpoint', 'stillpoint-20260102-030405-000001', 'stillpoint.fs=xfs']);
  });

  it('reads an ordinary volume, its snapshot, and what the group has left', () => {
    const file = 'lvm-2.03.16-lvs-snapshots.json';
    const [thick, cut] = [named(file, 'd1'), named(file, `${snapshot}ff`)];
    assert.deepEqual([thick.thinId, thick.tags, thick.originUuid, thick.segmentTypes], [undefined, [], '', ['linear']]);
    assert.equal(thick.extentBytes, 4_194_304);
    assert.equal(thick.bytes, 335_544_320);
    assert.ok(thick.vgFreeBytes > 2_000_000_000);
    assert.equal(cut.originUuid, thick.uuid);
    assert.deepEqual([cut.invalid, cut.merging, cut.mergeFailed, cut.snapshotPercent], [false, false, false, 0]);
  });

  it('sees a snapshot that ran over, one that was half made, and a pool that fills up', () => {
    const over = named('lvm-2.03.16-lvs-overflow.json', `${snapshot}ff`);
    assert.deepEqual([over.invalid, over.snapshotPercent, over.attr[4]], [true, 100, 'I']);
    const half = named('lvm-2.03.16-lvs-half-made.json', 'stillpoint-20260102-030405-000002-0123456789');
    assert.deepEqual([half.originUuid, half.attr.slice(0, 5), half.tags[0]], ['', '-wi-i', 'stillpoint']);
    assert.equal(named('lvm-2.03.16-lvs-pool-full.json', 'pool').dataPercent, 72.95);
  });

  it('joins the parts of a volume', () => {
    const read = JSON.parse(transcript('lvm-2.03.16-lvs-snapshots.json')) as {
      report: { lv: Record<string, string>[] }[];
    };
    const parts = read.report[0]?.lv ?? [];
    const d1 = parts.find((one) => one['lv_name'] === 'd1') ?? {};
    parts.push({ ...d1, segtype: 'striped' }, d1);
    const volumes = parseVolumes(JSON.stringify(read)).filter(({ name }) => name === 'd1');
    assert.deepEqual(
      volumes.map(({ segmentTypes }) => segmentTypes),
      [['linear', 'striped']],
    );
  });

  it('takes nothing for granted', () => {
    const line = (change: object): string => {
      const read = JSON.parse(transcript('lvm-2.03.16-lvs-snapshots.json')) as { report: { lv: object[] }[] };
      return JSON.stringify({ report: [{ lv: [{ ...read.report[0]?.lv[0], ...change }] }] });
    };
    assert.equal(parseVolumes(line({})).length, 1);
    for (const text of [
      '',
      '[]',
      '{"report":{}}',
      '{"report":[7]}',
      '{"report":[{"lv":[7]}]}',
      line({ lv_name: 5 }),
      line({ lv_size: '5g' }),
      line({ vg_free: '' }),
    ]) {
      assert.throws(() => parseVolumes(text), { code: 'command-failed', message: /lvs/ }, text);
    }
  });
});

describe('device-mapper', () => {
  it('says which devices are suspended', () => {
    const states = parseDeviceStates(transcript('dmsetup-1.02.185-info-suspended.txt'));
    assert.deepEqual(
      states.filter(({ suspended }) => suspended).map(({ name }) => name),
      ['vg0-d1'],
    );
    assert.ok(states.some(({ name, uuid }) => name === 'vg0-d1-real' && uuid.endsWith('-real')));
    assert.deepEqual(parseDeviceStates('No devices found\n'), []);
    assert.throws(() => parseDeviceStates('vg0-d1|LVM-x|Odd\n'), { code: 'command-failed' });
  });

  it('names the pool of a thin volume', () => {
    assert.equal(parsePoolNumber(transcript('dmsetup-1.02.185-table-thin.txt')), '254:3');
    assert.equal(parsePoolNumber('0 655360 linear 98:0 2048\n'), undefined);
  });

  it('says how full a snapshot is, or why it is worth nothing', () => {
    const whole = transcript('dmsetup-1.02.185-status-snapshot.txt');
    assert.deepEqual(parseSnapshotStatus(whole), { used: 16, total: 131_072 });
    const over = transcript('dmsetup-1.02.185-status-snapshot-invalid.txt');
    assert.deepEqual(parseSnapshotStatus(over), { broken: 'Invalid' });
    assert.deepEqual(parseSnapshotStatus('0 8 snapshot Merge failed\n'), { broken: 'Merge failed' });
    assert.throws(() => parseSnapshotStatus(''), { code: 'command-failed' });
  });
});

describe('figures of a device', () => {
  it('gives what was written', () => {
    assert.equal(parseWritten('   12  0  96  4   35  2  2048  20  0  1 2 0 0 0 0 0 0\n'), 2048 * 512);
    assert.throws(() => parseWritten('1 2 3'), { code: 'io' });
  });
});
