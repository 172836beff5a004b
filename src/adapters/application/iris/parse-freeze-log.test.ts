import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseFreezeLog } from './parse-freeze-log.ts';

/** A published log of IRIS 2021.1; the same lines are written by Caché 2015.2, without the warnings. */
const whole = `08/11/2021 05:49:43: Backup.General.ExternalFreeze: Suspending system
08/11/2021 05:49:43: Backup.General.ExternalFreeze: Warning, /usr/irissys/mgr/irislocaldata/ is not being journalled
08/11/2021 05:49:43: Backup.General.ExternalFreeze: Warning, 1 databases are not journalled, data will be lost in them if system crashes while suspended

Journal file switched to:
/iris/journal1/20210811.003
08/11/2021 05:49:43: Backup.General.ExternalFreeze: Start a journal restore for this backup with journal file: /iris/journal1/20210811.003

Journal marker set at
offset 262272 of /iris/journal1/20210811.003
08/11/2021 05:49:44: Backup.General.ExternalFreeze: System suspended
08/11/2021 05:49:54: Backup.General.ExternalThaw: Resuming system
08/11/2021 05:49:55: Backup.General.ExternalThaw: System resumed
`;

describe('iris: freeze log', () => {
  for (const [what, text] of [
    ['Unix', whole],
    ['Windows', whole.replaceAll('\n', '\r\n')],
  ] as const) {
    it(`reads a whole one with the line ends of ${what}`, () => {
      assert.deepEqual(parseFreezeLog(text), {
        begun: true,
        suspended: 1,
        resumed: 1,
        alreadyResumed: false,
        state: 'resumed',
        journalFile: '/iris/journal1/20210811.003',
        markerOffset: '262272',
        notJournaled: ['/usr/irissys/mgr/irislocaldata/'],
        notJournaledCount: 1,
        unknown: [],
      });
    });
  }

  it('is suspended while the thaw has not come, and still while it is at work', () => {
    const lines = whole.split('\n');
    assert.equal(parseFreezeLog(lines.slice(0, 11).join('\n')).state, 'suspended');
    assert.equal(parseFreezeLog(lines.slice(0, 12).join('\n')).state, 'suspended');
    assert.equal(parseFreezeLog(lines.slice(0, 10).join('\n')).state, undefined);
    assert.equal(parseFreezeLog('').begun, false);
  });

  it('sees that a freeze had ended before its thaw', () => {
    const log = parseFreezeLog(whole.replace('System resumed', 'Already resumed'));
    assert.deepEqual([log.alreadyResumed, log.state, log.resumed], [true, 'resumed', 0]);
  });

  it('takes values on the same line, and marks without one', () => {
    const same = parseFreezeLog('Journal file switched to: /j/1\nJournal marker set at offset 7 of /j/1');
    assert.deepEqual([same.journalFile, same.markerOffset], ['/j/1', '7']);
    assert.equal(parseFreezeLog('Journal file switched to:').journalFile, undefined);
    assert.equal(parseFreezeLog('Journal file switched to:\n').journalFile, undefined);
    assert.deepEqual(parseFreezeLog('Journal marker set at\nnowhere').unknown, ['Journal marker set at nowhere']);
  });

  it('keeps the file to start with over the one switched to, and errors as unknown lines', () => {
    const log =
      parseFreezeLog(`01/04/2017 16:30:35: Backup.General.ExternalFreeze: Start a journal restore for this backup with journal file: /j/2
Journal file switched to:
/j/3
01/04/2017 16:30:36: Backup.General.ExternalFreeze: Failed to suspend system
ERROR #5001: whatever`);
    assert.equal(log.journalFile, '/j/2');
    assert.equal(log.unknown.length, 2);
  });

  it('never throws', () => {
    const piece = fc.oneof(fc.string(), fc.constantFrom(...whole.split('\n')));
    fc.assert(
      fc.property(fc.array(piece), (lines) => {
        const log = parseFreezeLog(lines.join('\n'));
        assert.ok(log.state !== 'suspended' || log.suspended > 0);
      }),
    );
  });
});
