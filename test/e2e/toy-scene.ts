import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { localHost } from '../../src/adapters/host/local/host.ts';
import { copy } from '../../src/adapters/snapshot/copy/provider.ts';
import { LocalStore } from '../../src/adapters/store/local/store.ts';
import { openCatalog } from '../../src/catalog/catalog.ts';
import type { Environment, Workload } from '../../src/flows/environment.ts';
import type { FaultPoint } from '../../src/flows/flow.ts';
import { decode, encode, journalDirectory } from '../../src/flows/journal.ts';
import { runGuard } from '../../src/guard/guard.ts';
import { GuardClient } from '../../src/guard/protocol.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec } from '../../src/platform/exec.ts';
import { silent } from '../../src/platform/logger.ts';
import { identify } from '../../src/platform/process.ts';
import type { Application } from '../../src/ports/application.ts';
import type { SnapshotProvider } from '../../src/ports/snapshot-provider.ts';
import type { Repository } from '../../src/repository/api.ts';
import { initRepository, openRepository } from '../../src/repository/repository.ts';
import { MemoryStore } from '../doubles/memory-store.ts';
import { toy } from '../doubles/toy-application.ts';
import { isBackingUp } from '../doubles/toy-online.ts';
import { beginJournals, encodeRow, fileOf, toyFiles, type ToyConfig } from '../doubles/toy-files.ts';

export const never = new AbortController().signal;
type Fault = ToyConfig['fault'];

/** A toy, its repository and its catalog, with guard and flow in this process; everything else is real. */
export interface Scene extends AsyncDisposable {
  readonly data: string;
  readonly state: string;
  readonly workload: Workload;
  readonly environment: Environment;
  readonly repository: Repository;
  readonly store: MemoryStore;
  /** The same toy with another fault. */
  faulty(fault: Fault): Workload;
  /** Every place that a run may litter. */
  left(): Promise<readonly string[]>;
}

export interface SceneOptions {
  /** Where an earlier scene was, that was killed; or where one shall outlive its process. Not removed at the end. */
  readonly home?: string;
  readonly fault?: Fault;
  /** One file of rows each; the first begins with row 1, the others empty. */
  readonly parts?: readonly string[];
  readonly journal?: boolean;
  /** What the toy is given to the flows as. */
  readonly application?: (real: Application) => Application;
  readonly at?: (transition: string, data: string) => Promise<void>;
  readonly budgetMs?: number;
  readonly consistency?: Workload['consistency'];
  readonly provider?: (real: SnapshotProvider) => SnapshotProvider;
}

export async function scene(options: SceneOptions = {}): Promise<Scene> {
  const home = options.home ?? (await mkdtemp(join(tmpdir(), 'sp-scene-')));
  const data = join(home, 'data');
  const state = join(home, 'state');
  const parts = options.parts ?? ['rows'];
  const isNew = !existsSync(data);
  if (isNew) {
    await mkdir(data);
    await mkdir(state, { mode: 0o711 });
    for (const part of parts) await writeFile(fileOf(data, part), part === parts[0] ? encodeRow(1) : '');
    if (options.journal === true) {
      await mkdir(join(data, toyFiles.journal));
      await beginJournals(data, parts);
    }
  }
  const platform = {
    exec: systemExec,
    clock: systemClock,
    log: silent,
    host: localHost(systemExec),
    stateDirectory: state,
  };
  const noSecret = (): Promise<string> => Promise.reject(new Error('the toy has no secrets'));
  const engine = (fault: Fault): { application: Application; config: ToyConfig } => {
    const config = toy.config.parse({ directory: data, fault, parts });
    const made: Application = toy.create(config, 'toys', platform, noSecret);
    return { application: options.application?.(made) ?? made, config };
  };
  const { application, config: settings } = engine(options.fault ?? 'none');
  const real = copy.create(copy.config.parse({}), platform);
  const provider = options.provider?.(real) ?? real;
  const memory = new MemoryStore();
  const store = options.home === undefined ? memory : new LocalStore(join(home, 'repository'));
  const deps = {
    clock: systemClock,
    log: silent,
    hostname: 'here',
    pid: process.pid,
    isProcessAlive: (pid: number) => identify(pid) !== undefined,
  };
  if (isNew) await initRepository(store, 'password', { ...deps, keyCost: { N: 1024, r: 8, p: 1 } });
  const repository = await openRepository(store, 'password', deps);
  const catalog = await openCatalog(state);
  const fault: FaultPoint = async (transition) => await options.at?.(transition, data);
  const workload: Workload = {
    name: 'toys',
    application,
    applicationSpec: { kind: 'toy', config: settings },
    providers: [provider],
    budgetMs: options.budgetMs ?? 3000,
    consistency: options.consistency ?? 'application',
  };
  const environment: Environment = {
    stateDirectory: state,
    hostname: 'here',
    clock: systemClock,
    exec: systemExec,
    log: silent,
    host: platform.host,
    reporter: { step: () => undefined, progress: () => undefined, finding: () => undefined },
    catalog: () => Promise.resolve(catalog),
    repository: () => Promise.resolve(repository),
    fault,
    launch: async (spec) => {
      const sentinel = { pid: 0, alive: () => true, armed: () => undefined, thawed: () => undefined };
      await new Promise<void>((resolve, reject) => {
        runGuard(spec, application, sentinel, systemClock, resolve).catch(reject);
      });
      const client = await GuardClient.connect(spec.socket);
      // This process is guard and flow at once, and nobody may kill it as a hung guard.
      return {
        client,
        status: { ...(await client.call('own')), guard: { pid: 1, startTicks: 'none', bootId: 'none' } },
      };
    },
  };
  const files = async (directory: string): Promise<readonly string[]> => await readdir(directory).catch(() => []);
  return {
    data,
    state,
    workload,
    environment,
    repository,
    store: memory,
    faulty: (worse) => {
      const { application: faulty, config } = engine(worse);
      return { ...workload, application: faulty, applicationSpec: { kind: 'toy', config } };
    },
    left: async () => [
      ...((await isBackingUp(data)) ? [toyFiles.backup] : []),
      ...(await files(join(state, 'staging'))),
      ...(await files(join(state, 'work'))),
      ...(await files(join(state, 'drill'))),
      ...(await files(join(state, 'holds'))).filter((name) => name.endsWith('.sock')),
      ...(await repository.snapshots()).map((snapshot) => `snapshot ${snapshot.id}`),
      ...catalog.points().map((point) => `point ${point.id}`),
    ],
    async [Symbol.asyncDispose]() {
      catalog.close();
      await repository.close();
      if (options.home === undefined) await rm(home, { recursive: true, force: true });
    },
  };
}

/** A provider that is honest but for the change. */
export function overriding(real: SnapshotProvider, change: Partial<SnapshotProvider>): SnapshotProvider {
  return {
    kind: real.kind,
    needs: real.needs,
    cutsBy: real.cutsBy,
    locate: (paths, signal) => real.locate(paths, signal),
    atomicity: (group) => real.atomicity(group),
    predict: (group, hold, signal) => real.predict(group, hold, signal),
    prepare: (group, signal, keepMs) => real.prepare(group, signal, keepMs),
    refs: (group, label) => real.refs(group, label),
    cut: (group, label, signal) => real.cut(group, label, signal),
    list: (group) => real.list(group),
    open: (ref) => real.open(ref),
    delete: (ref) => real.delete(ref),
    ...change,
  };
}

/** The same object but for the change; its own private state stays with it. */
export function changed<T extends object>(real: T, change: { readonly [K in keyof T]?: T[K] | undefined }): T {
  return new Proxy(real, {
    get: (target, key): unknown => {
      if (Object.hasOwn(change, key)) return Reflect.get(change, key);
      const value: unknown = Reflect.get(target, key);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** Makes the open runs look as after the end of their process, which is this one. */
export async function endProcess(stage: Scene): Promise<void> {
  const directory = journalDirectory(stage.state);
  for (const name of await readdir(directory)) {
    const [first = '', ...rest] = (await readFile(join(directory, name), 'utf8')).split('\n');
    const head = decode(first);
    if (head?.type !== 'run') continue;
    const gone = encode({ ...head, process: { pid: 1, startTicks: 'gone', bootId: 'gone' } });
    await writeFile(join(directory, name), [gone, ...rest].join('\n'));
  }
}
