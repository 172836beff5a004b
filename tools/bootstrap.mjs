// Runs a TypeScript file of this clone with the Node that the clone brings along: node tools/bootstrap.mjs <script.ts> [args...]
//
// This file must run on old Nodes (18, 20) with nothing installed, hence plain JavaScript and no dependency. It installs what
// package-lock.json names unless exactly that is installed, then hands over: same arguments, folder, signals and exit status.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, 'node_modules');
const node = join(modules, '.bin', 'node');
const lock = join(root, '.stillpoint', 'install.lock');
const leastMajor = 24;
const waitForOtherMs = 10 * 60_000;

main().catch((error) => fail(error instanceof Error ? (error.stack ?? error.message) : String(error)));

async function main() {
  const [script, ...args] = process.argv.slice(2);
  if (script === undefined) fail('usage: node tools/bootstrap.mjs <script.ts> [arguments...]');
  if (!isInstalled()) await withInstallLock(install);
  await requireNode();
  // A relative script belongs to this clone, wherever it is called from.
  await handOver([resolve(root, script), ...args]);
}

/** Whether node_modules holds what the lock file names. npm's own record is compared, so an `npm ci` by hand counts too. */
function isInstalled() {
  const wanted = packagesOf(join(root, 'package-lock.json'));
  // npm writes this file last: after an interrupted install it is missing.
  const installed = packagesOf(join(modules, '.package-lock.json'));
  if (wanted === undefined) fail('package-lock.json cannot be read', 'check the clone with `git status`');
  if (installed === undefined) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true;
    const there = installed[path];
    if (there === undefined) return entry.optional === true || entry.devOptional === true;
    return there.version === entry.version && there.integrity === (entry.integrity ?? there.integrity);
  });
}

function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages;
  } catch {
    return undefined; // missing or torn: both mean "not installed"
  }
}

/** Two commands started at once in a fresh clone: one installs, the other waits. The lock is a symbolic link that names its owner. */
async function withInstallLock(action) {
  mkdirSync(dirname(lock), { recursive: true });
  const giveUp = Date.now() + waitForOtherMs;
  while (!takeLock()) {
    if (Date.now() > giveUp) fail(`process ${ownerOf()} still installs`, `wait for it, or remove ${lock}`);
    await new Promise((done) => setTimeout(done, 200));
  }
  const release = () => {
    try {
      if (ownerOf() === process.pid) unlinkSync(lock);
    } catch {
      // Already gone: nobody waits for it.
    }
  };
  process.once('exit', release);
  try {
    if (!isInstalled()) await action();
  } finally {
    release();
  }
}

function takeLock() {
  try {
    symlinkSync(String(process.pid), lock);
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  const owner = ownerOf();
  if (owner !== undefined && !isAlive(owner)) {
    try {
      unlinkSync(lock);
    } catch {
      // Another waiter removed the dead owner's lock first.
    }
  }
  return false;
}

function ownerOf() {
  try {
    return Number(readlinkSync(lock));
  } catch {
    return undefined; // released in the meantime
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

async function install() {
  // On stderr, so that `--json` keeps stdout to itself.
  process.stderr.write('stillpoint: installing what package-lock.json names, once (npm ci)\n');
  const env = {
    ...process.env,
    // The Node inside node_modules is about to be deleted; npm has to run on the machine's own.
    PATH: (process.env.PATH ?? '')
      .split(delimiter)
      .filter((part) => !resolve(part).startsWith(modules))
      .join(delimiter),
  };
  const child = spawn(
    'npm',
    ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const output = [];
  child.stdout.on('data', (chunk) => output.push(chunk));
  child.stderr.on('data', (chunk) => output.push(chunk));
  const { code, signal } = await passSignals(child);
  if (code !== 0) {
    process.stderr.write(Buffer.concat(output));
    fail(`npm ci ended with ${signal ?? code}`, 'see its output above; it needs the network once and npm 10 or newer');
  }
  if (!isInstalled()) fail('npm ci left packages out', 'run `npm ci` by hand and read its warnings');
}

async function requireNode() {
  const child = spawn(node, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] });
  let version = '';
  child.stdout?.on('data', (chunk) => (version += chunk));
  const started = await ended(child).then(
    ({ code }) => code === 0,
    () => false,
  );
  if (started && Number(/^v(\d+)\./.exec(version)?.[1]) >= leastMajor) return;
  const found = started ? `is ${version.trim()}` : 'does not start';
  fail(
    `${node} ${found}; Node ${leastMajor} or newer is needed`,
    'its install script may not have run: remove node_modules and run `npm ci` without --ignore-scripts',
  );
}

async function handOver(argv) {
  const { code, signal } = await passSignals(spawn(node, argv, { stdio: 'inherit' }));
  // Die of the same signal, so that a calling shell or script sees what it would have seen without this process between.
  if (signal !== null) process.kill(process.pid, signal);
  else process.exitCode = code;
}

/**
 * Waits for a child and passes signals on. A terminal sends Ctrl-C and hang-up to its whole foreground group: there the child has
 * them already, and a second one would read as "force".
 */
async function passSignals(child) {
  const handlers = ['SIGINT', 'SIGHUP', 'SIGTERM', 'SIGQUIT'].map((name) => {
    const handler = () => {
      if (name === 'SIGTERM' || !inForegroundOfTerminal()) child.kill(name);
    };
    process.on(name, handler);
    return [name, handler];
  });
  try {
    return await ended(child);
  } finally {
    for (const [name, handler] of handlers) process.off(name, handler);
  }
}

function inForegroundOfTerminal() {
  try {
    // After "pid (name) ": state ppid pgrp session tty_nr tpgid
    const fields = readFileSync('/proc/self/stat', 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return fields[4] !== '0' && fields[2] === fields[5];
  } catch {
    return process.stdin.isTTY === true; // no /proc: not Linux
  }
}

function ended(child) {
  return new Promise((done, refuse) => {
    child.once('error', refuse);
    child.once('close', (code, signal) => done({ code, signal }));
  });
}

function fail(message, hint) {
  process.stderr.write(`stillpoint: ${message}\n${hint === undefined ? '' : `HINT: ${hint}\n`}`);
  process.exit(1);
}
