import type { Finding } from '../../../model/point.ts';
import { partsAt } from './history.ts';
import { isReplica, isRootPrimary, isRunning, linkTo, serverTroubles, type Running, type Seen } from './servers.ts';

const backward = '`mupip journal -rollback -backward "*"`';

/** What is wrong with one instance. An error is also trouble of its health. */
export function findingsOf(seen: Seen, all: readonly Seen[]): readonly Finding[] {
  if ('said' in seen) return [error('instance', seen.said)];
  if (!isRunning(seen)) {
    const crashed = seen.live === 'crashed' || seen.file.open;
    const said = `it was not closed down in order, and needs ${backward} before it is started${all.some(isRootPrimary) ? ', with -fetchresync to be a replica' : ''}`;
    return crashed ? [error('rollback', said)] : [];
  }
  return [
    ...serverTroubles(seen).map((said) => error('servers', said)),
    ...(sendsToNobody(seen, all) ? [error('servers', 'no source server was started')] : []),
    ...freezeOf(seen),
    ...regionsOf(seen),
    ...(isReplica(seen) ? ofReplica(seen, all) : []),
    ...linksOf(seen, all),
  ];
}

function error(check: string, said: string): Finding {
  return { severity: 'error', check, said };
}

function warning(check: string, said: string): Finding {
  return { severity: 'warning', check, said };
}

function sendsToNobody(seen: Running, all: readonly Seen[]): boolean {
  return isRootPrimary(seen) && all.length > 1 && seen.live.pool.sources.every(({ pid }) => pid === 0);
}

function freezeOf({ live: { pool } }: Running): readonly Finding[] {
  if (pool.frozen === undefined) return [];
  const said = `an instance freeze is on${pool.frozen === '' ? '' : ` (${pool.frozen})`}: nobody can write until \`mupip replicate -source -freeze=off\``;
  return [error('instance-freeze', said)];
}

function regionsOf({ live: { regions } }: Running): readonly Finding[] {
  if (regions === undefined) return [error('replication-state', 'not all of its regions could be asked')];
  return regions.flatMap(({ region, replication }) => {
    if (replication === 'ON') return [];
    const why: Readonly<Record<typeof replication, string>> = {
      OFF: `replication of region ${region} is off: what is written there is in no other instance`,
      WAS_ON: `replication of region ${region} was on: its journal broke, and what was written since is in no other instance`,
      unknown: `nothing tells whether region ${region} is replicated`,
    };
    return [error('replication-state', why[replication])];
  });
}

/** Undefined where there is not exactly one primary to compare with. */
export function partedFrom(seen: Running, all: readonly Seen[]): string | undefined {
  const [primary, ...others] = all.filter(isRootPrimary);
  if (primary === undefined || others.length > 0) return undefined;
  const [ours, theirs] = [seen.file.group, primary.file.group];
  if (ours !== undefined && theirs !== undefined && ours !== theirs)
    return `it was never an instance of the same database as ${primary.name}`;
  const from = partsAt(primary.file.history, seen.file.history, seen.live.pool.posted + 1n);
  return from === undefined
    ? undefined
    : `its updates from ${from} on are not those of ${primary.name}: it needs ${backward} with -fetchresync`;
}

function ofReplica(seen: Running, all: readonly Seen[]): readonly Finding[] {
  const parted = partedFrom(seen, all);
  if (parted !== undefined) return [error('rollback', parted)];
  if (!all.some(isRootPrimary)) return [];
  const link = linkTo(seen.name, all);
  if (link === undefined) return [error('link', 'nobody sends to it')];
  return link.up ? [] : [error('link', `${link.by.name} does not reach it`)];
}

/** Only a warning: the one that sends is well, and may be backed up. */
function linksOf(seen: Running, all: readonly Seen[]): readonly Finding[] {
  return seen.live.pool.sources.flatMap(({ secondary, pid, mode, state }) => {
    if (pid === 0 || !mode.startsWith('ACTIVE')) return [];
    if (!all.some(({ name }) => name === secondary))
      return [warning('link', `it sends to ${secondary}, which is not in topology.gtm.members and is not asked`)];
    if (linkTo(secondary, all)?.up === true) return [];
    const acknowledged = seen.live.acknowledged.get(secondary);
    const figures = acknowledged === undefined ? '' : `, ${acknowledged} of ${seen.live.pool.posted} acknowledged`;
    return [warning('link', `nothing is sent to ${secondary}: its source server is in state ${state}${figures}`)];
  });
}

export function clusterFindings(all: readonly Seen[]): readonly Finding[] {
  const primaries = all.filter(isRootPrimary).map(({ name }) => name);
  if (primaries.length < 2) return [];
  return [
    error(
      'root-primaries',
      `${primaries.join(' and ')} are root primary at the same time: their histories part with every update`,
    ),
  ];
}
