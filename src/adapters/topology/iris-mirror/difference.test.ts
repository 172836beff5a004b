/** The lists of real sessions of the stand-in. It is no proof for a real mirror. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { all, both, MirrorBench, never } from '../../../../test/doubles/iris/mirror-bench.ts';
import { newSettings, type Settings } from '../../../../test/doubles/iris/settings.ts';
import { whyNoIris } from '../../../../test/doubles/iris/stand-in.ts';
import type { Differences } from '../../../ports/topology.ts';

const skip = whyNoIris() ?? false;

describe('iris-mirror and the stand-in: differences', { skip, timeout: 300_000 }, () => {
  let bench: MirrorBench;
  const cpfOf = (name: string): string => join(bench.standIn.instance(name).directory, 'iris.cpf');
  const fresh = new Map<string, string>();
  const settle = (name: string, change: (settings: Settings) => void): void =>
    bench.standIn.change(name, (instance) => {
      instance.settings = newSettings();
      change(instance.settings);
    });
  const ask = async (instances: object = both): Promise<Differences> => {
    const found = await bench.topology(instances).difference?.(never);
    assert.ok(found);
    return found;
  };
  const inShort = ({ found }: Differences) =>
    found.map(({ kind, name, state, member }) => [kind, name, state, member ?? ''].join(' ').trim());

  before(async () => {
    bench = await MirrorBench.start();
    for (const name of ['A', 'B', 'DR']) fresh.set(name, readFileSync(cpfOf(name), 'utf8'));
  });
  after(async () => {
    await bench[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    await bench.reset();
    for (const [name, text] of fresh) writeFileSync(cpfOf(name), text);
    for (const name of fresh.keys()) settle(name, () => undefined);
  });

  it('says nothing of members that are alike', async () => {
    const found = await ask(all);
    assert.deepEqual(inShort(found), []);
    assert.deepEqual(found.compared, ['db1', 'db2', 'dr']);
    assert.deepEqual(found.silent, []);
    assert.deepEqual(
      found.untold.map(({ kind }) => kind),
      ['sql-gateways', 'language-servers', 'files', 'streams'],
    );
  });

  it('names what a member lacks or has otherwise, of the file and of every list, and no secret', async () => {
    settle('B', (settings) => {
      delete settings['Security.Users']?.['backup'];
      Object.assign(settings['Security.Users']?.['_SYSTEM'] ?? {}, { Password: 'other-hash', Roles: '%All,App' });
      Object.assign(settings['Security.Roles'] ?? {}, { App: { Resources: '%DB_APP:RW', GrantedRoles: '' } });
      delete settings['Security.Resources']?.['%DB_USER'];
      Object.assign(settings['Security.Services']?.['%Service_Terminal'] ?? {}, { Enabled: '0' });
      Object.assign(settings['Security.Applications'] ?? {}, { '/csp/app': { Enabled: '1', NameSpace: 'APP' } });
      delete settings['%SYS.Task']?.['Switch Journal'];
    });
    const hash = 'PasswordHash=verysecret';
    writeFileSync(cpfOf('A'), `${fresh.get('A')}[Startup]\n${hash}1\n`);
    writeFileSync(cpfOf('B'), `${fresh.get('B')}[Startup]\n${hash}2\n[Map.APP]\nGlobal_X=IRISSYS\n`);
    const found = await ask();
    assert.deepEqual(inShort(found), [
      'mappings [Map.APP]Global_X missing db1',
      'settings [Startup]PasswordHash different',
      'users _SYSTEM different',
      'users backup missing db2',
      'roles App missing db1',
      'resources %DB_USER missing db2',
      'services %Service_Terminal different',
      'web-applications /csp/app missing db1',
      'tasks Switch Journal missing db2',
    ]);
    assert.match(JSON.stringify(found), /"Roles=%All\\" on db1 and \\"Roles=%All,App\\" on db2/);
    assert.doesNotMatch(JSON.stringify(found), /verysecret|hash-of|other-hash|salt-of/);
  });

  it('holds the others against the primary, wherever it is in the configuration', async () => {
    settle('A', (settings) => Object.assign(settings['Security.Users'] ?? {}, { only: { Enabled: '1' } }));
    const found = await ask({ dr: all.dr, db2: both.db2, db1: both.db1 });
    assert.deepEqual(found.compared, ['db1', 'dr', 'db2']);
    assert.deepEqual(inShort(found), ['users only missing dr', 'users only missing db2']);
  });

  it('lists databases that namespaces use and that are in no mirror', async () => {
    for (const name of ['A', 'B']) {
      const more = '[Databases]\nAPP=/isc/APP\nREF=/isc/ref/\n[Namespaces]\nAPP=APP,REF\n';
      writeFileSync(cpfOf(name), `${fresh.get(name)}${more}`);
    }
    const found = await ask();
    assert.deepEqual(inShort(found), ['local-databases REF local', 'local-databases REF local']);
    assert.match(found.found[0]?.said ?? '', /REF of db1 in \/isc\/ref\/ is not mirrored.*used by APP/);
  });

  it('says who could not be asked, and compares the rest; of one member alone it says nothing', async () => {
    bench.standIn.faults('B', { accessDenied: true });
    const rest = await ask(all);
    assert.deepEqual(rest.compared, ['db1', 'dr']);
    assert.deepEqual(rest.silent, [{ member: 'db2', said: 'the login was refused' }]);
    await assert.rejects(ask(), { code: 'cluster-unknown', message: /db2: the login was refused/ });
    await assert.rejects(ask({ db1: both.db1 }), { code: 'cluster-unknown', message: /fewer than two/ });
    bench.standIn.faults('B', { sessionEndsBefore: 'SP:task=' });
    assert.deepEqual((await ask(all)).silent, [{ member: 'db2', said: 'its session ended in the middle' }]);
    bench.standIn.faults('B', {});
    writeFileSync(cpfOf('B'), '');
    bench.standIn.change('B', (instance) => {
      instance.settings = { ...newSettings(), '%SYS.Task': { '': {} } };
    });
    assert.ok(inShort(await ask()).includes('tasks  missing db1'));
  });

  it('says that a list is not there where a definition in it cannot be read', async () => {
    bench.standIn.faults('B', { unreadable: ['Security.Users'] });
    assert.deepEqual(inShort(await ask()), ['users  not-compared']);
    bench.standIn.faults('B', { unreadable: ['SYS.Mirror'] });
    assert.deepEqual(inShort(await ask()), ['local-databases  not-compared']);
  });
});
