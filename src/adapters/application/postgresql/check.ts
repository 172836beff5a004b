import type { Finding } from '../../../model/point.ts';
import type { PostgresqlConfig } from './config.ts';
import { asStillpoint, grantsFor } from './connection.ts';
import type { Connection, Row } from './connection.ts';
import { text } from './locate.ts';
import { majorOf } from './parse.ts';

const newestTested = 18;

const settingsSql = `
  SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version,
    current_setting('wal_level') AS wal_level, current_setting('max_replication_slots')::int AS slots,
    (SELECT count(*) FROM pg_replication_slots)::int AS slots_used,
    current_setting('full_page_writes') AS full_page_writes, current_setting('fsync') AS fsync,
    current_setting('archive_mode') AS archive_mode, current_setting('data_checksums') AS data_checksums,
    (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user) AS replication,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS super,
    pg_has_role('pg_read_all_settings', 'MEMBER') AS reads_settings,
    has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')
      AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE') AS reads_files`;

/** Findings of `stillpoint check`; changes nothing. */
export async function check(connection: Connection, config: PostgresqlConfig): Promise<readonly Finding[]> {
  let row: Row | undefined;
  let missing: readonly string[];
  try {
    [row] = await connection.query(settingsSql);
    missing = await missingPrivileges(connection, config, row);
  } catch (cause) {
    throw asStillpoint(cause, config);
  }
  return [...versionFindings(row), ...privilegeFindings(missing, row), ...settingFindings(row, config)];
}

function finding(severity: Finding['severity'], what: string, said: string): Finding {
  return { severity, check: what, said };
}

function versionFindings(row: Row | undefined): readonly Finding[] {
  const major = majorOf(Number(row?.['number']));
  const said = `PostgreSQL ${text(row, 'version')}`;
  if (major < 14) return [finding('error', 'version', `${said} is older than 14`)];
  if (major > newestTested)
    return [finding('warning', 'version', `${said} is newer than this program was tested with`)];
  return [finding('info', 'version', said)];
}

async function missingPrivileges(
  connection: Connection,
  config: PostgresqlConfig,
  row: Row | undefined,
): Promise<readonly string[]> {
  const major = majorOf(Number(row?.['number']));
  const functions =
    major >= 15
      ? ['pg_backup_start(text, boolean)', 'pg_backup_stop(boolean)']
      : ['pg_start_backup(text, boolean, boolean)', 'pg_stop_backup(boolean, boolean)'];
  const missing: string[] = [];
  if (config.hold === 'backup-mode') {
    for (const each of functions) {
      const [allowed] = await connection.query(`SELECT has_function_privilege($1, 'EXECUTE') AS allowed`, [each]);
      if (allowed?.['allowed'] !== true) missing.push(`EXECUTE on ${each}`);
    }
  }
  if (row?.['reads_settings'] !== true) missing.push('membership in pg_monitor');
  return missing.length === 0 ? [] : [...missing, `as superuser: ${grantsFor(config.user).join('; ')}`];
}

function privilegeFindings(missing: readonly string[], row: Row | undefined): readonly Finding[] {
  const found: Finding[] = [];
  if (missing.length > 0) found.push(finding('error', 'privileges', `the role lacks ${missing.join(', ')}`));
  else found.push(finding('info', 'privileges', row?.['super'] === true ? 'superuser' : 'all that are needed'));
  if (row?.['replication'] !== true) {
    found.push(finding('warning', 'privileges', 'without REPLICATION no slot keeps the WAL until it is collected'));
  }
  if (row?.['reads_files'] !== true) {
    found.push(
      finding('info', 'privileges', 'pg_file_settings is not readable: included configuration files are not found'),
    );
  }
  return found;
}

function settingFindings(row: Row | undefined, config: PostgresqlConfig): readonly Finding[] {
  const found: Finding[] = [];
  const walLevel = text(row, 'wal_level');
  if (config.hold === 'backup-mode' && walLevel === 'minimal') {
    found.push(finding('error', 'wal_level', 'wal_level is minimal: backup mode needs replica or logical'));
  } else found.push(finding('info', 'wal_level', walLevel));
  if (Number(row?.['slots']) <= Number(row?.['slots_used'])) {
    found.push(
      finding(
        'warning',
        'max_replication_slots',
        `all ${text(row, 'slots')} slots are in use: none keeps the WAL of a backup`,
      ),
    );
  }
  if (row?.['full_page_writes'] === 'off') {
    found.push(finding('error', 'full_page_writes', 'off: a page torn by the cut cannot be mended; set it to on'));
  }
  if (row?.['fsync'] === 'off') {
    found.push(finding('warning', 'fsync', 'off: a crash of this machine can destroy the original'));
  }
  found.push(finding('info', 'archive_mode', text(row, 'archive_mode')));
  if (row?.['data_checksums'] === 'off') {
    found.push(finding('info', 'data_checksums', 'off: silent disk errors are found by amcheck only'));
  }
  return found;
}
