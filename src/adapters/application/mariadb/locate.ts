import { readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import { processesIn } from '../../../platform/process.ts';
import type { Located } from '../../../ports/application.ts';
import { channelsSql, variablesSql } from './commands.ts';
import type { MariadbConfig } from './config.ts';
import { asStillpoint, grantsHint } from './connection.ts';
import type { Connection } from './connection.ts';
import { dataSetOf, globalPrivileges, isTooOld, memberFrom, missingOf, parseVersion, variablesOf } from './parse.ts';
import type { Row, Variables, Version } from './parse.ts';
import { bytesOf, real, requiredPaths } from './server-files.ts';

/** What a hold needs. */
export const needed = ['RELOAD', 'BINLOG MONITOR', 'REPLICA MONITOR'] as const;

/** Settings with which a copy must be started as the original was. */
const kept = ['innodb_page_size', 'innodb_undo_tablespaces', 'lower_case_table_names', 'server_id'] as const;

/** Everything of the port's `locate`, over a connection that the caller closes. */
export async function locate(connection: Connection, config: MariadbConfig, takesReplica: boolean): Promise<Located> {
  const ask = async (sql: string): Promise<readonly Row[]> => {
    try {
      return await connection.query(sql);
    } catch (cause) {
      throw asStillpoint(cause, config);
    }
  };
  const variables = variablesOf(await ask(variablesSql));
  const version = versionFrom(variables);
  const missing = missingOf(globalPrivileges(await ask('SHOW GRANTS')), needed);
  if (missing.length > 0) {
    throw new StillpointError('database-privilege', `account ${config.user} lacks ${missing.join(', ')}`, {
      hint: grantsHint(config.user),
    });
  }
  await refuseWithoutInnodb(ask);
  const channels = await ask(channelsSql);
  const member = memberFrom(variables, channels);
  if (member.role === 'replica' && !takesReplica) {
    throw new StillpointError('role-unsuitable', `${member.member} is a replica`, {
      hint: 'point application.mariadb.host and port at the primary, or name the `topology` of the workload',
      details: { member: member.member, epoch: member.epoch },
    });
  }
  const data = await dataDirectoryOf(variables, config);
  const { paths, aliases, system } = await requiredPaths(data, variables, channels, config);
  let bytes = 0;
  for (const { path } of paths) bytes += await bytesOf(path);
  const owner = await stat(data);
  return {
    version: version.text,
    member,
    holdKind: 'one-instant',
    paths,
    bytes,
    identity: await identityOf(data, variables),
    facts: {
      dataDirectory: data,
      role: member.role,
      gtidBinlogPos: variables['gtid_binlog_pos'] ?? '',
      gtidSlavePos: variables['gtid_slave_pos'] ?? '',
      version: version.text,
      program: (await programOf(data)) ?? '',
      ownerUid: String(owner.uid),
      ownerGid: String(owner.gid),
      logBinBasename: variables['log_bin'] === 'ON' ? await realBase(variables['log_bin_basename']) : '',
      logBinIndex: variables['log_bin'] === 'ON' ? await realBase(variables['log_bin_index']) : '',
      binaryLogs: config.binaryLogs,
      systemFiles: JSON.stringify(system),
      aliases: JSON.stringify(aliases),
      redo: await realOrNone(data, variables['innodb_log_group_home_dir']),
      undo: await realOrNone(data, variables['innodb_undo_directory']),
      aria: await realOrNone(data, variables['aria_log_dir_path']),
      ...Object.fromEntries(kept.map((name) => [name, variables[name] ?? ''])),
    },
  };
}

function versionFrom(variables: Variables): Version {
  const said = variables['version'] ?? '';
  const version = parseVersion(said);
  if (version === undefined || !version.isMariadb) {
    throw new StillpointError('role-unsuitable', `the server is no MariaDB: its version is ${said}`, {
      hint: 'MySQL has other backup locks and is not supported',
    });
  }
  if (!isTooOld(version)) return version;
  throw new StillpointError('role-unsuitable', `MariaDB ${version.text} is older than 10.5`, {
    hint: 'upgrade the server to MariaDB 10.5 or later',
  });
}

async function refuseWithoutInnodb(ask: (sql: string) => Promise<readonly Row[]>): Promise<void> {
  const engines = await ask('SHOW ENGINES');
  const found = engines.find((row) => row['Engine']?.toUpperCase() === 'INNODB');
  if (found?.['Support'] === 'YES' || found?.['Support'] === 'DEFAULT') return;
  throw new StillpointError('role-unsuitable', 'the server runs without InnoDB', {
    hint: 'only servers with InnoDB are supported: remove skip-innodb from its option file',
  });
}

async function dataDirectoryOf(variables: Variables, config: MariadbConfig): Promise<string> {
  const told = await real(variables['datadir'] ?? '');
  if (config.dataDirectory !== undefined && (await real(config.dataDirectory)) !== told) {
    throw new StillpointError('database-file', `the server at ${config.host} works in ${told}`, {
      hint: 'set application.mariadb.dataDirectory to it, or host and port to the server that is meant',
    });
  }
  // Root sees everybody's processes: one must be there, else the server is on another machine with the same paths.
  if (process.getuid?.() === 0 && processesIn(told).length === 0) {
    throw new StillpointError('database-file', `no process of this machine works in ${told}`, {
      hint: 'the server must run on this machine, not behind a forwarded port',
    });
  }
  return told;
}

/** The data set's own number, which physical copies have too. */
async function identityOf(data: string, variables: Variables): Promise<string> {
  const control = join(data, 'aria_log_control');
  const told = variables['aria_log_dir_path'] ?? '';
  const path =
    told === '' ? control : join(await real(told.startsWith('/') ? told : join(data, told)), 'aria_log_control');
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new StillpointError('database-file', `${path} cannot be read: ${messageOf(cause)}`, {
      hint: 'run as root or as the owner of the data directory',
      cause,
    });
  }
  const identity = dataSetOf(bytes);
  if (identity !== undefined) return identity;
  throw new StillpointError('database-file', `${path} is no control file of Aria`, {
    hint: 'the data directory is damaged, or of a version that is not known',
  });
}

async function realOrNone(data: string, path: string | undefined): Promise<string> {
  if (path === undefined || path === '') return '';
  return await real(path.startsWith('/') ? path : join(data, path));
}

/** Of a file whose directory exists: the basename of binary logs is no file itself. */
async function realBase(path: string | undefined): Promise<string> {
  if (path === undefined || path === '') return '';
  const slash = path.lastIndexOf('/');
  return join(await real(path.slice(0, slash) || '/'), path.slice(slash + 1));
}

/** The program of the server that runs there, if this user may see it. */
async function programOf(data: string): Promise<string | undefined> {
  for (const { pid } of processesIn(data)) {
    try {
      const program = await readlink(`/proc/${pid}/exe`);
      if (/\/(?:mariadbd|mysqld)$/.test(program)) return program;
    } catch {
      // Another user's process.
    }
  }
  return undefined;
}
