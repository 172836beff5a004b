import { chmod, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { parseJournal } from '../../src/flows/journal.ts';
import { systemExec, type CommandResult, type RunningProcess } from '../../src/platform/exec.ts';
import { compileCache } from '../doubles/compile-cache.ts';
import { network, type NetworkHost } from '../doubles/ssh/namespaces.ts';
import { marked } from './stage.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const writer = fileURLToPath(new URL('barrier-writer.ts', import.meta.url));
const commandMs = 180_000;

/** One host of the group: a database, a configuration, a state directory. */
export interface StageHost extends NetworkHost {
  readonly name: string;
  readonly database: string;
  readonly state: string;
  /** A command of the Stillpoint there, run without the network. */
  run(args: readonly string[]): Promise<CommandResult>;
  /** For the part's next start: STILLPOINT_FAULT, or nothing. */
  setFault(fault: string): Promise<void>;
  /** From the journal of the newest run. */
  guardPid(): Promise<number>;
}

/** SQLite databases on as many hosts behind SSH, one application that writes to all of them in turn, and a coordinator. */
export interface BarrierStage extends AsyncDisposable {
  readonly home: string;
  readonly hosts: readonly StageHost[];
  readonly mark: string;
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<CommandResult>;
  start(args: readonly string[], env?: Readonly<Record<string, string>>): RunningProcess;
  /** When each round over all databases was acknowledged. */
  rounds(): Promise<readonly { readonly n: number; readonly monoMs: number }[]>;
  /** Holds, work and snapshots of all hosts, and processes of any command. */
  leftovers(): Promise<readonly string[]>;
  processes(): Promise<readonly { readonly pid: number; readonly command: string }[]>;
}

export interface BarrierStageOptions {
  readonly budget?: string;
  /** Without it nobody writes. */
  readonly load?: boolean;
}

export async function openBarrierStage(
  count: number,
  options: BarrierStageOptions = {},
): Promise<BarrierStage | string> {
  const made = await network(count);
  if ('skip' in made) return made.skip;
  const undo = new AsyncDisposableStack();
  undo.use(made);
  try {
    return await stageOn(made.hosts, options, undo);
  } catch (error) {
    await undo.disposeAsync();
    throw error;
  }
}

async function stageOn(
  network_: readonly NetworkHost[],
  options: BarrierStageOptions,
  undo: AsyncDisposableStack,
): Promise<BarrierStage> {
  const home = await mkdtemp(join(tmpdir(), 'sp-bar-'));
  undo.defer(() => rm(home, { recursive: true, force: true }));
  await chmod(home, 0o755);
  const mark = `barrier-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const env = (extra: Readonly<Record<string, string>> = {}): Record<string, string> => ({
    STILLPOINT_STAGE: mark,
    HOME: home,
    ...compileCache(),
    ...extra,
  });
  undo.defer(async () => {
    for (const each of await marked(mark)) process.kill(each.pid, 'SIGKILL');
  });
  const password = join(home, 'password');
  await writeFile(password, 'a password for tests\n', { mode: 0o600 });
  const repository = { store: { local: join(home, 'repository') }, passwordFile: password };
  const command = (file: string, args: readonly string[]): [string, ...string[]] => [
    process.execPath,
    main,
    ...args,
    '--config',
    file,
  ];
  const hosts: StageHost[] = [];
  for (const [index, host] of network_.entries()) {
    const name = `shard${index + 1}`;
    const place = join(home, name);
    await mkdir(place);
    const database = join(place, 'app.db');
    const file = join(place, 'stillpoint.yaml');
    const state = join(place, 's');
    await writeFile(
      file,
      JSON.stringify({
        repository,
        stateDirectory: state,
        workloads: { [name]: { application: { sqlite: { file: database } }, storage: [{ copy: {} }] } },
      }),
    );
    const setFault = async (fault: string): Promise<void> => {
      const set = Object.entries(env(fault === '' ? {} : { STILLPOINT_FAULT: fault })).map(
        ([key, value]) => `${key}='${value}'`,
      );
      const program = join(host.server.bin, 'stillpoint');
      await writeFile(program, `#!/bin/sh\nexport ${set.join(' ')}\nexec '${process.execPath}' '${main}' "$@"\n`);
      await chmod(program, 0o755);
    };
    await setFault('');
    hosts.push({
      ...host,
      ...{ name, database, state, setFault },
      run: (args) => systemExec.run({ argv: command(file, args), env: env(), timeoutMs: commandMs }),
      guardPid: async () => {
        const directory = join(state, 'runs');
        const newest = (await readdir(directory)).sort().at(-1) ?? '';
        const { records } = parseJournal(newest, await readFile(join(directory, newest), 'utf8'));
        const traces = records.flatMap((record) => (record.type === 'intent' ? record.traces : []));
        const guard = traces.find((trace) => trace.kind === 'guard');
        if (guard?.kind !== 'guard') throw new Error(`no guard in ${newest}`);
        return guard.process.pid;
      },
    });
  }
  const file = join(home, 'stillpoint.yaml');
  const parts = hosts.map(({ name, server }, index) => [
    name,
    { reach: { ssh: server.config }, workload: name, config: join(home, `shard${index + 1}`, 'stillpoint.yaml') },
  ]);
  await writeFile(
    file,
    JSON.stringify({
      repository,
      stateDirectory: join(home, 's'),
      groups: { shop: { parts: Object.fromEntries(parts), barrier: { budget: options.budget ?? '5s' } } },
    }),
  );
  const run: BarrierStage['run'] = (args, extra) =>
    systemExec.run({ argv: command(file, args), env: env(extra), timeoutMs: commandMs });
  const begun = await run(['repo', 'init']);
  if (begun.exitCode !== 0) throw new Error(begun.stderr + begun.stdout);
  const log = join(home, 'written.log');
  await writeFile(log, '');
  const load = systemExec.start({ argv: [process.execPath, writer, log, ...hosts.map(({ database }) => database)] });
  undo.defer(async () => {
    load.kill('SIGTERM');
    await load.exited;
  });
  await load.firstLine((line) => line === 'ready', 30_000);
  if (options.load === false) {
    load.kill('SIGTERM');
    await load.exited;
  }
  return {
    ...{ home, hosts, mark, run },
    start: (args, extra) => systemExec.start({ argv: command(file, args), env: env(extra) }),
    rounds: async () =>
      (await readFile(log, 'utf8')).split('\n').flatMap((line) => {
        const [n, monoMs] = line.split(' ');
        return n === undefined || monoMs === undefined ? [] : [{ n: Number(n), monoMs: Number(monoMs) }];
      }),
    leftovers: async () => {
      const found = await marked(mark);
      const inside = await Promise.all(
        hosts.flatMap(({ state }) =>
          ['staging', 'work', 'holds'].map(async (name) =>
            (await readdir(join(state, name)).catch(() => []))
              .filter((each) => name !== 'holds' || each.endsWith('.sock'))
              .map((each) => join(state, name, each)),
          ),
        ),
      );
      const locks = await readdir(join(home, 'repository', 'locks')).catch(() => []);
      return [
        ...inside.flat(),
        ...locks.map((lock) => `lock ${lock}`),
        ...found.map(({ pid, command: line }) => `process ${pid}: ${line}`),
      ];
    },
    processes: () => marked(mark),
    [Symbol.asyncDispose]: () => undo.disposeAsync(),
  };
}

/** Highest number of each restored database, and whether each has all numbers before it. */
export function steps(files: readonly string[]): readonly number[] {
  return files.map((file) => {
    const database = new DatabaseSync(file);
    try {
      const row = database.prepare('SELECT max(n) AS most, count(*) AS rows FROM step').get();
      const most = Number(row?.['most'] ?? 0);
      if (most !== Number(row?.['rows'])) throw new Error(`${file} has gaps`);
      return most;
    } finally {
      database.close();
    }
  });
}
