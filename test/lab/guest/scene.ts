/** Stillpoint inside a guest, as a user would run it: configuration, repository, a write load, and the judge of what was restored. */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Evidence } from '../../../src/model/evidence.ts';
import type { Point } from '../../../src/model/point.ts';
import type { CommandResult, RunningProcess } from '../../../src/platform/exec.ts';
import { systemExec } from '../../../src/platform/exec.ts';
import { environment, guest, node, project, share } from './guest.ts';
import type { LoadSpec } from './writer.ts';

export interface WorkloadSpec {
  readonly application: Readonly<Record<string, unknown>>;
  readonly storage: 'auto' | readonly Readonly<Record<string, unknown>>[];
  /** Default 30 s: everything takes longer here. */
  readonly budget?: string;
  readonly consistency?: 'application' | 'crash';
}

/** What `--json` printed: the members that scenarios look at. */
export interface Answer {
  readonly exitCode: number | null;
  readonly ms: number;
  readonly outcome: string | undefined;
  readonly point: Point | undefined;
  readonly error: { readonly code: string; readonly message: string; readonly hint?: string } | undefined;
  readonly stderr: string;
  readonly json: Readonly<Record<string, unknown>>;
}

export interface Scene {
  readonly directory: string;
  readonly stateDirectory: string;
  readonly repository: string;
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Answer>;
  start(args: readonly string[], env?: Readonly<Record<string, string>>): RunningProcess;
  points(): Promise<readonly Point[]>;
  evidence(point: string): Promise<Evidence>;
  /** Restores to an empty directory on the state's disk and returns it. */
  restore(point: string): Promise<{ readonly directory: string; readonly answer: Answer }>;
}

const commandMs = 180_000;
const main = join(project, 'src/main.ts');

/** `directory` lies on a disk of its own; a repository that is there already is used again. */
export async function openScene(directory: string, workloads: Readonly<Record<string, WorkloadSpec>>): Promise<Scene> {
  const stateDirectory = join(directory, 'state');
  const repository = join(directory, 'repository');
  const password = join(directory, 'password');
  const configFile = join(directory, 'stillpoint.yaml');
  await mkdir(stateDirectory, { recursive: true });
  await writeFile(password, 'a password for tests\n', { mode: 0o600 });
  const config = {
    repository: { store: { local: repository }, passwordFile: password },
    stateDirectory,
    workloads: Object.fromEntries(
      Object.entries(workloads).map(([name, { application, storage, budget, consistency }]) => [
        name,
        {
          application,
          storage,
          hold: { budget: budget ?? '30s' },
          ...(consistency === undefined ? {} : { consistency }),
        },
      ]),
    ),
  };
  // JSON is YAML.
  await writeFile(configFile, JSON.stringify(config, null, 2));
  const argv = (args: readonly string[]): [string, ...string[]] => [
    node,
    main,
    ...args,
    '--json',
    '--config',
    configFile,
  ];
  const run: Scene['run'] = async (args, env = {}) =>
    answerOf(await guest.run(argv(args), { timeoutMs: commandMs, env }));
  const made = existsSync(join(repository, 'config')) ? undefined : await run(['repo', 'init']);
  if (made !== undefined && made.exitCode !== 0)
    throw new Error(`repo init: ${made.stderr}${JSON.stringify(made.json)}`);
  let restores = 0;
  return {
    directory,
    stateDirectory,
    repository,
    run,
    start: (args, env = {}) => systemExec.start({ argv: argv(args), env: { ...environment, ...env } }),
    points: async () => {
      const listed = await run(['points']);
      if (listed.exitCode !== 0) throw new Error(`points: ${listed.stderr}${JSON.stringify(listed.json)}`);
      return (listed.json as { readonly points: readonly Point[] }).points;
    },
    evidence: async (point) => {
      const shown = await run(['show', point]);
      if (shown.exitCode !== 0) throw new Error(`show: ${shown.stderr}${JSON.stringify(shown.json)}`);
      return (shown.json as { readonly evidence: Evidence }).evidence;
    },
    restore: async (point) => {
      const target = join(directory, `restored-${restores++}`);
      await rm(target, { recursive: true, force: true });
      return { directory: target, answer: await run(['restore', point, '--target', target]) };
    },
  };
}

function answerOf({ exitCode, startedMs, endedMs, stdout, stderr }: CommandResult): Answer {
  let json: Readonly<Record<string, unknown>> = {};
  try {
    json = JSON.parse(stdout) as Readonly<Record<string, unknown>>;
  } catch {
    // Killed before it could print, which some scenarios want.
  }
  const { outcome, point, error } = json as Partial<Pick<Answer, 'outcome' | 'point' | 'error'>>;
  if (exitCode !== 0) guest.log(`stillpoint: exit ${exitCode}: ${stdout.slice(0, 4000)}`);
  return { exitCode, ms: Math.round(endedMs - startedMs), outcome, point, error, json, stderr: stderr.slice(-4000) };
}

export interface Load {
  readonly log: string;
  readonly files: readonly string[];
  acknowledged(): Promise<readonly { readonly n: number; readonly ms: number }[]>;
  stop(): Promise<void>;
}

/** Starts the writer on these SQLite files. Its log is in the share, where no power cut takes what is synced. */
export async function startLoad(
  name: string,
  files: readonly string[],
  options: { readonly pauseMs?: number; readonly payloadBytes?: number } = {},
): Promise<Load> {
  const log = join(share, `load-${name}.log`);
  const spec: LoadSpec = { files, log, pauseMs: options.pauseMs ?? 5, payloadBytes: options.payloadBytes ?? 400 };
  const child = systemExec.start({
    argv: [node, join(project, 'test/lab/guest/writer.ts'), JSON.stringify(spec)],
    env: environment,
  });
  await child.firstLine((line) => line === 'ready', 30_000);
  return {
    log,
    files,
    acknowledged: () => acknowledgedIn(log),
    stop: async () => {
      child.kill('SIGTERM');
      const { exitCode } = await child.exited;
      if (exitCode !== 0) throw new Error(`the writer ended with ${exitCode}: ${child.stderrTail()}`);
    },
  };
}

export async function acknowledgedIn(log: string): Promise<readonly { readonly n: number; readonly ms: number }[]> {
  return (await readFile(log, 'utf8')).split('\n').flatMap((line) => {
    // A torn last line is none.
    const [, n, ms] = /^(\d+) (\d{13})$/.exec(line) ?? [];
    return n === undefined || ms === undefined ? [] : [{ n: Number(n), ms: Number(ms) }];
  });
}

export interface Judgement {
  readonly integrity: readonly string[];
  /** Numbers up to the last one, none missing, in each file. */
  readonly last: readonly number[];
  readonly unbroken: boolean;
  /** Acknowledged before the moment given, and not in every file. */
  readonly lost: number;
  /** The first file's last number less that of the last file: 0 or 1 if they show one instant. */
  readonly ahead: number;
}

/** Opens SQLite files (a restored group, or the live one after a power cut) and holds them against what was acknowledged until `untilMs`. */
export async function judgeFiles(files: readonly string[], log: string, untilMs: number): Promise<Judgement> {
  const found = files.map((file) => {
    const database = new DatabaseSync(file);
    try {
      const integrity = String(database.prepare('PRAGMA integrity_check').get()?.['integrity_check']);
      const row = database.prepare('SELECT count(*) AS rows, coalesce(max(n), 0) AS last FROM written').get();
      return { integrity, rows: Number(row?.['rows']), last: Number(row?.['last']) };
    } finally {
      database.close();
    }
  });
  const last = found.map((each) => each.last);
  const due = (await acknowledgedIn(log)).reduce((most, { n, ms }) => (ms < untilMs ? Math.max(most, n) : most), 0);
  return {
    integrity: found.map((each) => each.integrity),
    last,
    unbroken: found.every((each) => each.rows === each.last),
    lost: Math.max(0, due - Math.min(...last)),
    ahead: (last[0] ?? 0) - (last.at(-1) ?? 0),
  };
}

/** A judgement without fault. */
export function isSound({ integrity, unbroken, lost, ahead }: Judgement): boolean {
  return integrity.every((each) => each === 'ok') && unbroken && lost === 0 && (ahead === 0 || ahead === 1);
}
