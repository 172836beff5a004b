import { dirname } from 'node:path';
import type { SeedRequest } from '../../../ports/topology.ts';

/** `SHOW` of what exists: a variable that a version or a plugin lacks is no error. */
export const variablesSql = `SHOW GLOBAL VARIABLES WHERE Variable_name IN (${list([
  'version',
  'server_id',
  'read_only',
  'log_bin',
  'log_slave_updates',
  'gtid_slave_pos',
  'gtid_binlog_pos',
  'gtid_binlog_state',
  'relay_log_space_limit',
  'rpl_semi_sync_master_enabled',
  'rpl_semi_sync_master_timeout',
  'rpl_semi_sync_slave_enabled',
  'wsrep_on',
])})`;

export const statusSql = `SHOW GLOBAL STATUS WHERE Variable_name IN (${list([
  'Rpl_semi_sync_master_status',
  'Rpl_semi_sync_master_clients',
  'Rpl_semi_sync_slave_status',
])})`;

/** All channels, the one without a name too. Needs REPLICA MONITOR (SLAVE MONITOR). */
export const channelsSql = 'SHOW ALL SLAVES STATUS';

/** The size of the last one is the position that is written to. Needs BINLOG MONITOR, and a server with binary logs. */
export const binlogsSql = 'SHOW BINARY LOGS';

function list(names: readonly string[]): string {
  return names.map((name) => `'${name}'`).join(', ');
}

/** Of a new member, for its option file. Only what lies in the copy is named; the binary log must be found by recovery. */
export function memberSettings({ member, at, required, facts }: SeedRequest, serverId: number): string {
  const held = (path: string): boolean =>
    required.some((each) => path === each.path || path.startsWith(`${each.path}/`));
  const lines = ['[mariadbd]', `server_id = ${serverId}`, 'read_only = 1', `relay_log = ${member}-relay`];
  const data = facts['dataDirectory'] ?? '';
  const base = facts['logBinBasename'] ?? '';
  if (base !== '' && held(dirname(base))) {
    lines.push(`log_bin = ${at(base)}`, `log_bin_index = ${at(facts['logBinIndex'] ?? '')}`, 'log_slave_updates = 1');
  }
  const places = { innodb_log_group_home_dir: 'redo', innodb_undo_directory: 'undo', aria_log_dir_path: 'aria' };
  for (const [setting, fact] of Object.entries(places)) {
    const original = facts[fact] ?? '';
    if (original !== '' && original !== data) lines.push(`${setting} = ${at(original)}`);
  }
  const system: readonly { path: string; rest: string }[] = JSON.parse(facts['systemFiles'] ?? '[]');
  if (system.length > 0) {
    const files = system.map(({ path, rest }) => `${at(path)}:${rest}`).join(';');
    lines.push('innodb_data_home_dir =', `innodb_data_file_path = ${files}`);
  }
  return `${lines.join('\n')}\n`;
}

/**
 * For --init-file, which runs after recovery. A primary's own writes are in no gtid_slave_pos: its binary log tells how far they go. One
 * statement a line: the server reads it so.
 */
export function replicateSql(from: {
  readonly host: string;
  readonly port: string;
  readonly wasPrimary: boolean;
}): string {
  const host = from.host.replaceAll(/[^A-Za-z0-9_.:-]/g, '');
  const position = from.wasPrimary ? ['SET GLOBAL gtid_slave_pos = @@GLOBAL.gtid_binlog_pos;'] : [];
  const change = `CHANGE MASTER TO MASTER_HOST = '${host}', MASTER_PORT = ${Number(from.port)}, MASTER_USE_GTID = slave_pos;`;
  return `${[...position, 'SET GLOBAL read_only = 1;', change].join('\n')}\n`;
}

export function startCommand(data: string, settings: string, statements: string): string {
  const start = `mariadbd --defaults-extra-file=${settings} --datadir=${data} --init-file=${statements} --skip-slave-start`;
  return `${start}; then: CHANGE MASTER TO MASTER_USER = '...', MASTER_PASSWORD = '...'; START SLAVE`;
}
