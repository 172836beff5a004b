import type { Member } from './config.ts';

/** PostgreSQL 14 and later. One statement, one answer: `facts` is JSON, read by parse.ts. Numbers that grow for ever are texts. */
export const factsSql = `
  SELECT json_build_object(
    'version', current_setting('server_version_num')::int,
    'startedAt', pg_postmaster_start_time()::text,
    'systemIdentifier', (SELECT system_identifier FROM pg_control_system())::text,
    'inRecovery', in_recovery,
    'timeline', CASE WHEN in_recovery THEN ${standbyTimeline()} ELSE ${primaryTimeline()} END,
    'written', CASE WHEN in_recovery THEN NULL ELSE (pg_current_wal_flush_lsn() - '0/0')::text END,
    ${positions()},
    'replayedAgoMs', CASE WHEN in_recovery THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000 END,
    'replayPause', CASE WHEN in_recovery THEN pg_get_wal_replay_pause_state() END,
    'receiver', (SELECT json_build_object('status', status, 'timeline', received_tli, 'slot', slot_name) FROM pg_stat_wal_receiver),
    'senders', (SELECT coalesce(json_agg(json_build_object('pid', pid, 'name', application_name, 'state', state, 'sync', sync_state)), '[]')
      FROM pg_stat_replication),
    'slots', (SELECT coalesce(json_agg(json_build_object('name', slot_name, 'type', slot_type, 'pid', active_pid, 'wal', wal_status,
      'safeBytes', safe_wal_size::text)), '[]') FROM pg_replication_slots),
    'conflicts', (SELECT coalesce(sum(confl_tablespace + confl_lock + confl_snapshot + confl_bufferpin + confl_deadlock), 0)::text
      FROM pg_stat_database_conflicts),
    'ownSlot', nullif(current_setting('primary_slot_name'), ''),
    'walKeepBytes', (SELECT setting::bigint * 1024 * 1024 FROM pg_settings WHERE name = 'wal_keep_size')::text,
    'slotKeepBytes', (SELECT setting::bigint * 1024 * 1024 FROM pg_settings WHERE name = 'max_slot_wal_keep_size')::text,
    'applyDelayMs', (SELECT setting::bigint FROM pg_settings WHERE name = 'recovery_min_apply_delay'),
    'readsStatistics', pg_has_role('pg_read_all_stats', 'USAGE'),
    'managers', (SELECT coalesce(json_agg(DISTINCT application_name), '[]') FROM pg_stat_activity
      WHERE application_name ~* '^(patroni|repmgr|pg_auto_failover|pgautofailover|stolon|cnpg)'
        AND pid NOT IN (SELECT pid FROM pg_stat_replication)),
    'libraries', (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries')
  )::text AS facts FROM (SELECT pg_is_in_recovery() AS in_recovery) AS role`;

/** How far a standby is now, in bytes since the beginning of the WAL. */
export const positionsSql = `SELECT json_build_object(${positions()})::text AS facts`;

/** What is received restarts at the beginning of a segment when a standby does, and may be less than what is replayed then. */
function positions(): string {
  return `'received', (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0')::text,
    'replayed', (pg_last_wal_replay_lsn() - '0/0')::text`;
}

/** Of the WAL that is written now: the control file knows the timeline of the last checkpoint only, and that lags after a promotion. */
function primaryTimeline(): string {
  return `('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int`;
}

/** The newest of what the receiver reads now, what was replayed to, and the last restart point. */
function standbyTimeline(): string {
  return `greatest((SELECT received_tli FROM pg_stat_wal_receiver),
      (SELECT min_recovery_end_timeline FROM pg_control_recovery()), (SELECT timeline_id FROM pg_control_checkpoint()))`;
}

/** Whether a WAL file is still there, and whose it would be. The name holds hexadecimal digits only. */
export function walSql(file: string): string {
  return `SELECT (SELECT system_identifier FROM pg_control_system())::text AS identity,
    EXISTS (SELECT FROM pg_ls_waldir() WHERE name = '${file.replaceAll(/[^0-9A-F]/g, '')}') AS there`;
}

export function slotSql(name: string): string {
  return `SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '${name.replaceAll(/[^a-z0-9_]/g, '')}' AND slot_type = 'physical') AS there`;
}

/** libpq's key and value pairs. No password: the standby takes it from its own password file. */
export function conninfo({ host, port, user }: Member, applicationName: string): string {
  const pairs = { host, port: String(port), user, application_name: applicationName };
  return Object.entries(pairs)
    .map(([key, value]) => `${key}='${value.replaceAll(/['\\]/g, String.raw`\$&`)}'`)
    .join(' ');
}

/** A line of postgresql.auto.conf. */
export function settingLine(name: string, value: string): string {
  return `${name} = '${value.replaceAll("'", "''").replaceAll('\n', ' ')}'`;
}
