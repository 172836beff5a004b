/** `npm run check`: everything that can be said about the code without running it. Prints failures only, and changes no file. */
import { spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const atOnce = 2;
const node = process.execPath;
const bin = 'node_modules/.bin';

interface Check {
  readonly name: string;
  readonly argv: readonly [string, ...string[]];
}

// The slowest first: the short ones then fill the second lane.
const checks: readonly Check[] = [
  { name: 'lint', argv: [`${bin}/oxlint`, '--type-aware', '--deny-warnings', 'src', 'test', 'tools'] },
  { name: 'types', argv: [`${bin}/tsc`, '--pretty', 'false'] },
  { name: 'unused', argv: [`${bin}/knip`, '--no-progress'] },
  { name: 'format', argv: [`${bin}/oxfmt`, '--check', 'src', 'test', 'tools'] },
  { name: 'boundaries', argv: [node, 'tools/check-boundaries.ts'] },
  { name: 'docs', argv: [node, 'tools/generate-docs.ts', '--check'] },
  { name: 'changelog', argv: [node, 'tools/check-changelog.ts'] },
  { name: 'lock file', argv: [node, 'tools/complete-lock.ts', '--check'] },
];

/** Runs one check; its output, or undefined if it passed. */
function run({ argv: [program, ...args] }: Check): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
    child.once('error', (error) => resolve(`${program} cannot be started: ${error.message}`));
    child.once('close', (code, signal) => {
      const said = Buffer.concat(output).toString().trimEnd();
      resolve(code === 0 ? undefined : said === '' ? `ended with ${signal ?? code}` : said);
    });
  });
}

const waiting = [...checks];
const failed: string[] = [];

async function lane(): Promise<void> {
  for (let check = waiting.shift(); check !== undefined; check = waiting.shift()) {
    const said = await run(check);
    if (said === undefined) continue;
    failed.push(check.name);
    process.stdout.write(`--- ${check.name}: ${check.argv.join(' ').replace(node, 'node')}\n${said}\n`);
  }
}

await Promise.all(Array.from({ length: atOnce }, lane));
const passed = checks.filter(({ name }) => !failed.includes(name)).map(({ name }) => name);
process.stdout.write(
  failed.length === 0
    ? `check: ${passed.join(', ')}: good\n`
    : `check: ${failed.join(', ')} failed; ${passed.join(', ')} good\n`,
);
process.exitCode = failed.length === 0 ? 0 : 1;
