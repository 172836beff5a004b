import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const runner = fileURLToPath(new URL('test.ts', import.meta.url));

/** Runs the runner over a tree of its own. */
async function runOver(
  t: TestContext,
  files: Readonly<Record<string, string>>,
  args: readonly string[] = [],
): Promise<{ readonly code: number | null; readonly out: string; readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'stillpoint-runner-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  for (const [path, text] of Object.entries({ 'package.json': '{"type":"module"}', ...files })) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  const env: NodeJS.ProcessEnv = { ...process.env, STILLPOINT_TEST_ROOT: folder };
  // Without these the runner would take itself for one of our test files.
  delete env['NODE_TEST_CONTEXT'];
  delete env['NODE_V8_COVERAGE'];
  const child = spawn(process.execPath, [runner, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  child.stdout.on('data', (chunk) => (out += String(chunk)));
  child.stderr.on('data', (chunk) => (out += String(chunk)));
  const code = await new Promise<number | null>((done) => child.once('close', done));
  return { code, out, folder };
}

/** Whether the process runs; one that nobody has waited for yet does not. */
async function runs(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
  return !stat.slice(stat.lastIndexOf(')')).startsWith(') Z');
}

function lastLine(out: string): string {
  return out.trimEnd().split('\n').at(-1) ?? '';
}

const passing = `import { describe, it } from 'node:test';\ndescribe('suite', () => { it('one', () => {}); it('two', () => {}); });\n`;

describe('the test runner', () => {
  it('counts tests, not suites or files, on the very last line', async (t) => {
    const { code, out } = await runOver(t, {
      'src/a.test.ts': passing,
      'test/deep/b.test.ts': passing,
      'tools/c.test.ts': passing,
    });
    assert.equal(lastLine(out), '6 passed, 0 failed, 0 skipped');
    assert.equal(code, 0);
  });

  it('prints a failure in full with its place, and a skipped test with its reason', async (t) => {
    const { code, out } = await runOver(t, {
      'src/a.test.ts': `import { describe, it } from 'node:test'; import assert from 'node:assert/strict';
describe('outer', () => {
  describe('inner', () => { it('breaks', () => { assert.equal(1, 2, 'one is not two'); }); });
  it('waits', (t) => { t.skip('needs btrfs: no loop devices'); });
});`,
    });
    assert.match(out, /FAILED {3}src\/a\.test\.ts: outer > inner > breaks\n.*AssertionError.*one is not two/);
    assert.match(out, /a\.test\.ts:3:/);
    assert.match(out, /skipped {2}src\/a\.test\.ts: outer > waits\n +needs btrfs: no loop devices\n/);
    assert.equal(lastLine(out), '0 passed, 1 failed, 1 skipped');
    assert.equal(code, 1);
  });

  it('fails for a file that cannot be loaded, or that holds no test', async (t) => {
    const { code, out } = await runOver(t, { 'src/a.test.ts': 'const = 1;', 'src/b.test.ts': 'export {};' });
    assert.match(out, /SyntaxError/);
    assert.match(out, /src\/b\.test\.ts\n +the file holds no test/);
    assert.equal(lastLine(out), '0 passed, 2 failed, 0 skipped');
    assert.equal(code, 1);
  });

  it('fails when no test ran', async (t) => {
    const { code, out } = await runOver(t, { 'src/a.test.ts': passing }, ['no-such-name']);
    assert.match(out, /no test ran: nothing matches no-such-name/);
    assert.equal(lastLine(out), '0 passed, 0 failed, 0 skipped');
    assert.equal(code, 1);
  });

  it('picks files by path and tests by name', async (t) => {
    const files = { 'src/a.test.ts': passing, 'src/b.test.ts': passing };
    assert.equal(lastLine((await runOver(t, files, ['src/b'])).out), '2 passed, 0 failed, 0 skipped');
    assert.equal(lastLine((await runOver(t, files, ['two'])).out), '2 passed, 0 failed, 0 skipped');
  });

  it('fails for pure code with a branch that its own unit tests do not take', async (t) => {
    const { code, out } = await runOver(t, {
      'src/model/types.ts': 'export interface A { readonly a: number }\n',
      'src/model/half.ts': `export function half(a: number): string {\n  if (a > 1) {\n    return 'more';\n  }\n  return 'less';\n}\n`,
      'src/model/half.test.ts': `import { it } from 'node:test'; import { half } from './half.ts';\nit('less', () => { half(0); });\n`,
      'src/adapters/store/x/parse.ts': 'export const nobody = 1;\n',
      'test/e2e/full.test.ts': `import { it } from 'node:test'; import { half } from '../../src/model/half.ts';\nit('more', () => { half(2); });\n`,
    });
    assert.match(out, /FAILED {3}src\/model\/half\.ts\n +branches that no test takes, on line 2\n/);
    assert.match(out, /FAILED {3}src\/adapters\/store\/x\/parse\.ts\n +no unit test of pure code loads this file\n/);
    assert.doesNotMatch(out, /types\.ts/);
    assert.equal(lastLine(out), '2 passed, 2 failed, 0 skipped');
    assert.equal(code, 1);
  });

  it('ends and reports a process that a test left behind', async (t) => {
    const { code, out, folder } = await runOver(t, {
      'src/a.test.ts': `import { spawn } from 'node:child_process'; import { writeFileSync } from 'node:fs'; import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
it('leaves one', async () => {
  const child = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
  child.unref();
  writeFileSync('pid', String(child.pid));
  await sleep(2000); // longer than the runner looks away
});`,
    });
    assert.match(out, /FAILED {3}processes\n +still running after the tests: \d+ sleep 600\n/);
    assert.equal(lastLine(out), '1 passed, 1 failed, 0 skipped');
    assert.equal(code, 1);
    const pid = Number(await readFile(join(folder, 'pid'), 'utf8'));
    // SIGKILL is not waited for by who sends it; a bound only guards against a hang.
    for (let waited = 0; waited < 10_000 && (await runs(pid)); waited += 50) await sleep(50);
    assert.equal(await runs(pid), false);
  });
});
