import { join } from 'node:path';
import type { TlsPair } from './rest.ts';

export const postgresBin = '/usr/lib/postgresql/15/bin';
export const scope = 'shop';

export interface PatroniOptions {
  readonly members: 2 | 3;
  /** What runs Patroni; that of PATH if absent. */
  readonly program?: string;
  /** Of the configuration in etcd. */
  readonly dynamic?: Readonly<Record<string, unknown>>;
  readonly tags?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Files for https, which the REST interface then asks of its clients too. */
  readonly tls?: TlsPair;
  /** Further options of initdb. */
  readonly initdb?: readonly Readonly<Record<string, unknown>>[];
  /** Added to `restapi` of every member. */
  readonly restapi?: Readonly<Record<string, unknown>>;
}

export interface Machine {
  readonly name: string;
  readonly directory: string;
  readonly api: number;
  readonly sql: number;
  readonly client: number;
  readonly peer: number;
}

export function etcdCommand(machine: Machine, machines: readonly Machine[]): readonly [string, ...string[]] {
  const url = (port: number): string => `http://127.0.0.1:${port}`;
  return [
    'etcd',
    ...['--name', machine.name, '--data-dir', join(machine.directory, 'etcd', 'data')],
    ...['--listen-client-urls', url(machine.client), '--advertise-client-urls', url(machine.client)],
    ...['--listen-peer-urls', url(machine.peer), '--initial-advertise-peer-urls', url(machine.peer)],
    ...['--initial-cluster', machines.map(({ name, peer }) => `${name}=${url(peer)}`).join(',')],
    ...['--initial-cluster-state', 'new', '--initial-cluster-token', scope, '--log-level', 'error'],
  ];
}

export function settingsOf(machine: Machine, machines: readonly Machine[], options: PatroniOptions): unknown {
  const local = '127.0.0.1';
  const login = { username: 'postgres', password: 'secret' };
  return {
    scope,
    name: machine.name,
    restapi: {
      listen: `${local}:${machine.api}`,
      connect_address: `${local}:${machine.api}`,
      ...(options.tls === undefined
        ? {}
        : {
            certfile: options.tls.certificate,
            keyfile: options.tls.key,
            cafile: options.tls.certificate,
            verify_client: 'required',
          }),
      ...options.restapi,
    },
    etcd3: { hosts: machines.map(({ client }) => `${local}:${client}`) },
    bootstrap: {
      dcs: {
        ttl: 20,
        loop_wait: 4,
        retry_timeout: 6,
        maximum_lag_on_failover: 1_048_576,
        postgresql: { use_pg_rewind: true, use_slots: true, parameters: { wal_log_hints: 'on' } },
        ...options.dynamic,
      },
      initdb: [{ encoding: 'UTF8' }, { locale: 'C' }, 'no-sync', 'data-checksums', ...(options.initdb ?? [])],
    },
    postgresql: {
      listen: `${local}:${machine.sql}`,
      connect_address: `${local}:${machine.sql}`,
      data_dir: join(machine.directory, 'data'),
      bin_dir: postgresBin,
      pgpass: join(machine.directory, 'pgpass'),
      authentication: { superuser: login, replication: login, rewind: login },
      pg_hba: ['local all all trust', `host all all ${local}/32 md5`, `host replication all ${local}/32 md5`],
      parameters: {
        unix_socket_directories: machine.directory,
        fsync: 'off',
        shared_buffers: '16MB',
        max_connections: 40,
        autovacuum: 'off',
        // Replay waits for readers as long as they like, so that a test can make it wait.
        max_standby_streaming_delay: -1,
      },
    },
    watchdog: { mode: 'off' },
    tags: options.tags?.[machine.name] ?? {},
  };
}
