import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { LocalStore } from '../../../src/adapters/store/local/store.ts';
import { catalogFile } from '../../../src/catalog/catalog.ts';
import { readRecord } from '../../../src/flows/record.ts';
import { codeOf } from '../../../src/model/errors.ts';
import type { Evidence } from '../../../src/model/evidence.ts';
import type { Point } from '../../../src/model/point.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { identify, killExactly } from '../../../src/platform/process.ts';
import { initRepository, openRepository } from '../../../src/repository/repository.ts';
import { compileCache } from '../../doubles/compile-cache.ts';
import { cheapKey, deps, password } from '../../doubles/repository-fixture.ts';
import { eventually, marked } from '../stage.ts';

const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
/** No command of these small clusters takes this long on the slowest machine. */
const hungMs = 240_000;

export interface Ended {
  readonly exitCode: number | null;
  /** It had to be killed, for it did not end by itself. */
  readonly hung: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Flow {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  over(): boolean;
}

interface Failure {
  readonly error?: { readonly code?: string; readonly message?: string };
}

/** Code and sentence of a command that failed. */
export function failureOf({ stdout, stderr }: Ended): { readonly code: string; readonly said: string } {
  try {
    const { error } = JSON.parse(stdout) as Failure;
    return { code: error?.code ?? '', said: error?.message ?? '' };
  } catch {
    // Killed before it could say anything, or a crash.
    return { code: '', said: stderr.slice(-1500) };
  }
}

/** The command line on one configuration, as its user has it. Whatever it starts bears a mark. */
export class Tool implements AsyncDisposable {
  readonly directory: string;
  readonly #mark = `rounds-${process.pid}-${Math.random().toString(36).slice(2)}`;
  readonly #configFile: string;
  readonly #children = new Set<ChildProcess>();

  constructor(directory: string) {
    this.directory = directory;
    this.#configFile = join(directory, 'stillpoint.yaml');
  }

  get stateDirectory(): string {
    return join(this.directory, 'state');
  }

  async configure(workload: Readonly<Record<string, unknown>>): Promise<void> {
    const passwordFile = join(this.directory, 'password');
    const config = {
      stateDirectory: this.stateDirectory,
      repository: { store: { local: join(this.directory, 'repository') }, passwordFile },
      workloads: { orders: workload },
    };
    if (!existsSync(passwordFile)) await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
    // JSON is YAML.
    await writeFile(this.#configFile, JSON.stringify(config, null, 2));
  }

  /** A key that costs nothing: every command opens the repository. */
  async initRepository(): Promise<void> {
    await initRepository(this.#store(), password, { clock: systemClock, hostname: deps.hostname, keyCost: cheapKey });
  }

  /** Out of the repository, so that no command has to be started. */
  async evidenceOf(point: Point): Promise<Evidence> {
    const repository = await openRepository(this.#store(), password, deps);
    return (await readRecord(repository, point.repositorySnapshot)).evidence;
  }

  #store(): LocalStore {
    return new LocalStore(join(this.directory, 'repository'));
  }

  start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Flow {
    const { PATH = '' } = process.env;
    const child = spawn(process.execPath, [main, ...args, '--json', '--config', this.#configFile], {
      cwd: '/',
      env: { PATH, LC_ALL: 'C.UTF-8', STILLPOINT_STAGE: this.#mark, ...compileCache(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#children.add(child);
    let [stdout, stderr, over, hung] = ['', '', false, false];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const cancel = systemClock.after(hungMs, () => {
      hung = true;
      child.kill('SIGKILL');
    });
    // Not `close`: the guard may keep the pipes for longer.
    child.on('exit', () => (over = true));
    const ended = new Promise<Ended>((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (exitCode) => {
        cancel();
        this.#children.delete(child);
        // What it wrote last may not have been read yet.
        setImmediate(() => resolve({ exitCode, hung, stdout, stderr }));
      });
    });
    return { pid: child.pid ?? 0, ended, over: () => over };
  }

  async run(...args: readonly string[]): Promise<Ended> {
    return await this.start(args).ended;
  }

  /** Guard or sentinel, once there is one; undefined when the flow ended without. */
  async helper(role: 'guard' | 'sentinel', flow: Flow): Promise<number | undefined> {
    for (;;) {
      const found = await this.helperNow(role);
      if (found !== undefined || flow.over()) return found;
      await systemClock.sleep(20);
    }
  }

  async helperNow(role: 'guard' | 'sentinel'): Promise<number | undefined> {
    const all = await marked(this.#mark);
    return all.find(({ command }) => new RegExp(String.raw`guard/main\.ts ${role}\b`).test(command))?.pid;
  }

  /** By reading its tables, so that no command has to be started. */
  points(): readonly Point[] {
    const file = catalogFile(this.stateDirectory);
    if (!existsSync(file)) return [];
    const catalog = new DatabaseSync(file, { readOnly: true });
    try {
      return catalog
        .prepare('SELECT document FROM point ORDER BY cut_at, id')
        .all()
        .map(({ document }) => JSON.parse(String(document)) as Point);
    } finally {
      catalog.close();
    }
  }

  /** What a run may leave outside of the repository's data, given some seconds to go by itself. */
  async leftovers(): Promise<readonly string[]> {
    await eventually(async () => (await this.#leftovers()).length === 0, 20_000);
    return await this.#leftovers();
  }

  async #leftovers(): Promise<readonly string[]> {
    const { stateDirectory } = this;
    const places = ['staging', 'work', 'drill', 'gtm'].map((name) => join(stateDirectory, name));
    return [
      ...(await Promise.all([...places, join(this.directory, 'repository', 'locks')].map(inside))).flat(),
      ...(await inside(join(stateDirectory, 'holds'))).filter((path) => path.endsWith('.sock')),
      ...(await marked(this.#mark)).map(({ pid, command }) => `process ${pid}: ${command}`),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const { pid } of await marked(this.#mark)) {
      const found = identify(pid);
      if (found !== undefined) killExactly(found, 'SIGKILL');
    }
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
