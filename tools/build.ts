/** `npm run build`: src becomes plain JavaScript in dist, which starts without the 50 ms that stripping types costs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, globSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');

// A file that src no longer has must not live on in the package.
rmSync(dist, { recursive: true, force: true });
const tsc = spawn(join(root, 'node_modules/.bin/tsc'), ['--project', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
const [code] = (await once(tsc, 'close')) as [number | null];
// Files that tsc does not know but the program reads: scripts, pages, queries.
for (const file of globSync('**/*.*', { cwd: join(root, 'src') }).filter((each) => !/\.(ts|tsx|md)$/.test(each))) {
  cpSync(join(root, 'src', file), join(dist, file));
}
if (code !== 0 || !existsSync(join(dist, 'main.js'))) {
  process.stderr.write('build: dist is not complete\n');
  process.exitCode = 1;
}
