import { StillpointError } from '../../../model/errors.ts';
import type { MariadbRefusal } from '../../../platform/mariadb-session.ts';
import { ownBeyond } from './gtid.ts';
import type { Measured } from './lag.ts';
import type { Channel, Facts } from './parse.ts';

export interface Answered {
  readonly name: string;
  readonly facts: Facts;
  /** Of a replica, where the primary answered. */
  readonly measured?: Measured;
}

export interface Refused {
  readonly name: string;
  readonly refused: MariadbRefusal;
  readonly said: string;
}

export type Seen = Answered | Refused;

export function answeredOf(seen: readonly Seen[]): readonly Answered[] {
  return seen.filter((each) => 'facts' in each);
}

/** A thread that waits for its source runs. */
export function runs({ io, sql }: Channel): boolean {
  return io !== 'No' || sql !== 'No';
}

/** It takes writes, and takes nothing from another one now. */
export function isWriter({ readOnly, channels }: Facts): boolean {
  return !readOnly && !channels.some(runs);
}

/**
 * Who takes writes and replicates from nobody. Throws `cluster-unknown` when that are two: a replica that is stopped and writable is
 * taken for one only if its own log shows no write that its source lacks.
 */
export function primaryOf(seen: readonly Seen[]): Answered | undefined {
  const answered = answeredOf(seen);
  for (const [index, one] of answered.entries()) {
    for (const other of answered.slice(index + 1)) refuseSame(one, other);
  }
  refuseGalera(answered);
  const writers = answered.filter(({ facts }) => isWriter(facts));
  const candidates = writers.filter((each) => !writers.some((other) => other !== each && isStopped(each, other)));
  const [first, second] = candidates;
  if (first === undefined && writers[0] !== undefined) throw both(writers[0], writers[1] ?? writers[0]);
  if (first !== undefined && second !== undefined) throw both(first, second);
  return first;
}

function isStopped({ facts }: Answered, source: Answered): boolean {
  return (
    facts.channels.some(({ sourceId }) => sourceId === source.facts.serverId) &&
    facts.logs &&
    source.facts.logsReplicated &&
    ownBeyond(facts.serverId, facts.binlogState, source.facts.binlogState).length === 0
  );
}

function both(one: Answered, other: Answered): StillpointError {
  return new StillpointError(
    'cluster-unknown',
    `${one.name} and ${other.name} both take writes and replicate from nobody: their histories part`,
    {
      hint: 'set read_only = 1 on the one that applications must not write to, then let it replicate from the other',
    },
  );
}

function refuseGalera(answered: readonly Answered[]): void {
  const names = answered.filter(({ facts }) => facts.wsrep).map(({ name }) => name);
  if (names.length < 2) return;
  throw new StillpointError('cluster-unknown', `${names.join(' and ')} are members of a Galera cluster`, {
    hint: 'use the topology galera instead of mariadb',
  });
}

function refuseSame(one: Answered, other: Answered): void {
  const id = one.facts.serverId;
  if (id !== other.facts.serverId) return;
  throw new StillpointError(
    'cluster-unknown',
    `${one.name} and ${other.name} are one and the same server, or two with the same server_id ${id}`,
    {
      hint: 'each member in topology.mariadb.members needs its own host, port and server_id; an address that moves with the primary is none',
    },
  );
}

/** The channel that leads to the primary, by itself or by way of other members. Undefined: none does. */
export function channelTo(primary: Answered, member: Answered, seen: readonly Seen[]): Channel | undefined {
  return walk(primary, member, answeredOf(seen), new Set());
}

function walk(
  primary: Answered,
  member: Answered,
  answered: readonly Answered[],
  passed: Set<string>,
): Channel | undefined {
  passed.add(member.name);
  return member.facts.channels.find((channel) => {
    if (channel.sourceId === primary.facts.serverId) return true;
    const source = answered.find(({ name, facts }) => facts.serverId === channel.sourceId && !passed.has(name));
    const onward = source === undefined ? undefined : walk(primary, source, answered, passed);
    return onward?.io === 'Yes';
  });
}
