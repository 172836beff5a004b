import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkTree, violationsIn } from './check-boundaries.ts';

function said(file: string, text: string): readonly string[] {
  return violationsIn(file, text).map((each) => `${each.line}: ${each.said.replace(/: .*/, '')}`);
}

describe('arrows', () => {
  const cases: readonly { name: string; file: string; text: string; found: readonly string[] }[] = [
    {
      name: 'model imports nobody',
      file: 'model/a.ts',
      text: `import { x } from '../ports/p.ts';`,
      found: ['1: imports ports/p.ts'],
    },
    { name: 'model imports itself', file: 'model/a.ts', text: `import { x } from './b.ts';`, found: [] },
    {
      name: 'a port takes types of the platform',
      file: 'ports/a.ts',
      text: `import type { Clock } from '../platform/clock.ts';`,
      found: [],
    },
    {
      name: 'a port takes no code of the platform',
      file: 'ports/a.ts',
      text: `\nimport { Clock } from '../platform/clock.ts';`,
      found: ['2: imports platform/clock.ts'],
    },
    {
      name: 'an import of types only, name by name',
      file: 'ports/a.ts',
      text: `import { type A, type B } from '../platform/clock.ts';`,
      found: [],
    },
    {
      name: 'an import for its effects is no import of types',
      file: 'ports/a.ts',
      text: `import '../platform/clock.ts';`,
      found: ['1: imports platform/clock.ts'],
    },
    {
      name: 'an adapter imports its own folder',
      file: 'adapters/snapshot/zfs/provider.ts',
      text: `import { x } from './parse.ts';`,
      found: [],
    },
    {
      name: 'an adapter imports no other adapter',
      file: 'adapters/snapshot/zfs/provider.ts',
      text: `import { x } from '../btrfs/parse.ts';`,
      found: ['1: imports adapters/snapshot/btrfs/parse.ts'],
    },
    {
      name: 'an adapter whose name begins alike is another',
      file: 'adapters/snapshot/zfs/provider.ts',
      text: `import { x } from '../zfs2/parse.ts';`,
      found: ['1: imports adapters/snapshot/zfs2/parse.ts'],
    },
    {
      name: 'an adapter imports no flow',
      file: 'adapters/snapshot/zfs/provider.ts',
      text: `import { x } from '../../../flows/run.ts';`,
      found: ['1: imports flows/run.ts'],
    },
    {
      name: 'a flow runs no program',
      file: 'flows/a.ts',
      text: `import { systemExec } from '../platform/exec.ts';\nimport type { Exec } from '../platform/exec.ts';`,
      found: ['1: imports platform/exec.ts'],
    },
    {
      name: 'a flow may read the clock',
      file: 'flows/a.ts',
      text: `import type { Clock } from '../platform/clock.ts';`,
      found: [],
    },
    {
      name: 'a flow knows of the guard only how to talk to it',
      file: 'flows/a.ts',
      text: `import { x } from '../guard/guard.ts';`,
      found: ['1: imports guard/guard.ts'],
    },
    {
      name: 'an export is an import',
      file: 'model/a.ts',
      text: `export * from '../flows/a.ts';\nexport { b } from '../flows/b.ts';`,
      found: ['1: imports flows/a.ts', '2: imports flows/b.ts'],
    },
    {
      name: 'so is a late import',
      file: 'model/a.ts',
      text: `const x = await import('../flows/a.ts');`,
      found: ['1: imports flows/a.ts'],
    },
    {
      name: 'and a type fetched in passing',
      file: 'model/a.ts',
      text: `type X = import('../flows/a.ts').X;`,
      found: ['1: imports flows/a.ts'],
    },
    {
      name: 'a computed import is refused',
      file: 'cli/a.ts',
      text: `await import(name);`,
      found: ['1: imports a computed name, which cannot be checked'],
    },
    {
      name: 'nothing outside src',
      file: 'compose.ts',
      text: `import { x } from '../test/doubles/a.ts';`,
      found: ['1: imports ../test/doubles/a.ts'],
    },
    {
      name: 'a folder without an arrow',
      file: 'util/a.ts',
      text: `export const a = 1;`,
      found: ['1: lies in a folder that has no arrow in tools/check-boundaries.ts'],
    },
  ];
  for (const { name, file, text, found } of cases) it(name, () => assert.deepEqual(said(file, text), found));

  it('says who may import what, and why', () => {
    assert.deepEqual(violationsIn('catalog/a.ts', `import { x } from '../flows/a.ts';`), [
      {
        file: 'catalog/a.ts',
        line: 1,
        said: 'imports flows/a.ts: catalog/** may import model/**, ports/**, platform/** (an index of points, rebuilt from the repository)',
      },
    ]);
  });
});

describe('doors', () => {
  const uses: readonly string[] = [
    'Date.now()',
    `Date['now']()`,
    'new Date()',
    'new Date',
    'setTimeout(f, 1)',
    'setInterval(f, 1)',
    'performance.now()',
    'process.hrtime.bigint()',
    'process.exit(1)',
    'const { exit } = process',
    'const { now } = Date',
    'AbortSignal.timeout(5)',
  ];
  for (const text of uses) {
    it(`finds ${text}`, () => assert.equal(violationsIn('flows/a.ts', text).length, 1));
  }
  for (const module of ['node:child_process', 'child_process', 'node:timers/promises', 'node:perf_hooks']) {
    it(`finds an import of ${module}`, () =>
      assert.equal(violationsIn('flows/a.ts', `import * as x from '${module}';`).length, 1));
  }
  for (const text of [
    'new Date(text)',
    'Date.parse(text)',
    '// Date.now()',
    `'setTimeout(f, 1)'`,
    'clock.now()',
    'process.pid',
  ]) {
    it(`leaves ${text} alone`, () => assert.deepEqual(violationsIn('flows/a.ts', text), []));
  }
  it('lets each door through where it stands', () => {
    assert.deepEqual(violationsIn('platform/exec.ts', `import { spawn } from 'node:child_process';`), []);
    assert.deepEqual(violationsIn('platform/clock.ts', 'Date.now(); setTimeout(f, 1);'), []);
    assert.deepEqual(violationsIn('main.ts', 'process.exit(1);'), []);
  });
});

describe('the tree', () => {
  it('holds to the arrows', () => {
    assert.deepEqual(checkTree(fileURLToPath(new URL('../src', import.meta.url))), []);
  });

  it('fails when it saw too few files, and exempts tests', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'stillpoint-boundaries-'));
    try {
      await writeFile(join(folder, 'main.ts'), 'export {};');
      await writeFile(join(folder, 'main.test.ts'), 'setTimeout(f, 1);');
      assert.deepEqual(checkTree(folder, 1), []);
      assert.deepEqual(checkTree(folder, 2), [
        { file: '.', line: 0, said: 'only 1 files were seen, at least 2 were expected' },
      ]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('reports what cannot be parsed', () => {
    assert.match(violationsIn('model/a.ts', 'const = ;')[0]?.said ?? '', /^cannot be parsed/);
  });
});
