import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mirrorsOf, parseAnswers, parseFlag, parsePair, parseQos, parseSpace, refusalIn } from './parse.ts';

const session = `
Node: nodea, Instance: IRIS

%SYS>write !,"SP:member=",$SYSTEM.Mirror.IsMember(),!

SP:member=1
%SYS>
SP:row=1^nodea/iris^Primary^Active^N/A^N/A^N/A^N/A^Failover^Primary
SP:row=2^NODEB/IRIS^Backup^Active^Active^Caught up^Active^2 seconds behind^Failover^Backup
SP:rows=2
%SYS>
SP:databases=0
SP:missing=1^:mirror:STAGE:APP
SP:missings=1
<METHOD DOES NOT EXIST> *AsyncDejournalStatus,SYS.Mirror
SP:end=abc
`;

describe('answers of a session', () => {
  it('are taken from lines of their own, behind prompts, echoes and errors', () => {
    const answers = parseAnswers(session, 'abc');
    assert.equal(answers.complete, true);
    assert.equal(answers.values.get('member'), '1');
    assert.equal(answers.values.has('dejournal'), false);
    assert.deepEqual(answers.databases, []);
    assert.deepEqual(answers.missing, [':mirror:STAGE:APP']);
    assert.deepEqual(answers.rows?.[0], {
      name: 'NODEA/IRIS',
      role: 'Primary',
      status: 'Active',
      journalLatency: 'N/A',
      databaseLatency: 'N/A',
      journalTime: 'N/A',
      databaseTime: 'N/A',
      displayType: 'Failover',
      displayStatus: 'Primary',
    });
    assert.equal(answers.rows?.[1]?.databaseTime, '2 seconds behind');
    assert.deepEqual(parseAnswers('SP:database=1^APP^Normal\r\nSP:databases=1\r\n', '').databases, [
      { name: 'APP', status: 'Normal' },
    ]);
  });

  it('are not whole without their end, and another end is none', () => {
    assert.equal(parseAnswers(session.replace('SP:end=abc', ''), 'abc').complete, false);
    assert.equal(parseAnswers(session, 'abd').complete, false);
    assert.equal(parseAnswers('', 'abc').complete, false);
  });

  it('hold a list only if it is whole', () => {
    for (const half of [
      session.replace('SP:rows=2', 'SP:rows=3'),
      session.replace('SP:rows=2', ''),
      session.replace('SP:rows=2', 'SP:rows=two'),
      session.replace('SP:row=1^nodea/iris^Primary^Active^N/A', 'SP:row=1^nodea/iris^Primary^Active'),
      session.replace('SP:row=2', 'SP:row=3'),
      session.replace('SP:row=1', 'SP:xrow=1'),
    ]) {
      assert.equal(parseAnswers(half, 'abc').rows, undefined, half);
    }
  });

  it('tell pair, timeout, flag and mirrors, or nothing', () => {
    assert.deepEqual(parsePair('nodea/iris^Primary^Active'), {
      name: 'NODEA/IRIS',
      role: 'Primary',
      status: 'Active',
    });
    for (const other of [undefined, '', '^^', 'A', 'A^Primary', 'A^Primary^Active^more'])
      assert.equal(parsePair(other), undefined);
    assert.equal(parseQos('8000'), 8000);
    for (const other of [undefined, '', '0', '-1', '8s']) assert.equal(parseQos(other), undefined);
    const flag = (values: Record<string, string>) => parseFlag({ values: new Map(Object.entries(values)) });
    assert.equal(flag({ settings: '1', heldoff: '' }), '');
    assert.equal(flag({ settings: '1', heldoff: 'NodeA/IRIS' }), 'NODEA/IRIS');
    assert.equal(flag({ settings: '0', heldoff: '' }), undefined);
    assert.equal(flag({ settings: '1' }), undefined);
    assert.deepEqual(mirrorsOf(new Map([['mirrors', 'ONE^TWO']])), ['ONE', 'TWO']);
    assert.deepEqual(mirrorsOf(new Map()), []);
  });

  it('are refused for known reasons, of which some are a matter of rights', () => {
    const cases: readonly (readonly [string, boolean, RegExp])[] = [
      ['\n<LICENSE LIMIT EXCEEDED>\n', true, /licence/],
      ['\n<ACCESS DENIED>\n', true, /refused/],
      ['\nUsername: ', true, /user name/],
      ['\n<NAMESPACE>\n', true, /%SYS/],
      ['<PROTECT> *Get', true, /may not/],
      ['<CLASS DOES NOT EXIST> *SYS.Mirror', true, /Startup Namespace/],
      ['Sign-on inhibited: Startup or Installation in progress', false, /logins are disabled/],
      ['Instance IRIS is not running', false, /does not run/],
      ['\u0000\u0001garbage', false, /no answers/],
      ['', false, /no answers/],
    ];
    for (const [output, login, said] of cases) {
      assert.equal(refusalIn(output).login, login, output);
      assert.match(refusalIn(output).said, said);
    }
  });

  it('read the space of a file system as POSIX prints it', () => {
    const df = `Filesystem     1024-blocks     Used Available Capacity Mounted on
/dev/mapper/vg-jrn    1048576   943718    104858      90% /isc/journal
`;
    assert.deepEqual(parseSpace(df), { freeBytes: 104_858 * 1024, usedPercent: 90 });
    assert.equal(parseSpace('df: /isc/journal: No such file or directory\n'), undefined);
  });
});
