import type { Finding } from '../../../model/point.ts';
import { variablesSql } from './commands.ts';
import type { MariadbConfig } from './config.ts';
import { asStillpoint, grantsHint } from './connection.ts';
import type { Connection } from './connection.ts';
import { needed } from './locate.ts';
import { globalPrivileges, isOn, isTooOld, missingOf, parseVersion, variablesOf } from './parse.ts';
import type { Row, Variables } from './parse.ts';

/** Rows elsewhere, or files of which nothing is known here. */
const otherEngines = [
  'ROCKSDB',
  'S3',
  'SPIDER',
  'COLUMNSTORE',
  'CONNECT',
  'FEDERATED',
  'FEDERATEDX',
  'MROONGA',
  'OQGRAPH',
];
const newest = { major: 10, minor: 11 };

/** Findings of `stillpoint check`; changes nothing. */
export async function check(connection: Connection, config: MariadbConfig): Promise<readonly Finding[]> {
  try {
    const variables = variablesOf(await connection.query(variablesSql));
    const grants = await connection.query('SHOW GRANTS');
    const engines = await connection.query('SHOW ENGINES');
    return [
      versionFinding(variables),
      ...privilegeFindings(grants, config),
      ...settingFindings(variables, config),
      ...engineFindings(engines),
    ];
  } catch (cause) {
    throw asStillpoint(cause, config);
  }
}

function finding(severity: Finding['severity'], what: string, said: string): Finding {
  return { severity, check: what, said };
}

function versionFinding(variables: Variables): Finding {
  const said = `version ${variables['version'] ?? ''}`;
  const version = parseVersion(variables['version'] ?? '');
  if (version === undefined || !version.isMariadb) return finding('error', 'version', `${said}: no MariaDB`);
  if (isTooOld(version)) return finding('error', 'version', `${said} is older than 10.5`);
  const newer = version.major > newest.major || (version.major === newest.major && version.minor > newest.minor);
  return newer
    ? finding('warning', 'version', `${said} is newer than this program was tested with`)
    : finding('info', 'version', said);
}

function privilegeFindings(grants: readonly Row[], config: MariadbConfig): readonly Finding[] {
  const privileges = globalPrivileges(grants);
  const missing = missingOf(privileges, needed);
  const found: Finding[] = [];
  if (missing.length > 0) {
    found.push(finding('error', 'privileges', `the account lacks ${missing.join(', ')}; ${grantsHint(config.user)}`));
  } else found.push(finding('info', 'privileges', 'all that a hold needs'));
  if (missingOf(privileges, ['CONNECTION ADMIN']).length > 0) {
    found.push(
      finding(
        'warning',
        'privileges',
        'without CONNECTION ADMIN nobody gets in to end a hold from outside when all connections wait for it',
      ),
    );
  }
  return found;
}

function settingFindings(variables: Variables, config: MariadbConfig): readonly Finding[] {
  const found: Finding[] = [];
  const flush = variables['innodb_flush_log_at_trx_commit'] ?? '';
  found.push(
    finding(
      'info',
      'innodb_flush_log_at_trx_commit',
      flush === '1'
        ? '1'
        : `${flush}: a crash loses rows that were acknowledged; a backup does not, its hold lasts until the log is on disk (up to innodb_flush_log_at_timeout, ${variables['innodb_flush_log_at_timeout'] ?? '1'} s)`,
    ),
  );
  if (variables['innodb_doublewrite'] === 'OFF') {
    found.push(finding('error', 'innodb_doublewrite', 'OFF: a page torn by the cut cannot be mended; set it to ON'));
  }
  if (!isOn(variables['log_bin'])) {
    found.push(finding('info', 'log_bin', 'OFF: a point tells no position from which a replica could go on'));
  } else if (config.binaryLogs === 'left-out') {
    found.push(finding('info', 'log_bin', 'binary logs outside the data directory are left out by configuration'));
  }
  const encrypted = ['innodb_encrypt_tables', 'encrypt_binlog', 'aria_encrypt_tables', 'innodb_encrypt_log'].filter(
    (name) => !['OFF', '0', undefined].includes(variables[name]),
  );
  if (encrypted.length > 0) {
    found.push(
      finding(
        'warning',
        'encryption',
        `${encrypted.join(', ')}: keys are not in the point, and drills cannot read the copy`,
      ),
    );
  }
  return found;
}

function engineFindings(engines: readonly Row[]): readonly Finding[] {
  const loaded = engines
    .filter((row) => row['Support'] === 'YES' || row['Support'] === 'DEFAULT')
    .map((row) => row['Engine'] ?? '')
    .filter((name) => otherEngines.includes(name.toUpperCase()));
  if (loaded.length === 0) return [];
  return [
    finding('warning', 'engines', `${loaded.join(', ')}: what these keep outside the data directory is not in a point`),
  ];
}
