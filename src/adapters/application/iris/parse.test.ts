import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  answersOf,
  methodExit,
  mirrorSuitability,
  parseAnswers,
  parseLocalMirrorStatus,
  parseMemberStatusList,
  refusalIn,
  roleOf,
  verbExit,
} from './parse.ts';

const ended = (exitCode: number | null, more = {}) => ({ exitCode, timedOut: false, cancelled: false, ...more });

describe('iris: exit codes', () => {
  it('takes 5 as yes and 3 as no, and nothing else as either', () => {
    assert.equal(methodExit(ended(5)), 'yes');
    assert.equal(methodExit(ended(3)), 'no');
    for (const code of [0, 1, 2, 4, 6, 124, 125, 126, 127, 137, 255, null]) {
      assert.equal(methodExit(ended(code)), 'unknown', String(code));
    }
    assert.equal(methodExit(ended(5, { timedOut: true })), 'unknown');
    assert.equal(methodExit(ended(3, { cancelled: true })), 'unknown');
  });

  it('takes 0 and 1 of the newer verbs, and 5 and 3 there as unknown', () => {
    assert.equal(verbExit(ended(0)), 'yes');
    assert.equal(verbExit(ended(1)), 'no');
    for (const code of [5, 3, 127, null]) assert.equal(verbExit(ended(code)), 'unknown', String(code));
    assert.equal(verbExit(ended(0, { timedOut: true })), 'unknown');
    assert.equal(verbExit(ended(0, { cancelled: true })), 'unknown');
  });
});

describe('iris: answers of a session', () => {
  const output = [
    'Node: mirrorB, Instance: IRIS',
    '',
    '%SYS>',
    'SP:journal=Normal',
    '%SYS>SP:suspended=0\r',
    '%SYS>SP:journaled=3=/iris/db1',
    '%SYS 2e1>SP:journaled=2=/iris/db=2',
    'SP:required=/iris/journal1/20240425.002',
    'SP:suspended=1  ',
  ].join('\n');

  it('finds them behind prompts, and takes the last of a name', () => {
    const answers = parseAnswers(output);
    assert.equal(answers.get('journal'), 'Normal');
    assert.equal(answers.get('suspended'), '1');
    assert.equal(answers.get('required'), '/iris/journal1/20240425.002');
    assert.equal(answers.get('version'), undefined);
  });

  it('finds all of one name', () => {
    assert.deepEqual(answersOf(output, 'journaled'), ['3=/iris/db1', '2=/iris/db=2']);
    assert.deepEqual(answersOf(output, 'none'), []);
  });

  it('says why a session was refused', () => {
    assert.match(refusalIn('<LICENSE LIMIT EXCEEDED>') ?? '', /licence/);
    assert.match(refusalIn('Access Denied') ?? '', /refused/);
    assert.match(refusalIn('\nUsername: ') ?? '', /operating-system authentication/);
    assert.match(refusalIn('<NAMESPACE>') ?? '', /no namespace/);
    assert.equal(refusalIn('%SYS>'), undefined);
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        parseAnswers(text);
        answersOf(text, 'x');
        refusalIn(text);
        parseLocalMirrorStatus(text);
        parseMemberStatusList(text);
      }),
    );
  });
});

describe('iris: mirrors', () => {
  it('lets settled members be backed up', () => {
    for (const status of ['', 'NOTINIT', 'Not Initialized', 'PRIMARY']) {
      assert.equal(mirrorSuitability(status, undefined, undefined, false).suitable, true, status);
    }
    assert.equal(mirrorSuitability('Backup', '1', undefined, false).suitable, true);
    assert.equal(mirrorSuitability('CONNECTED', undefined, '0', false).suitable, true);
    assert.equal(mirrorSuitability('MULTIASYNC^2/2', undefined, '12.5', false).suitable, true);
    assert.equal(mirrorSuitability('2/2 Connected', undefined, '60', false).suitable, true);
  });

  it('refuses every other state, and a member that has not caught up or does not say so', () => {
    for (const status of ['TRANSITION', 'SYNCHRONIZING', 'WAITING', 'STOPPED', 'CRASHED', 'Error', 'Down', 'unknown']) {
      assert.equal(mirrorSuitability(status, '1', '0', false).suitable, false, status);
    }
    assert.equal(mirrorSuitability('1/2 Connected', '1', '0', false).suitable, false);
    assert.equal(mirrorSuitability('BACKUP', '0|Dejournaling is stopped', '0', false).suitable, false);
    assert.equal(mirrorSuitability('BACKUP', undefined, '0', false).suitable, false);
    assert.equal(mirrorSuitability('BACKUP', '0|Failover is held off', '61', true).suitable, false);
    assert.equal(mirrorSuitability('BACKUP', '0|Failover is held off', '-1', true).suitable, false);
    assert.equal(mirrorSuitability('BACKUP', '0|Failover is held off', undefined, true).suitable, false);
    assert.equal(mirrorSuitability('BACKUP', '0|Failover is held off', '0', true).suitable, true);
    assert.equal(mirrorSuitability('CONNECTED', undefined, '61', false).suitable, false);
    assert.equal(mirrorSuitability('CONNECTED', undefined, '-1', false).suitable, false);
    assert.equal(mirrorSuitability('CONNECTED', undefined, undefined, false).suitable, false);
  });

  it('knows roles by the fields of qlist', () => {
    assert.equal(roleOf('', ''), 'standalone');
    assert.equal(roleOf('Not Member', ''), 'standalone');
    assert.equal(roleOf('Failover', 'Primary'), 'primary');
    assert.equal(roleOf('Failover', 'Backup'), 'backup');
    assert.equal(roleOf('Failover', 'Transition'), undefined);
    assert.equal(roleOf('Disaster Recovery', 'Connected'), 'async');
    assert.equal(roleOf('Indeterminate', ''), undefined);
  });

  it('reads LocalMirrorStatus', () => {
    const output = `
This instance is a Failover member
     Status for mirror MIRRORTEST is "Primary"

Current mirror file #2 ends at 681224
Min trans file #2 min trans index: 680744
`;
    const mirrors = [{ name: 'MIRRORTEST', status: 'Primary' }];
    assert.deepEqual(parseLocalMirrorStatus(output), { memberType: 'Failover', mirrors });
    assert.equal(parseLocalMirrorStatus('<CLASS DOES NOT EXIST>'), undefined);
  });

  it('reads the rows of MemberStatusList', () => {
    const output = `
Member Name:Current Role:Current Status:Journal Transfer Latency:Dejournal Latency:Journal Transfer Latency:Dejournal Latency:Display Type:Display Status:
ONE/STAGE:Primary:Active:N/A:N/A:N/A:N/A:Failover:Primary:
TWO/STAGE:Backup:Active:Active:Caught up:Active:Caught up:Failover:Backup:
THREE/STAGE:Async:Async:Caught up:Caught up:Caught up:Caught up:Disaster Recovery:Connected:
a:b
1:2:3:4:5:6:7:8:9:rest`;
    const rows = parseMemberStatusList(output);
    assert.deepEqual(
      rows.map(({ name, role, databaseLatency }) => [name, role, databaseLatency]),
      [
        ['ONE/STAGE', 'Primary', 'N/A'],
        ['TWO/STAGE', 'Backup', 'Caught up'],
        ['THREE/STAGE', 'Async', 'Caught up'],
      ],
    );
    assert.equal(rows[1]?.status, 'Active');
    assert.equal(rows[1]?.journalLatency, 'Active');
    assert.equal(rows[2]?.displayType, 'Disaster Recovery');
    assert.equal(rows[2]?.displayStatus, 'Connected');
  });
});
