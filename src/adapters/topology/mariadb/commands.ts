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
