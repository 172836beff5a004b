import type { Binlog, Place } from './parse.ts';

interface Gtid {
  readonly domain: string;
  readonly server: string;
  readonly sequence: bigint;
}

function gtidsOf(text: string): readonly Gtid[] {
  return text.split(',').flatMap((each) => {
    const [, domain, server, sequence] = /^\s*(\d+)-(\d+)-(\d+)\s*$/.exec(each) ?? [];
    return domain === undefined || server === undefined || sequence === undefined
      ? []
      : [{ domain, server, sequence: BigInt(sequence) }];
  });
}

/** Whether a replica at `position` has all that is in `target`, each one GTID for each domain. False where a domain is not in it. */
export function covers(position: string, target: string): boolean {
  const at = gtidsOf(position);
  const wanted = gtidsOf(target);
  return (
    wanted.length > 0 &&
    wanted.every(({ domain, sequence }) => at.some((has) => has.domain === domain && has.sequence >= sequence))
  );
}

/** In an order of its own: the server gives the domains in any. */
export function sorted(position: string): string {
  return position
    .split(',')
    .map((each) => each.trim())
    .toSorted()
    .join(',');
}

/**
 * What a server wrote itself and another one, which logs all that it replicates, never had. `state` is `gtid_binlog_state`: the last
 * sequence number of every server in every domain. Empty: nothing is missing there.
 */
export function ownBeyond(serverId: string, state: string, other: string): readonly string[] {
  const theirs = gtidsOf(other);
  return gtidsOf(state)
    .filter(({ server }) => server === serverId)
    .filter(
      ({ domain, sequence }) =>
        !theirs.some((has) => has.domain === domain && has.server === serverId && has.sequence >= sequence),
    )
    .map(({ domain, server, sequence }) => `${domain}-${server}-${sequence}`);
}

/** Bytes from a place to the end of the logs, as they were listed. Undefined: it is in none of them. */
export function bytesAfter(logs: readonly Binlog[], { file, offset }: Place): number | undefined {
  const index = logs.findIndex(({ name }) => name === file);
  if (index === -1) return undefined;
  const total = logs.slice(index).reduce((sum, { bytes }) => sum + bytes, 0);
  return Math.max(0, total - offset);
}

/** Whether a place is at or after the end of the logs, as they were listed. A log that came since is after it. */
export function isPast(logs: readonly Binlog[], place: Place): boolean {
  const last = logs.at(-1);
  if (last === undefined) return false;
  if (place.file === last.name) return place.offset >= last.bytes;
  return baseOf(place.file) === baseOf(last.name) && numberOf(place.file) > numberOf(last.name);
}

function baseOf(file: string): string {
  return file.slice(0, file.lastIndexOf('.'));
}

function numberOf(file: string): number {
  return Number(file.slice(file.lastIndexOf('.') + 1));
}

/** GTIDs of a position whose server wrote as much in the other's `gtid_binlog_state`: those that are not there. */
export function missingFrom(state: string, position: string): readonly string[] {
  const theirs = gtidsOf(state);
  return gtidsOf(position)
    .filter(
      ({ domain, server, sequence }) =>
        !theirs.some((has) => has.domain === domain && has.server === server && has.sequence >= sequence),
    )
    .map(({ domain, server, sequence }) => `${domain}-${server}-${sequence}`);
}

/** Whether somebody at `position` needs nothing from before `start`, at which the oldest binary log begins. */
export function reaches(position: string, start: string): boolean {
  return gtidsOf(start).length === 0 || covers(position, start);
}
