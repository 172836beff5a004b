import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { listsScript } from './commands-lists.ts';
import { directoryIn, localDatabases, parseCatalogue, parseLists } from './parse-lists.ts';

const nonce = 'n0';
const lists = (...lines: readonly string[]) => parseLists([...lines, `SP:end=${nonce}`].join('\r\n'), nonce);

describe('lists of a member', () => {
  it('are whole or are none', () => {
    const whole = ['SP:role=1^%All^%DB_USER:RW^', 'SP:role=2^App^b, a^%All', 'SP:roles=2'];
    assert.deepEqual(
      [...(lists(...whole)?.lists.roles ?? [])],
      [
        ['%All', 'Resources=%DB_USER:RW; GrantedRoles='],
        ['App', 'Resources=a,b; GrantedRoles=%All'],
      ],
    );
    assert.equal(lists(whole[0] ?? '', 'SP:roles=2')?.lists.roles, undefined, 'a row is missing');
    assert.equal(lists(whole[1] ?? '', 'SP:roles=1')?.lists.roles, undefined, 'another number');
    assert.equal(lists('SP:role=1^%All', 'SP:roles=1')?.lists.roles, undefined, 'a column is missing');
    assert.equal(lists('SP:roles=0')?.lists.roles?.size, 0);
    assert.equal(lists()?.lists.roles, undefined);
    assert.equal(parseLists(whole.join('\n'), nonce), undefined, 'the session did not end');
  });

  it('tell items of one name apart, and keep their own marks out of definitions', () => {
    const row = (number: number, resources: string): string => `SP:role=${number}^App^${resources}^`;
    assert.deepEqual(
      [...(lists(row(1, 'a;b'), row(2, 'c'), row(3, 'd;,e'), 'SP:roles=3')?.lists.roles ?? [])],
      [
        ['App', 'Resources=a,b; GrantedRoles='],
        ['App (2)', 'Resources=c; GrantedRoles='],
        ['App (3)', 'Resources=d,,e; GrantedRoles='],
      ],
    );
  });

  it('tell which databases are mirrored, and who is primary', () => {
    const told = lists('SP:primary=1', 'SP:mirrored=1^APP^/isc/app', 'SP:mirrored=2^X^/isc/x/', 'SP:mirroreds=2');
    assert.deepEqual([...(told?.mirrored ?? [])], ['/isc/app/', '/isc/x/']);
    assert.equal(told?.isPrimary, true);
    assert.equal(lists()?.mirrored, undefined);
    assert.equal(lists()?.isPrimary, false);
  });

  it('are never asked for passwords, hashes or the settings of tasks', () => {
    assert.doesNotMatch(listsScript('M', nonce).join('\n'), /password|salt|settings/i);
  });
});

describe('databases that are in no mirror', () => {
  const cpf = `[Databases]
IRISSYS=/isc/mgr/
APP=/isc/app/,,1
REF=/isc/ref
ROUT=/isc/rout/
FAR=/isc/far/,server1
UNUSED=/isc/unused/
[Namespaces]
%SYS=IRISSYS
APP=APP,rout
FAR=FAR
EMPTY=
[Map.APP]
Global_Ref*=REF
[Map.OTHER]
Global_Ref*=REF,1
`;
  it('are those that a namespace or a mapping names, on this machine', () => {
    assert.deepEqual(localDatabases(cpf, new Set(['/isc/app/'])), [
      { name: 'REF', directory: '/isc/ref/', namespaces: ['APP', 'OTHER'] },
      { name: 'ROUT', directory: '/isc/rout/', namespaces: ['APP'] },
    ]);
    assert.deepEqual(localDatabases('', new Set()), []);
    assert.deepEqual(localDatabases('[Databases]\nA=\n[Namespaces]\nN=A\n', new Set()), [
      { name: 'A', directory: '/', namespaces: ['N'] },
    ]);
  });

  it('lie where the file says', () => {
    const found = ['app', 'REF', 'FAR', 'NONE'].map((name) => directoryIn(cpf, name));
    assert.deepEqual(found, ['/isc/app/', '/isc/ref/', undefined, undefined]);
    assert.equal(directoryIn('', 'APP'), undefined);
    assert.equal(directoryIn('[Databases]\nA=\n', 'A'), undefined);
  });
});

describe('what a mirror holds', () => {
  const told = ['SP:mirrored=1^APP^/isc/app', 'SP:mirroreds=1', 'SP:journals=/j1/', 'SP:alternate=/j1/ ', 'SP:end=n0'];
  it('is told whole or not at all', () => {
    assert.deepEqual(parseCatalogue(told.join('\n'), nonce), {
      databases: [{ name: 'APP', directory: '/isc/app/' }],
      journals: ['/j1/'],
    });
    assert.equal(parseCatalogue(told.slice(1).join('\n'), nonce), undefined);
    assert.equal(parseCatalogue(told.slice(0, 4).join('\n'), nonce), undefined);
    assert.deepEqual(parseCatalogue('SP:mirroreds=0\nSP:end=n0', nonce), { databases: [], journals: [] });
  });
});
