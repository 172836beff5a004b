import { join } from 'node:path';

/** All variables in one answer: what a version or a plugin lacks is no error. */
export const variablesSql = 'SHOW GLOBAL VARIABLES';

/** Role and epoch. */
export const observeSql = `SHOW GLOBAL VARIABLES WHERE Variable_name IN
  ('hostname', 'port', 'server_id', 'read_only', 'log_bin', 'gtid_slave_pos')`;

/** All channels, the one without a name too. Needs REPLICA MONITOR (SLAVE MONITOR). */
export const channelsSql = 'SHOW ALL SLAVES STATUS';

/** Needs BINLOG MONITOR. No row: the server writes no binary log. */
export const masterSql = 'SHOW MASTER STATUS';

/** Waits for the statements of other sessions that write now, then for their commits; passes through FLUSH and BLOCK_DDL on the way. */
export const blockCommitSql = 'BACKUP STAGE BLOCK_COMMIT';

/**
 * BLOCK_COMMIT writes the binary log to disk, and not InnoDB's: with innodb_flush_log_at_trx_commit other than 1 rows that were
 * acknowledged up to a second ago are in the server's memory only. With 0 this statement writes nothing either, so it proves nothing.
 */
export const flushLogsSql = 'FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS';

/** How far InnoDB's log goes, and how far it is on disk. */
export const logPositionsSql = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_lsn_current', 'Innodb_lsn_flushed')";

/** Text as it is, whatever sql_mode says of quotes and backslashes. */
export function literal(text: string): string {
  return text === '' ? "''" : `CONVERT(0x${Buffer.from(text, 'utf8').toString('hex')} USING utf8mb4)`;
}

/** A name as an identifier, whatever is in it. */
export function identifier(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``;
}

export interface CopyServer {
  readonly program: string;
  readonly dataDirectory: string;
  /** Holds socket, log and temporary files. */
  readonly scratch: string;
  /** What the original said of itself, with the paths of the copy. */
  readonly settings: Readonly<Record<string, string>>;
}

export function copySocket(scratch: string): string {
  return join(scratch, 'mariadb.sock');
}

export function copyLog(scratch: string): string {
  return join(scratch, 'error.log');
}

/** No password is asked, no plugin of the copy is loaded, no event runs; only root and the owner of `scratch` reach the socket. */
const alone = [
  '--skip-networking',
  '--skip-grant-tables',
  '--skip-slave-start',
  '--event-scheduler=OFF',
  '--loose-wsrep-on=OFF',
  '--general-log=OFF',
  '--slow-query-log=OFF',
  '--local-infile=OFF',
  '--loose-performance-schema=OFF',
  '--innodb-buffer-pool-load-at-startup=OFF',
  '--innodb-buffer-pool-dump-at-shutdown=OFF',
  '--innodb-force-recovery=0',
  '--innodb-buffer-pool-size=64M',
  '--log-warnings=2',
];

/** Starts a server on a copy so that it can reach nothing but its own files (docs/design/rules.md, 15). No option file is read. */
export function serverArgv(server: CopyServer): readonly [string, ...string[]] {
  const { program, dataDirectory, scratch, settings } = server;
  return [
    program,
    '--no-defaults',
    `--datadir=${dataDirectory}`,
    `--socket=${copySocket(scratch)}`,
    `--pid-file=${join(scratch, 'mariadb.pid')}`,
    `--log-error=${copyLog(scratch)}`,
    `--tmpdir=${scratch}`,
    `--slave-load-tmpdir=${scratch}`,
    `--secure-file-priv=${scratch}`,
    `--relay-log=${join(scratch, 'relay')}`,
    `--innodb-temp-data-file-path=ibtmp1:12M:autoextend`,
    ...alone,
    ...Object.entries(settings).map(([name, value]) => `--${name}=${value}`),
  ];
}

export function versionArgv(program: string): readonly [string, ...string[]] {
  return [program, '--version'];
}
