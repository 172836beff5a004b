import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { postgresql } from '../../src/adapters/application/postgresql/application.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec } from '../../src/platform/exec.ts';
import { silent } from '../../src/platform/logger.ts';
import type { Application, Copy } from '../../src/ports/application.ts';
import type { Platform } from '../../src/ports/module.ts';
import type { ContractSubject } from '../contract/application.ts';
import { startPostgres } from './embedded-postgres.ts';
import type { EmbeddedOptions, EmbeddedPostgres } from './embedded-postgres.ts';

/** A platform for adapters under test: the real machine, without a storage stack. */
export const testPlatform: Platform = {
  exec: systemExec,
  clock: systemClock,
  log: silent,
  host: {
    name: 'test',
    stackOf: () => Promise.reject(new Error('the test has no storage stack')),
    freeBytes: () => Promise.reject(new Error('the test has no storage stack')),
    exec: systemExec,
    pathHere: (path) => Promise.resolve(path),
  },
  stateDirectory: '/nonexistent',
};

export function applicationFor(server: EmbeddedPostgres, more: Readonly<Record<string, unknown>> = {}): Application {
  const config = postgresql.config.parse({ ...configFor(server), ...more });
  return postgresql.create(config, 'test', testPlatform, () => Promise.reject(new Error('the test has no secrets')));
}

export function configFor(server: EmbeddedPostgres): Readonly<Record<string, unknown>> {
  return {
    dataDirectory: server.dataDirectory,
    host: server.socketDirectory,
    port: server.port,
    user: 'postgres',
    database: 'postgres',
  };
}

/** A live server with table `numbers` in its own tablespace, and WAL behind a link where `options` asks for it. */
export async function postgresSubject(
  options: EmbeddedOptions,
): Promise<ContractSubject & { readonly server: EmbeddedPostgres }> {
  const server = await startPostgres(options);
  try {
    return await subjectOn(server);
  } catch (cause) {
    await server.stop();
    throw cause;
  }
}

async function subjectOn(server: EmbeddedPostgres): Promise<ContractSubject & { readonly server: EmbeddedPostgres }> {
  const client = await server.connect();
  const place = await server.makeDirectory('space');
  await client.query(`CREATE TABLESPACE apart LOCATION '${place}'`);
  await client.query('CREATE TABLE numbers (n bigint PRIMARY KEY, filler text NOT NULL) TABLESPACE apart');
  const found = await client.query<{ path: string }>(`SELECT pg_relation_filepath('numbers') AS path`);
  const relation = found.rows[0]?.path ?? '';
  const config = { ...configFor(server), canary: true };
  return {
    server,
    application: () => applicationFor(server, { canary: true }),
    elsewhere: {
      module: new URL('../../src/adapters/application/postgresql/application.ts', import.meta.url).href,
      exportName: 'postgresql',
      config,
    },
    async write(row) {
      await client.query('INSERT INTO numbers VALUES ($1, repeat($2, 200))', [row, String(row % 10)]);
      return true;
    },
    read: async (copy) => readCopy(server, copy),
    async damage(copy) {
      const path = join(copy.at(server.dataDirectory), relation);
      const bytes = (await readFile(path)).byteLength;
      const file = await open(path, 'r+');
      // Behind the page headers, so that the server reads the pages at all.
      for (let page = 0; page < bytes; page += 8192) await file.write(Buffer.alloc(6000, 0x5a), 0, 6000, page + 1024);
      await file.close();
    },
    async [Symbol.asyncDispose]() {
      await client.end();
      await server.stop();
    },
  };
}

async function readCopy(server: EmbeddedPostgres, copy: Copy): Promise<readonly number[]> {
  const data = copy.at(server.dataDirectory);
  // A drill gives the copy to a user of its own.
  if (process.getuid?.() === 0) {
    const places = [copy.scratch, ...copy.required.map((each) => copy.at(each.path))];
    await systemExec.check({ argv: ['chown', '-R', `${server.uid}:${server.gid}`, ...places], timeoutMs: 30_000 });
  }
  const child = systemExec.start({
    argv: [join(server.binDirectory, 'postgres'), '-D', data, '-c', `unix_socket_directories=${copy.scratch}`],
    uid: server.uid,
    gid: server.gid,
  });
  const state = { ended: false };
  void child.exited.then(() => {
    state.ended = true;
  });
  try {
    for (;;) {
      const client = new pg.Client({ host: copy.scratch, port: server.port, user: 'postgres', database: 'postgres' });
      try {
        await client.connect();
      } catch (cause) {
        if (state.ended) throw new Error(`the copy does not start: ${child.stderrTail()}`, { cause });
        await systemClock.sleep(20);
        continue;
      }
      const { rows } = await client.query<{ n: string }>('SELECT n FROM numbers ORDER BY n');
      await client.end();
      return rows.map((row) => Number(row.n));
    }
  } finally {
    child.kill('SIGINT');
    await child.exited;
  }
}
