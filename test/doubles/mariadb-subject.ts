import { chown, mkdir, open, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { mariadbServer } from '../../src/adapters/application/mariadb/application.ts';
import type { MariadbConfig } from '../../src/adapters/application/mariadb/config.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec } from '../../src/platform/exec.ts';
import { MariadbSession } from '../../src/platform/mariadb-session.ts';
import type { Application, Copy } from '../../src/ports/application.ts';
import { copyFiles, type ContractSubject } from '../contract/application.ts';
import { openYard, until, type MariadbServer, type MariadbYard } from './mariadb-server.ts';
import { testPlatform } from './postgres-subject.ts';

/** What the yard's servers lack: rows that are on disk when they are acknowledged, and a binary log. */
export const durable = ['--server-id=1', '--innodb-flush-log-at-trx-commit=1', '--log-bin=bin'] as const;

export function mariadbConfigFor(server: MariadbServer, more: Partial<MariadbConfig> = {}): Record<string, unknown> {
  return { host: server.socket, dataDirectory: server.dataDirectory, ...more };
}

export function mariadbApplication(server: MariadbServer, more: Partial<MariadbConfig> = {}): Application {
  const config = mariadbServer.config.parse(mariadbConfigFor(server, more));
  return mariadbServer.create(config, 'test', testPlatform, () => Promise.reject(new Error('there is no password')));
}

/** Moves the files of a server that does not run, and leaves a link. */
export async function moveTo(server: MariadbServer, directory: string): Promise<void> {
  const run = async (...argv: [string, ...string[]]): Promise<unknown> => systemExec.check({ argv, timeoutMs: 60_000 });
  await mkdir(directory, { recursive: true });
  await run('cp', '-a', `${server.dataDirectory}/.`, directory);
  await run('chown', '--reference', server.dataDirectory, directory);
  await run('rm', '-r', server.dataDirectory);
  await run('ln', '-s', directory, server.dataDirectory);
}

/** An insert that the server makes wait is undone by it after a moment. */
export async function insertInto(session: MariadbSession, table: string, row: number): Promise<boolean> {
  try {
    await session.query(
      `SET STATEMENT lock_wait_timeout = 1 FOR INSERT INTO ${table} VALUES (${row}, REPEAT('${row % 10}', 200))`,
    );
    return true;
  } catch (cause) {
    if (cause instanceof Error && 'errno' in cause && (cause.errno === 1969 || cause.errno === 1205)) return false;
    throw cause;
  }
}

export interface MariadbSubject extends ContractSubject {
  readonly server: MariadbServer;
  readonly yard: MariadbYard;
}

/** `scattered`: system tablespace, redo, undo and binary logs, a table and a database each in a directory of their own. */
export async function mariadbSubject({ scattered = false } = {}): Promise<MariadbSubject> {
  await using stack = new AsyncDisposableStack();
  const yard = stack.use(await openYard());
  const elsewhere = join(yard.directory, 'elsewhere');
  const at = (name: string): string => join(elsewhere, name);
  const args: string[] = [...durable];
  if (scattered) {
    const names = ['system', 'redo', 'binlog', 'tables', 'linked'];
    for (const name of names) await mkdir(at(name), { recursive: true });
    args.push(`--innodb-data-home-dir=${at('system')}`, `--innodb-log-group-home-dir=${at('redo')}`);
    args.push(`--log-bin=${at('binlog')}/bin`);
  }
  const server = await yard.add('db1', args);
  if (scattered) {
    await rename(join(server.dataDirectory, 'ibdata1'), join(at('system'), 'ibdata1'));
    await rename(join(server.dataDirectory, 'ib_logfile0'), join(at('redo'), 'ib_logfile0'));
    const { uid, gid } = await stat(server.dataDirectory);
    for (const path of [elsewhere, ...(await readdir(elsewhere)).map(at)]) await chown(path, uid, gid);
  }
  await server.start();
  await server.ask('CREATE DATABASE app');
  const placed = scattered ? `DATA DIRECTORY = '${at('tables')}'` : '';
  await server.ask(`CREATE TABLE app.ballast (n BIGINT PRIMARY KEY, t TEXT)`);
  await server.ask(`CREATE TABLE app.numbers (n BIGINT PRIMARY KEY, t TEXT) ${placed}`);
  await server.ask(`INSERT INTO app.ballast
    WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 900) SELECT n, REPEAT('b', 200) FROM s`);
  // Redo of the ballast would mend what a test damages.
  await server.halt();
  if (scattered) {
    await rename(join(server.dataDirectory, 'app'), at('linked/app'));
    await systemExec.check({
      argv: ['ln', '-s', at('linked/app'), join(server.dataDirectory, 'app')],
      timeoutMs: 10_000,
    });
  }
  await server.start();
  let session = stack.use(await server.connect());
  const config = { ...mariadbConfigFor(server), canary: true };
  const whole = stack.move();
  return {
    server,
    yard,
    application: () => mariadbApplication(server, { canary: true }),
    elsewhere: {
      module: new URL('../../src/adapters/application/mariadb/application.ts', import.meta.url).href,
      exportName: 'mariadbServer',
      config,
    },
    /** A process that is stopped writes nothing: what lies in its files is one instant. */
    async cut(located, root) {
      server.freeze();
      try {
        await copyFiles(located, root);
      } finally {
        server.thaw();
      }
    },
    async write(row) {
      for (;;) {
        try {
          return await insertInto(session, 'app.numbers', row);
        } catch (cause) {
          // Its session ends after a minute.
          if (!(cause instanceof Error && 'fatal' in cause && cause.fatal === true)) throw cause;
          session = whole.use(await server.connect());
        }
      }
    },
    read: async (copy) => rowsOf(copy, server, 'app.numbers'),
    async damage(copy) {
      const path = scattered ? join(at('linked/app'), 'ballast.ibd') : join(server.dataDirectory, 'app/ballast.ibd');
      await spoil(copy.at(path));
    },
    [Symbol.asyncDispose]: () => whole.disposeAsync(),
  };
}

/** Behind the page headers, from the first page that holds rows. */
export async function spoil(path: string): Promise<void> {
  const page = 16_384;
  const { size } = await stat(path);
  const file = await open(path, 'r+');
  for (let from = 3 * page; from < size; from += page) await file.write(Buffer.alloc(6000, 0x5a), 0, 6000, from + 1024);
  await file.close();
}

/** Numbers in a table of a copy, by a server of its own. */
export async function rowsOf(copy: Copy, original: MariadbServer, table: string): Promise<readonly number[]> {
  const data = copy.at(original.dataDirectory);
  const { uid, gid } = await stat(original.dataDirectory);
  const places = [copy.scratch, ...copy.required.map(({ path }) => copy.at(path))];
  if (process.getuid?.() === 0)
    await systemExec.check({ argv: ['chown', '-R', `${uid}:${gid}`, ...places], timeoutMs: 30_000 });
  const has = (name: string): string | undefined => copy.required.find((each) => each.name === name)?.path;
  const [system, redo, binlog] = [has('innodb-ibdata1'), has('redo'), has('binlog')];
  const socket = join(copy.scratch, 'r.sock');
  const child = systemExec.start({
    argv: [
      ...(['mariadbd', '--no-defaults', `--datadir=${data}`, '--skip-networking', `--socket=${socket}`] as const),
      // The default is shared with other servers, whose temporary tables a start removes.
      `--tmpdir=${copy.scratch}`,
      ...['--skip-grant-tables', '--innodb-buffer-pool-size=8M', `--pid-file=${join(copy.scratch, 'r.pid')}`],
      ...(system === undefined
        ? []
        : ['--innodb-data-home-dir=', `--innodb-data-file-path=${copy.at(system)}:12M:autoextend`]),
      ...(redo === undefined ? [] : [`--innodb-log-group-home-dir=${copy.at(redo)}`]),
      `--log-bin=${binlog === undefined ? 'bin' : join(copy.at(binlog), 'bin')}`,
    ],
    cwd: '/',
    ...(process.getuid?.() === 0 ? { uid, gid } : {}),
  });
  let ended = false;
  void child.exited.then(() => (ended = true));
  try {
    const limits = { signal: new AbortController().signal, limitMs: 60_000 };
    const place = { host: socket, port: 3306, user: 'root' };
    let rows: readonly number[] = [];
    await until('the copy answers', async () => {
      if (ended) throw new Error(`the copy does not start: ${child.stderrTail()}`);
      try {
        await using session = await MariadbSession.open(place, systemClock, async () => '', limits);
        rows = (await session.query(`SELECT n FROM ${table} ORDER BY n`)).map((row) => Number(row['n']));
        return true;
      } catch (cause) {
        // It has not come so far; whatever the server itself says is an answer.
        if (
          cause instanceof Error &&
          'errno' in cause &&
          typeof cause.errno === 'number' &&
          cause.errno > 0 &&
          cause.errno < 45_000
        )
          throw cause;
        return false;
      }
    });
    return rows;
  } finally {
    child.kill('SIGTERM');
    await child.exited;
  }
}
