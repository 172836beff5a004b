import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { codeOf } from '../../../model/errors.ts';
import { parseBinlogs, parseChannels, parseSemiSync, parseVariables, type Row } from './parse.ts';

/** As a replica of MariaDB 10.11.19 gave them. */
const variables = {
  version: '10.11.19-MariaDB-0+deb12u1-log',
  server_id: '2',
  read_only: 'ON',
  log_bin: 'ON',
  log_slave_updates: 'ON',
  gtid_slave_pos: '0-1-4',
  gtid_binlog_pos: '0-1-4',
  gtid_binlog_state: '0-1-4',
  relay_log_space_limit: '0',
  rpl_semi_sync_master_enabled: 'OFF',
  rpl_semi_sync_master_timeout: '10000',
  rpl_semi_sync_slave_enabled: 'OFF',
  wsrep_on: 'OFF',
};

const channel: Row = {
  Connection_name: '',
  Slave_SQL_State: 'Slave has read all relay log; waiting for more updates',
  Slave_IO_State: 'Waiting for master to send event',
  Master_Host: '127.0.0.1',
  Master_User: 'repl',
  Master_Port: '43301',
  Master_Log_File: 'bin.000001',
  Read_Master_Log_Pos: '909',
  Relay_Log_File: 'p2-relay-bin.000002',
  Relay_Log_Pos: '1202',
  Relay_Master_Log_File: 'bin.000001',
  Slave_IO_Running: 'Yes',
  Slave_SQL_Running: 'Yes',
  Replicate_Do_DB: '',
  Replicate_Ignore_DB: '',
  Exec_Master_Log_Pos: '909',
  Relay_Log_Space: '1508',
  Seconds_Behind_Master: '0',
  Last_IO_Errno: '0',
  Last_IO_Error: '',
  Last_SQL_Errno: '0',
  Last_SQL_Error: '',
  Master_Server_Id: '1',
  Using_Gtid: 'Slave_Pos',
  Gtid_IO_Pos: '0-1-4',
  SQL_Delay: '0',
  SQL_Remaining_Delay: null,
  Slave_SQL_Running_State: 'Slave has read all relay log; waiting for more updates',
  Gtid_Slave_Pos: '0-1-4',
};

function rowsOf(values: Readonly<Record<string, string>>): readonly Row[] {
  return Object.entries(values).map(([name, value]) => ({ Variable_name: name, Value: value }));
}

function notUnderstood(cause: unknown): boolean {
  return codeOf(cause) === 'command-failed' && /is not understood/.test(String(cause));
}

describe('variables of a server', () => {
  it('reads them', () => {
    const read = parseVariables(rowsOf(variables));
    assert.deepEqual(
      [read.serverId, read.readOnly, read.logs, read.logsReplicated, read.slavePos, read.relayLimitBytes, read.waitMs],
      ['2', true, true, true, '0-1-4', 0, 10_000],
    );
    assert.deepEqual([read.waitsForReplicas, read.acknowledges, read.wsrep], [false, false, false]);
  });

  it('takes whatever is not off for read-only', () => {
    for (const [value, expected] of [
      ['OFF', false],
      ['0', false],
      ['1', true],
      ['NO_LOCK_NO_ADMIN', true],
    ] as const) {
      assert.equal(parseVariables(rowsOf({ ...variables, read_only: value })).readOnly, expected, value);
    }
  });

  it('goes without what a build lacks, and not without GTIDs', () => {
    const { gtid_slave_pos: _gone, ...others } = variables;
    const { wsrep_on: _wsrep, rpl_semi_sync_master_timeout: _wait, ...fewer } = variables;
    assert.equal(parseVariables(rowsOf(fewer)).waitMs, undefined);
    assert.throws(() => parseVariables(rowsOf(others)), notUnderstood);
    assert.throws(() => parseVariables([{ Variable_name: 'version' }]), notUnderstood);
  });

  it('reads the state of semi-synchronous replication', () => {
    assert.deepEqual(parseSemiSync([]), { waits: false, clients: 0, acknowledges: false });
    assert.deepEqual(parseSemiSync(rowsOf({ Rpl_semi_sync_master_status: 'ON', Rpl_semi_sync_master_clients: '2' })), {
      waits: true,
      clients: 2,
      acknowledges: false,
    });
  });
});

describe('channels of a replica', () => {
  it('reads places, threads and source', () => {
    const [read] = parseChannels([channel]);
    assert.deepEqual(
      [read?.io, read?.sql, read?.sourceId, read?.source, read?.secondsBehind, read?.delayS],
      ['Yes', 'Yes', '1', '127.0.0.1:43301', 0, 0],
    );
    assert.deepEqual([read?.received, read?.appliedGtids], [{ file: 'bin.000001', offset: 909 }, '0-1-4']);
    assert.deepEqual([read?.errors, read?.filters], [[], []]);
  });

  it('quotes errors and filters, and takes what is not known as such', () => {
    const [read] = parseChannels([
      {
        ...channel,
        Slave_IO_State: null,
        Slave_IO_Running: 'Connecting',
        Slave_SQL_Running: 'No',
        Seconds_Behind_Master: null,
        Gtid_IO_Pos: null,
        Master_Host: null,
        Last_IO_Errno: '2003',
        Last_IO_Error: "Can't connect",
        Last_SQL_Errno: '1146',
        Last_SQL_Error: 'no table',
        Replicate_Do_DB: 'a,b',
        Replicate_Ignore_Domain_Ids: '7',
      },
    ]);
    assert.deepEqual(read?.errors, ["receiving: Can't connect (2003)", 'applying: no table (1146)']);
    assert.deepEqual(read?.filters, ['Replicate_Do_DB=a,b', 'Replicate_Ignore_Domain_Ids=7']);
    assert.deepEqual([read?.secondsBehind, read?.receivedGtids, read?.ioState, read?.source], [null, '', '', ':43301']);
  });

  it('refuses what it does not understand', () => {
    assert.throws(() => parseChannels([{ ...channel, Exec_Master_Log_Pos: 'much' }]), notUnderstood);
    assert.throws(() => parseChannels([{ ...channel, Slave_IO_Running: null }]), notUnderstood);
  });
});

describe('binary logs', () => {
  it('reads names and sizes', () => {
    assert.deepEqual(parseBinlogs([{ Log_name: 'bin.000001', File_size: '909' }]), [
      { name: 'bin.000001', bytes: 909 },
    ]);
    assert.throws(() => parseBinlogs([{ Log_name: 'bin.000001' }]), notUnderstood);
  });
});
