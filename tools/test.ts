/**
 * npm test [-- [--full] [FILTER...]]
 *
 * A filter that is part of a test file's path picks files; any other picks tests by name. Prints failures in full, skipped tests with
 * their reason, and as the very last line `N passed, N failed, N skipped`. Pure code (src/model and every parse.ts) is run with
 * coverage by its own unit tests: a branch that none of them takes counts as a failed test.
 */
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { inspect, parseArgs, stripVTControlCharacters } from 'node:util';
import { coverageGaps, isPure, type Coverage } from './coverage-gaps.ts';
import { Descendants } from './leftovers.ts';

const root = process.env['STILLPOINT_TEST_ROOT'] ?? dirname(dirname(fileURLToPath(import.meta.url)));
/** Half of the time of the slow files is waiting: for a deadline, a lock, a server that stops. */
const filesAtOnce = availableParallelism() + 1;
const minute = 60_000;
const keptOutput = 8192;

interface Tally {
  passed: number;
  readonly failures: { readonly where: string; readonly what: string }[];
  readonly skipped: { readonly where: string; readonly why: string }[];
}

const { values, positionals } = parseArgs({ options: { full: { type: 'boolean' } }, allowPositionals: true });
if (values.full === true) process.env['STILLPOINT_TEST_FULL'] = '1';
process.chdir(root);

const all = globSync(['src/**/*.test.ts', 'test/**/*.test.ts', 'tools/**/*.test.ts']).sort(slowFirst);
const pathFilters = positionals.filter((filter) => all.some((file) => file.includes(filter.replace(/^\.\//, ''))));
const nameFilters = positionals.filter((filter) => !pathFilters.includes(filter));
const files =
  pathFilters.length === 0
    ? all
    : all.filter((file) => pathFilters.some((filter) => file.includes(filter.replace(/^\.\//, ''))));

const tally: Tally = { passed: 0, failures: [], skipped: [] };
const abort = new AbortController();
const descendants = new Descendants();
const watch = setInterval(() => descendants.look(), 250);
let interrupted: NodeJS.Signals | undefined;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    interrupted = signal;
    abort.abort();
  });
}

/** Tests start the program over a thousand times; reading what the first one compiled halves the work of a start. */
const compiled = mkdtempSync(join(tmpdir(), 'stillpoint-compiled-'));
const pure = files.filter((file) => isPure(file.replace(/\.test\.ts$/, '.ts')));
try {
  // Coverage slows the engine down and marks every Node process below a test: it is kept away from tests that start processes.
  const coverage = await runFiles(pure, true);
  // After it, for compiled code that is read back has less to say on its coverage.
  process.env['NODE_COMPILE_CACHE'] = compiled;
  await runFiles(
    files.filter((file) => !pure.includes(file)),
    false,
  );
  if (positionals.length === 0 && interrupted === undefined) tally.failures.push(...coverageGaps(coverage));
} catch (error) {
  // node:test takes uncaught errors for its own and would wait forever.
  tally.failures.push({ where: 'tools/test.ts', what: inspect(error) });
} finally {
  clearInterval(watch);
}
await endLeftovers();
rmSync(compiled, { recursive: true, force: true });
report();

/** What takes minutes must not begin when all else is done. */
function slowFirst(one: string, other: string): number {
  const rank = (file: string): number => {
    const found = ['test/lab/', 'test/e2e/kill', 'test/e2e/', 'src/adapters/'].findIndex((part) =>
      file.startsWith(part),
    );
    return found === -1 ? Number.MAX_SAFE_INTEGER : found;
  };
  return rank(one) - rank(other) || (one < other ? -1 : 1);
}

async function runFiles(some: readonly string[], covered: boolean): Promise<Coverage | undefined> {
  if (some.length === 0 || abort.signal.aborted) return undefined;
  const output = new Map<string, string>();
  let summary: Coverage | undefined;
  const events = run({
    files: some.map((file) => resolve(file)),
    concurrency: filesAtOnce,
    timeout: (values.full === true ? 60 : 20) * minute,
    signal: abort.signal,
    ...(nameFilters.length === 0
      ? {}
      : { testNamePatterns: nameFilters.map((filter) => new RegExp(escape(filter), 'i')) }),
    ...(covered
      ? { coverage: true, coverageIncludeGlobs: ['src/model/**/*.ts', 'src/**/parse.ts', 'src/**/parse-*.ts'] }
      : {}),
  });
  const keep = ({ file, message }: { file?: string | undefined; message: string }): void => {
    if (file !== undefined) output.set(file, `${output.get(file) ?? ''}${message}`.slice(-keptOutput));
  };
  // Names of the suites and tests that enclose the one that starts, for each file.
  const names = new Map<string, string[]>();
  for await (const { type, data } of events) {
    if (type === 'test:stdout' || type === 'test:stderr') keep(data);
    else if (type === 'test:coverage') summary = data.summary;
    else if (type === 'test:summary' && data.file !== undefined) progress(relative(root, data.file), data);
    else if (type === 'test:start') {
      const path = names.get(data.file ?? '') ?? [];
      names.set(data.file ?? '', [...path.slice(0, data.nesting), data.name]);
    } else if (type === 'test:pass' || type === 'test:fail') {
      const file = data.file === undefined ? '' : relative(root, data.file);
      const enclosing = (names.get(data.file ?? '') ?? []).slice(0, data.nesting);
      const where = `${file}: ${[...enclosing, data.name].join(' > ')}`;
      const isFile = data.nesting === 0 && resolve(data.name) === data.file;
      if (data.skip !== undefined || data.todo !== undefined) {
        const why = data.skip ?? data.todo;
        tally.skipped.push({ where, why: typeof why === 'string' ? why : 'no reason given' });
      } else if (type === 'test:fail') {
        const error = data.details.error;
        // The parent of a failed test fails with it; only the test itself counts.
        if ('failureType' in error && error.failureType === 'subtestsFailed') continue;
        const printed = isFile ? (output.get(data.file ?? '') ?? '') : '';
        failed({ where, what: `${describe(error)}${printed === '' ? '' : `\n${printed}`}` });
      } else if (isFile) {
        if (nameFilters.length === 0) tally.failures.push({ where: file, what: 'the file holds no test' });
      } else if (data.details.type !== 'suite') tally.passed += 1;
    }
  }
  return summary;
}

/** Told at once, and again in the report: who reads a part of a long log sees why, too. */
function failed(failure: Tally['failures'][number]): void {
  tally.failures.push(failure);
  process.stdout.write(`${toldFailure(failure)}\n`);
}

function toldFailure({ where, what }: Tally['failures'][number]): string {
  return `FAILED   ${where}\n${what.replaceAll(/^/gm, '         ')}`;
}

/** One line for each file as it ends: a long run shows that it moves, and which file is slow. */
function progress(file: string, { success, duration_ms: took }: { success: boolean; duration_ms: number }): void {
  process.stdout.write(`${success ? 'ok    ' : 'FAILED'}  ${(took / 1000).toFixed(1).padStart(6)} s  ${file}\n`);
}

function describe(error: Error): string {
  const cause = error.cause ?? error;
  return stripVTControlCharacters(inspect(cause, { depth: 6, breakLength: 120 }));
}

function escape(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}

async function endLeftovers(): Promise<void> {
  descendants.look();
  for (let waited = 0; waited < 3000 && descendants.alive().length > 0; waited += 100) await sleep(100);
  for (const { pid, command } of descendants.alive()) {
    if (interrupted === undefined)
      tally.failures.push({ where: 'processes', what: `still running after the tests: ${pid} ${command}` });
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself in the meantime.
    }
  }
}

function report(): void {
  const lines: string[] = [];
  for (const { where, why } of tally.skipped) lines.push(`skipped  ${where}\n         ${why}`);
  lines.push(...tally.failures.map(toldFailure));
  if (interrupted !== undefined) lines.push(`stopped by ${interrupted}`);
  const nothingRan = tally.passed + tally.failures.length === 0;
  if (nothingRan)
    lines.push(`no test ran${positionals.length === 0 ? '' : `: nothing matches ${positionals.join(' ')}`}`);
  lines.push(`${tally.passed} passed, ${tally.failures.length} failed, ${tally.skipped.length} skipped`);
  process.stdout.write(`${lines.join('\n')}\n`);
  process.exitCode = interrupted !== undefined ? 130 : tally.failures.length > 0 || nothingRan ? 1 : 0;
}
