import { join } from 'node:path';

export interface CopyServer {
  readonly binDirectory: string;
  readonly dataDirectory: string;
  /** Holds the socket and the generated configuration files. */
  readonly scratch: string;
  readonly major: number;
  /** Resources that recovery must find at least as large as they were. */
  readonly maxPreparedTransactions: string;
  readonly maxLocksPerTransaction: string;
  readonly maxConnections: string;
}

/** Port of a copy: only a part of the socket's name, as no TCP port is opened. */
export const copyPort = 5432;

/** The generated files of a copy's server, by name below scratch. */
export const copyFiles: Readonly<Record<string, string>> = {
  'postgresql.conf': '# everything is given on the command line\n',
  'pg_hba.conf': 'local all all trust\n',
  'pg_ident.conf': '\n',
};

/**
 * Starts a server on a copy so that it can reach nothing but its own files (docs/design/rules.md, 15). The command line wins over
 * postgresql.auto.conf, which lies in the copy and is read always: each setting through which a copy could touch the world is here.
 */
export function serverArgv(server: CopyServer): readonly [string, ...string[]] {
  const settings: Record<string, string> = {
    config_file: join(server.scratch, 'postgresql.conf'),
    hba_file: join(server.scratch, 'pg_hba.conf'),
    ident_file: join(server.scratch, 'pg_ident.conf'),
    data_directory: server.dataDirectory,
    external_pid_file: '',
    listen_addresses: '',
    unix_socket_directories: server.scratch,
    unix_socket_permissions: '0700',
    port: String(copyPort),
    ssl: 'off',
    cluster_name: 'stillpoint drill',
    archive_mode: 'off',
    archive_command: '',
    restore_command: '',
    archive_cleanup_command: '',
    recovery_end_command: '',
    primary_conninfo: '',
    primary_slot_name: '',
    recovery_target: '',
    recovery_target_lsn: '',
    recovery_target_name: '',
    recovery_target_time: '',
    recovery_target_xid: '',
    synchronous_standby_names: '',
    shared_preload_libraries: '',
    session_preload_libraries: '',
    local_preload_libraries: '',
    max_logical_replication_workers: '0',
    max_wal_senders: '0',
    // A slot that made it into the copy keeps the server from starting with less.
    wal_level: 'logical',
    max_prepared_transactions: server.maxPreparedTransactions,
    max_locks_per_transaction: server.maxLocksPerTransaction,
    max_connections: server.maxConnections,
    autovacuum: 'off',
    logging_collector: 'off',
    log_destination: 'stderr',
    log_min_messages: 'warning',
    log_line_prefix: '',
    log_statement: 'none',
    log_min_duration_statement: '-1',
    shared_buffers: '32MB',
    huge_pages: 'off',
    restart_after_crash: 'off',
    ignore_checksum_failure: 'off',
    zero_damaged_pages: 'off',
    statement_timeout: '0',
    idle_session_timeout: '0',
    // A login trigger of the copy would run in every connection of the drill.
    ...(server.major >= 17 ? { event_triggers: 'off' } : {}),
    ...(server.major >= 15 ? { archive_library: '' } : {}),
  };
  return [
    join(server.binDirectory, 'postgres'),
    '-D',
    server.dataDirectory,
    ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]),
  ];
}

export function versionArgv(binDirectory: string): readonly [string, ...string[]] {
  return [join(binDirectory, 'postgres'), '--version'];
}

export function checksumsArgv(binDirectory: string, dataDirectory: string): readonly [string, ...string[]] {
  return [join(binDirectory, 'pg_checksums'), '--check', '-D', dataDirectory];
}
