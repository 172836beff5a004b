import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { judgeIntegrity, parseIntegrity, parseJournalRestore } from './parse-verify.ts';

const clean = `
No Errors were found.

Full Listing of Databases Checked

Directory: /copy/one/
0 globals with errors found

Global: Aviation.AircraftD
 0 errors found
 Top/Bottom Pnt Level: # of blocks=1 8kb (6% full)
Global: Aviation.AircraftI 0 errors found Data Level: # of blocks=4

Directory: /copy/two/
0 globals with errors found
`;
const broken = `
Directory: /copy/one/
2 globals with errors found
Global: A.B
 3 errors found
**ERROR** block 17
ERROR: whatever
Global: C 1 error found
`;

describe('iris: integrity', () => {
  it('is sound only if all of status, mounts, report and directories say so', () => {
    const report = parseIntegrity(clean);
    const both = ['/copy/one', '/copy/two/'];
    assert.equal(report.saysNoErrors, true);
    assert.deepEqual(judgeIntegrity('1', report, both, both), { sound: true, said: [] });
    assert.equal(judgeIntegrity('0', report, both, both).sound, false);
    assert.equal(judgeIntegrity(undefined, report, both, both).sound, false);
    assert.deepEqual(judgeIntegrity('1', report, both, ['/copy/one/']).said, ['/copy/two/ could not be mounted']);
    const never = judgeIntegrity('1', report, ['/copy/three'], ['/copy/three']);
    assert.deepEqual(never.said, ['/copy/three is not in the report']);
  });

  it('goes by status and mounts when the report was not printed', () => {
    const none = parseIntegrity('%SYS>');
    assert.equal(judgeIntegrity('1', none, ['/a'], ['/a']).sound, true);
    assert.equal(judgeIntegrity('1', none, ['/a'], []).sound, false);
    assert.equal(judgeIntegrity('0', none, ['/a'], ['/a']).sound, false);
  });

  it('names broken globals and error lines', () => {
    const report = parseIntegrity(broken.replaceAll('\n', '\r\n'));
    assert.equal(report.saysNoErrors, false);
    assert.deepEqual(report.broken, [
      { global: 'A.B', errors: 3 },
      { global: 'C', errors: 1 },
    ]);
    const { sound, said } = judgeIntegrity('1', report, ['/copy/one'], ['/copy/one']);
    assert.equal(sound, false);
    assert.equal(said.length, 5);
  });

  it('takes a count without a directory for an error, and a directory without a count for not checked', () => {
    assert.equal(parseIntegrity('0 globals with errors found').errors.length, 1);
    const uncounted = parseIntegrity('Directory: /a/');
    assert.equal(uncounted.directories[0]?.globalsWithErrors, undefined);
    assert.equal(judgeIntegrity('1', uncounted, ['/a'], ['/a']).sound, false);
  });
});

describe('iris: journal restore', () => {
  it('reads what was applied, updated and skipped', () => {
    const output = `Journal file being applied: /usr/irissys/mgr/journal/20240426.002
/usr/irissys/mgr/journal/20240426.002
  0.81% 100.00%
[Journal restore completed at 20240426 14:10:16]

The following databases have been updated:

1. /usr/irissys/mgr/t1rest/
2. /usr/irissys/mgr/t2rest/

The following databases have been skipped:

1. /usr/irissys/mgr/user/

 1) Begin Journaling (^JRNSTART)
3. not in a list
`;
    assert.deepEqual(parseJournalRestore(output), {
      completedAt: '20240426 14:10:16',
      updated: ['/usr/irissys/mgr/t1rest/', '/usr/irissys/mgr/t2rest/'],
      skipped: ['/usr/irissys/mgr/user/'],
      applied: ['/usr/irissys/mgr/journal/20240426.002'],
    });
    assert.equal(parseJournalRestore('').completedAt, undefined);
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        parseJournalRestore(text);
        judgeIntegrity(undefined, parseIntegrity(text), ['/x'], []);
      }),
    );
  });
});
