import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { configWith, memberNameOf, type Reach } from './config.ts';

const reaches: readonly Reach[] = ['docker', 'ssh'].map((kind) => ({
  kind,
  config: z.strictObject({ at: z.string().default('here') }),
  create: (_, local) => local,
}));
const schema = configWith(reaches);
const well = {
  mirror: 'STAGE',
  instances: { db1: { instance: 'IRIS', member: 'NodeA/IRIS' }, 'NODEB/IRIS': { instance: 'IRIS' } },
};

describe('settings of an IRIS mirror', () => {
  it('take what they put out, and name members as the engine does', () => {
    const once = schema.parse(well);
    assert.deepEqual(schema.parse(once), once);
    assert.deepEqual(
      Object.entries(once.instances).map(([name, each]) => memberNameOf(name, each)),
      ['NODEA/IRIS', 'NODEB/IRIS'],
    );
    const reached = schema.parse({ mirror: 'M', instances: { a: { instance: 'A', reach: { ssh: {} } } } });
    assert.deepEqual(reached.instances['a']?.reach, { ssh: { at: 'here' } });
    assert.deepEqual(schema.parse(reached), reached);
  });

  it('refuse what cannot be', () => {
    const a = { instance: 'A' };
    const cases: readonly (readonly [unknown, RegExp])[] = [
      [{ ...well, mirror: 'stage' }, /name of a mirror/],
      [{ ...well, mirror: 'ABCDEFGHIJKLMNOP' }, /at most 15/],
      [{ ...well, instances: {} }, /at least one instance/],
      [{ ...well, instances: { a, b: { ...a, member: 'A' } } }, /one member of the mirror twice/],
      [{ ...well, instances: { 'a:b': a } }, /key|mirror member/i],
      [{ ...well, instances: { a: { ...a, member: 'A|B' } } }, /name of a mirror member/],
      [{ ...well, instances: { a: { ...a, member: 'x'.repeat(33) } } }, /32 characters/],
      [{ ...well, instances: { a: { instance: '-A' } } }, /name of an instance/],
      [{ ...well, instances: { a: { ...a, user: '-x' } } }, /operating-system user/],
      [{ ...well, instances: { a: { ...a, login: { user: 'a\nb', password: { env: 'P' } } } } }, /control character/],
      [
        { ...well, instances: { a: { ...a, login: { user: 'a', password: { env: 'P', file: '/f' } } } } },
        /exactly one of file/,
      ],
      [{ ...well, instances: { a: { ...a, reach: {} } } }, /exactly one of docker, ssh/],
      [{ ...well, instances: { a: { ...a, reach: { docker: {}, ssh: {} } } } }, /exactly one of docker, ssh/],
      [{ ...well, instances: { a: { ...a, other: 1 } } }, /other/],
    ];
    for (const [settings, said] of cases) {
      const { success, error } = schema.safeParse(settings);
      assert.equal(success, false, JSON.stringify(settings));
      assert.match(error?.message ?? '', said);
    }
  });
});
