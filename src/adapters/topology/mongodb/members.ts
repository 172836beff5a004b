import { StillpointError } from '../../../model/errors.ts';
import type { MongodbRefusal } from '../../../platform/mongodb-session.ts';
import type { MemberSettings } from './config.ts';
import type { Hello, Seat, SetConfig, Status } from './parse.ts';

/** How a member came to what the primary had when it was asked. Absent `ms`: it did not get there while we looked. */
export interface Behind {
  readonly ms?: number;
  /** Age of what it has, against what the primary had: both times were written by a primary, so no clocks are compared. */
  readonly ageMs?: number;
}

/** A member with data that told its state. */
export interface Told {
  readonly name: string;
  readonly hello: Hello;
  readonly status: Status;
  readonly config: SetConfig;
  readonly transfer?: Behind;
  readonly apply?: Behind;
}

/** An arbiter has no accounts, so it is asked only what needs none. */
export interface Arbiter {
  readonly name: string;
  readonly hello: Hello;
}

/** `misfit`: it answers, and is no member of a set now. */
export interface Refused {
  readonly name: string;
  readonly refused: MongodbRefusal | 'misfit';
  readonly said: string;
}

export type Seen = Told | Arbiter | Refused;

export type Places = Readonly<Record<string, Pick<MemberSettings, 'host' | 'port' | 'as'>>>;

export const State = { primary: 1, secondary: 2, initialSync: 5, arbiter: 7, rollback: 9 } as const;

export function toldOf(seen: readonly Seen[]): readonly Told[] {
  return seen.filter((each) => 'status' in each);
}

/** One place in the set, and who was asked for it. */
export interface Sitting {
  readonly name: string;
  readonly seat: Seat;
  /** Undefined: it is in the set and not in the settings. */
  readonly seen: Seen | undefined;
}

/** The configuration that counts: the newest one that anybody has. A term of -1 is one that was forced. */
export function newestConfig(told: readonly Told[]): SetConfig | undefined {
  return told
    .map(({ config }) => config)
    .toSorted((one, other) => one.version - other.version || one.term - other.term)
    .at(-1);
}

/**
 * The set's places in the order of the settings, then the others. A member that answers says itself which one it is; one that does not is
 * found by its address. Throws `cluster-unknown` when two names of the settings are one member.
 */
export function sittingsOf(seen: readonly Seen[], places: Places, config: SetConfig): readonly Sitting[] {
  const taken = new Map<number, Sitting>();
  for (const each of seen) {
    const seat = config.seats.find(({ id, host }) => isAt(each, places, id, host));
    if (seat === undefined) continue;
    const before = taken.get(seat.id);
    if (before !== undefined) {
      throw new StillpointError(
        'cluster-unknown',
        `${before.name} and ${each.name} are one and the same member, ${seat.host}`,
        {
          hint: 'correct host, port or `as` in topology.mongodb.members',
        },
      );
    }
    taken.set(seat.id, { name: each.name, seat, seen: each });
  }
  const others = config.seats
    .filter(({ id }) => !taken.has(id))
    .map((seat): Sitting => ({ name: freeName(seat.host, seen), seat, seen: undefined }));
  return [...taken.values(), ...others];
}

function isAt(seen: Seen, places: Places, id: number, host: string): boolean {
  if ('status' in seen) return seen.status.self === id;
  const place = places[seen.name];
  const own =
    'hello' in seen ? seen.hello.me : (place?.as ?? (place === undefined ? undefined : `${place.host}:${place.port}`));
  return own?.toLowerCase() === host.toLowerCase();
}

/** A person may have called another member by this one's address. */
function freeName(host: string, seen: readonly Seen[]): string {
  return seen.some(({ name }) => name === host) ? `${host} (of the set)` : host;
}

/** Members of the settings that are none of the set's, as far as anybody can tell. */
export function strangers(seen: readonly Seen[], sittings: readonly Sitting[]): readonly Seen[] {
  return seen.filter((each) => !sittings.some((sitting) => sitting.seen === each));
}

export function isElectable({ arbiter, priority, votes }: Seat): boolean {
  return !arbiter && priority > 0 && votes > 0;
}

/** Whoever tells of the newest term that anybody knows. Others may have been cut off, and tell of the past. */
export function currentOf(told: readonly Told[]): readonly Told[] {
  const term = Math.max(...told.map((each) => each.status.term));
  return told.filter((each) => each.status.term === term);
}
