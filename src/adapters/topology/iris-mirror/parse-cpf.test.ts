import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseCpf } from './parse-cpf.ts';

describe('configuration parameter files', () => {
  it('are read by sections, whatever the case, and the last value counts', () => {
    const sections = parseCpf(
      'stray=1\r\n[Databases]\r\nUSER=/isc/mgr/user/\r\n; a comment=1\n#other=2\nno value\n=nothing\n[Map.USER]\nGlobal_A = B \n[databases]\nuser=/new/\n',
    );
    assert.deepEqual([...sections.keys()], ['databases', 'map.user']);
    assert.deepEqual(sections.get('databases'), {
      name: 'Databases',
      settings: new Map([['user', { key: 'user', value: '/new/' }]]),
    });
    assert.deepEqual(sections.get('map.user')?.settings.get('global_a'), { key: 'Global_A', value: 'B' });
  });
});
