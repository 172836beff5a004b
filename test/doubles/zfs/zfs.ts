/** `zfs.ts STATE zfs|zpool ARGS...`: see README.md beside it. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

interface Snapshot {
  readonly creation: number;
  readonly properties: Readonly<Record<string, string>>;
  readonly holds: number;
}
export interface State {
  readonly datasets: Readonly<Record<string, string>>;
  readonly snapshots: Readonly<Record<string, Snapshot>>;
}

const [, , directory = '', program, ...args] = process.argv;
// A file for each pool: commands for two pools run at the same time.
const file = join(directory, `${(args.at(-1) ?? '').split(/[/@]/, 1)[0]}.json`);
if (!existsSync(file)) fail(`cannot open '${args.at(-1)}': dataset does not exist`);
const state = JSON.parse(readFileSync(file, 'utf8')) as State;

function fail(said: string): never {
  process.stderr.write(`${said}\n`);
  process.exit(1);
}

function save(snapshots: State['snapshots']): void {
  writeFileSync(`${file}.${process.pid}`, JSON.stringify({ ...state, snapshots }));
  renameSync(`${file}.${process.pid}`, file);
}

function directoryOf(name: string): string {
  const [dataset = '', label = ''] = name.split('@');
  return join(state.datasets[dataset] ?? '/nonexistent', '.zfs', 'snapshot', label);
}

function call(name: string, ...argv: readonly string[]): void {
  execFileSync(name, argv, { stdio: ['ignore', 'ignore', 'inherit'] });
}

function btrfs(...argv: readonly string[]): void {
  call('btrfs', 'subvolume', ...argv);
}

function snapshot(): void {
  const properties: Record<string, string> = {};
  const names: string[] = [];
  for (let index = 0; index < args.length; index += 1) {
    if (args[index] === '-o') {
      const [key = '', value = ''] = (args[++index] ?? '').split('=');
      properties[key] = value;
    } else names.push(args[index] ?? '');
  }
  if (new Set(names.map((name) => name.split(/[/@]/, 1)[0])).size > 1)
    fail('cannot create snapshots : snapshots must be in the same pool');
  for (const name of names) {
    if (state.datasets[name.split('@')[0] ?? ''] === undefined)
      fail(`cannot open '${name.split('@')[0]}': dataset does not exist`);
    if (state.snapshots[name] !== undefined)
      fail(`cannot create snapshot '${name}': dataset already exists\nno snapshots were created`);
  }
  const added: Record<string, Snapshot> = {};
  for (const name of names) {
    const at = directoryOf(name);
    mkdirSync(join(at, '..'), { recursive: true });
    // What a killed one left that had not happened.
    if (existsSync(at)) btrfs('delete', at);
    btrfs('snapshot', '-r', join(at, '../../..'), at);
    added[name] = { creation: Math.floor(Date.now() / 1000), properties, holds: 0 };
  }
  save({ ...state.snapshots, ...added });
}

function list(): void {
  const columns = (args[args.indexOf('-o') + 1] ?? '').split(',');
  const what = args.at(-1) ?? '';
  const found = Object.entries(state.snapshots).filter(([name]) => name === what || name.startsWith(`${what}@`));
  if (what.includes('@') ? found.length === 0 : state.datasets[what] === undefined)
    fail(`cannot open '${what}': dataset does not exist`);
  for (const [name, { creation, holds, properties }] of found) {
    const values: Record<string, string> = { ...properties, name, creation: String(creation), userrefs: String(holds) };
    process.stdout.write(`${columns.map((column) => values[column] ?? '-').join('\t')}\n`);
  }
}

function destroy(): void {
  const [name = '', ...more] = args;
  if (more.length > 0 || !name.includes('@') || /[%,]/.test(name)) fail('usage: this stand-in destroys one snapshot');
  const found = state.snapshots[name];
  if (found === undefined) fail('could not find any snapshots to destroy; check snapshot names.');
  if (found.holds > 0)
    fail(`cannot destroy snapshot ${name}: it's being held. Run 'zfs holds -r ${name}' to see holders.`);
  btrfs('delete', directoryOf(name));
  const { [name]: _, ...rest } = state.snapshots;
  save(rest);
}

/** By inode, as ZFS goes by object: one name for each, and none for an unchanged file below a directory that was renamed. */
function diff(): void {
  const [older = '', newer = ''] = args.slice(-2);
  for (const name of [older, newer])
    if (state.snapshots[name] === undefined)
      fail(`Unable to determine path or stats for object 1 in ${name}: Invalid argument`);
  const walk = (top: string, below = ''): Map<bigint, { path: string; type: string; ctimeNs: bigint }> => {
    const found = new Map<bigint, { path: string; type: string; ctimeNs: bigint }>();
    for (const entry of readdirSync(join(top, below), { withFileTypes: true })) {
      const path = `${below}/${entry.name}`;
      if (path === '/.zfs') continue;
      const { ino, ctimeNs } = lstatSync(join(top, path), { bigint: true });
      found.set(ino, { path, type: entry.isDirectory() ? '/' : entry.isSymbolicLink() ? '@' : 'F', ctimeNs });
      if (entry.isDirectory()) for (const [key, value] of walk(top, path)) found.set(key, value);
    }
    return found;
  };
  const mountPoint = state.datasets[older.split('@')[0] ?? ''] ?? '';
  const escaped = (path: string): string =>
    [...Buffer.from(mountPoint + path)]
      .map((byte) =>
        byte > 32 && byte < 127 && byte !== 92 ? String.fromCodePoint(byte) : `\\${byte.toString(8).padStart(4, '0')}`,
      )
      .join('');
  const say = (change: string, of: { ctimeNs: bigint; type: string }, ...paths: readonly string[]): void => {
    const time = `${String(of.ctimeNs / 1_000_000_000n).padStart(10)}.${String(of.ctimeNs % 1_000_000_000n).padStart(9, '0')}`;
    process.stdout.write(`${[time, change, of.type, ...paths.map(escaped)].join('\t')}\n`);
  };
  const before = walk(directoryOf(older));
  const after = walk(directoryOf(newer));
  for (const [inode, was] of before) if (!after.has(inode)) say('-', was, was.path);
  for (const [inode, now] of after) {
    const was = before.get(inode);
    if (was === undefined) say('+', now, now.path);
    else if (was.path !== now.path && was.ctimeNs !== now.ctimeNs) say('R', now, was.path, now.path);
    else if (was.ctimeNs !== now.ctimeNs) say('M', now, now.path);
  }
}

function status(): void {
  const pool = args.at(-1) ?? '';
  const text = join(directory, 'status');
  process.stdout.write(
    existsSync(text)
      ? readFileSync(text, 'utf8')
      : `  pool: ${pool}\n state: ONLINE\nconfig:\n\n\tNAME  STATE\n\nerrors: No known data errors\n`,
  );
}

if (existsSync(join(directory, 'fail'))) {
  const said = readFileSync(join(directory, 'fail'), 'utf8');
  rmSync(join(directory, 'fail'));
  fail(said);
}
const command = args.shift() ?? '';
if (program === 'zpool' && command === 'status') status();
else if (program === 'zpool' && command === 'sync') call('sync', '-f', ...Object.values(state.datasets));
else if (program === 'zfs' && command === 'snapshot') snapshot();
else if (program === 'zfs' && command === 'list') list();
else if (program === 'zfs' && command === 'destroy') destroy();
else if (program === 'zfs' && command === 'diff') diff();
else fail(`unrecognized command '${command}'`);
