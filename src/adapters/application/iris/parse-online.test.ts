import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseBackupSize, parseOnlineLog, parseOnlineReturn } from './parse-online.ts';

const log = `Performing a Full backup.
Journal file switched to:
/isc/jrnpri/MIRROR-AUGEST-20220917.011

Starting backup pass 1
Backing up /isc/data/demo/ at 09/17/2022 15:28:26
Copied 82 blocks in 0.004 seconds

Finished this pass of copying /isc/data/demo/

Backup pass 1 complete at 09/17/2022 15:28:29
WARNING - the following directories could not be backed up
/isc/data/ro/ (Database is readonly)

Starting backup pass 2
Backup pass 2 complete at 09/17/2022 15:28:33

Starting backup pass 3

Journal file '/isc/jrnpri/MIRROR-AUGEST-20220917.010' and the subsequent ones are required for recovery purpose if the backup were to be restored

Journal marker set at
offset 197572 of /isc/jrnpri/MIRROR-AUGEST-20220917.011

 - This is the last pass - Suspending write daemon
Backing up /isc/data/demo/ at 09/17/2022 15:28:35
Copied 2 blocks in 0.000 seconds

Backup pass 3 complete at 09/17/2022 15:28:35

***FINISHED BACKUP***

Global references are enabled.

Backup complete.
`;

describe('iris: online backup', () => {
  it('reads the log of a whole one', () => {
    assert.deepEqual(parseOnlineLog(log.replaceAll('\n', '\r\n')), {
      finished: true,
      enabled: true,
      resumed: true,
      passesBegun: 3,
      passes: 3,
      lastPass: true,
      made: 'full',
      databases: ['/isc/data/demo/'],
      blocks: 84,
      requiredFile: '/isc/jrnpri/MIRROR-AUGEST-20220917.010',
      journalFile: '/isc/jrnpri/MIRROR-AUGEST-20220917.011',
      markerOffset: '197572',
      warnings: ['WARNING - the following directories could not be backed up /isc/data/ro/ (Database is readonly)'],
    });
  });

  it('does not take a half one for whole', () => {
    assert.equal(parseOnlineLog(log.replace('***FINISHED BACKUP***', '')).finished, false);
    assert.equal(parseOnlineLog(log.replace('Backup complete.', '')).finished, false);
    const stuck = parseOnlineLog(log.slice(0, log.indexOf('Copied 2 blocks')));
    assert.deepEqual([stuck.finished, stuck.enabled, stuck.lastPass, stuck.passes], [false, false, true, 2]);
    assert.deepEqual([parseOnlineLog('').enabled, parseOnlineLog('').resumed], [true, false]);
    assert.equal(parseOnlineLog('no level is named').made, undefined);
  });

  it('reads the level that was made, also where another was asked for', () => {
    assert.equal(parseOnlineLog('Performing an Incremental backup').made, 'incremental');
    assert.equal(parseOnlineLog('A backup was asked for; making a FULL one: full backup').made, 'full');
    assert.equal(parseOnlineLog('WARNING at the end').warnings.length, 1);
  });

  it('reads what BACKUP^DBACK returns', () => {
    assert.deepEqual(parseOnlineReturn('0'), { done: false, warnings: [] });
    assert.deepEqual(parseOnlineReturn('1'), { done: true, warnings: [] });
    assert.deepEqual(parseOnlineReturn('1,one~two'), { done: true, warnings: ['one', 'two'] });
    assert.equal(parseOnlineReturn('<SYNTAX>'), undefined);
  });

  it('reads the seven pieces of INT^DBSIZE', () => {
    assert.deepEqual(parseBackupSize('18950^5^160952320^2710^160309248^313104^313104\n'), {
      blocks: 18950,
      directories: 5,
      mediaBytes: 160952320,
      mediaBlocks: 2710,
      fileBytes: 160309248,
    });
    assert.equal(parseBackupSize('-1^5^160952320^2710^160309248^313104^313104'), undefined);
    assert.equal(parseBackupSize('18950^5'), undefined);
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string(), fc.constantFrom(...log.split('\n')))), (lines) => {
        const text = lines.join('\n');
        const seen = parseOnlineLog(text);
        assert.ok(!seen.finished || text.includes('***FINISHED BACKUP***'));
        parseOnlineReturn(text);
        parseBackupSize(text);
      }),
    );
  });
});
