import { chown, lstat, rm, writeFile } from 'node:fs/promises';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { MariadbPlace } from '../../../platform/mariadb-place.ts';
import type { MariadbSession } from '../../../platform/mariadb-session.ts';
import type { Seeded, SeedRequest } from '../../../ports/topology.ts';
import { memberSettings, replicateSql, startCommand } from './commands.ts';
import { missingFrom, reaches } from './gtid.ts';
import type { Facts } from './parse.ts';

export interface SeedFrom {
  readonly name: string;
  readonly place: MariadbPlace;
  readonly facts: Facts;
  readonly session: Pick<MariadbSession, 'query'>;
  /** `server_id` of everybody who answers. */
  readonly taken: readonly string[];
}

/**
 * Settings and first statements of a replica, beside the data of a restored copy. What the copy has is told by its own binary log after
 * recovery, if it is one of a primary, else by its table mysql.gtid_slave_pos. Everything after that must still be on the primary.
 */
export async function makeReplica(request: SeedRequest, primary: SeedFrom): Promise<Seeded> {
  const data = dataDirectoryOf(request);
  await proveReach(request, primary);
  const [address] = await primary.session.query('SELECT @@GLOBAL.hostname AS host, @@GLOBAL.port AS port');
  const [host, port] = primary.place.host.startsWith('/')
    ? [address?.['host'] ?? '', address?.['port'] ?? '']
    : [primary.place.host, String(primary.place.port)];
  const serverId = freeId(primary.taken);
  const settings = join(data, 'stillpoint-member.cnf');
  const statements = join(data, 'stillpoint-member.sql');
  const wasPrimary = request.facts['role'] !== 'replica';
  try {
    const { uid, gid } = await lstat(join(data, 'aria_log_control'));
    await forgetOldMember(data);
    await writeFile(settings, memberSettings(request, serverId), { mode: 0o640 });
    await writeFile(statements, replicateSql({ host, port, wasPrimary }), { mode: 0o640 });
    for (const file of [settings, statements]) await chown(file, uid, gid);
  } catch (cause) {
    throw new StillpointError('io', `the copy in ${data} cannot be made a replica: ${messageOf(cause)}`, {
      hint: 'run as root or as the owner of the copy',
      cause,
    });
  }
  return {
    said: [
      `${request.member} will replicate from ${primary.name} (${host}:${port}) by GTID, as server_id ${serverId}`,
      `${settings} belongs into its option file; ${statements} is for the first start only`,
      'no account for replication is in them: give it before START SLAVE',
    ],
    next: startCommand(data, settings, statements),
  };
}

function dataDirectoryOf({ required, at }: SeedRequest): string {
  const data = required.find(({ name }) => name === 'data');
  if (data !== undefined) return at(data.path);
  throw new StillpointError('point-incomplete', 'the point names no data directory of MariaDB', {
    hint: 'choose another point: stillpoint points',
  });
}

/** The position of the copy is at or after the one that was noted when its files were looked for. */
async function proveReach({ facts }: SeedRequest, { name, facts: primary, session }: SeedFrom): Promise<void> {
  const wasReplica = facts['role'] === 'replica';
  const position = (wasReplica ? facts['gtidSlavePos'] : facts['gtidBinlogPos']) ?? '';
  if (position === '' || (!wasReplica && (facts['logBinBasename'] ?? '') === '')) {
    throw new StillpointError('journal-gap', 'the point tells no GTID position from which a replica could go on', {
      hint: 'set log_bin on the primary, include its binary logs (binaryLogs: included), and make a new point',
    });
  }
  const foreign = missingFrom(primary.binlogState, position);
  if (foreign.length > 0) {
    throw new StillpointError('level-misfit', `the point has ${foreign.join(', ')}, which ${name} never had`, {
      hint: 'choose a point of this cluster, from before its histories parted: stillpoint points',
    });
  }
  const oldest = primary.binlogs[0]?.name;
  if (oldest === undefined) {
    throw new StillpointError(
      'role-unsuitable',
      `${name} writes no binary logs, so that nobody can replicate from it`,
      {
        hint: 'set log_bin on it',
      },
    );
  }
  const [row] = await session.query(`SELECT BINLOG_GTID_POS(0x${Buffer.from(oldest).toString('hex')}, 4) AS start`);
  const start = row?.['start'];
  if (typeof start === 'string' && reaches(position, start)) return;
  throw new StillpointError('journal-gap', `${name} has no binary logs from before ${start ?? 'now'} any more`, {
    hint: 'make a new point and seed from that, or raise expire_logs_days on the primary before',
    details: { position, oldest },
  });
}

/** A server's number must be its own: two replicas with the same one throw each other out for ever. */
function freeId(taken: readonly string[]): number {
  return Math.max(0, ...taken.map(Number)) + 1;
}

/** From which the server would go on as whoever it was. */
async function forgetOldMember(data: string): Promise<void> {
  const names = await readdir(data);
  const old = names.filter((name) => /^(?:master|relay-log|multi-master)(?:-.+)?\.info$/.test(name));
  for (const name of old) await rm(join(data, name));
}
