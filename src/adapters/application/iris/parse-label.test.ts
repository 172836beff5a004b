import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseDirectoryList, parseLabel, parseMemory, parseRestore } from './parse-label.ts';

const label = `Node: db1, Instance: IRIS

%SYS>
SP:date=SEP 17 2022
%SYS>
SP:time=03:28PM
SP:type=Full
SP:began=66369,55706
SP:prevdate=SEP 16 2022
SP:prevtime=09:11AM
SP:prevtype=Incremental
SP:fulldate=SEP 10 2022
SP:fulltime=09:00AM
SP:description=nightly
SP:directory=/isc/data/demo/
SP:directory=/isc/iris/mgr/user/
`;

const restore = `The following directories will be restored:
***Restoring /usr/irissys/mgr/t1/ to /usr/irissys/mgr/t1rest/ at 15:06:39
14085 blocks restored in 0.2 seconds for this pass, 14085 total restored.

Starting skip of /usr/irissys/mgr/user/.

    skipped 371 blocks in .006246 seconds.

***Restoring /usr/irissys/mgr/t1/ to /usr/irissys/mgr/t1rest/ at 15:06:39
***Restoring /usr/irissys/mgr/t2/ at 15:06:39

Mounting /usr/irissys/mgr/t1rest/
    /usr/irissys/mgr/t1rest/  ... (Mounted)

[Journal not applied to any directory]
`;

describe('iris: labels, history and restores of the own backup', () => {
  it('reads the label of a file', () => {
    assert.deepEqual(parseLabel(label), {
      description: 'nightly',
      level: 'full',
      name: 'SEP 17 2022 03:28PM Full',
      previous: 'SEP 16 2022 09:11AM Incremental',
      lastFull: 'SEP 10 2022 09:00AM',
      index: 66_369_055_706,
      directories: ['/isc/data/demo/', '/isc/iris/mgr/user/'],
    });
    const first = parseLabel(label.replaceAll(/SP:(?:prev|full|began).*\n/g, ''));
    assert.deepEqual([first?.previous, first?.lastFull, first?.index], ['', '', 0]);
    assert.equal(parseLabel(label.replace('type=Full', 'type=Cumulative Incremental'))?.level, 'cumulative');
    assert.equal(parseLabel(label.replace('type=Full', 'type=Differential'))?.level, undefined);
  });

  it('takes a file without date, time or type for no backup', () => {
    for (const key of ['date', 'time', 'type']) {
      assert.equal(parseLabel(label.replace(new RegExp(`SP:${key}=.*\\n`), `SP:${key}=\n`)), undefined);
    }
    assert.equal(parseLabel(''), undefined);
  });

  it('reads what the engine remembers, and knows when that is not whole', () => {
    const said =
      'SP:full=1|2026-11-21 10:00:00|a|b c|/x.cbk\nSP:abort=0\nSP:history=67895039602=two=2\nSP:history=67895039600=\nSP:history=x\nSP:walked=1\n';
    assert.deepEqual(parseMemory(said), {
      lastFull: 'a|b c',
      history: [
        { index: 67_895_039_602, description: 'two=2' },
        { index: 67_895_039_600, description: '' },
      ],
      aborting: false,
    });
    assert.equal(parseMemory(said.replace(/SP:walked.*/, '<PROTECT>')).history, undefined);
    assert.deepEqual(parseMemory('SP:abort=1\nSP:walked=1\n'), { lastFull: undefined, history: [], aborting: true });
    assert.equal(parseMemory('SP:full=0|No information recorded about a full backup').lastFull, undefined);
  });

  it('finds the directories of a list between its titles', () => {
    assert.deepEqual(parseDirectoryList('List of directories\r\n /a/b/ \r\n\r\n/c/\n/d\nE:\\f\\\n'), ['/a/b/', '/c/']);
  });

  it('reads which databases a restore wrote and mounted', () => {
    assert.deepEqual(parseRestore(restore), {
      restored: ['/usr/irissys/mgr/t1rest/', '/usr/irissys/mgr/t2/'],
      mounted: ['/usr/irissys/mgr/t1rest/'],
      complaints: [],
    });
    const broken = parseRestore('ERROR #5001: no\n<PROTECT>*x\nThe database could not be mounted\nit cannot be\n');
    assert.equal(broken.complaints.length, 4);
  });

  it('never throws', () => {
    const lines = [...label.split('\n'), ...restore.split('\n')];
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string(), fc.constantFrom(...lines))), (some) => {
        const text = some.join('\n');
        assert.ok((parseLabel(text)?.name ?? 'x') !== '');
        parseMemory(text);
        parseDirectoryList(text);
        parseRestore(text);
      }),
    );
  });
});
