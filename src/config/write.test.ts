import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { configurationJsonSchema, configurationReference, sections } from './explain.ts';
import { readConfig } from './load.ts';
import { nearest } from './problems.ts';
import { commentedConfig } from './write.ts';

const base = { repository: '/var/backups/stillpoint', passwordFile: '/etc/stillpoint/repository.key' };

describe('commentedConfig', () => {
  it('writes a file that loads as what was found', () => {
    const text = commentedConfig({
      ...base,
      stateDirectory: '/var/lib/sp',
      workloads: [
        { name: 'main', kind: 'postgresql', config: { dataDirectory: '/srv/pg', port: 5433 }, said: 'PostgreSQL 15' },
        { name: 'main', kind: 'sqlite', config: { files: ['/srv/a b.db', '/srv/c.db'] }, said: 'open in process 1' },
      ],
    });
    const config = readConfig(text, '/c.yaml');
    assert.equal(config.stateDirectory, '/var/lib/sp');
    assert.deepEqual([...config.workloads.keys()], ['main', 'main-2']);
    const settings = [...config.workloads.values()].map(({ application }) => application);
    assert.deepEqual(
      settings.map(({ kind }) => kind),
      ['postgresql', 'sqlite'],
    );
    assert.partialDeepStrictEqual(settings, [
      { config: { dataDirectory: '/srv/pg', port: 5433 } },
      { config: { files: ['/srv/a b.db', '/srv/c.db'] } },
    ]);
    assert.match(text, /^ {4}# consistency: application$/m);
    assert.doesNotMatch(text, /undefined|^.{121,}$/m);
  });

  it('what it shows as commented out loads too', () => {
    const text = commentedConfig({
      ...base,
      workloads: [{ name: 'a', kind: 'sqlite', config: { file: '/srv/a.db' }, said: 'found' }],
    });
    const taken = text.replaceAll(/^( *)# ((?:storage|hold|consistency|drill|canary|stateDirectory): .*)$/gm, '$1$2');
    assert.notEqual(taken, text);
    const workload = readConfig(taken, '/c.yaml').workloads.get('a');
    assert.equal(workload?.budgetMs, 5_000);
    assert.equal(workload.drillDirectory, '/var/tmp');
  });

  it('the example for an empty machine loads when its marks are taken off', () => {
    const text = commentedConfig({ ...base, workloads: [] });
    assert.equal(readConfig(text, '/c.yaml').workloads.size, 0);
    const [before = '', example = ''] = text.split('workloads: {}\n');
    const taken = before + example.replaceAll(/^# ?/gm, '');
    assert.deepEqual([...readConfig(taken, '/c.yaml').workloads.keys()], ['orders']);
  });

  it('whatever names and paths are found', () => {
    const path = fc
      .string({ unit: 'binary' })
      .filter((tail) => !tail.includes('..'))
      .map((tail) => `/srv/data ${tail}`);
    fc.assert(
      fc.property(
        fc.string(),
        path,
        path,
        fc.string(),
        fc.constantFrom('null', 'true', '1e3', '~', '012'),
        (...found) => {
          const [name, file, repository, said, odd] = found;
          const text = commentedConfig({
            repository: `/backup${repository}`,
            passwordFile: '/key',
            workloads: [
              { name, kind: 'sqlite', config: { file }, said },
              { name: odd, kind: 'sqlite', config: { file: '/b.db' }, said: '' },
            ],
          });
          const config = readConfig(text, '/c.yaml');
          assert.equal(config.repository.store.config, `/backup${repository}`);
          const [first] = config.workloads.values();
          assert.partialDeepStrictEqual(first?.application.config, { file });
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('the table of options', () => {
  it('explains every key', () => {
    const silent = sections().flatMap(({ path, options }) =>
      options.filter(({ description }) => description.length < 10).map(({ key }) => `${path}.${key}`),
    );
    assert.deepEqual(silent, []);
    assert.ok(sections().length > 8);
  });

  it('refuses unknown keys in every map of the JSON schema, for editors too', () => {
    const open: string[] = [];
    let maps = 0;
    const look = (schema: unknown, path: string): void => {
      if (typeof schema !== 'object' || schema === null) return;
      if ('properties' in schema) {
        maps += 1;
        if (!('additionalProperties' in schema) || schema.additionalProperties !== false) open.push(path);
      }
      for (const [key, value] of Object.entries(schema)) look(value, `${path}/${key}`);
    };
    look(configurationJsonSchema(), '');
    assert.deepEqual(open, []);
    assert.ok(maps > 8);
  });

  it('the reference names every key, default and required ones', () => {
    const text = configurationReference();
    for (const { path, options } of sections()) {
      assert.ok(text.includes(path === '' ? '## The file' : `## \`${path}\``), path);
      for (const { key } of options) assert.ok(text.includes(`| \`${key}\` |`), key);
    }
    assert.match(text, /\| `store` \| map \| required \|/);
    assert.match(text, /\| `budget` \| duration \|.*Example: `5s`/);
    assert.match(text, /\| `storage` \| auto, or list of maps \| `auto` \|/);
    assert.doesNotMatch(text, /undefined/);
  });
});

describe('nearest', () => {
  const known = ['budget', 'passwordFile', 'store', 'hold'];
  const cases: readonly [string, string | undefined][] = [
    ['buget', 'budget'],
    ['bugdet', 'budget'],
    ['password_file', 'passwordFile'],
    ['PASSWORDFILE', 'passwordFile'],
    ['stores', 'store'],
    ['hodl', 'hold'],
    ['xyz', undefined],
    ['', undefined],
  ];
  for (const [word, expected] of cases) {
    it(`${JSON.stringify(word)}: ${String(expected)}`, () => assert.equal(nearest(word, known), expected));
  }
});
