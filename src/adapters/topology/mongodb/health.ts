import type { Health } from '../../../model/cluster.ts';
import { currentOf, type Sitting, State, type Told, toldOf } from './members.ts';
import type { Word } from './parse.ts';

/** What the others say of a member. Whoever was cut off and tells of an old term is not asked. */
export interface Hearsay {
  readonly up: readonly string[];
  readonly down: readonly string[];
  /** The primary's word, else that of anybody who hears it. */
  readonly word: Word | undefined;
  /** The primary is among those who do not hear it. */
  readonly primaryMissesIt: boolean;
}

export function hearsayOf({ seat, name }: Sitting, sittings: readonly Sitting[], primary: Told | undefined): Hearsay {
  const told = toldOf(sittings.flatMap(({ seen }) => (seen === undefined || seen.name === name ? [] : [seen])));
  const words = currentOf(told).flatMap((each) => {
    const word = each.status.words.find(({ id }) => id === seat.id);
    return word === undefined ? [] : [{ by: each, word }];
  });
  const down = words.filter(({ word }) => !word.up).map(({ by }) => by.name);
  return {
    up: words.filter(({ word }) => word.up).map(({ by }) => by.name),
    down,
    word: (words.find(({ by }) => by === primary) ?? words.find(({ word }) => word.up))?.word,
    primaryMissesIt: primary !== undefined && down.includes(primary.name),
  };
}

/** Well only if it says so itself (or was not asked), the primary hears it, and so do more of the others than not. */
export function healthOf(sitting: Sitting, hearsay: Hearsay, primary: Told | undefined): Health {
  const { seen, seat } = sitting;
  if (seen === undefined) return unaskedHealth(hearsay);
  if ('refused' in seen)
    return seen.refused === 'silent'
      ? 'down'
      : seen.refused === 'unwell' || seen.refused === 'misfit'
        ? 'trouble'
        : 'unknown';
  if (isUnheard(hearsay)) return 'trouble';
  if (!('status' in seen)) return seat.arbiter ? 'healthy' : 'trouble';
  if (seen.status.tooStale) return 'trouble';
  if (isDeaf(seen, primary)) return 'trouble';
  if (seen === primary) return seen.hello.writable ? 'healthy' : 'trouble';
  return seen.status.state === State.secondary && !seen.hello.writable ? 'healthy' : 'trouble';
}

function unaskedHealth({ up, down, word }: Hearsay): Health {
  if (word === undefined) return down.length > 0 ? 'down' : 'unknown';
  if (down.length >= up.length) return 'down';
  return word.state === State.secondary || word.state === State.arbiter ? 'healthy' : 'trouble';
}

/** The primary's word is enough: whom it does not hear does not count for it, neither as a voter nor for a write. */
export function isUnheard({ up, down, primaryMissesIt }: Hearsay): boolean {
  return primaryMissesIt || (down.length > 0 && down.length >= up.length);
}

/** It does not hear the primary, though that one may hear it: nothing more comes to it, and it would like to be elected. */
export function isDeaf({ status }: Told, primary: Told | undefined): boolean {
  return primary !== undefined && status.words.some(({ id, up }) => id === primary.status.self && !up);
}
