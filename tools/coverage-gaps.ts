import { globSync, readFileSync } from 'node:fs';
import { basename, relative } from 'node:path';
import { parseSync } from 'oxc-parser';

/** The part of node:test's coverage summary that is read here. */
export interface Coverage {
  readonly files: readonly {
    readonly path: string;
    readonly branches: readonly { readonly line: number; readonly count: number }[];
    readonly functions: readonly { readonly name: string; readonly line: number; readonly count: number }[];
  }[];
}

/** Pure code, whose every branch can be reached by a unit test beside it: the model and the parsers. */
export function isPure(file: string): boolean {
  return file.startsWith('src/model/') || (file.startsWith('src/') && /^parse(-[a-z-]+)?\.ts$/.test(basename(file)));
}

/** One failure for each pure file with a branch or function that its tests never took, or that no test loads. */
export function coverageGaps(coverage: Coverage | undefined): { readonly where: string; readonly what: string }[] {
  const seen = new Map(coverage?.files.map((file) => [relative(process.cwd(), file.path), file]));
  return globSync('src/**/*.ts')
    .filter((file) => isPure(file) && !file.endsWith('.test.ts'))
    .sort()
    .flatMap((where) => {
      const file = seen.get(where);
      if (file === undefined)
        return holdsCode(where) ? [{ where, what: 'no unit test of pure code loads this file' }] : [];
      const lines = [...file.branches, ...file.functions].filter((each) => each.count === 0).map((each) => each.line);
      if (lines.length === 0) return [];
      const unique = [...new Set(lines)].sort((a, b) => a - b).join(', ');
      return [{ where, what: `branches that no test takes, on line ${unique}` }];
    });
}

/** A file of types only leaves nothing behind when types are stripped, and no test can load it. */
function holdsCode(file: string): boolean {
  return parseSync(file, readFileSync(file, 'utf8')).program.body.some((statement) => {
    if (statement.type === 'ImportDeclaration') return statement.importKind !== 'type';
    if (statement.type === 'ExportNamedDeclaration') return statement.exportKind !== 'type';
    return statement.type !== 'TSInterfaceDeclaration' && statement.type !== 'TSTypeAliasDeclaration';
  });
}
