const variables = [
  'wsrep_on',
  'wsrep_cluster_name',
  'wsrep_node_name',
  'wsrep_provider_options',
  'wsrep_reject_queries',
  'read_only',
];

const status = [
  'wsrep_cluster_status',
  'wsrep_cluster_state_uuid',
  'wsrep_cluster_conf_id',
  'wsrep_cluster_size',
  'wsrep_cluster_weight',
  'wsrep_connected',
  'wsrep_ready',
  'wsrep_local_state_comment',
  'wsrep_gcomm_uuid',
  'wsrep_last_committed',
  'wsrep_local_recv_queue',
  'wsrep_flow_control_paused',
  'wsrep_flow_control_active',
  'wsrep_flow_control_requested',
  'wsrep_desync_count',
  'wsrep_evs_evict_list',
];

/** `SHOW` of what exists: a server without the provider answers with few of them. No privilege is needed. */
export const variablesSql = `SHOW GLOBAL VARIABLES WHERE Variable_name IN (${list(variables)})`;
export const statusSql = `SHOW GLOBAL STATUS WHERE Variable_name IN (${list(status)})`;
export const committedSql = `SHOW GLOBAL STATUS LIKE 'wsrep_last_committed'`;

function list(names: readonly string[]): string {
  return names.map((name) => `'${name}'`).join(', ');
}
