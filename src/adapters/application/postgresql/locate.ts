import { access, lstat, readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join, sep } from 'node:path';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import type { MemberObservation } from '../../../model/hold.ts';
import type { LeftOut, RequiredPath } from '../../../model/storage.ts';
import type { Located } from '../../../ports/application.ts';
import type { PostgresqlConfig } from './config.ts';
import { asStillpoint, grantsHint } from './connection.ts';
import type { Connection, Row } from './connection.ts';
import { majorOf, parsePostmasterPid } from './parse.ts';

export const oldestMajor = 14;

/** As the manual's "Backing Up the Data Directory" has it; what it lists at any depth (pgsql_tmp*, pg_internal.init) is harmless and kept. */
const notNeeded: readonly LeftOut[] = [
  { relative: 'postmaster.pid', match: 'entry', why: 'belongs to the running server' },
  { relative: 'postmaster.opts', match: 'entry', why: 'belongs to the running server' },
  { relative: 'backup_label.old', match: 'entry', why: 'left by an earlier restore' },
  { relative: 'pg_replslot', match: 'contents', why: 'slots of the original would keep WAL of the copy for ever' },
  { relative: 'pg_dynshmem', match: 'contents', why: 'made anew at start' },
  { relative: 'pg_notify', match: 'contents', why: 'made anew at start' },
  { relative: 'pg_serial', match: 'contents', why: 'made anew at start' },
  { relative: 'pg_snapshots', match: 'contents', why: 'made anew at start' },
  { relative: 'pg_stat_tmp', match: 'contents', why: 'made anew at start' },
  { relative: 'pg_subtrans', match: 'contents', why: 'made anew at start' },
];

/** The end of recovery is read from the control file, which must therefore be no older than any other file: it comes with the thaw. */
const ofReplica: readonly LeftOut[] = [
  {
    relative: 'global/pg_control',
    match: 'entry',
    why: 'the control file of a standby is taken after all others, right before the backup is stopped',
    onlyHeld: true,
  },
  {
    relative: 'standby.signal',
    match: 'entry',
    why: 'a restored copy must not go on as a standby of the living primary',
  },
];

const walElsewhere = 'the WAL from start to stop of the backup is collected after the thaw';

export function text(row: Row | undefined, key: string): string {
  const value = row?.[key];
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean' ? String(value) : '';
}

/**
 * Role and epoch. The timeline is that of the WAL that is written now, on a standby the newest that is received or replayed; the control
 * file only knows the last checkpoint's.
 */
export const observeSql = `
  SELECT pg_is_in_recovery() AS in_recovery,
    (SELECT system_identifier FROM pg_control_system())::text AS system_identifier,
    CASE WHEN pg_is_in_recovery() THEN greatest((SELECT received_tli FROM pg_stat_wal_receiver),
        (SELECT min_recovery_end_timeline FROM pg_control_recovery()), (SELECT timeline_id FROM pg_control_checkpoint()))::text
      ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text END AS timeline,
    current_setting('cluster_name') AS cluster_name,
    current_setting('port') AS port`;

export function memberOf(row: Row | undefined): MemberObservation {
  const cluster = text(row, 'cluster_name');
  return {
    member: cluster === '' ? `${hostname()}:${text(row, 'port')}` : cluster,
    role: row?.['in_recovery'] === true ? 'replica' : 'primary',
    epoch: `${text(row, 'system_identifier')}/${text(row, 'timeline')}`,
  };
}

export interface Directories {
  readonly data: string;
  readonly wal: string;
}

/** Real paths of the data directory and of the WAL. */
export async function directoriesOf(connection: Connection, config: PostgresqlConfig): Promise<Directories> {
  const told = config.dataDirectory ?? (await setting(connection, config, 'data_directory'));
  const data = await real(told, config);
  return { data, wal: await real(join(data, 'pg_wal'), config) };
}

async function setting(connection: Connection, config: PostgresqlConfig, name: string): Promise<string> {
  const rows = await ask(connection, config, 'SELECT current_setting($1) AS value', [name]);
  return text(rows[0], 'value');
}

async function ask(
  connection: Connection,
  config: PostgresqlConfig,
  sql: string,
  values: readonly unknown[] = [],
): Promise<readonly Row[]> {
  try {
    return await connection.query(sql, values);
  } catch (cause) {
    throw asStillpoint(cause, config);
  }
}

async function real(path: string, config: PostgresqlConfig): Promise<string> {
  try {
    return await realpath(path);
  } catch (cause) {
    throw new StillpointError('database-file', `${path} cannot be reached: ${messageOf(cause)}`, {
      hint:
        codeOf(cause) === 'EACCES'
          ? 'run as root or as the owner of the data directory'
          : `the server at ${config.host} must run on this machine; set application.postgresql.dataDirectory if it lies elsewhere here`,
      cause,
    });
  }
}

/** Everything of the port's `locate`, over a connection that the caller closes. */
export async function locate(
  connection: Connection,
  config: PostgresqlConfig,
  takesReplica: boolean,
): Promise<Located> {
  const rows = await ask(
    connection,
    config,
    `SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version`,
  );
  const major = majorOf(Number(rows[0]?.['number']));
  if (major < oldestMajor) {
    throw new StillpointError(
      'role-unsuitable',
      `PostgreSQL ${text(rows[0], 'version')} is older than ${oldestMajor}`,
      {
        hint: `upgrade the server to PostgreSQL ${oldestMajor} or later`,
      },
    );
  }
  const member = memberOf((await ask(connection, config, observeSql))[0]);
  const replica = member.role === 'replica';
  if (replica && !takesReplica) {
    throw new StillpointError('role-unsuitable', `${member.member} is a replica (it is in recovery)`, {
      hint: 'point application.postgresql.host and port at the primary, or name the `topology` of the workload',
      details: { member: member.member, epoch: member.epoch },
    });
  }
  const settings = (await ask(connection, config, settingsSql))[0];
  if (settings === undefined || settings['data_directory'] === null) {
    throw new StillpointError('database-privilege', `role ${config.user} may not read the server's settings`, {
      hint: grantsHint(config.user),
    });
  }
  const { data, wal } = await directoriesOf(connection, config);
  await refuseStrayLabel(data);
  const owner = await stat(data);
  const tablespaces = await tablespacesOf(connection, config);
  const backupMode = config.hold === 'backup-mode';
  const outside = wal !== join(data, 'pg_wal');
  const leftOut: LeftOut[] = [...notNeeded, ...(replica ? ofReplica : [])];
  if (backupMode && !outside)
    leftOut.push({ relative: 'pg_wal', match: 'contents', why: walElsewhere, onlyHeld: true });
  const paths: RequiredPath[] = [directory(data, 'data', 'data', leftOut)];
  if (outside) {
    paths.push(
      directory(
        wal,
        'journal',
        'wal',
        backupMode ? [{ relative: '.', match: 'contents', why: walElsewhere, onlyHeld: true }] : [],
      ),
    );
  }
  for (const { oid, path } of tablespaces) paths.push(directory(path, 'tablespace', `tablespace-${oid}`, []));
  paths.push(...(await linkedFrom(data)));
  paths.push(...(await configurationFiles(connection, config, data, settings)));
  return {
    version: text(rows[0], 'version'),
    member,
    holdKind: backupMode ? 'copy-rules' : 'none',
    paths,
    bytes: Number(settings['bytes'] ?? 0) + (backupMode ? 0 : await bytesIn(wal)),
    identity: text(settings, 'system_identifier'),
    facts: {
      binDirectory: (await binDirectoryOf(data, major, config)) ?? '',
      majorVersion: String(major),
      ownerUid: String(owner.uid),
      ownerGid: String(owner.gid),
      dataDirectory: data,
      walDirectory: wal,
      tablespaces: JSON.stringify(tablespaces.map(({ oid, path }) => ({ oid, location: path }))),
      dataChecksums: text(settings, 'data_checksums'),
      walSegmentBytes: text(settings, 'wal_segment_bytes'),
      superuser: text(settings, 'superuser'),
      maxPreparedTransactions: text(settings, 'max_prepared_transactions'),
      maxLocksPerTransaction: text(settings, 'max_locks_per_transaction'),
      maxConnections: text(settings, 'max_connections'),
    },
  };
}

// pg_settings leaves out what the role may not see; current_setting() would throw for the first of them.
const settingsSql = `
  SELECT (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory,
    (SELECT setting FROM pg_settings WHERE name = 'config_file') AS config_file,
    (SELECT setting FROM pg_settings WHERE name = 'hba_file') AS hba_file,
    (SELECT setting FROM pg_settings WHERE name = 'ident_file') AS ident_file,
    (SELECT system_identifier FROM pg_control_system())::text AS system_identifier,
    current_setting('data_checksums') AS data_checksums,
    (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size') AS wal_segment_bytes,
    (SELECT rolname FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY oid LIMIT 1) AS superuser,
    current_setting('max_prepared_transactions') AS max_prepared_transactions,
    current_setting('max_locks_per_transaction') AS max_locks_per_transaction,
    current_setting('max_connections') AS max_connections,
    (SELECT sum(pg_database_size(oid)) FROM pg_database
      WHERE has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'MEMBER'))::text AS bytes`;

async function refuseStrayLabel(data: string): Promise<void> {
  const label = join(data, 'backup_label');
  try {
    await lstat(label);
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return;
    throw new StillpointError('database-file', `${label} cannot be looked at: ${messageOf(cause)}`, {
      hint: 'run as root or as the owner of the data directory',
      cause,
    });
  }
  throw new StillpointError('stray-backup-label', `the running server's data directory holds ${label}`, {
    hint: `no backup is made that way since PostgreSQL 15; if no backup of version 14 in exclusive mode is running, remove it: rm ${label}`,
  });
}

function directory(path: string, role: RequiredPath['role'], name: string, leftOut: readonly LeftOut[]): RequiredPath {
  return { path, role, name, kind: 'directory', companions: [], leftOut };
}

async function tablespacesOf(
  connection: Connection,
  config: PostgresqlConfig,
): Promise<readonly { readonly oid: string; readonly path: string }[]> {
  const rows = await ask(
    connection,
    config,
    `SELECT oid::text AS oid, pg_tablespace_location(oid) AS location FROM pg_tablespace
      WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY pg_tablespace.oid`,
  );
  // A relative location is a tablespace inside the data directory (allow_in_place_tablespaces).
  const outside = rows.filter((row) => text(row, 'location').startsWith('/'));
  return Promise.all(
    outside.map(async (row) => ({ oid: text(row, 'oid'), path: await real(text(row, 'location'), config) })),
  );
}

/** Links that somebody put into the top of the data directory: what they point to is part of the cluster. */
async function linkedFrom(data: string): Promise<readonly RequiredPath[]> {
  const found: RequiredPath[] = [];
  for (const name of (await readdir(data)).sort()) {
    if (name === 'pg_wal' || name === 'log' || name === 'pg_log' || name.endsWith('.conf')) continue;
    const path = join(data, name);
    if (!(await lstat(path)).isSymbolicLink()) continue;
    const target = await realpath(path);
    if (isInside(target, data)) continue;
    const kind = (await stat(target)).isDirectory() ? 'directory' : 'file';
    found.push({ path: target, role: 'external', name: `link-${name}`, kind, companions: [], leftOut: [] });
  }
  return found;
}

function isInside(path: string, parent: string): boolean {
  return path === parent || path.startsWith(parent + sep);
}

async function configurationFiles(
  connection: Connection,
  config: PostgresqlConfig,
  data: string,
  settings: Row,
): Promise<readonly RequiredPath[]> {
  const named = ['config_file', 'hba_file', 'ident_file'].map((key) => text(settings, key));
  const [allowed] = await ask(
    connection,
    config,
    `SELECT has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')
      AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE') AS allowed`,
  );
  if (allowed?.['allowed'] === true) {
    const rows = await ask(connection, config, 'SELECT DISTINCT sourcefile FROM pg_file_settings');
    named.push(...rows.map((row) => text(row, 'sourcefile')));
  }
  const files = new Set<string>();
  for (const file of named) {
    if (file === '') continue;
    try {
      const path = await realpath(file);
      if (!isInside(path, data)) files.add(path);
    } catch (cause) {
      // A server runs without its ident file; one that is gone cannot be needed.
      if (codeOf(cause) !== 'ENOENT') throw cause;
    }
  }
  const names = new Set<string>();
  return [...files].sort().map((path) => {
    const base = `configuration-${basename(path)}`;
    let name = base;
    for (let i = 2; names.has(name); i += 1) name = `${base}-${i}`;
    names.add(name);
    return { path, role: 'configuration', name, kind: 'file', companions: [], leftOut: [] };
  });
}

async function bytesIn(wal: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(wal)) {
    try {
      const seen = await lstat(join(wal, name));
      if (seen.isFile()) bytes += seen.size;
    } catch (cause) {
      // Recycled between the listing and the look.
      if (codeOf(cause) !== 'ENOENT') throw cause;
    }
  }
  return bytes;
}

/** The postmaster's process id, if a process of that id lives. */
export async function postmasterOf(
  data: string,
): Promise<{ readonly pid: number; readonly status: string | undefined } | undefined> {
  let content: string;
  try {
    content = await readFile(join(data, 'postmaster.pid'), 'utf8');
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT' || codeOf(cause) === 'ENOTDIR') return undefined;
    throw new StillpointError('database-file', `${data}/postmaster.pid cannot be read: ${messageOf(cause)}`, {
      hint: 'run as root or as the owner of the data directory',
      cause,
    });
  }
  const parsed = parsePostmasterPid(content);
  if (parsed === undefined) return undefined;
  try {
    const comm = await readFile(`/proc/${parsed.pid}/stat`, 'utf8');
    // The number may have gone to another program since the server crashed; a zombie serves nobody.
    const found = /^\d+ \((.*)\) (\w)/s.exec(comm);
    if (found?.[2] === 'Z' || !/postgres|postmaster/.test(found?.[1] ?? '')) return undefined;
    return { pid: parsed.pid, status: parsed.status };
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT' || codeOf(cause) === 'ESRCH') return undefined;
    throw cause;
  }
}

/** From the configuration, else of the running server, else Debian's place. Undefined if none is there. */
async function binDirectoryOf(data: string, major: number, config: PostgresqlConfig): Promise<string | undefined> {
  const candidates: string[] = [];
  if (config.binDirectory !== undefined) candidates.push(config.binDirectory);
  const running = await postmasterOf(data);
  if (running !== undefined) {
    try {
      candidates.push(dirname(await readlink(`/proc/${running.pid}/exe`)));
    } catch {
      // Another user's process: the usual place is tried next.
    }
  }
  candidates.push(`/usr/lib/postgresql/${major}/bin`);
  for (const candidate of candidates) {
    try {
      await access(join(candidate, 'postgres'));
      return candidate;
    } catch {
      // Not there: the next one.
    }
  }
  return undefined;
}
