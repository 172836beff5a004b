import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseQlist } from './parse-qlist.ts';

const published = readFileSync(join(import.meta.dirname, '../../../../test/transcripts/iris-qlist.txt'), 'utf8');
const line = (status: string, more = '') => `IRIS^/usr/irissys/^2024.1^${status}^iris.cpf^1972^52773^62972${more}\n`;

describe('one line of qlist', () => {
  it('is read from the published ones', () => {
    const mirrored = published.split('\n').find((each) => each.includes('^Failover^Primary'));
    assert.deepEqual(parseQlist(mirrored ?? '', 'insttest'), {
      state: 'running',
      status: 'running',
      note: 'since Fri May 13 22:07:02 2016',
      health: 'ok',
      memberType: 'Failover',
      mirrorStatus: 'Primary',
      dataDirectory: '/mgr/config',
      configuration: 'cache.cpf',
    });
    const old = published.split('\n').find((each) => each.includes('^2012.'));
    assert.deepEqual(
      ['state', 'note', 'memberType', 'dataDirectory'].map((key) =>
        Reflect.get(parseQlist(old ?? '', 'INSTTEST') ?? {}, key),
      ),
      ['down', 'last used Thu Sep 15 18:58:30 2016', '', '/ensemble/instances/insttest'],
    );
  });

  it('knows each status, the one with a comma too', () => {
    const cases: readonly (readonly [string, string, string])[] = [
      ['running, since Fri May 13 22:07:02 2016', 'running', 'since Fri May 13 22:07:02 2016'],
      ['down', 'down', ''],
      ['starting or stopping', 'changing', ''],
      ['incomplete start or stop, logins disabled', 'changing', ''],
      ['incomplete start or stop, logins disabled, since Fri', 'changing', 'since Fri'],
      ['crashed', 'crashed', ''],
      ['in use by node x', 'crashed', ''],
      ['läuft', 'unknown', ''],
    ];
    for (const [status, state, note] of cases) {
      const found = parseQlist(line(status), 'IRIS');
      assert.deepEqual([found?.state, found?.note], [state, note], status);
    }
  });

  it('is that instance or none', () => {
    assert.equal(parseQlist(line('running'), 'OTHER'), undefined);
    assert.equal(parseQlist('IRIS^/usr/irissys^2024.1\n', 'IRIS'), undefined);
    assert.equal(parseQlist('IRIS^^^^^^^\n', 'IRIS'), undefined);
    assert.equal(parseQlist('', 'IRIS'), undefined);
    assert.equal(parseQlist('IRIS^/^2024.1^running^iris.cpf^1^2^3', 'IRIS')?.dataDirectory, '/');
  });
});
