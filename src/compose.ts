/** The composition root: makes of a configuration what flows and commands work with. Knows every part; nothing here decides anything. */
import { randomBytes } from 'node:crypto';
import { access, chmod, constants, mkdir, open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { existsSync, readFileSync } from 'node:fs';
import { localHost } from './adapters/host/local/host.ts';
import {
  applications,
  machines,
  platformAt,
  reaches,
  snapshotProviders,
  stores,
  topologies,
} from './adapters/registry.ts';
import { catalogFile, openCatalog, type Catalog } from './catalog/catalog.ts';
import type { FoundApplication, Session } from './cli/command.ts';
import {
  findConfig,
  loadConfig,
  type Chosen,
  type ChosenApplication,
  type Config,
  type GroupConfig,
  type GroupPartConfig,
  type WorkloadConfig,
} from './config/load.ts';
import type { GroupPart, HostGroup, PartConnection } from './flows/barrier-group.ts';
import type { Environment, Reporter, Workload } from './flows/environment.ts';
import { withFileSystems } from './guard/file-systems.ts';
import { passedOn } from './guard/launch.ts';
import { messageOf, StillpointError } from './model/errors.ts';
import { systemClock } from './platform/clock.ts';
import { systemExec, type RunningProcess } from './platform/exec.ts';
import { faultFromEnvironment } from './platform/faults.ts';
import type { Logger } from './platform/logger.ts';
import { identify } from './platform/process.ts';
import { readSecret } from './platform/secrets.ts';
import type { BlobStore } from './ports/blob-store.ts';
import type { Platform } from './ports/module.ts';
import { initRepository, openRepository } from './repository/repository.ts';

export const version = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { readonly version: string }
).version;

export const host = localHost(systemExec);

export interface ComposeOptions {
  readonly configFile: string | undefined;
  readonly reporter: Reporter;
}

/** Throws `config-missing`, `config-invalid`, or `io` for a state directory that cannot be used. Opens nothing else. */
export async function compose(options: ComposeOptions): Promise<Session> {
  const config = await loadConfig(await findConfig(options.configFile, process.env));
  await makeStateDirectory(config);
  const log = loggerOf(options.reporter);
  const platform = platformOf(config.stateDirectory, log);
  const store = makeStore(config, platform);
  const password = (): Promise<string> => readSecret(config.repository.password, systemExec, log);
  const catalog = lazy(() => openPrivateCatalog(config.stateDirectory));
  const repository = lazy(async () => openRepository(store, await password(), repositoryDeps(log)));
  const fault = faultFromEnvironment();
  const environment: Environment = {
    stateDirectory: config.stateDirectory,
    hostname: hostname(),
    clock: systemClock,
    exec: systemExec,
    log,
    host: platform.host,
    reporter: options.reporter,
    ...(config.notifyCommand === undefined ? {} : { notify: notifier(config.notifyCommand, options.reporter) }),
    catalog: () => catalog.get(),
    repository: () => repository.get(),
    ...(fault === undefined ? {} : { fault }),
  };
  return {
    configFile: config.file,
    workloads: new Map([...config.workloads.values()].map((each) => [each.name, makeWorkload(each, platform)])),
    groups: new Map([...config.groups.values()].map((each) => [each.name, makeGroup(each, config.file)])),
    environment,
    drillDirectoryOf: (workload) => config.workloads.get(workload)?.drillDirectory,
    initRepository: async ({ generatePassword }) => {
      const passwordFile = generatePassword ? await makePasswordFile(config) : undefined;
      await initRepository(store, await firstPassword(config, password), { clock: systemClock, hostname: hostname() });
      return { repository: await repository.get(), passwordFile };
    },
    close: async () => {
      (await catalog.peek())?.close();
      await (await repository.peek())?.close();
    },
  };
}

/** Engines on this machine, as their adapters find them, for `init`. */
export async function discover(signal: AbortSignal): Promise<readonly FoundApplication[]> {
  const platform = platformOf('/var/lib/stillpoint', silentLog);
  const found: FoundApplication[] = [];
  for (const module of applications) {
    for (const each of (await module.discover?.(platform, signal)) ?? []) {
      const storage = await storageOf(module.dataPaths(each.config)[0], platform, signal);
      const taken = found.filter(({ name }) => name === each.name || name.startsWith(`${each.name}-`)).length;
      found.push({ ...each, name: taken === 0 ? each.name : `${each.name}-${taken + 1}`, kind: module.kind, storage });
    }
  }
  return found;
}

async function storageOf(
  path: string | undefined,
  platform: Platform,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    const { fileSystem, mountPoint, device } = await platform.host.stackOf(path, signal);
    return `${fileSystem} at ${mountPoint} on ${device}`;
  } catch (error) {
    // Only worth a remark in a list; `check` looks at it in earnest.
    if (error instanceof StillpointError) return undefined;
    throw error;
  }
}

const silentLog: Logger = { info: () => undefined, warn: () => undefined };

/** Warnings of adapters are findings; the rest is for nobody so far. */
function loggerOf(reporter: Reporter): Logger {
  return {
    info: () => undefined,
    warn: (message) => reporter.finding({ severity: 'warning', check: 'log', said: message }),
  };
}

function platformOf(stateDirectory: string, log: Logger): Platform {
  return { exec: systemExec, clock: systemClock, log, host, stateDirectory };
}

function repositoryDeps(log: Logger): Parameters<typeof openRepository>[2] {
  return {
    clock: systemClock,
    log,
    hostname: hostname(),
    pid: process.pid,
    isProcessAlive: (pid) => identify(pid) !== undefined,
    version,
  };
}

function moduleOf<M extends { readonly kind: string }>(modules: readonly M[], kind: string): M {
  const module = modules.find((each) => each.kind === kind);
  // The configuration's schema is made of the same list.
  if (module === undefined) throw new Error(`no adapter is called ${kind}`);
  return module;
}

function makeStore(config: Config, platform: Platform): BlobStore {
  const { kind, config: settings } = config.repository.store;
  return moduleOf(stores, kind).create(settings, platform);
}

function makeWorkload(config: WorkloadConfig, platform: Platform): Workload {
  const { cluster } = config;
  const [first] = cluster?.members ?? [];
  // What asks an engine without asking which (status, journals) gets the first member's.
  const whole = makeAt(config, first?.application ?? config.application, platform);
  if (cluster === undefined) return whole;
  const { topology, policy, maxLagMs, stunMs, stunLogs, holdOff } = cluster;
  const members = cluster.members.map(
    ({ name, application }) =>
      [name, { ...makeAt(config, application, { ...platform, clustered: true }), member: name }] as const,
  );
  return {
    ...whole,
    ...(config.machines === undefined
      ? {}
      : {
          mirrorSplit: {
            machines: moduleOf(machines, config.machines.kind).create(config.machines.config, platform),
            limits: config.splitLimits,
            fastRestore: config.fastRestore,
          },
        }),
    cluster: {
      topology: moduleOf(topologies, topology.kind).create(topology.config, platform, (source) =>
        readSecret(source, systemExec, platform.log),
      ),
      topologySpec: topology,
      ...{ policy, maxLagMs, stunMs, stunLogs, holdOff },
      members: new Map(members),
    },
  };
}

const silentMs = 30_000;
const undoMs = 30_000;

function makeGroup({ name, parts, budgetMs, skewMs, readyMs }: GroupConfig, file: string): HostGroup {
  return { ...{ name, budgetMs, skewMs, readyMs, silentMs, undoMs }, parts: parts.map((part) => makePart(part, file)) };
}

/** What a part on this machine is started with: the program that runs, and what it was given. */
function ownProgram(): readonly [string, ...string[]] {
  return [process.execPath, ...process.execArgv, process.argv[1] ?? ''];
}

function makePart(part: GroupPartConfig, file: string): GroupPart {
  const { name, reach, workload } = part;
  const module = reach === undefined ? undefined : moduleOf(reaches, reach.kind);
  const there = module === undefined ? host : module.create(reach?.config, host);
  const command = part.command ?? (reach === undefined ? ownProgram() : (['stillpoint'] as const));
  const configFile = part.config ?? (reach === undefined ? file : undefined);
  // Secrets may come from the environment of this machine; to another host nothing is passed on.
  const { STILLPOINT_FAULT: _fault, ...env } = reach === undefined ? passedOn() : {};
  const argv = (args: readonly string[]): [string, ...string[]] => [
    ...command,
    ...args,
    ...(configFile === undefined ? [] : ['--config', configFile]),
  ];
  return {
    ...{ name, workload, host: reach === undefined ? null : there.name },
    here: reach === undefined && part.config === undefined,
    connect: () => connectionTo(there.exec.start({ argv: argv(['backup', workload, '--barrier']), env })),
    run: (args, timeoutMs, signal) => there.exec.run({ argv: argv([...args, '--json']), env, timeoutMs, signal }),
  };
}

/** Lines come as they are printed; a line that is awaited for ever is awaited for this long at a time. */
const lineMs = 24 * 3_600_000;

function connectionTo(child: RunningProcess): PartConnection {
  return {
    write: (line) => child.write(line),
    listen: (onLine, onEnd) => {
      void (async () => {
        for (;;) {
          const line = await child.firstLine(() => true, lineMs);
          onLine(line);
        }
      })().catch((error: unknown) => onEnd(messageOf(error)));
    },
    close: () => child.closeInput(),
    kill: () => child.kill('SIGKILL'),
  };
}

function makeAt(config: WorkloadConfig, application: ChosenApplication, platform: Platform): Workload {
  const { name } = config;
  const storage: readonly Chosen[] =
    config.storage === 'auto' ? snapshotProviders.map(({ kind }) => ({ kind, config: {} })) : config.storage;
  const remarks: string[] = [];
  const remarked: Platform = { ...platform, log: { ...platform.log, info: (message) => keep(remarks, message) } };
  return {
    name,
    application: withFileSystems(
      moduleOf(applications, application.kind).create(
        application.config,
        name,
        platformAt(application.reach, platform),
        (source) => readSecret(source, systemExec, platform.log),
      ),
      { exec: systemExec, clock: systemClock },
    ),
    applicationSpec: application,
    providers: storage.map((each) => moduleOf(snapshotProviders, each.kind).create(each.config, remarked)),
    remarks: () => remarks,
    budgetMs: config.budgetMs,
    method: config.method,
    consistency: config.consistency,
    changedBlocks: config.changedBlocks,
    degradedStorage: config.degradedStorage,
  };
}

/** A pager that hangs must not hold up the next look for longer. */
const notifyMs = 30_000;

function notifier(argv: readonly [string, ...string[]], reporter: Reporter): (document: object) => Promise<void> {
  return async (document) => {
    try {
      await systemExec.check({ argv, stdin: `${JSON.stringify(document)}\n`, timeoutMs: notifyMs });
    } catch (error) {
      reporter.finding({ severity: 'error', check: 'notify', said: `an alarm was not told: ${messageOf(error)}` });
    }
  };
}

const mostRemarks = 100;

function keep(remarks: string[], message: string): void {
  remarks.push(message);
  if (remarks.length > mostRemarks) remarks.shift();
}

/** Open for engines' own users, who must reach the copies of drills below; what is private below it is closed by itself. */
async function makeStateDirectory({ stateDirectory, file }: Config): Promise<void> {
  try {
    const made = await mkdir(stateDirectory, { recursive: true, mode: 0o711 });
    // The umask may have closed it.
    if (made !== undefined) await chmod(stateDirectory, 0o711);
    await access(stateDirectory, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new StillpointError('io', `the state directory ${stateDirectory} cannot be used: ${messageOf(error)}`, {
      hint: `run as a user who may write there, or set \`stateDirectory\` in ${file}`,
      cause: error,
    });
  }
}

/** SQLite gives its companions the mode of the file. */
async function openPrivateCatalog(stateDirectory: string): Promise<Catalog> {
  const catalog = await openCatalog(stateDirectory);
  const file = catalogFile(stateDirectory);
  for (const each of [file, `${file}-wal`, `${file}-shm`]) if (existsSync(each)) await chmod(each, 0o600);
  return catalog;
}

async function firstPassword(config: Config, read: () => Promise<string>): Promise<string> {
  const { file } = config.repository.password;
  if (file === undefined || existsSync(file)) return await read();
  throw new StillpointError('secret-unreadable', `there is no password file ${file}`, {
    hint: `make it with \`stillpoint repo init --generate-password\`, or with \`umask 077; openssl rand -base64 32 > ${file}\``,
  });
}

/** Only where there is none: a password that is lost closes its repository for ever. Returns undefined when there is one. */
async function makePasswordFile(config: Config): Promise<string | undefined> {
  const { file } = config.repository.password;
  if (file === undefined) {
    throw new StillpointError('usage', '--generate-password needs repository.passwordFile in the configuration', {
      hint: `set passwordFile in ${config.file}, or leave --generate-password out`,
    });
  }
  if (existsSync(file)) return undefined;
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const handle = await open(file, 'wx', 0o600);
    try {
      await handle.writeFile(`${randomBytes(32).toString('base64url')}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new StillpointError('io', `the password file ${file} cannot be written: ${messageOf(error)}`, {
      hint: 'make its folder, or name another place in repository.passwordFile',
      cause: error,
    });
  }
  return file;
}

/** Made at the first `get`, once. A failure is not kept: the next `get` tries again. */
function lazy<T>(make: () => Promise<T>): { get(): Promise<T>; peek(): Promise<T | undefined> } {
  let made: Promise<T> | undefined;
  return {
    async get() {
      made ??= make();
      try {
        return await made;
      } catch (error) {
        made = undefined;
        throw error;
      }
    },
    peek: async () => (made === undefined ? undefined : await made.catch(() => undefined)),
  };
}
