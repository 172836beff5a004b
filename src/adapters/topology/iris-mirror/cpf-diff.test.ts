import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Area, areas, listedAreas, type MemberSettings, mirrorDifferences } from './cpf-diff.ts';

const cpf = `[ConfigFile]
Product=IRIS
Version=2024.1
[Databases]
IRISSYS=/isc/a/mgr/
APP=/isc/a/app/,,1
REMOTE=/isc/x/,server1
[Namespaces]
%SYS=IRISSYS
APP=APP, APP
[Map.APP]
Global_Orders*=APP
Package_HS.Local=APP
[MirrorMember]
SystemName=NODEA/IRIS
[Mirrors]
STAGE=GUID-1,2,1,,8000,0,0,,0,node-a,2188,arbiter|2188
[MapMirrors.STAGE]
NODEA/IRIS=node-a,2188
[Startup]
DefaultPort=1972
TerminalPrompt=8,3,2
[Journal]
CurrentDirectory=/jrn/a/
CompressFiles=1
[config]
globals=0,0,800,0,0,0
wijdir=/wij/a/
`;
const lists: MemberSettings['lists'] = Object.fromEntries(
  listedAreas.map((area) => [area, new Map([['known', 'same']])]),
);
const first: MemberSettings = { name: 'db1', cpf, lists };
const changed = (change: (text: string) => string, more: MemberSettings['lists'] = {}): MemberSettings => ({
  name: 'db2',
  cpf: change(cpf),
  lists: { ...lists, ...more },
});
const said = (other: MemberSettings) =>
  mirrorDifferences(first, other).map(({ area, kind, item, member }) => [area, kind, item, member ?? '']);

describe('what a mirror does not replicate', () => {
  it('says nothing of members that differ only by machine: places, ports, own names, a no-failover flag', () => {
    const there = changed((text) =>
      text
        .replaceAll('/isc/a/', '/data/b/')
        .replace('/jrn/a/', '/jrn/b/')
        .replace('/wij/a/', '/wij/b/')
        .replace('DefaultPort=1972', 'DefaultPort=1973')
        .replace('SystemName=NODEA/IRIS', 'SystemName=NODEB/IRIS')
        .replace('GUID-1,2,1,,8000', 'GUID-1,2,1,NODEA/IRIS,8000')
        .replace('APP=APP, APP', 'APP=APP,APP'),
    );
    assert.deepEqual(said(there), []);
    assert.deepEqual(said({ ...first, name: 'db2' }), []);
  });

  it('names each difference with the member that lacks it and with what to do', () => {
    const cases: readonly (readonly [string, (text: string) => string, readonly unknown[]])[] = [
      [
        'a release',
        (text) => text.replace('Version=2024.1', 'Version=2023.1'),
        ['version', 'different', 'Version', ''],
      ],
      ['a namespace', (text) => text.replace('APP=APP, APP\n', ''), ['namespaces', 'missing', 'APP', 'db2']],
      [
        'where it leads',
        (text) => text.replace('APP=APP, APP', 'APP=APP,IRISSYS'),
        ['namespaces', 'different', 'APP', ''],
      ],
      [
        'a mapping',
        (text) => text.replace('Package_HS.Local=APP\n', ''),
        ['mappings', 'missing', '[Map.APP]Package_HS.Local', 'db2'],
      ],
      [
        'a mapping more',
        (text) => text.replace('[Map.APP]\n', '[Map.APP]\nRoutine_X=APP\n'),
        ['mappings', 'missing', '[Map.APP]Routine_X', 'db1'],
      ],
      ['a database', (text) => text.replace('APP=/isc/a/app/,,1\n', ''), ['databases', 'missing', 'APP', 'db2']],
      [
        'a database that is another machine’s',
        (text) => text.replace('/isc/a/app/,,1', '/isc/a/app/,server1'),
        ['databases', 'different', 'APP', ''],
      ],
      ['the timeout', (text) => text.replace('8000', '9000'), ['mirror', 'different', '[Mirrors]STAGE', '']],
      [
        'a setting',
        (text) => text.replace('globals=0,0,800', 'globals=0,0,400'),
        ['settings', 'different', '[config]globals', ''],
      ],
      ['a section', (text) => `${text}[Telnet]\nPort=23\n`, ['settings', 'missing', '[Telnet]Port', 'db1']],
    ];
    for (const [what, change, expected] of cases) {
      const there = changed(change);
      assert.deepEqual(said(there), [expected], what);
      const [difference] = mirrorDifferences(first, there);
      assert.equal(difference?.remedy, areas[expected[0] as Area]);
      assert.match(difference?.said ?? '', /db1.*db2|db2.*db1/);
    }
  });

  it('compares exported lists, and says which were not', () => {
    for (const area of listedAreas) {
      assert.deepEqual(said(changed(String, { [area]: new Map([['known', 'other']]) })), [
        [area, 'different', 'known', ''],
      ]);
      assert.deepEqual(said(changed(String, { [area]: new Map() })), [[area, 'missing', 'known', 'db2']]);
    }
    const { users: _, ...without } = lists;
    const silent: MemberSettings = { name: 'db2', cpf, lists: without };
    assert.deepEqual(said(silent), [['users', 'not-compared', '', '']]);
    assert.match(mirrorDifferences(first, silent)[0]?.said ?? '', /no list of db2$/);
    assert.equal(mirrorDifferences({ ...first, lists: {} }, { ...silent, lists: {} }).length, listedAreas.length);
  });

  it('quotes a long definition only in part, and a CPF that says nothing as one that lacks everything', () => {
    const long = changed(String, { tasks: new Map([['known', 'x'.repeat(100)]]) });
    assert.match(mirrorDifferences(first, long)[0]?.said ?? '', /"x{57}\.\.\." on db2$/);
    const empty = mirrorDifferences(first, { name: 'db2', cpf: '', lists });
    assert.ok(empty.length > 5);
    assert.ok(empty.every(({ member }) => member === 'db2'));
  });
});
