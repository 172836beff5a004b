import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { codeOf } from '../../src/model/errors.ts';
import { compileCache } from '../doubles/compile-cache.ts';
import { systemExec, type CommandResult, type RunningProcess } from '../../src/platform/exec.ts';

/** A small SQLite database that nobody else has open, and everything that a user of the command line has around it. */
export interface Shop extends AsyncDisposable {
  readonly directory: string;
  readonly database: string;
  readonly stateDirectory: string;
  readonly repository: string;
  readonly configFile: string;
  /** Another configuration file, like the first but for what `change` does to it. */
  variant(name: string, change: (config: ShopConfig) => void): Promise<string>;
  run(args: readonly string[], configFile?: string): Promise<CommandResult>;
  start(args: readonly string[], env: Readonly<Record<string, string>>): RunningProcess;
  sell(count: number): void;
  sold(file?: string): number;
  /** Staging, work, sockets, repository locks: all that a run may have left. */
  leftovers(): Promise<readonly string[]>;
}

export interface ShopConfig {
  repository: { store: { local: string }; passwordFile: string };
  stateDirectory: string;
  workloads: Record<string, { application: unknown; storage: unknown; hold: { budget: string } }>;
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export async function openShop(): Promise<Shop> {
  const directory = await mkdtemp(join(tmpdir(), 'sp-shop-'));
  const database = join(directory, 'shop.db');
  const sell = (count: number): void => {
    const db = new DatabaseSync(database);
    db.exec('PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS sale (id INTEGER PRIMARY KEY, what TEXT)');
    const insert = db.prepare('INSERT INTO sale (what) VALUES (?)');
    for (let n = 0; n < count; n++) insert.run(`thing ${n}`);
    db.close();
  };
  sell(10);
  const configFile = join(directory, 'stillpoint.yaml');
  const config: ShopConfig = {
    repository: { store: { local: join(directory, 'repository') }, passwordFile: join(directory, 'key') },
    stateDirectory: join(directory, 'state'),
    workloads: {
      shop: { application: { sqlite: { file: database } }, storage: [{ copy: {} }], hold: { budget: '5s' } },
    },
  };
  // JSON is YAML.
  await writeFile(configFile, JSON.stringify(config, null, 2));
  const argv = (args: readonly string[], file: string): [string, ...string[]] => [
    process.execPath,
    main,
    ...args,
    '--config',
    file,
  ];
  return {
    directory,
    database,
    stateDirectory: config.stateDirectory,
    repository: config.repository.store.local,
    configFile,
    variant: async (name, change) => {
      const copy = structuredClone(config);
      change(copy);
      const file = join(directory, `${name}.yaml`);
      await writeFile(file, JSON.stringify(copy));
      return file;
    },
    run: (args, file = configFile) =>
      systemExec.run({ argv: argv(args, file), env: compileCache(), cwd: directory, timeoutMs: 60_000 }),
    start: (args, env) => systemExec.start({ argv: argv(args, configFile), cwd: directory, env }),
    sell,
    sold: (file = database) => {
      const db = new DatabaseSync(file);
      const row = db.prepare('SELECT count(*) AS n FROM sale').get();
      db.close();
      return Number(row?.['n']);
    },
    leftovers: async () => [
      ...(await inside(join(config.stateDirectory, 'staging'))),
      ...(await inside(join(config.stateDirectory, 'work'))),
      ...(await inside(join(config.stateDirectory, 'drill'))),
      ...(await inside(join(config.stateDirectory, 'holds'))).filter((name) => name.endsWith('.sock')),
      ...(await inside(join(config.repository.store.local, 'locks'))),
    ],
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

export async function inside(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).map((name) => join(directory, name));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

export async function filesBelow(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Turns over every bit of one byte in the middle. */
export async function damage(file: string): Promise<void> {
  const content = await readFile(file);
  const middle = Math.floor(content.length / 2);
  content[middle] = (content[middle] ?? 0) ^ 0xff;
  await rm(file);
  await writeFile(file, content);
}
