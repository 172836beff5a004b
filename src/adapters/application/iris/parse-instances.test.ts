import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseList, parseQall, parseQlist, parseStatus } from './parse-instances.ts';

const common = 'running, since Fri May 13 22:07:02 2016';
const lines = {
  fields8:
    'A8^/ensemble/instances/a8/^2012.2.3.903.2.12515^down, last used Thu Sep 15 18:58:30 2016^cache.cpf^56772^57772^62972',
  fields10: `A10^/ensemble/instances/a10/^2017.1^${common}^cache.cpf^56772^57772^62972^ok^`,
  fields13: `A13^/usr/irissys^2021.1.0.215.0^${common}^iris.cpf^1972^52773^0^warn^IRISHealth^Failover^Primary^/dur/iconfig/`,
  fields14: `A14^/usr/irissys/^2023.1.0^incomplete start or stop, logins disabled, directory may be deleted^iris.cpf^1972^0^0^^IRIS^^^^1972,1973`,
};

describe('iris: qlist', () => {
  it('reads lines of all four lengths', () => {
    const { instances, notUnderstood } = parseQlist(`${Object.values(lines).join('\r\n')}\n\n`);
    assert.deepEqual(notUnderstood, []);
    const [a8, a10, a13, a14] = instances;
    assert.deepEqual(a8, {
      name: 'A8',
      directory: '/ensemble/instances/a8',
      version: '2012.2.3.903.2.12515',
      state: 'down',
      status: 'down',
      note: 'last used Thu Sep 15 18:58:30 2016',
      cpf: 'cache.cpf',
      superserverPort: '56772',
      health: '',
      product: '',
      memberType: '',
      mirrorStatus: '',
      dataDirectory: '/ensemble/instances/a8',
    });
    assert.equal(a10?.health, 'ok');
    assert.equal(a10?.state, 'running');
    assert.equal(a13?.dataDirectory, '/dur/iconfig');
    assert.deepEqual([a13?.memberType, a13?.mirrorStatus, a13?.product], ['Failover', 'Primary', 'IRISHealth']);
    assert.equal(a14?.state, 'changing');
    assert.equal(a14?.status, 'incomplete start or stop, logins disabled');
    assert.equal(a14?.note, 'directory may be deleted');
  });

  it('keeps what it does not understand, and never takes an option for a name', () => {
    const bad = ['Invalid command', '-x^/d^1^running^a^1^2^3', 'A^^1^running^a^1^2^3', 'A B^/d^1^running^a^1^2^3'];
    assert.deepEqual(parseQlist(bad.join('\n')), { instances: [], notUnderstood: bad });
  });

  it('keeps the root directory as it is', () => {
    assert.equal(parseQlist('A^/^1^running^a^1^2^3').instances[0]?.directory, '/');
  });

  it('knows every state, and says so when it does not', () => {
    assert.equal(parseStatus('incomplete start or stop, logins disabled').note, '');
    assert.equal(parseStatus('starting or stopping').state, 'changing');
    assert.equal(parseStatus('crashed').state, 'crashed');
    assert.equal(parseStatus('in use by node 7').state, 'crashed');
    assert.equal(parseStatus('sign-on inhibited').state, 'unknown');
    assert.equal(parseStatus('').state, 'unknown');
  });
});

describe('iris: list', () => {
  const output = `
Configuration 'IRIS'   (default)
        directory:    /usr/irissys
        versionid:    2021.1.0.215.0
        datadir:      /usr/irissys
        conf file:    iris.cpf  (SuperServer port = 1972, WebServer = 52773)
        status:       running, since Wed Aug  4 07:12:45 2021
        mirroring: Member Type = Failover; Status = Primary
        state:        ok
        product:      InterSystems IRISHealth

Configuration 'OLD'
        directory:    /cachesys
        versionid:    2012.2.3
        conf file:    cache.cpf
        status:       down, last used Mon Aug 16 09:33:43 2021
`;

  it('reads every instance', () => {
    const { instances, notUnderstood } = parseList(output);
    assert.deepEqual(notUnderstood, []);
    const [first, second] = instances;
    assert.deepEqual(
      [first?.name, first?.state, first?.superserverPort, first?.memberType, first?.mirrorStatus, first?.health],
      ['IRIS', 'running', '1972', 'Failover', 'Primary', 'ok'],
    );
    assert.equal(first?.cpf, 'iris.cpf');
    assert.deepEqual(
      [second?.name, second?.state, second?.dataDirectory, second?.superserverPort, second?.memberType],
      ['OLD', 'down', '/cachesys', '', ''],
    );
  });

  it('keeps blocks without a name or a directory', () => {
    assert.equal(parseList("Configuration 'X'\n  status: running").notUnderstood.length, 1);
    assert.equal(parseList('no such command').notUnderstood.length, 1);
    assert.deepEqual(parseList(''), { instances: [], notUnderstood: [] });
  });
});

describe('iris: qall', () => {
  it('takes the name from column 5, behind the mark of the default instance', () => {
    const rows = parseQall(`
    Instance Name     Version ID        Port   Directory
    ----------------  ----------------  -----  --------------------------------
up >CACHE             2018.1.5.659.0    1972   /usr/cachesys/
dn  OTHER             2018.1.5.659.0    1973   /a/directory/that/is/too/long/for/the/li~
    DARK              2018.1.5.659.0    1974   /dark
`);
    assert.deepEqual(
      rows.map(({ state, isDefault, name, directory, cut }) => [state, isDefault, name, directory, cut]),
      [
        ['up', true, 'CACHE', '/usr/cachesys/', false],
        ['dn', false, 'OTHER', '/a/directory/that/is/too/long/for/the/li', true],
        [undefined, false, 'DARK', '/dark', false],
      ],
    );
    assert.deepEqual([rows[0]?.version, rows[0]?.port], ['2018.1.5.659.0', '1972']);
    assert.equal(parseQall('st  NEW   2018   1   /x')[0]?.state, 'st');
  });
});

describe('iris: lists of instances', () => {
  it('never throw', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        parseQlist(text);
        parseList(text);
        parseQall(text);
      }),
    );
    fc.assert(
      fc.property(fc.array(fc.string(), { maxLength: 16 }), (fields) => {
        const { instances } = parseQlist(fields.join('^'));
        for (const { name } of instances) assert.doesNotMatch(name, /^-|\s/);
      }),
    );
  });
});
