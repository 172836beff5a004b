/**
 * The arrows of the house and the doors to the outside world, as a table that is also the documentation.
 * `node tools/check-boundaries.ts` checks src; `--table` prints the rules.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, matchesGlob, normalize, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parseSync, Visitor } from 'oxc-parser';

interface Arrow {
  readonly from: string;
  /** Globs below src. `type:` in front allows `import type` only. */
  readonly to: readonly string[];
  readonly why: string;
}

/** A file follows the first arrow whose `from` it matches, and may always import its own folder. `@` is an adapter's own folder. */
export const arrows: readonly Arrow[] = [
  { from: 'model/**', to: [], why: 'nouns and pure rules know nobody' },
  { from: 'ports/**', to: ['model/**', 'type:platform/**'], why: 'a contract names the tools that it hands in' },
  { from: 'platform/**', to: ['model/**'], why: 'the outside world, once' },
  { from: 'repository/**', to: ['model/**', 'ports/**', 'platform/**'], why: 'a format, whoever stores it' },
  {
    from: 'catalog/**',
    to: ['model/**', 'ports/**', 'platform/**'],
    why: 'an index of points, rebuilt from the repository',
  },
  {
    from: 'adapters/registry.ts',
    to: ['adapters/**', 'ports/**', 'model/**'],
    why: 'the only file that names all adapters',
  },
  {
    from: 'adapters/*/*/**',
    to: ['@/**', 'model/**', 'ports/**', 'platform/**'],
    why: 'never another adapter, a flow or the configuration',
  },
  {
    from: 'guard/**',
    to: ['model/**', 'ports/**', 'platform/**', 'adapters/registry.ts', 'adapters/host/local/host.ts'],
    why: 'a process of its own, which makes its adapter itself',
  },
  {
    from: 'flows/**',
    to: [
      'model/**',
      'ports/**',
      'repository/**',
      'catalog/**',
      'guard/{protocol,launch}.ts',
      'platform/!(exec).ts',
      'type:platform/exec.ts',
    ],
    why: 'the steps, readable without a database; they start no program themselves',
  },
  {
    from: 'config/**',
    to: ['model/**', 'platform/**', 'type:ports/**', 'adapters/registry.ts', 'adapters/*/*/config.ts'],
    why: 'every option once; each adapter brings the schema of its own',
  },
  {
    from: '{cli,daemon,demo}/**',
    to: [
      '{cli,demo}/**',
      'flows/**',
      'config/**',
      'model/**',
      'platform/**',
      'repository/api.ts',
      'type:{ports,catalog}/**',
      'compose.ts',
    ],
    why: 'asks flows, prints answers',
  },
  { from: 'compose.ts', to: ['**'], why: 'the composition root: builds what the flows need' },
  { from: 'main.ts', to: ['**'], why: 'starts the command line' },
];

interface Door {
  readonly name: string;
  readonly only: readonly string[];
  readonly modules: readonly string[];
  /** Calls and members, as written. */
  readonly uses: readonly string[];
}

export const doors: readonly Door[] = [
  {
    name: 'child processes',
    only: ['platform/exec.ts'],
    modules: ['child_process', 'worker_threads', 'cluster'],
    uses: [],
  },
  {
    name: 'clocks and timers',
    only: ['platform/clock.ts'],
    modules: ['timers', 'timers/promises', 'perf_hooks'],
    uses: [
      'Date.now',
      'new Date()',
      'Date()',
      'performance.now',
      'process.hrtime',
      'setTimeout',
      'setInterval',
      'AbortSignal.timeout',
    ],
  },
  {
    name: 'the exit',
    only: ['main.ts', 'guard/main.ts'],
    modules: [],
    uses: ['process.exit', 'process.abort', 'process.reallyExit'],
  },
];

/** A check that sees nothing finds nothing wrong: fewer files than this means that it looked in the wrong place. */
const fewestFiles = 60;

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly said: string;
}

interface Import {
  readonly source: string;
  readonly typeOnly: boolean;
  readonly at: number;
}

/** Checks one file's text. `file` is its path below src. */
export function violationsIn(file: string, text: string): readonly Violation[] {
  const { program, errors } = parseSync(file, text);
  const found: Violation[] = [];
  const say = (at: number, said: string): void => {
    found.push({ file, line: text.slice(0, at).split('\n').length, said });
  };
  for (const error of errors) say(error.labels[0]?.start ?? 0, `cannot be parsed: ${error.message}`);

  const imports: Import[] = [];
  const uses: { readonly name: string; readonly at: number }[] = [];
  const load = (source: { type: string; value?: unknown }, typeOnly: boolean, at: number): void => {
    if (typeof source.value === 'string') imports.push({ source: source.value, typeOnly, at });
    else say(at, 'imports a computed name, which cannot be checked');
  };
  new Visitor({
    ImportDeclaration: (node) => {
      const named =
        node.specifiers.length > 0 &&
        node.specifiers.every((each) => each.type === 'ImportSpecifier' && each.importKind === 'type');
      load(node.source, node.importKind === 'type' || named, node.start);
    },
    ExportAllDeclaration: (node) => load(node.source, node.exportKind === 'type', node.start),
    ExportNamedDeclaration: (node) => {
      if (node.source !== null) load(node.source, node.exportKind === 'type', node.start);
    },
    ImportExpression: (node) => load(node.source, false, node.start),
    TSImportType: (node) => load(node.source, true, node.start),
    MemberExpression: (node) => {
      if (node.object.type !== 'Identifier') return;
      if (node.property.type === 'Identifier' && !node.computed)
        uses.push({ name: `${node.object.name}.${node.property.name}`, at: node.start });
      else if (node.property.type === 'Literal')
        uses.push({ name: `${node.object.name}.${String(node.property.value)}`, at: node.start });
    },
    VariableDeclarator: (node) => {
      if (node.id.type !== 'ObjectPattern' || node.init?.type !== 'Identifier') return;
      for (const each of node.id.properties) {
        if (each.type === 'Property' && each.key.type === 'Identifier')
          uses.push({ name: `${node.init.name}.${each.key.name}`, at: each.start });
      }
    },
    CallExpression: (node) => {
      if (node.callee.type !== 'Identifier') return;
      uses.push({ name: node.callee.name, at: node.start });
      if (node.arguments.length === 0) uses.push({ name: `${node.callee.name}()`, at: node.start });
    },
    NewExpression: (node) => {
      if (node.callee.type === 'Identifier' && node.arguments.length === 0)
        uses.push({ name: `new ${node.callee.name}()`, at: node.start });
    },
  }).visit(program);

  const arrow = arrows.find((each) => matchesGlob(file, each.from));
  if (arrow === undefined) say(0, 'lies in a folder that has no arrow in tools/check-boundaries.ts');
  for (const { source, typeOnly, at } of imports) {
    const door = doors.find((each) => each.modules.includes(source.replace(/^node:/, '')));
    if (door !== undefined && !door.only.includes(file))
      say(at, `imports ${source}: ${door.name} only in ${door.only.join(' and ')}`);
    if (!source.startsWith('.') || arrow === undefined) continue;
    const target = normalize(join(dirname(file), source));
    if (!mayImport(file, arrow, target, typeOnly)) {
      say(at, `imports ${target}: ${arrow.from} may import ${allowed(arrow)} (${arrow.why})`);
    }
  }
  for (const { name, at } of uses) {
    const door = doors.find((each) => each.uses.includes(name));
    if (door !== undefined && !door.only.includes(file))
      say(at, `uses ${name}: ${door.name} only in ${door.only.join(' and ')}`);
  }
  return found;
}

function mayImport(file: string, arrow: Arrow, target: string, typeOnly: boolean): boolean {
  if (target.startsWith('..')) return false;
  const own = ownFolder(file);
  if (own !== undefined && target.startsWith(`${own}/`)) return true;
  return arrow.to.some((glob) => {
    if (glob.startsWith('type:')) return typeOnly && matchesGlob(target, glob.slice('type:'.length));
    return !glob.startsWith('@') && matchesGlob(target, glob);
  });
}

/** `adapters/<port>/<name>` or the first folder; undefined for a file right below src or adapters. */
function ownFolder(file: string): string | undefined {
  const parts = file.split('/');
  const depth = parts[0] === 'adapters' ? 3 : 1;
  return parts.length > depth ? parts.slice(0, depth).join('/') : undefined;
}

function allowed(arrow: Arrow): string {
  return arrow.to.length === 0 ? 'nothing' : arrow.to.join(', ');
}

function table(): string {
  const width = Math.max(...arrows.map((each) => each.from.length));
  return [
    ...arrows.map((each) => `${each.from.padEnd(width)} -> ${allowed(each)}\n${''.padEnd(width)}    ${each.why}`),
    ...doors.map((each) => `${each.name} only in ${each.only.join(' and ')}`),
  ].join('\n');
}

/** All violations below `source`. Tests are exempt: they start processes, wait, and reach across folders. */
export function checkTree(source: string, fewest: number = fewestFiles): readonly Violation[] {
  const files = globSync('**/*.{ts,tsx,js,mjs}', { cwd: source }).filter(
    (file) => !/\.test\.tsx?$|\.d\.ts$/.test(file),
  );
  const found = files.sort().flatMap((file) => violationsIn(file, readFileSync(join(source, file), 'utf8')));
  if (files.length >= fewest) return found;
  return [
    ...found,
    { file: '.', line: 0, said: `only ${files.length} files were seen, at least ${fewest} were expected` },
  ];
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { table: { type: 'boolean' } } });
  const source = join(dirname(dirname(fileURLToPath(import.meta.url))), 'src');
  const found = values.table === true ? [] : checkTree(source);
  for (const { file, line, said } of found) {
    process.stdout.write(`${relative(process.cwd(), join(source, file))}:${line} ${said}\n`);
  }
  if (values.table === true) process.stdout.write(`${table()}\n`);
  process.exitCode = found.length === 0 ? 0 : 1;
}
