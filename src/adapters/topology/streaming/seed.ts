import { appendFile, chown, lstat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Seeded, SeedRequest } from '../../../ports/topology.ts';
import { conninfo, settingLine, slotSql, walSql } from './commands.ts';
import type { Member } from './config.ts';
import type { Session } from './session.ts';

export interface SeedFrom {
  readonly name: string;
  readonly place: Member;
  readonly session: Pick<Session, 'query'>;
  /** Of the new member on the primary. */
  readonly slot: string | undefined;
}

/**
 * Settings and signal file of a standby, in a restored copy. The copy has the WAL to where its backup was stopped; everything after that
 * must still be on the primary. Source: PostgreSQL's manual, "Setting Up a Standby Server".
 */
export async function makeStandby(request: SeedRequest, primary: SeedFrom): Promise<Seeded> {
  const data = dataDirectoryOf(request);
  await proveReach(request, primary);
  const said = [`${request.member} streams from ${primary.name}`];
  if (primary.slot === undefined) {
    said.push(
      'no slot keeps the WAL for it while it is away: set `slot` of this member, or wal_keep_size on the primary',
    );
  }
  const settings = [
    settingLine('primary_conninfo', conninfo(primary.place, request.member)),
    settingLine('primary_slot_name', primary.slot ?? ''),
    settingLine('cluster_name', request.member),
  ];
  try {
    const { uid, gid } = await lstat(join(data, 'PG_VERSION'));
    // Of the last value in the file: what ALTER SYSTEM had set before stays readable above it.
    await appendFile(join(data, 'postgresql.auto.conf'), `${settings.join('\n')}\n`, { mode: 0o600 });
    const signal = join(data, 'standby.signal');
    await writeFile(signal, '', { mode: 0o600 });
    for (const file of [signal, join(data, 'postgresql.auto.conf')]) await chown(file, uid, gid);
  } catch (cause) {
    throw new StillpointError('io', `the copy in ${data} cannot be made a standby: ${messageOf(cause)}`, {
      hint: 'run as root or as the owner of the copy',
      cause,
    });
  }
  return { said, next: `pg_ctl -D ${data} start` };
}

function dataDirectoryOf({ required, at }: SeedRequest): string {
  const data = required.find((path) => path.role === 'data' && path.name === 'data');
  if (data !== undefined) return at(data.path);
  throw new StillpointError('point-incomplete', 'the point names no PostgreSQL data directory', {
    hint: 'choose another point: stillpoint points',
  });
}

async function proveReach(
  { identity, journal, member }: SeedRequest,
  { name, session, slot }: SeedFrom,
): Promise<void> {
  const [row] = await session.query(walSql(journal?.file ?? ''));
  if (row?.['identity'] !== identity) {
    throw new StillpointError('level-misfit', `the point is of another cluster than the one that ${name} leads`, {
      hint: 'choose a point of this cluster: stillpoint points',
    });
  }
  if (journal === null || row['there'] !== true) {
    const what = journal === null ? 'what it needs to catch up' : `the WAL from ${journal.file} on`;
    throw new StillpointError('journal-gap', `${name} does not have ${what} any more`, {
      hint: 'make a new point and seed from that, or raise wal_keep_size on the primary before',
    });
  }
  if (slot === undefined) return;
  const [found] = await session.query(slotSql(slot));
  if (found?.['there'] === true) return;
  throw new StillpointError('role-unsuitable', `${name} has no slot ${slot} for ${member}`, {
    hint: `on the primary: SELECT pg_create_physical_replication_slot('${slot}', true)`,
  });
}
