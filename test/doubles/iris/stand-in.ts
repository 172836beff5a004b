import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemExec, type CommandResult, type RunningProcess } from '../../../src/platform/exec.ts';
import type { Container, Places, Pod } from './containers.ts';
import { endKeeper, resumeSystem } from './freeze.ts';
import { fileOf, Gtm, gtmDirectory } from './gtm.ts';
import { backingJournal, openJournal } from './journal.ts';
import {
  newMirrorSet,
  readMirror,
  settleMirrors,
  updateMirror,
  writeMirror,
  type MirrorOptions,
  type MirrorSet,
} from './mirror-set.ts';
import { writeLock } from './registry.ts';
import { Store, type Database, type Faults, type Instance, type Mirror } from './state.ts';
import { message, slash } from './texts.ts';

export interface DatabaseOptions {
  readonly name: string;
  /** Default true. */
  readonly journaled?: boolean;
  readonly readOnly?: boolean;
  /** Mirrored under this name: journals then call it `:mirror:MIRROR:NAME`. */
  readonly mirrored?: boolean;
  /** Default: below the manager's directory, by its name in lower case. */
  readonly directory?: string;
}

export interface InstanceOptions {
  readonly name: string;
  /** Decides what `qlist` prints, unless `qlistFields` says it: Caché up to 2013 8 fields, up to 2014 10, IRIS before 2025 13, later 14. */
  readonly version?: string;
  readonly qlistFields?: 8 | 10 | 13 | 14;
  readonly product?: string;
  /** Default: IRISSYS and USER (journaled) and IRISLOCALDATA (not journaled). */
  readonly databases?: readonly DatabaseOptions[];
  readonly isDefault?: boolean;
  /** Milliseconds that count as one second of ExternalFreezeTimeOut and WDSuspendLimit. Default 1000. */
  readonly secondMs?: number;
  /** Default 0. */
  readonly freezeMs?: number;
  readonly secondFreeze?: 'fails' | 'succeeds';
  /** Whether there is `iris freeze`. Default: from 2024 on. */
  readonly freezeVerb?: boolean;
  /** 9 where there is no WDSuspendLimit. Default: Caché before 2016. */
  readonly freezeArguments?: 9 | 11;
  /** Account that sessions ask for; without it the operating system's word is enough. */
  readonly login?: { readonly user: string; readonly password: string };
  readonly startupNamespace?: string;
  readonly journalPrefix?: string;
  readonly journalDirectory?: string;
  readonly alternateJournalDirectory?: string;
  readonly compressJournals?: boolean;
  readonly mirror?: Partial<Mirror> & { readonly name: string };
  /** Default: a directory of its own inside the stand-in's. */
  readonly directory?: string;
}

export interface IrisOptions {
  readonly instances: readonly InstanceOptions[];
  readonly containers?: readonly Container[];
  readonly pods?: readonly Pod[];
  /** Mirrors with state of their own; their instances are named in `instances`. */
  readonly mirrors?: readonly MirrorOptions[];
}

/** A running M process that writes `^row(n)`, n = 1, 2, 3..., one transaction each. */
export interface Writer {
  /** The last number whose transaction was committed when this was read. */
  acknowledged(): number;
  /** Ends it. The last number that was committed at all: one more than acknowledged, perhaps. */
  stop(): Promise<number>;
}

const commandTimeoutMs = 60_000;
const readProgram = fileURLToPath(new URL('./program.ts', import.meta.url));

/** Says why there can be no stand-in here, or undefined. */
export function whyNoIris(): string | undefined {
  return Gtm.available() ? undefined : `needs fis-gtm: ${gtmDirectory}`;
}

/** Instances of an IRIS or Caché that is not there. Throws when `whyNoIris()` has a reason. */
export async function irisStandIn(options: IrisOptions): Promise<IrisStandIn> {
  const why = whyNoIris();
  if (why !== undefined) throw new Error(why);
  const root = await mkdtemp(join(tmpdir(), 'stillpoint-iris-'));
  const standIn = new IrisStandIn(root);
  try {
    await standIn.prepare(options);
  } catch (cause) {
    await standIn[Symbol.asyncDispose]();
    throw cause;
  }
  return standIn;
}

export class IrisStandIn implements AsyncDisposable {
  readonly root: string;
  /** Holds `iris`, `irissession`, `ccontrol`, `csession`. */
  readonly bin: string;
  /** Holds `docker` and `kubectl`. */
  readonly containerBin: string;
  readonly #store: Store;
  readonly #gtm: Gtm;
  readonly #writers: RunningProcess[] = [];

  constructor(root: string) {
    this.root = root;
    this.bin = join(root, 'bin');
    this.containerBin = join(root, 'container-bin');
    this.#store = new Store(root);
    this.#gtm = new Gtm(root);
  }

  async prepare(options: IrisOptions): Promise<void> {
    for (const name of ['bin', 'container-bin', 'registry']) await mkdir(join(this.root, name));
    this.#gtm.prepare();
    const places: Places = { containers: options.containers ?? [], pods: options.pods ?? [] };
    await writeFile(join(this.root, 'places.json'), JSON.stringify(places));
    for (const name of ['iris', 'irissession', 'ccontrol', 'csession']) await this.#executable(this.bin, name);
    for (const name of ['docker', 'kubectl']) await this.#executable(this.containerBin, name);
    for (const [index, one] of options.instances.entries()) await this.#instance(one, index);
    for (const mirror of options.mirrors ?? []) {
      writeMirror(this.#store, newMirrorSet(mirror));
      for (const { instance } of mirror.members)
        message(this.#store.read(instance), 0, `Manager initialized for ${mirror.name}`);
    }
    settleMirrors(this.#gtm, this.#store);
  }

  /** The mirror as it is after whatever follows from the instances that run now. */
  mirror(name: string): MirrorSet {
    settleMirrors(this.#gtm, this.#store);
    return readMirror(this.#store, name);
  }

  /** Changes the state of a mirror as a fault or an administrator would. */
  changeMirror(name: string, change: (mirror: MirrorSet) => void): void {
    updateMirror(this.#store, name, change);
    settleMirrors(this.#gtm, this.#store);
  }

  /** Absolute path of an executable. */
  command(name: 'iris' | 'irissession' | 'ccontrol' | 'csession' | 'docker' | 'kubectl'): string {
    return join(name === 'docker' || name === 'kubectl' ? this.containerBin : this.bin, name);
  }

  /** Runs one of the executables, as a caller would. */
  async run(
    name: 'iris' | 'irissession' | 'ccontrol' | 'csession' | 'docker' | 'kubectl',
    args: readonly string[],
    options: { readonly stdin?: string; readonly timeoutMs?: number } = {},
  ): Promise<CommandResult> {
    return await systemExec.run({
      argv: [this.command(name), ...args],
      timeoutMs: options.timeoutMs ?? commandTimeoutMs,
      ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
    });
  }

  instance(name: string): Instance {
    return this.#store.read(name);
  }

  /** Changes the instance's state as an administrator or a crash would. */
  change(name: string, change: (instance: Instance) => void): void {
    this.#store.update(name, change);
  }

  faults(name: string, faults: Faults): void {
    this.#store.setFaults(name, Object.keys(faults).length === 0 ? undefined : faults);
  }

  /** The machine stops here and now: nothing that was only in memory survives. `iris start` recovers from the journals. */
  crash(name: string): void {
    this.#store.update(name, (instance) => {
      if (instance.freeze !== undefined) endKeeper(instance.freeze, 'SIGKILL');
      for (const { directory, mounted } of instance.databases) if (mounted) this.#gtm.loseMemory(directory);
      instance.freeze = undefined;
      instance.status = 'crashed';
    });
  }

  database(instance: string, name: string): Database {
    const found = this.instance(instance).databases.find((one) => one.name === name);
    if (found === undefined) throw new Error(`${instance} has no database ${name}`);
    return found;
  }

  /** The rows that a writer committed, as they stand in the database in `directory`: the last one, and whether none is missing. */
  rows(directory: string): { readonly last: number; readonly gapless: boolean } {
    const { last, count, highest } = this.#gtm.rows(directory);
    return { last, gapless: count === last && highest === last };
  }

  async startWriter(instance: string, database = 'USER', paceSeconds = 0.001): Promise<Writer> {
    const { directory } = this.database(instance, database);
    const process = systemExec.start({
      argv: [join(gtmDirectory, 'mumps'), '-run', 'spwr', '3600', String(paceSeconds)],
      env: this.#gtm.environment(directory),
      cwd: join(this.root, 'gtm', 'tmp'),
    });
    this.#writers.push(process);
    const gtm = this.#gtm;
    const before = this.#acknowledged(directory);
    const acknowledged = (): number => this.#acknowledged(directory);
    for (let waited = 0; acknowledged() === before; waited += 20) {
      if (waited > 10_000) throw new Error(`the writer does not write: ${process.stderrTail()}`);
      await systemClock.sleep(20);
    }
    return {
      acknowledged,
      async stop() {
        await endWriter(process);
        return gtm.rows(directory).last;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const names = existsSync(join(this.root, 'registry')) ? this.#store.names() : [];
    // Thawed first: a writer that waits for the database hears nothing.
    for (const name of names) this.#store.update(name, (instance) => resumeSystem(this.#gtm, instance));
    await Promise.all(this.#writers.map(async (writer) => await endWriter(writer)));
    for (const name of names) {
      for (const { directory } of this.#store.read(name).databases) this.#gtm.rundown(directory);
    }
    await rm(this.root, { recursive: true, force: true });
  }

  #acknowledged(directory: string): number {
    return Number(this.#gtm.evaluate(directory, '+$get(^ack)'));
  }

  async #executable(directory: string, name: string): Promise<void> {
    const file = join(directory, name);
    const cache = join(this.root, 'compiled');
    await writeFile(
      file,
      `#!/bin/sh\nNODE_COMPILE_CACHE=${cache} exec ${process.execPath} ${readProgram} ${this.root} ${name} "$@"\n`,
    );
    await chmod(file, 0o755);
  }

  async #instance(options: InstanceOptions, index: number): Promise<void> {
    const instance = newInstance(this.root, options, index);
    await mkdir(join(instance.manager, 'stream'), { recursive: true });
    await writeFile(join(instance.directory, instance.cache ? 'cache.cpf' : 'iris.cpf'), configuration(instance));
    await writeFile(join(instance.manager, instance.cache ? 'CACHE.WIJ' : 'IRIS.WIJ'), Buffer.alloc(4096));
    openJournal(instance, 'by system startup');
    for (const database of instance.databases) {
      this.#gtm.create(database.directory, instance.cache);
      if (database.journaled) {
        this.#gtm.journalOn(database.directory, backingJournal(this.#gtm, instance, database));
      }
      writeLock(instance, database.directory);
    }
    this.#store.write(instance);
  }
}

/** Overwrites blocks that hold a writer's rows in a database that nobody has open; its header stays whole, so that it still mounts. */
export function damageRows(directory: string): void {
  const file = fileOf(directory);
  const bytes = readFileSync(file);
  const at = bytes.indexOf(' '.repeat(150));
  if (at === -1) throw new Error(`${directory} holds no rows`);
  bytes.fill(0x5a, at, at + 3 * 4096);
  writeFileSync(file, bytes);
}

/** A killed writer would leave its shared memory behind; one that hangs all the same is killed after 5 s. */
async function endWriter(writer: RunningProcess): Promise<void> {
  writer.kill('SIGTERM');
  const forget = systemClock.after(5000, () => writer.kill('SIGKILL'));
  await writer.exited;
  forget();
}

function fieldsOf(version: string, cache: boolean): 8 | 10 | 13 | 14 {
  const year = Number(version.split('.')[0]);
  if (!cache) return year >= 2025 ? 14 : 13;
  if (year <= 2013) return 8;
  return year <= 2014 ? 10 : 13;
}

function newInstance(root: string, options: InstanceOptions, index: number): Instance {
  const version = options.version ?? '2024.1.0.262.0';
  const cache = Number(version.split('.')[0]) < 2018 || options.product === 'Cache';
  const directory = options.directory ?? join(root, 'instances', options.name.toLowerCase());
  const manager = join(directory, 'mgr');
  const wanted = options.databases ?? [
    { name: 'IRISSYS', directory: manager },
    { name: 'USER' },
    { name: 'IRISLOCALDATA', journaled: false },
  ];
  const mirror = options.mirror;
  return {
    name: options.name,
    product: options.product ?? 'IRIS',
    version,
    qlistFields: options.qlistFields ?? fieldsOf(version, cache),
    cache,
    isDefault: options.isDefault ?? index === 0,
    directory,
    manager,
    ports: { superserver: 1972 + index, web: 52_773 + index, gateway: 62_972 + index },
    secondMs: options.secondMs ?? 1000,
    freezeMs: options.freezeMs ?? 0,
    secondFreeze: options.secondFreeze ?? 'fails',
    freezeArguments: options.freezeArguments ?? (cache && Number(version.split('.')[0]) < 2016 ? 9 : 11),
    login: options.login,
    freezeVerb: options.freezeVerb ?? Number(version.split('.')[0]) >= 2024,
    startupNamespace: options.startupNamespace,
    status: 'running',
    sinceMs: Date.now(),
    health: 'ok',
    databases: wanted.map((one) => ({
      name: one.name,
      directory: one.directory ?? join(manager, one.name.toLowerCase()),
      journaled: one.journaled ?? true,
      foreign: false,
      readOnly: one.readOnly ?? false,
      mounted: true,
      mirrorName: one.mirrored === true && mirror !== undefined ? `:mirror:${mirror.name}:${one.name}` : undefined,
      inBackupList: one.journaled ?? true,
    })),
    journal: {
      directory: options.journalDirectory ?? join(manager, 'journal'),
      alternate: options.alternateJournalDirectory ?? join(manager, 'journal2'),
      prefix: options.journalPrefix ?? '',
      state: 0,
      files: [],
      openTransactionFile: undefined,
      compress: options.compressJournals ?? false,
    },
    freeze: undefined,
    history: [],
    backup: { full: {}, last: {}, noBackup: [], running: false, aborting: false },
    mirror: mirror === undefined ? undefined : newMirror(mirror),
    calls: [],
  };
}

function newMirror(options: Partial<Mirror> & { readonly name: string }): Mirror {
  return {
    memberType: 'Failover',
    status: 'PRIMARY',
    memberStatus: 'Primary',
    failoverReady: { ready: true, reason: '' },
    members: [
      ['NODEA/IRIS', 'Primary', 'Active', 'N/A', 'N/A', 'N/A', 'N/A', 'Failover', 'Primary'],
      ['NODEB/IRIS', 'Backup', 'Active', 'Active', 'Caught up', 'Active', 'Caught up', 'Failover', 'Backup'],
    ],
    noFailover: false,
    ...options,
  };
}

/** The parts of a CPF that say where files lie. */
function configuration(instance: Instance): string {
  return [
    '[ConfigFile]',
    `Product=${instance.cache ? 'Cache' : 'IRIS'}`,
    `Version=${instance.version.split('.').slice(0, 2).join('.')}`,
    '',
    '[Databases]',
    ...instance.databases.map((one) => `${one.name}=${slash(one.directory)}`),
    '',
    '[Namespaces]',
    ...instance.databases.map((one) => (one.name === 'IRISSYS' ? '%SYS=IRISSYS' : `${one.name}=${one.name}`)),
    '',
    '[Journal]',
    `AlternateDirectory=${slash(instance.journal.alternate)}`,
    'BackupsBeforePurge=2',
    `CompressFiles=${instance.journal.compress ? 1 : 0}`,
    `CurrentDirectory=${slash(instance.journal.directory)}`,
    'DaysBeforePurge=2',
    'FileSizeLimit=1024',
    'FreezeOnError=0',
    `JournalFilePrefix=${instance.journal.prefix}`,
    '',
    '[Startup]',
    `DefaultPort=${instance.ports.superserver}`,
    `WebServerPort=${instance.ports.web}`,
    '',
    '[config]',
    'MaxConsoleLogSize=5',
    'console=,',
    'wijdir=',
    '',
  ].join('\n');
}
