import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { identify, isAlive, killExactly, processesIn } from '../../../src/platform/process.ts';
import { until } from '../streaming-cluster.ts';
import type { Machine } from './settings.ts';

/** One machine: Patroni, its PostgreSQL and, if it is among the first three, an etcd. All of them have their working directory below its own. */
export interface PatroniMember {
  readonly name: string;
  readonly rest: string;
  readonly etcd: string;
  readonly dataDirectory: string;
  /** Also without a password. */
  readonly socketDirectory: string;
  readonly port: number;
  /** A client of the superuser; the caller ends it. */
  connect(): Promise<pg.Client>;
  /** One statement of the superuser; the rows. */
  ask(sql: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
  /** SIGKILL of Patroni and its PostgreSQL; etcd goes on. Returns when they are gone. */
  kill(): Promise<void>;
  /** SIGKILL of Patroni alone: its PostgreSQL goes on. Or of the postmaster alone: Patroni sees that. Return when it is gone. */
  killPatroni(): Promise<void>;
  killEngine(): Promise<void>;
  /** Starts Patroni, which starts PostgreSQL. */
  start(): void;
  /** The whole machine stands still: SIGSTOP to everything on it. And goes on. */
  freeze(): void;
  thaw(): void;
  /** SIGSTOP to its etcd only. */
  freezeEtcd(): void;
}

export function memberOf(
  machine: Machine,
  scheme: 'http' | 'https',
  control: { readonly start: () => void; readonly signal: (signal: NodeJS.Signals, below?: string) => void },
): PatroniMember {
  const connect = async (): Promise<pg.Client> => {
    const client = new pg.Client({
      host: '127.0.0.1',
      port: machine.sql,
      user: 'postgres',
      password: 'secret',
      database: 'postgres',
      connectionTimeoutMillis: 20_000,
      query_timeout: 60_000,
    });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };
  const killIn = async (...below: readonly string[]): Promise<void> => {
    await until(`${below.join(' and ')} of ${machine.name} is gone`, async () => {
      for (const each of below) control.signal('SIGKILL', each);
      return below.every((each) => processesIn(join(machine.directory, each)).length === 0);
    });
  };
  const dataDirectory = join(machine.directory, 'data');
  return {
    ...{ dataDirectory, socketDirectory: machine.directory, port: machine.sql },
    name: machine.name,
    rest: `${scheme}://127.0.0.1:${machine.api}`,
    etcd: `http://127.0.0.1:${machine.client}`,
    start: control.start,
    connect,
    async ask(sql) {
      const client = await connect();
      try {
        return (await client.query<Record<string, unknown>>(sql)).rows;
      } finally {
        await client.end();
      }
    },
    kill: async () => killIn('patroni', 'data'),
    killPatroni: async () => killIn('patroni'),
    async killEngine() {
      const pid = Number((await readFile(join(dataDirectory, 'postmaster.pid'), 'utf8')).split('\n')[0]);
      const postmaster = identify(pid);
      if (postmaster === undefined) throw new Error(`PostgreSQL of ${machine.name} does not run`);
      killExactly(postmaster, 'SIGKILL');
      await until(`PostgreSQL of ${machine.name} is gone`, async () => !isAlive(postmaster));
    },
    freeze: () => control.signal('SIGSTOP'),
    thaw: () => control.signal('SIGCONT'),
    freezeEtcd: () => control.signal('SIGSTOP', 'etcd'),
  };
}
