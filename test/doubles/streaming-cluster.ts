import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { systemClock } from '../../src/platform/clock.ts';
import { systemExec } from '../../src/platform/exec.ts';
import { identify, killExactly, processesIn } from '../../src/platform/process.ts';
import { type EmbeddedOptions, type EmbeddedPostgres, startPostgres } from './embedded-postgres.ts';

/** One server of the cluster, on its own socket. */
export interface StreamingMember {
  readonly name: string;
  readonly socketDirectory: string;
  readonly port: number;
  readonly dataDirectory: string;
  /** A client of the superuser; the caller ends it. */
  connect(): Promise<pg.Client>;
  /** One statement; the rows. */
  ask(sql: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
  /** SIGKILL of the postmaster; returns when all processes of the server are gone. */
  kill(): Promise<void>;
  /** SIGSTOP to every process of the server, as if its machine stood still, and SIGCONT. */
  freeze(): void;
  thaw(): void;
  /** Fast shutdown, and the files stay. */
  halt(): Promise<void>;
  start(): Promise<void>;
}

export interface StreamingCluster extends AsyncDisposable {
  readonly primary: StreamingMember;
  readonly standbys: readonly StreamingMember[];
  member(name: string): StreamingMember;
  /** A server of the same programs and owner on a restored data directory. */
  serveCopy: EmbeddedPostgres['serveCopy'];
  /** All that standbys take is in them: sent, and replayed. */
  settled(): Promise<void>;
}

export interface StreamingOptions {
  readonly standbys: number;
  readonly from?: EmbeddedOptions['from'];
  readonly settings?: Readonly<Record<string, string>>;
  /** Further arguments of initdb. */
  readonly initdb?: readonly string[];
}

const waitMs = 60_000;

export async function until(what: string, done: () => Promise<boolean>, limitMs = waitMs): Promise<void> {
  const deadline = systemClock.monoMs() + limitMs;
  while (!(await done())) {
    if (systemClock.monoMs() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await systemClock.sleep(50);
  }
}

/** A primary `db1` and its standbys `db2`, `db3`..., each with a slot of its own name. Ends with all of it when it is disposed of. */
export async function startStreaming(options: StreamingOptions): Promise<StreamingCluster> {
  const server = await startPostgres({
    fsync: false,
    ...(options.from === undefined ? {} : { from: options.from }),
    ...(options.initdb === undefined ? {} : { initdb: options.initdb }),
    settings: { cluster_name: 'db1', wal_receiver_status_interval: '1', ...options.settings },
  });
  const standbys: StreamingMember[] = [];
  const primary = memberFor('db1', server.socketDirectory, server.port, server.dataDirectory, {
    connect: async () => server.connect(),
    start: async () => server.start(),
    halt: async () => server.halt(),
  });
  const dispose = async (): Promise<void> => {
    // Their files are thrown away: nobody needs to wait for a clean end.
    const all = [...standbys, primary].map(({ dataDirectory }) => dataDirectory);
    await until('all processes are gone', async () => {
      const left = all.flatMap((directory) => processesIn(directory));
      for (const each of left) killExactly(each, 'SIGKILL');
      return left.length === 0;
    });
    await server.stop();
  };
  try {
    const names = Array.from({ length: options.standbys }, (_, index) => `db${index + 2}`);
    for (const name of names) await primary.ask(`SELECT pg_create_physical_replication_slot('${name}', true)`);
    await server.halt();
    for (const name of names) {
      const dataDirectory = join(server.directory, name);
      await systemExec.check({ argv: ['cp', '-a', server.dataDirectory, dataDirectory], timeoutMs: waitMs });
      await systemExec.check({ argv: ['rm', '-rf', join(dataDirectory, 'pg_replslot', name)], timeoutMs: waitMs });
      const conninfo = `host=${server.socketDirectory} port=${server.port} user=postgres application_name=${name}`;
      await appendFile(
        join(dataDirectory, 'postgresql.conf'),
        `cluster_name = '${name}'\nprimary_conninfo = '${conninfo}'\nprimary_slot_name = '${name}'\n`,
      );
      await writeFile(join(dataDirectory, 'standby.signal'), '');
      const socketDirectory = await server.makeDirectory(`s-${name}`);
      let copy: Awaited<ReturnType<EmbeddedPostgres['serveCopy']>> | undefined;
      standbys.push(
        memberFor(name, socketDirectory, server.port, dataDirectory, {
          connect: async () => {
            if (copy === undefined) throw new Error(`${name} was not started`);
            return copy.connect();
          },
          start: async () => {
            copy = await server.serveCopy(dataDirectory, socketDirectory);
          },
          halt: async () => copy?.halt(),
        }),
      );
    }
    await server.start();
    for (const member of standbys) await member.start();
    const cluster: StreamingCluster = {
      primary,
      standbys,
      serveCopy: (dataDirectory, socketDirectory) => server.serveCopy(dataDirectory, socketDirectory),
      member(name) {
        const found = [primary, ...standbys].find((member) => member.name === name);
        if (found === undefined) throw new Error(`the cluster has no ${name}`);
        return found;
      },
      async settled() {
        await until('every standby has all that the primary wrote', async () => {
          const [row] = await primary.ask('SELECT pg_current_wal_flush_lsn() AS lsn');
          for (const member of standbys) {
            const [at] =
              await member.ask(`SELECT pg_last_wal_replay_lsn() >= '${String(row?.['lsn'])}'::pg_lsn AS there,
              (SELECT status FROM pg_stat_wal_receiver) AS status`);
            if (at?.['there'] !== true || at['status'] !== 'streaming') return false;
          }
          return true;
        });
      },
      [Symbol.asyncDispose]: dispose,
    };
    await cluster.settled();
    return cluster;
  } catch (cause) {
    await dispose();
    throw cause;
  }
}

function memberFor(
  name: string,
  socketDirectory: string,
  port: number,
  dataDirectory: string,
  server: Pick<StreamingMember, 'connect' | 'start' | 'halt'>,
): StreamingMember {
  const signalAll = (signal: NodeJS.Signals): void => {
    for (const each of processesIn(dataDirectory)) killExactly(each, signal);
  };
  return {
    name,
    socketDirectory,
    port,
    dataDirectory,
    ...server,
    async ask(sql) {
      const client = await server.connect();
      try {
        return (await client.query<Record<string, unknown>>(sql)).rows;
      } finally {
        await client.end();
      }
    },
    async kill() {
      const pid = Number((await readFile(join(dataDirectory, 'postmaster.pid'), 'utf8')).split('\n')[0]);
      const postmaster = identify(pid);
      if (postmaster === undefined) throw new Error(`${name} does not run`);
      killExactly(postmaster, 'SIGKILL');
      await until(`${name} is gone`, async () => processesIn(dataDirectory).length === 0);
    },
    freeze: () => signalAll('SIGSTOP'),
    thaw: () => signalAll('SIGCONT'),
  };
}
