import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { compileCache } from '../doubles/compile-cache.ts';
import { environmentOf } from '../../src/adapters/application/gtm/commands.ts';
import { catalogFile } from '../../src/catalog/catalog.ts';
import { codeOf } from '../../src/model/errors.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec, type CommandResult, type RunningProcess } from '../../src/platform/exec.ts';
import { openGtm, whyNoGtm } from '../doubles/gtm.ts';
import { startPostgres, whyNoPostgres } from '../doubles/embedded-postgres.ts';
import { openYard, whyNoMariadb } from '../doubles/mariadb-server.ts';
import { durable, mariadbConfigFor, moveTo } from '../doubles/mariadb-subject.ts';
import { loopVolume } from '../doubles/loop-volume.ts';
import { smallDisk } from '../doubles/small-disk.ts';
import type { WriterSpec } from './writer.ts';

export type Engine = 'postgresql' | 'sqlite' | 'gtm' | 'mariadb';
export type Provider = 'btrfs' | 'reflink' | 'copy';

/** A live database under a write load, a configuration and an empty repository: everything a real user would have. */
export interface Stage extends AsyncDisposable {
  readonly directory: string;
  readonly stateDirectory: string;
  readonly repository: string;
  readonly configFile: string;
  /** In the environment of every process that the stage's commands start, to find what they leave behind. */
  readonly mark: string;
  /** Acknowledged rows so far. */
  acknowledged(): Promise<readonly { readonly row: number; readonly monoMs: number; readonly wallMs?: number }[]>;
  /** Ends the write load, for what needs a database that nobody uses. */
  stopWriter(): Promise<void>;
  /** Starts it again; only where it is a service. */
  readonly startWriter?: () => Promise<void>;
  /** Runs the command line to its end. */
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<CommandResult>;
  /** Starts it and lets it run. */
  start(args: readonly string[], env?: Readonly<Record<string, string>>): RunningProcess;
  /** Everything that a run may leave outside the repository's data: snapshots, staging, work, holds, repository locks, processes. */
  leftovers(): Promise<readonly string[]>;
  /** From the next command on. */
  setBudget(budget: string): Promise<void>;
  /** Removes what a test filled the state directory's disk with. */
  unfill(): Promise<void>;
  /** GT.M only: M and mupip as a user would run them, on the global directory given; the live one's path. */
  readonly gtm?: GtmTools;
  /** Processes of the stage's commands that are alive. */
  processes(): Promise<readonly { readonly pid: number; readonly command: string }[]>;
}

export interface GtmTools {
  readonly globalDirectory: string;
  mumps(globalDirectory: string, entry: string, ...args: readonly string[]): Promise<CommandResult>;
  mupip(globalDirectory: string, ...args: readonly string[]): Promise<CommandResult>;
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const writer = fileURLToPath(new URL('writer.ts', import.meta.url));
const commandMs = 120_000;

export interface StageOptions {
  readonly budget: string;
  readonly canary?: boolean;
  readonly pauseMs?: number;
  /** GT.M only: the load is stopped and started by commands in the configuration, for cold backups. */
  readonly service?: boolean;
  /** GT.M only: fill the database to about this size first. */
  readonly databaseBytes?: number;
  /** Further settings of the application. */
  readonly application?: Readonly<Record<string, unknown>>;
  /** The state directory on a disk of its own, of this size. */
  readonly stateBytes?: number;
}

export async function openStage(engine: Engine, provider: Provider, options: StageOptions): Promise<Stage | string> {
  if (options.stateBytes !== undefined && process.getuid?.() !== 0) return 'needs root: mounts a small disk';
  if (engine === 'postgresql') {
    const why = await whyNoPostgres();
    if (why !== undefined) return why;
  }
  if (engine === 'mariadb') {
    const why = await whyNoMariadb();
    if (why !== undefined) return why;
  }
  if (engine === 'gtm') {
    const why = whyNoGtm();
    if (why !== undefined) return why;
  }
  const undo = new AsyncDisposableStack();
  try {
    const home = await mkdtemp(join(tmpdir(), 'sp-stage-'));
    await chmod(home, 0o755);
    undo.defer(() => rm(home, { recursive: true, force: true }));
    let data = join(home, 'db');
    let snapshots: string | undefined;
    if (provider === 'copy') {
      await mkdir(data, { mode: 0o755 });
    } else {
      const volume = await loopVolume(provider === 'reflink' ? 'xfs' : 'btrfs', {
        // GT.M's load writes its journal without pause. The image is sparse.
        bytes: (engine === 'gtm' ? 16 : 2) * 1024 ** 3 + 4 * (options.databaseBytes ?? 0),
      });
      if ('skip' in volume) {
        await undo.disposeAsync();
        return volume.skip;
      }
      undo.use(volume);
      await chmod(join(volume.mountPoint, '..'), 0o755);
      data = join(volume.mountPoint, 'db');
      if (provider === 'btrfs')
        await systemExec.check({ argv: ['btrfs', 'subvolume', 'create', data], timeoutMs: commandMs });
      else await mkdir(data);
      await chmod(data, 0o755);
      snapshots = join(volume.mountPoint, '.stillpoint');
    }
    const database = await openDatabase(engine, data, options, undo);
    const stage = { home, snapshots, mark: `stage-${process.pid}-${Math.random().toString(36).slice(2)}` };
    return await finish(stage, database, engine, provider, options, undo);
  } catch (error) {
    await undo.disposeAsync();
    throw error;
  }
}

interface Database {
  readonly application: Record<string, unknown>;
  /** A load of its own, where the engine's language is none of ours. */
  readonly load?: Pick<Stage, 'acknowledged' | 'stopWriter' | 'startWriter'>;
  readonly gtm?: GtmTools;
  readonly at: string;
  readonly port?: number;
}

/** Two regions, one transaction over both. Its acknowledgements bear the wall clock; the offset is taken once. */
async function openGtmDatabase(data: string, options: StageOptions, undo: AsyncDisposableStack): Promise<Database> {
  const database = undo.use(
    await openGtm({
      regions: 2,
      directory: join(data, 'db'),
      config: { ...options.application },
      service: options.service ?? false,
    }),
  );
  if (options.databaseBytes !== undefined) await database.fill(options.databaseBytes);
  const load = await database.load(1, options.pauseMs);
  const offset = systemClock.monoMs() - systemClock.wallMs();
  return {
    application: { gtm: database.config },
    at: database.directory,
    gtm: {
      globalDirectory: database.gtm.place.globalDirectory,
      mumps: (globalDirectory, entry, ...args) =>
        systemExec.run({
          argv: [join(database.gtm.place.distribution, 'mumps'), '-run', entry, ...args],
          env: { ...environmentOf({ ...database.gtm.place, globalDirectory }), SPDB: dirname(globalDirectory) },
          timeoutMs: commandMs,
        }),
      mupip: (globalDirectory, ...args) =>
        systemExec.run({
          argv: [join(database.gtm.place.distribution, 'mupip'), ...args],
          env: { ...environmentOf({ ...database.gtm.place, globalDirectory }), SPDB: dirname(globalDirectory) },
          timeoutMs: commandMs,
        }),
    },
    load: {
      acknowledged: async () =>
        (await load.acknowledged()).map(({ n, ms }) => ({ row: n, monoMs: ms + offset, wallMs: ms })),
      stopWriter: () => load.stop(),
      startWriter: () => database.startService(),
    },
  };
}

async function openDatabase(
  engine: Engine,
  data: string,
  options: StageOptions,
  undo: AsyncDisposableStack,
): Promise<Database> {
  if (engine === 'gtm') return await openGtmDatabase(data, options, undo);
  if (engine === 'sqlite') {
    const at = join(data, 'app.db');
    return { application: { sqlite: { file: at } }, at };
  }
  if (engine === 'mariadb') {
    const yard = undo.use(await openYard());
    const server = await yard.add('db1', durable);
    await moveTo(server, join(data, 'my'));
    await server.start();
    await server.ask('CREATE DATABASE app');
    const application = { ...mariadbConfigFor(server), dataDirectory: join(data, 'my') };
    return { application: { mariadb: application }, at: server.socket };
  }
  const server = undo.use(await startPostgres({ directory: join(data, 'pg') }));
  const { socketDirectory, port, binDirectory } = server;
  return {
    application: { postgresql: { host: socketDirectory, port, user: 'postgres', binDirectory } },
    at: socketDirectory,
    port,
  };
}

/** The writer of our own for the engines that Node has a client for. */
async function startWriter(
  home: string,
  { at, port }: Database,
  engine: Engine,
  options: StageOptions,
): Promise<Pick<Stage, 'acknowledged' | 'stopWriter' | 'startWriter'>> {
  if (engine === 'gtm') throw new Error('GT.M has a load of its own');
  const log = join(home, 'written.log');
  await writeFile(log, '');
  const spec: WriterSpec = {
    engine,
    at,
    log,
    pauseMs: options.pauseMs ?? 2,
    payloadBytes: 200,
    ...(port === undefined ? {} : { port }),
  };
  const load = systemExec.start({ argv: [process.execPath, writer, JSON.stringify(spec)] });
  await load.firstLine((line) => line === 'ready', 30_000);
  return {
    acknowledged: async () =>
      (await readFile(log, 'utf8')).split('\n').flatMap((line) => {
        const [row, monoMs] = line.split(' ');
        return row === undefined || monoMs === undefined ? [] : [{ row: Number(row), monoMs: Number(monoMs) }];
      }),
    stopWriter: async () => {
      load.kill('SIGTERM');
      await load.exited;
    },
  };
}

async function finish(
  place: { readonly home: string; readonly snapshots: string | undefined; readonly mark: string },
  database: Database,
  engine: Engine,
  provider: Provider,
  options: StageOptions,
  undo: AsyncDisposableStack,
): Promise<Stage> {
  const { home, snapshots, mark } = place;
  const load = database.load ?? (await startWriter(home, database, engine, options));
  const { acknowledged, stopWriter } = load;
  undo.defer(stopWriter);

  const small = options.stateBytes === undefined ? undefined : await smallDisk(options.stateBytes);
  if (small !== undefined) undo.use(small);
  const stateDirectory = small?.directory ?? join(home, 'state');
  const repository = join(home, 'repository');
  const configFile = join(home, 'stillpoint.yaml');
  const password = join(home, 'password');
  await writeFile(password, 'a password for tests\n', { mode: 0o600 });
  const [kind, settings] = Object.entries(database.application)[0] ?? ['', {}];
  const config = {
    repository: { store: { local: repository }, passwordFile: password },
    stateDirectory,
    workloads: {
      orders: {
        application: {
          [kind]: { ...(settings as object), ...(engine === 'gtm' ? {} : { canary: options.canary ?? false }) },
        },
        storage: [{ [provider]: {} }],
        hold: { budget: options.budget },
      },
    },
  };
  // JSON is YAML.
  await writeFile(configFile, JSON.stringify(config, null, 2));
  const env = (extra: Readonly<Record<string, string>> = {}): Record<string, string> => ({
    STILLPOINT_STAGE: mark,
    ...compileCache(),
    ...extra,
  });
  const argv = (args: readonly string[]): [string, ...string[]] => [
    process.execPath,
    main,
    ...args,
    '--config',
    configFile,
  ];
  const processes = (): Promise<readonly { readonly pid: number; readonly command: string }[]> => marked(mark);
  undo.defer(async () => {
    // Whatever a failing test left alive must not outlive it.
    for (const each of await processes()) process.kill(each.pid, 'SIGKILL');
  });
  const run: Stage['run'] = (args, extra) =>
    systemExec.run({ argv: argv(args), env: env(extra), timeoutMs: commandMs });
  const made = await run(['repo', 'init']);
  if (made.exitCode !== 0) throw new Error(`repo init: ${made.stderr}${made.stdout}`);
  return {
    directory: home,
    stateDirectory,
    repository,
    configFile,
    mark,
    acknowledged,
    ...(load.startWriter === undefined ? {} : { startWriter: load.startWriter }),
    ...(database.gtm === undefined ? {} : { gtm: database.gtm }),
    run,
    start: (args, extra) => systemExec.start({ argv: argv(args), env: env(extra) }),
    leftovers: async () => [
      ...(snapshots === undefined ? [] : await inside(snapshots)).filter((path) => !isBase(path, stateDirectory)),
      ...(await inside(join(stateDirectory, 'staging'))),
      ...(await inside(join(stateDirectory, 'work'))),
      ...(await inside(join(stateDirectory, 'drill'))),
      ...(await inside(join(stateDirectory, 'holds'))).filter((name) => name.endsWith('.sock')),
      ...(await inside(join(repository, 'locks'))),
      ...(await processes()).map((each) => `process ${each.pid}: ${each.command}`),
    ],
    stopWriter,
    setBudget: async (budget) => {
      config.workloads.orders.hold.budget = budget;
      await writeFile(configFile, JSON.stringify(config, null, 2));
    },
    unfill: async () => {
      for (const name of await readdir(stateDirectory))
        if (name.startsWith('filler-')) await rm(join(stateDirectory, name));
    },
    processes,
    [Symbol.asyncDispose]: () => undo.disposeAsync(),
  };
}

/** A snapshot of the newest point is no leftover: the next backup asks it what changed. */
function isBase(path: string, stateDirectory: string): boolean {
  const file = catalogFile(stateDirectory);
  if (!existsSync(file)) return false;
  const catalog = new DatabaseSync(file, { readOnly: true });
  try {
    // Points of the engine's own backup have no volumes, and no snapshots to count from.
    const newest = catalog
      .prepare(
        "SELECT id FROM point WHERE json_array_length(document, '$.volumes') > 0 ORDER BY cut_at DESC, id DESC LIMIT 1",
      )
      .get()?.['id'];
    return typeof newest === 'string' && path.includes(newest);
  } finally {
    catalog.close();
  }
}

async function inside(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).map((name) => join(directory, name));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Processes with this mark in their environment. */
export async function marked(mark: string): Promise<readonly { readonly pid: number; readonly command: string }[]> {
  const found: { pid: number; command: string }[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const environment = await readFile(`/proc/${name}/environ`, 'utf8');
      if (!environment.split('\0').includes(`STILLPOINT_STAGE=${mark}`)) continue;
      found.push({
        pid: Number(name),
        command: (await readFile(`/proc/${name}/cmdline`, 'utf8')).replaceAll('\0', ' '),
      });
    } catch {
      // It ended while we looked, or belongs to somebody else: not one of ours.
    }
  }
  return found;
}

/** True once `condition` holds; false after `ms`. */
export async function eventually(condition: () => Promise<boolean> | boolean, ms: number): Promise<boolean> {
  const end = systemClock.monoMs() + ms;
  while (systemClock.monoMs() < end) {
    if (await condition()) return true;
    await systemClock.sleep(10);
  }
  return await condition();
}

/** proc(5): the third field of stat, behind the name in parentheses. Undefined for what has ended, reaped or not. */
export async function processState(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const state = stat.slice(stat.lastIndexOf(')') + 2)[0];
    return state === 'Z' ? undefined : state;
  } catch {
    // It has ended.
    return undefined;
  }
}

/** The longest time without an acknowledged row after `fromMs`, the time until `toMs` included. Milliseconds. */
export function longestGap(acknowledged: readonly { readonly monoMs: number }[], fromMs: number, toMs: number): number {
  let longest = 0;
  let last = fromMs;
  for (const { monoMs } of acknowledged) {
    if (monoMs < fromMs) continue;
    longest = Math.max(longest, monoMs - last);
    last = monoMs;
  }
  return Math.max(longest, toMs - last);
}

/** True once the process has ended; false after `ms`. */
export async function endsWithin(child: RunningProcess, ms: number): Promise<boolean> {
  const waited = new AbortController();
  const late = systemClock.sleep(ms, waited.signal).then(
    () => false,
    () => false,
  );
  const ended = await Promise.race([child.exited.then(() => true), late]);
  waited.abort();
  return ended;
}
