import { chmod, chown, copyFile, mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gtm } from '../../src/adapters/application/gtm/application.ts';
import type { GtmPlace } from '../../src/adapters/application/gtm/commands.ts';
import { filesOf, isolatedGtm, makeGlobalDirectory } from '../../src/adapters/application/gtm/copy.ts';
import { gtmConfig } from '../../src/adapters/application/gtm/config.ts';
import { findDistributions, Gtm, type Owner } from '../../src/adapters/application/gtm/engine.ts';
import { environmentOf } from '../../src/adapters/application/gtm/commands.ts';
import { systemExec, type RunningProcess } from '../../src/platform/exec.ts';
import type { Application, Copy } from '../../src/ports/application.ts';
import type { ContractSubject } from '../contract/application.ts';
import { testPlatform } from './postgres-subject.ts';

const routines = fileURLToPath(new URL('gtm', import.meta.url));
const limits = { limitMs: 60_000 };
/** A writer that has not been answered for this long waits for a freeze. */
const waitMs = 500;

export function whyNoGtm(): string | undefined {
  return findDistributions().length === 0 ? 'needs GT.M (Debian package fis-gtm)' : undefined;
}

export interface GtmOptions {
  readonly regions: 1 | 2;
  readonly freeze?: 'plain' | 'online';
  /** Default true. */
  readonly journal?: boolean;
  readonly globalBuffers?: number;
  /** Owner of the files; the writers run as the same. Needs root. */
  readonly owner?: Owner;
  readonly directory?: string;
  /** The load is not a child of the test but is stopped and started by commands, which stand in the configuration. */
  readonly service?: boolean;
  /** Replication is on for all regions, as an instance of this name whose servers are not started. */
  readonly instance?: string;
  /** Further settings of the adapter. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** A write load of its own process, whose acknowledgements stand in a file that the database knows nothing of. */
export interface Load {
  readonly pid: number;
  /** Every number that the engine acknowledged, with the time in milliseconds since 1970. */
  acknowledged(): Promise<readonly { readonly n: number; readonly ms: number }[]>;
  stop(): Promise<void>;
}

export interface GtmDatabase extends AsyncDisposable {
  readonly directory: string;
  readonly files: readonly string[];
  readonly config: Readonly<Record<string, unknown>>;
  readonly stateDirectory: string;
  readonly gtm: Gtm;
  application(more?: Readonly<Record<string, unknown>>): Application;
  load(id: number, pauseMs?: number): Promise<Load>;
  /** A process of the application, by an entry of its routines. It ends with the database, if not before. */
  start(entry: string, ...args: readonly string[]): RunningProcess;
  /** With the option `service`: starts the load again. */
  startService(): Promise<void>;
  /** About so many bytes of rows that nobody writes to any more. Before any load: the journal is off meanwhile. */
  fill(bytes: number): Promise<void>;
  writer(): Promise<{ write(row: number): Promise<boolean>; close(): Promise<void> }>;
}

/** A database in a directory of its own. Ends its processes and shared memory when it is disposed of. */
export async function openGtm(options: GtmOptions): Promise<GtmDatabase> {
  const home = await mkdtemp(join(tmpdir(), 'sp-gtm-'));
  await chmod(home, 0o755);
  const directory = options.directory ?? join(home, 'db');
  const objects = join(home, 'o');
  const source = join(home, 'r');
  for (const each of [directory, objects, source]) {
    await mkdir(each, { recursive: true });
    await chmod(each, 0o755);
    if (options.owner !== undefined) await chown(each, options.owner.uid, options.owner.gid);
  }
  for (const each of ['spwriter.m', 'sprounds.m']) await copyFile(join(routines, each), join(source, each));
  const globalDirectory = join(directory, 'app.gld');
  const distribution = findDistributions().at(-1) ?? '';
  const replicationInstance = options.instance === undefined ? undefined : join(directory, 'app.repl');
  const place: GtmPlace = {
    distribution,
    globalDirectory,
    variables: { SPDB: directory },
    replicationInstance,
    routines: `${objects}(${source})`,
  };
  const stateDirectory = join(home, 'state');
  const platform = { ...testPlatform, stateDirectory };
  const database = new Gtm(platform, place, options.owner);
  const names = options.regions === 1 ? ['DEFAULT'] : ['DEFAULT', 'SECOND'];
  const buffers = options.globalBuffers ?? 1024;
  const segment = (name: string, file: string): string =>
    `-segment ${name} -file_name="$SPDB/${file}.dat" -block_size=4096 -allocation=2000 -extension=2000 -global_buffer_count=${buffers}`;
  const region = (file: string): string =>
    `-journal=(before_image,file="$SPDB/${file}.mjl") -stdnull -key_size=255 -record_size=4000`;
  await database.gde(
    [
      `change ${segment('DEFAULT', 'a')}`,
      `change -region DEFAULT ${region('a')}`,
      ...(options.regions === 1
        ? []
        : [
            `add ${segment('SECONDS', 'b')}`,
            `add -region SECOND -dynamic_segment=SECONDS ${region('b')}`,
            'add -name b -region=SECOND',
            'add -name lb -region=SECOND',
          ]),
    ],
    limits,
  );
  await database.mupip(['create'], limits);
  if (options.instance !== undefined)
    await database.mupip(['replicate', '-instance_create', `-name=${options.instance}`], limits);
  if (options.journal !== false) {
    const replication = options.instance === undefined ? [] : ['-replication=on'];
    for (const name of names)
      await database.mupip(['set', '-region', name, ...replication, '-journal=enable,on,before'], limits);
  }
  const config = {
    globalDirectory,
    environment: { SPDB: directory },
    routines: `${objects}(${source})`,
    verify: { routine: 'inv^spwriter', expect: 'invariant holds' },
    ...(options.freeze === undefined ? {} : { freeze: options.freeze }),
    ...(replicationInstance === undefined ? {} : { replicationInstance }),
    ...options.config,
  };
  const log = (id: number): string => join(objects, `load-${id}.log`);
  const service = await makeService(home, place, log(1));
  if (options.service === true) Object.assign(config, { stop: [service.stop], start: [service.start] });
  const running = new Set<RunningProcess>();
  const start = (entry: string, ...args: readonly string[]): RunningProcess => {
    const child = systemExec.start({
      argv: [join(distribution, 'mumps'), '-run', entry, ...args],
      env: environmentOf(place),
      ...options.owner,
    });
    running.add(child);
    return child;
  };
  const end = async (child: RunningProcess): Promise<void> => {
    child.kill('SIGTERM');
    await child.exited;
    running.delete(child);
  };
  return {
    directory,
    files: options.regions === 1 ? [join(directory, 'a.dat')] : [join(directory, 'a.dat'), join(directory, 'b.dat')],
    config,
    stateDirectory,
    gtm: database,
    application: (more = {}) =>
      gtm.create(gtmConfig.parse({ ...config, ...more }), 'test', platform, () =>
        Promise.reject(new Error('no secrets')),
      ),
    async fill(bytes) {
      const long = { limitMs: 600_000 };
      for (const name of names) await database.mupip(['set', '-region', name, '-journal=off'], long);
      const filler = start('fill^spwriter', String(Math.ceil(bytes / 1000)));
      const { exitCode } = await filler.exited;
      running.delete(filler);
      if (exitCode !== 0) throw new Error(`the database could not be filled: ${filler.stderrTail()}`);
      for (const name of names) await database.mupip(['set', '-region', name, '-journal=on,before'], long);
    },
    start,
    async startService() {
      await systemExec.check({ argv: [service.start], timeoutMs: 10_000, ...options.owner });
    },
    async load(id, pauseMs = 0) {
      const child =
        options.service === true ? undefined : start('load^spwriter', String(id), log(id), String(pauseMs / 1000));
      if (child === undefined) await systemExec.check({ argv: [service.start], timeoutMs: 10_000, ...options.owner });
      const acknowledged = async (): Promise<readonly { n: number; ms: number }[]> => {
        const text = await readFile(log(id), 'utf8').catch(() => '');
        return text
          .slice(0, text.lastIndexOf('\n') + 1)
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => {
            const [n, time] = line.split(' ');
            return { n: Number(n), ms: Number(time) / 1000 };
          });
      };
      for (let i = 0; i < 200 && (await acknowledged()).length === 0; i += 1) await testPlatform.clock.sleep(25);
      const stop = async (): Promise<void> => {
        if (child === undefined) await systemExec.check({ argv: [service.stop], timeoutMs: 20_000, ...options.owner });
        else await end(child);
      };
      return { pid: child?.pid ?? 0, acknowledged, stop };
    },
    async writer() {
      const child = start('spwriter');
      let sequence = 0;
      return {
        async write(row) {
          sequence += 1;
          const mark = `${sequence} ok`;
          const answer = child
            .firstLine((line) => line === mark, waitMs)
            .then(
              () => true,
              () => false,
            );
          child.write(`${sequence} ${row}\n`);
          return answer;
        },
        close: () => end(child),
      };
    },
    async [Symbol.asyncDispose]() {
      for (const child of [...running]) await end(child);
      if (options.service === true) await systemExec.run({ argv: [service.stop], timeoutMs: 20_000 });
      await database.mupip(['freeze', '-off', '-override', '*'], limits);
      await database.mupip(['rundown', '-region', '*'], limits);
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** Two scripts, as an administrator would write them: started twice it runs once, and stopping waits for the end. */
async function makeService(
  home: string,
  place: GtmPlace,
  log: string,
): Promise<{ readonly start: string; readonly stop: string }> {
  const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const pid = quoted(join(home, 'service.pid'));
  const variables = Object.entries(environmentOf(place)).map(([name, value]) => `export ${name}=${quoted(value)}`);
  const mumps = quoted(join(place.distribution, 'mumps'));
  const start = join(home, 'start');
  const stop = join(home, 'stop');
  const alive = `[ -s ${pid} ] && kill -0 "$(cat ${pid})" 2>/dev/null`;
  await writeFile(
    start,
    [
      '#!/bin/sh',
      `${alive} && exit 0`,
      ...variables,
      `setsid ${mumps} -run load^spwriter 1 ${quoted(log)} </dev/null >/dev/null 2>&1 &`,
      `echo $! >${pid}`,
      '',
    ].join('\n'),
    { mode: 0o755 },
  );
  await writeFile(
    stop,
    [
      '#!/bin/sh',
      `${alive} || exit 0`,
      `kill -TERM "$(cat ${pid})"`,
      'tries=0',
      `while ${alive}; do`,
      '  tries=$((tries + 1))',
      '  [ $tries -gt 100 ] && exit 1',
      '  sleep 0.1',
      'done',
      '',
    ].join('\n'),
    { mode: 0o755 },
  );
  return { start, stop };
}

/** Rows of a copy by an independent process, in namespaces of its own. The copy was cleaned by `adopt` or `verify`. */
export async function rowsOf(database: GtmDatabase, copy: Copy): Promise<readonly number[]> {
  const config = gtmConfig.parse(database.config);
  const at = join(copy.scratch, 'read.gld');
  const reader = isolatedGtm(copy, config, testPlatform, at);
  const files = filesOf(copy);
  await makeGlobalDirectory(reader, files, files.globalDirectory, at);
  const answer = await reader.routine('rows^spwriter', limits);
  if (!answer.exitedWell) throw new Error(answer.text);
  return answer.stdout
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

export async function gtmSubject(options: GtmOptions): Promise<ContractSubject | string> {
  const why = whyNoGtm();
  if (why !== undefined) return why;
  const database = await openGtm(options);
  const writer = await database.writer();
  return {
    application: () => database.application(),
    elsewhere: {
      module: new URL('../../src/adapters/application/gtm/application.ts', import.meta.url).href,
      exportName: 'gtm',
      config: database.config,
      stateDirectory: database.stateDirectory,
    },
    write: (row) => writer.write(row),
    read: (copy) => rowsOf(database, copy),
    async damage(copy) {
      // Behind the header, over the first blocks of the trees.
      const file = await open(copy.at(database.files[0] ?? ''), 'r+');
      const blocks = Buffer.alloc(16 * 4096, 0xa5);
      await file.write(blocks, 0, blocks.length, 8192 * 512 + 3 * 4096);
      await file.close();
    },
    async [Symbol.asyncDispose]() {
      await writer.close();
      await database[Symbol.asyncDispose]();
    },
  };
}
