import { z } from 'zod';
import { StillpointError } from '../../../model/errors.ts';

export type Row = Readonly<Record<string, string | null>>;

/** Positions fit: 2^53 bytes are eight pebibytes. */
const count = z
  .string()
  .regex(/^\d{1,16}$/)
  .transform(Number);

const flag = z.string().transform((text) => text === 'ON' || text === '1' || text === 'YES');

const variables = z.object({
  version: z.string(),
  server_id: z.string().regex(/^\d+$/),
  // A number, ON, or since MariaDB 12 the kind of it; whatever is not off keeps somebody from writing.
  read_only: z.string().transform((text) => text !== 'OFF' && text !== '0'),
  log_bin: flag,
  log_slave_updates: flag,
  gtid_slave_pos: z.string(),
  gtid_binlog_pos: z.string(),
  gtid_binlog_state: z.string(),
  relay_log_space_limit: count,
  rpl_semi_sync_master_enabled: flag.default(false),
  rpl_semi_sync_master_timeout: count.optional(),
  rpl_semi_sync_slave_enabled: flag.default(false),
  wsrep_on: flag.default(false),
});

const status = z.object({
  Rpl_semi_sync_master_status: flag.default(false),
  Rpl_semi_sync_master_clients: count.default(0),
  Rpl_semi_sync_slave_status: flag.default(false),
});

const filters = [
  'Replicate_Do_DB',
  'Replicate_Ignore_DB',
  'Replicate_Do_Table',
  'Replicate_Ignore_Table',
  'Replicate_Wild_Do_Table',
  'Replicate_Wild_Ignore_Table',
  'Replicate_Ignore_Server_Ids',
  'Replicate_Do_Domain_Ids',
  'Replicate_Ignore_Domain_Ids',
] as const;

const channel = z.looseObject({
  Connection_name: z.string(),
  Slave_IO_State: z.string().nullable(),
  Slave_IO_Running: z.string(),
  Slave_SQL_Running: z.string(),
  Slave_SQL_Running_State: z.string().nullable(),
  Master_Server_Id: z.string(),
  Master_Host: z.string().nullable(),
  Master_Port: z.string(),
  Master_Log_File: z.string(),
  Read_Master_Log_Pos: count,
  Relay_Master_Log_File: z.string(),
  Exec_Master_Log_Pos: count,
  Relay_Log_Space: count,
  Seconds_Behind_Master: count.nullable(),
  Last_IO_Errno: z.string(),
  Last_IO_Error: z.string(),
  Last_SQL_Errno: z.string(),
  Last_SQL_Error: z.string(),
  Gtid_IO_Pos: z.string().nullable(),
  Gtid_Slave_Pos: z.string(),
  SQL_Delay: count,
});

/** A place in the binary logs of the server that a channel reads from. */
export interface Place {
  readonly file: string;
  readonly offset: number;
}

export interface Channel {
  readonly name: string;
  /** `Yes`, `No`, `Connecting`, `Preparing`. */
  readonly io: string;
  readonly sql: string;
  /** What the thread says it does, for people. */
  readonly ioState: string;
  /** `server_id` of the source; `0` before the first connection. */
  readonly sourceId: string;
  readonly source: string;
  readonly received: Place;
  readonly applied: Place;
  readonly receivedGtids: string;
  readonly appliedGtids: string;
  readonly relayBytes: number;
  /** Of what is applied now, by the clock of whoever wrote it. Null: a thread is stopped. */
  readonly secondsBehind: number | null;
  /** The last errors of both threads; empty: none. */
  readonly errors: readonly string[];
  readonly delayS: number;
  /** Names and values of what makes it take only a part. */
  readonly filters: readonly string[];
}

export interface Binlog {
  readonly name: string;
  readonly bytes: number;
}

export interface Variables {
  readonly version: string;
  readonly serverId: string;
  readonly readOnly: boolean;
  readonly logs: boolean;
  readonly logsReplicated: boolean;
  readonly slavePos: string;
  readonly binlogPos: string;
  readonly binlogState: string;
  /** 0: there is no limit. */
  readonly relayLimitBytes: number;
  readonly waitsForReplicas: boolean;
  readonly waitMs: number | undefined;
  readonly acknowledges: boolean;
  readonly wsrep: boolean;
}

/** Semi-synchronous replication as it is now, whatever is configured. */
export interface SemiSync {
  readonly waits: boolean;
  readonly clients: number;
  readonly acknowledges: boolean;
}

export interface Facts extends Variables {
  readonly semiSync: SemiSync;
  readonly channels: readonly Channel[];
  readonly binlogs: readonly Binlog[];
}

export function parseVariables(rows: readonly Row[]): Variables {
  const read = parse(variables, pairs(rows), 'variables');
  return {
    version: read.version,
    serverId: read.server_id,
    readOnly: read.read_only,
    logs: read.log_bin,
    logsReplicated: read.log_slave_updates,
    slavePos: read.gtid_slave_pos,
    binlogPos: read.gtid_binlog_pos,
    binlogState: read.gtid_binlog_state,
    relayLimitBytes: read.relay_log_space_limit,
    waitsForReplicas: read.rpl_semi_sync_master_enabled,
    waitMs: read.rpl_semi_sync_master_timeout,
    acknowledges: read.rpl_semi_sync_slave_enabled,
    wsrep: read.wsrep_on,
  };
}

export function parseSemiSync(rows: readonly Row[]): SemiSync {
  const read = parse(status, pairs(rows), 'status');
  return {
    waits: read.Rpl_semi_sync_master_status,
    clients: read.Rpl_semi_sync_master_clients,
    acknowledges: read.Rpl_semi_sync_slave_status,
  };
}

export function parseChannels(rows: readonly Row[]): readonly Channel[] {
  return rows.map((row) => {
    const read = parse(channel, row, 'replication status');
    return {
      name: read.Connection_name,
      io: read.Slave_IO_Running,
      sql: read.Slave_SQL_Running,
      ioState: read.Slave_IO_State ?? '',
      sourceId: read.Master_Server_Id,
      source: `${read.Master_Host ?? ''}:${read.Master_Port}`,
      received: { file: read.Master_Log_File, offset: read.Read_Master_Log_Pos },
      applied: { file: read.Relay_Master_Log_File, offset: read.Exec_Master_Log_Pos },
      receivedGtids: read.Gtid_IO_Pos ?? '',
      appliedGtids: read.Gtid_Slave_Pos,
      relayBytes: read.Relay_Log_Space,
      secondsBehind: read.Seconds_Behind_Master,
      errors: [
        ...lastError('receiving', read.Last_IO_Errno, read.Last_IO_Error),
        ...lastError('applying', read.Last_SQL_Errno, read.Last_SQL_Error),
      ],
      delayS: read.SQL_Delay,
      filters: filters.flatMap((name) => {
        const value = read[name];
        return typeof value === 'string' && value !== '' ? [`${name}=${value}`] : [];
      }),
    };
  });
}

export function parseBinlogs(rows: readonly Row[]): readonly Binlog[] {
  const binlog = z.object({ Log_name: z.string(), File_size: count });
  return rows.map((row) => {
    const read = parse(binlog, row, 'list of binary logs');
    return { name: read.Log_name, bytes: read.File_size };
  });
}

function lastError(what: string, errno: string, said: string): readonly string[] {
  return errno === '0' ? [] : [`${what}: ${said} (${errno})`];
}

function pairs(rows: readonly Row[]): Readonly<Record<string, string | null>> {
  return Object.fromEntries(rows.map((row) => [row['Variable_name'], row['Value'] ?? null]));
}

function parse<T>(schema: z.ZodType<T>, data: unknown, what: string): T {
  const parsed = schema.safeParse(data);
  if (parsed.success) return parsed.data;
  const why = z.prettifyError(parsed.error).replaceAll('\n', ' ').slice(0, 300);
  throw new StillpointError('command-failed', `the ${what} of a server is not understood: ${why}`, {
    hint: 'MariaDB 10.5 or later is needed; MySQL has other statements and is not supported',
  });
}
