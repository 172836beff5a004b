import { messageOf } from '../../../model/errors.ts';
import type { CommandSpan } from '../../../model/hold.ts';
import type { Moment } from '../../../model/time.ts';
import type { Clock } from '../../../platform/clock.ts';
import { journalOnArguments, markVariable, unfreezeArguments } from './commands.ts';
import { complaintOf, type Gtm, has, wentWell } from './engine.ts';
import { parseRenames, type RegionState, type Renamed } from './parse.ts';
import { killExactly, processesMarked } from '../../../platform/process.ts';
import { describeFreeze, type FreezeRecord, whose } from './record.ts';

export interface Released {
  /** No region is frozen by this hold any more, by the engine's own headers. */
  readonly thawed: boolean;
  readonly at: Moment;
  readonly said: string;
  readonly spans: readonly CommandSpan[];
  /** The engine had ended an online freeze by itself. */
  readonly autoreleased: boolean;
  /** Journaling was found off after the thaw, whether or not it could be switched on again. */
  readonly journalingLost: boolean;
  readonly renamed: readonly Renamed[];
}

const pollMs = 100;

/**
 * Ends the freezes that `record` calls ours, and no others, and proves it by the headers; `freeze -off` says UNFROZEN and exits with
 * 0 also when nothing was frozen, so that proves nothing. Can be repeated. Gives up at about `untilMs`, monotonic. Never throws.
 */
export async function release(gtm: Gtm, record: FreezeRecord, clock: Clock, untilMs: number): Promise<Released> {
  const spans: CommandSpan[] = [];
  const notes: string[] = [];
  const renamed: Renamed[] = [];
  let autoreleased = false;
  let at = clock.now();
  const limits = (mostMs: number): { limitMs: number } => ({
    limitMs: Math.max(300, Math.min(mostMs, untilMs - clock.monoMs())),
  });
  const off = async (regions: readonly string[]): Promise<void> => {
    const answer = await gtm.mupip(unfreezeArguments(regions), limits(3_000));
    at = clock.now();
    spans.push({ ...answer.span, what: 'mupip freeze -off' });
    renamed.push(...parseRenames(answer.text));
    if (has(answer, 'OFRZNOTHELD')) autoreleased = true;
    else if (!wentWell(answer)) notes.push(complaintOf(answer));
  };
  const done = (thawed: boolean, said: readonly string[], journalingLost: boolean): Released => ({
    thawed,
    at,
    said: [...new Set([...said, ...notes])].join('; '),
    spans,
    autoreleased,
    journalingLost,
    renamed,
  });

  if (mayFreeze(record) && !(await endFreezing(record, clock, untilMs))) {
    return done(false, ['a mupip of this hold, which may still freeze, does not end'], false);
  }
  for (;;) {
    let states: readonly RegionState[] | undefined;
    try {
      const seen = await gtm.states(limits(2_000), record.regions);
      states = seen.states;
      spans.push(seen.span);
    } catch (cause) {
      notes.push(messageOf(cause));
    }
    const ours = states?.filter((state) => whose(state, record) === 'ours').map((state) => state.region);
    const stale =
      states?.filter((state) => state.frozen === undefined && state.online && record.kind === 'online') ?? [];
    if (states !== undefined && ours?.length === 0) {
      if (stale.length > 0 && !autoreleased) {
        autoreleased = true;
        // Clears the mark that the engine left; the next freeze would stumble over it.
        await off(stale.map((state) => state.region));
      }
      const lost = await restoreJournaling(gtm, record, states, limits, notes);
      return done(true, states.map(describeFreeze), lost);
    }
    if (clock.monoMs() >= untilMs) return done(false, states?.map(describeFreeze) ?? ['the state is unknown'], false);
    // The state cannot be read: a freeze that may be ours is ended all the same. Other users' freezes make this hang until its limit.
    await off(ours ?? record.regions);
    if (notes.length > 0) await clock.sleep(pollMs);
  }
}

/**
 * The mupip of a killed holder lives on, and may freeze after everybody has looked. It is ended first; TERM is safe for it. What still
 * runs at the end of the time is left to the next try, for the regions may then be frozen.
 */
async function endFreezing(record: FreezeRecord, clock: Clock, untilMs: number): Promise<boolean> {
  // Twice: one that is between fork and exec still shows its parent's environment.
  let quiet = 0;
  while (quiet < 2) {
    const alive = processesMarked(markVariable, record.run);
    quiet = alive.length === 0 ? quiet + 1 : 0;
    for (const each of alive) killExactly(each, 'SIGTERM');
    if (alive.length > 0 && clock.monoMs() >= untilMs) return false;
    await clock.sleep(pollMs / 2);
  }
  return true;
}

/** Until the freeze was confirmed, its mupip may still be on the way. */
function mayFreeze(record: FreezeRecord): boolean {
  return Object.keys(record.freezers).length === 0;
}

/** What a look at the headers alone would miss. */
export function isFreezing(record: FreezeRecord): boolean {
  return mayFreeze(record) && processesMarked(markVariable, record.run).length > 0;
}

/** A freeze that another user ended by force leaves journaling off, and writers go on without an error. True if it was found off. */
async function restoreJournaling(
  gtm: Gtm,
  record: FreezeRecord,
  states: readonly RegionState[],
  limits: (mostMs: number) => { limitMs: number },
  notes: string[],
): Promise<boolean> {
  const lost = states.filter((state) => record.journaled.includes(state.region) && state.journal !== 'on');
  for (const { region } of lost) {
    const answer = await gtm.mupip(journalOnArguments(region), limits(3_000));
    notes.push(
      wentWell(answer) && has(answer, 'JNLSTATE')
        ? `JOURNALING OF ${region} WAS OFF after the thaw and was switched on again: changes in between are in no journal`
        : `JOURNALING OF ${region} IS OFF and cannot be switched on: ${complaintOf(answer)}`,
    );
  }
  return lost.length > 0;
}
