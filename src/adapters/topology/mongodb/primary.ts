import { StillpointError } from '../../../model/errors.ts';
import { isElectable, type Seen, type Sitting, State, type Told, toldOf } from './members.ts';

/** Voters that told anything, and how many votes elect. */
export interface Poll {
  readonly answered: number;
  readonly majority: number;
  readonly voters: number;
}

export function pollOf(sittings: readonly Sitting[]): Poll {
  const told = toldOf(seenOf(sittings));
  // The largest of what they say: a member that has an old configuration must not make a majority of few.
  const majority = Math.max(...told.map(({ status }) => status.majority));
  const voters = Math.max(...told.map(({ status }) => status.voters));
  const answered = sittings.filter(({ seat, seen }) => seat.votes > 0 && seen !== undefined && 'hello' in seen).length;
  return { answered, majority, voters };
}

/**
 * The member that is primary: it says so itself, in the newest term that anybody knows, and a majority of the voters says it too. One that
 * was cut off goes on calling itself primary until it has noticed, with as many of the others as were cut off with it.
 */
export function primaryOf(sittings: readonly Sitting[]): Told | undefined {
  const told = toldOf(seenOf(sittings));
  const newest = Math.max(...told.map(({ status }) => status.term));
  const electable = new Set(sittings.flatMap(({ seat, seen }) => (isElectable(seat) ? [seen] : [])));
  const claimants = claimantsOf(told).filter((each) => each.status.term === newest && electable.has(each));
  const { majority } = pollOf(sittings);
  return claimants.find((claimant) => sittings.filter((each) => agrees(each, claimant)).length >= majority);
}

/** Those who call themselves primary, believed or not. */
export function claimantsOf(told: readonly Told[]): readonly Told[] {
  return told.filter(({ hello, status }) => status.state === State.primary || hello.writable);
}

function agrees({ seat, seen }: Sitting, { status, config, name }: Told): boolean {
  if (seat.votes === 0 || seen === undefined || 'refused' in seen) return false;
  if (seen.name === name) return true;
  if ('status' in seen) {
    const word = seen.status.words.find(({ id }) => id === status.self);
    return seen.status.term === status.term && word?.up === true && word.state === State.primary;
  }
  const host = config.seats.find(({ id }) => id === status.self)?.host;
  return host !== undefined && seen.hello.primary === host;
}

function seenOf(sittings: readonly Sitting[]): readonly Seen[] {
  return sittings.flatMap(({ seen }) => (seen === undefined ? [] : [seen]));
}

/** Fewer than a majority told anything: those who did not may have elected somebody. */
export function refuseMinority(seen: readonly Seen[], sittings: readonly Sitting[]): void {
  const { answered, majority, voters } = pollOf(sittings);
  if (answered >= majority) return;
  const unlisted = sittings
    .filter((each) => each.seen === undefined && each.seat.votes > 0)
    .map(({ seat }) => seat.host);
  throw new StillpointError(
    'cluster-unknown',
    `${answered} of ${voters} voters told who is primary, and it takes ${majority}${unsaid(seen)}`,
    {
      hint:
        unlisted.length === 0
          ? 'check that the servers run, and that each may be asked'
          : `name the voters ${unlisted.join(', ')} in topology.mongodb.members too`,
    },
  );
}

export function unsaid(seen: readonly Seen[]): string {
  const said = seen.flatMap((each) => ('refused' in each ? [`${each.name}: ${each.said}`] : []));
  return said.length === 0 ? '' : `; ${said.join('; ')}`;
}
