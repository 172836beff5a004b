import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { StunScanner, type ScannedLog } from './parse-stun.ts';
import { stunsOf } from './stun-causes.ts';

const transcripts = new URL('../../test/transcripts/', import.meta.url);
const written = Date.parse('2011-01-02T00:00:00Z');

function scan(lines: readonly string[], writtenMs = written): ScannedLog {
  const scanner = new StunScanner();
  for (const line of lines) scanner.push(line);
  return scanner.result(writtenMs);
}

function transcript(name: string): ScannedLog {
  return scan(readFileSync(new URL(name, transcripts), 'utf8').split('\n'));
}

function told(log: ScannedLog): readonly string[] {
  return stunsOf([{ file: 'f', events: log.events }]).map(
    ({ atMs, durationMs, cause, snapshot }) =>
      `${new Date(atMs).toISOString()} ${durationMs} ${cause}${snapshot === undefined ? '' : ` '${snapshot}'`}`,
  );
}

const at = '2017-01-04T22:15:58.846Z';
const stunLine = (us: number | string): string => `${at}| vcpu-0| I125: Checkpoint_Unstun: vm stopped for ${us} us`;

describe('StunScanner', () => {
  it('reads the layout of ESXi 5 to 6.7', () => {
    const log = transcript('vmware-log-esxi-6.txt');
    assert.deepEqual(told(log), [
      "2019-03-12T02:00:14.205Z 291.406 creation 'nightly backup'",
      "2019-03-12T02:31:40.702Z 512.008 helper 'Consolidate Helper- 0'",
      '2019-03-12T02:33:02.511Z 1730.221 consolidation',
      '2019-03-12T02:33:09.093Z 4410.973 consolidation',
      "2019-03-12T09:15:46.409Z 1290.117 creation-memory 'before the update, it's safe'",
    ]);
    assert.deepEqual(log.period, {
      fromMs: Date.parse('2019-03-11T21:29:58.104Z'),
      toMs: Date.parse('2019-03-12T09:16:31.077Z'),
    });
    assert.deepEqual([log.torn, log.yearGuessed], [0, false]);
  });

  it('reads the layout of ESXi 7 and 8, which tells a stun in two words', () => {
    assert.deepEqual(told(transcript('vmware-log-esxi-8.txt')), [
      "2024-06-03T22:10:40.812Z 140.507 creation-memory 'before patch day'",
      "2024-06-04T01:00:22.705Z 414.878 creation 'nightly'",
      '2024-06-04T01:21:47.620Z 937.796 consolidation',
      '2024-06-04T08:52:41.951Z 402.1 migration',
      '2024-06-04T11:40:08.990Z 11.223 other',
    ]);
  });

  it('reads the layout without a year over a new year', () => {
    const log = transcript('vmware-log-esx-4.txt');
    assert.equal(log.yearGuessed, true);
    assert.deepEqual(told(log), [
      "2010-12-31T23:10:03.118Z 688.417 creation 'weekly'",
      '2011-01-01T00:05:15.009Z 3711.025 consolidation',
      "2011-01-01T00:05:15.640Z 574.655 helper 'Consolidate Helper'",
      '2011-01-01T00:05:19.802Z 2191.061 consolidation',
    ]);
  });

  it('takes a year that ended before the file was written, but for a clock that was a day ahead', () => {
    const lines = ['Jan 02 12:00:00.000: vcpu-0| Checkpoint_Unstun: vm stopped for 5 us'];
    const yearOf = (writtenAt: string): string | undefined => told(scan(lines, Date.parse(writtenAt)))[0]?.slice(0, 4);
    assert.equal(yearOf('2012-01-05T00:00:00Z'), '2012');
    assert.equal(yearOf('2012-01-01T18:00:00Z'), '2012');
    assert.equal(yearOf('2011-12-30T00:00:00Z'), '2011');
    assert.equal(yearOf('2012-01-01T06:00:00Z'), '2011');
  });

  it('is not led astray by a clock that was set back', () => {
    const line = (stamp: string): string => `${stamp}: vcpu-0| Checkpoint_Unstun: vm stopped for 7 us`;
    const log = scan(['Dec 31 10:00:00.000', 'Dec 30 10:00:00.000', 'Jan  1 10:00:00.000'].map(line));
    assert.deepEqual(
      told(log).map((each) => each.slice(0, 10)),
      ['2010-12-31', '2010-12-30', '2011-01-01'],
    );
  });

  it('reads variants of both layouts', () => {
    for (const line of [
      stunLine(38123),
      `${stunLine(38123)}\r`,
      '2017-01-04T22:15:58.846Z| vcpu-0| Checkpoint_Unstun: vm stopped for 38123 us',
      '2017-01-04T23:15:58.846+01:00| vcpu-0| I005: Checkpoint_Unstun: vm stopped for 38123 us',
      '2017-01-04T22:15:58.846Z vcpu-0| Checkpoint_Unstun: vm stopped for 38123 us',
      '2017-01-04T22:15:58.846Z In(05) vcpu-0 - Checkpoint_Unstun: vm stopped for 38123 us',
      '2017-01-04T22:15:58.846Z In(05)+ vcpu-0 opid-1 Checkpoint_Unstun: vm stopped for 38123 us',
    ])
      assert.deepEqual(told(scan([line])), [`${at} 38.123 other`], line);
  });

  it('counts no stun that only a name speaks of', () => {
    const name = "Checkpoint_Unstun: vm stopped for 99000000 us', deviceState=1";
    const log = scan([
      `${at}| vmx| I125: SnapshotVMX_TakeSnapshot start: '${name}', deviceState=0, lazy=0`,
      stunLine(5),
    ]);
    assert.deepEqual(
      stunsOf([{ file: 'f', events: log.events }]).map(({ durationMs }) => durationMs),
      [0.005],
    );
  });

  it('tells of lines about a stun that are too damaged', () => {
    const log = scan([
      'vcpu-0| I125: Checkpoint_Unstun: vm stopped for 3711025 us',
      stunLine(38123).slice(0, -3),
      stunLine('9'.repeat(20)),
      `${at}| vmx| I125: DISK: OPEN sc${stunLine(1)}`,
      '2017-01-04T22:15:58.846Z In(05) vcpu-0 - CPT: vm was stunned for',
      '2017-99-04T22:15:58.846Z| vcpu-0| I125: Checkpoint_Unstun: vm stopped for 5 us',
      'Jan 32 22:15:58.846: vcpu-0| Checkpoint_Unstun: vm stopped for 5 us',
      'Jan 00 22:15:58.846: vcpu-0| Checkpoint_Unstun: vm stopped for 5 us',
      'Jan 02 29:15:58.846: vcpu-0| Checkpoint_Unstun: vm stopped for 5 us',
      'Jam 02 22:15:58.846: vcpu-0| Checkpoint_Unstun: vm stopped for 5 us',
      stunLine(17),
    ]);
    assert.deepEqual([log.torn, told(log)], [10, [`${at} 0.017 other`]]);
  });

  it('does not take other logs for a vmware.log', () => {
    for (const lines of [
      [],
      [''],
      ['2017-01-04T22:15:58.846Z cpu12:2097234)WARNING: Checkpoint_Unstun: vm stopped for 5 us'],
      ['Jan  4 22:15:58 db1 systemd[1]: Started Session 1 of User root.'],
      ['{"at":"2017-01-04T22:15:58.846Z"}'],
    ])
      assert.equal(scan(lines).period, undefined, lines[0]);
  });

  it('knows the other beginnings and ends of work', () => {
    const lines = (...messages: readonly string[]): ScannedLog =>
      scan(messages.map((each) => `${at}| vmx| I125: ${each}`));
    const kinds = ({ events }: ScannedLog): readonly string[] =>
      events.map((event) =>
        event.kind === 'stun' || event.kind === 'start' ? event.kind : `${event.kind} ${event.of}`,
      );
    assert.deepEqual(
      kinds(
        lines(
          'Log for VMware Workstation pid=1 version=17',
          "SNAPSHOT: SnapshotVMX_TakeSnapshot start: 'a'",
          'SnapshotVMXTakeSnapshotWork: Transition to mode 0.',
          'SnapshotVMXTakeSnapshotComplete: Snapshot 0 failed: no space',
          'Migrate_Open: Restoring from <10.0.0.2> with migration id 5',
          'Migrate: cleaning up migration state.',
          'Migrate: something else',
          'ConfigDB: Setting scsi0:0.redo = ""',
        ),
      ),
      ['start', 'begin snapshot', 'sign snapshot', 'end snapshot', 'sign migration', 'end migration'],
    );
  });

  it('never throws, whatever the lines are, and never counts more stuns than lines', () => {
    const stamp = fc.constantFrom(
      `${at}| vcpu-0| I125: `,
      `${at} In(05) vmx - `,
      'Feb 29 01:02:03.004: vmx| ',
      '',
      '9999-99-99T99:99:99Z| a| ',
    );
    const message = fc.oneof(
      fc.string(),
      fc.constantFrom(
        'Checkpoint_Unstun: vm stopped for 5 us',
        "SnapshotVMX_TakeSnapshot start: 'x",
        'ConsolidateEnd',
        'Log for VMware ',
      ),
      fc.string({ unit: 'binary' }),
    );
    const line = fc.tuple(stamp, message, fc.nat(80)).map(([a, b, cut]) => (a + b).slice(cut % 7 === 0 ? cut : 0));
    fc.assert(
      fc.property(fc.array(line), fc.date({ noInvalidDate: true }), (lines, date) => {
        const log = scan(lines, date.getTime());
        assert.ok(stunsOf([{ file: 'f', events: log.events }]).length + log.torn <= lines.length);
        assert.equal(log.lines, lines.length);
      }),
    );
  });
});
