import { basename } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { CommandSpan, FreezeAnswer, MemberObservation, ThawAnswer } from '../../../model/hold.ts';
import type { JournalStart } from '../../../model/journal.ts';
import { within } from '../../../platform/clock.ts';
import type { HoldSession } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import { freezeArguments, journalOnArguments, type FreezeKind } from './commands.ts';
import { complaintOf, type Gtm, wentWell } from './engine.ts';
import { readHeaders } from './headers.ts';
import { memberNow } from './member.ts';
import type { JournalHeader } from './parse-journal.ts';
import { parseFrozenRegions, type Region, type RegionState } from './parse.ts';
import { describeFreeze, type FreezeRecord, type RecordFile } from './record.ts';
import { release } from './release.ts';

const stateMs = 3_000;
const flushMs = 60_000;
const never = new AbortController().signal;
const headersMs = 1_000;
const switchMs = 1_000;
const longestFreezeMs = 5_000;
/** Below the time after which the guard asks the engine from outside. */
const sessionThawMs = 5_000;

/**
 * `mupip freeze` on all regions by one command. The freeze is a state of the database and not of a process: it outlives us, the engine
 * puts no limit on it, and only guard and sentinel end it after a crash. That is why its record is durable before it begins.
 */
export class GtmHold implements HoldSession {
  readonly #gtm: Gtm;
  readonly #platform: Platform;
  readonly #regions: readonly Region[];
  readonly #kindWanted: FreezeKind | undefined;
  readonly #budgetMs: number;
  readonly #file: RecordFile;
  readonly #ending = new AbortController();
  #record: FreezeRecord | undefined;
  #atFreeze: readonly RegionState[] = [];
  #freezing: Promise<unknown> = Promise.resolve();
  #thawed: ThawAnswer | undefined;
  #replicated: readonly RegionState[] = [];

  constructor(
    gtm: Gtm,
    platform: Platform,
    regions: readonly Region[],
    kind: FreezeKind | undefined,
    budgetMs: number,
    file: RecordFile,
  ) {
    this.#gtm = gtm;
    this.#platform = platform;
    this.#regions = regions;
    this.#kindWanted = kind;
    this.#budgetMs = budgetMs;
    this.#file = file;
  }

  get #names(): readonly string[] {
    return this.#regions.map((region) => region.name);
  }

  async prepare(): Promise<void> {
    const { states } = await this.#gtm.states({ limitMs: stateMs }, this.#names);
    refuseFrozen(states);
    const version = await this.#gtm.version({ limitMs: stateMs });
    const kind = chooseKind(this.#kindWanted, states, version);
    const record = {
      run: this.#file.run,
      kind,
      uid: this.#gtm.uid,
      regions: this.#names,
      journaled: states.filter((state) => state.journal === 'on').map((state) => state.region),
    };
    // The freeze writes all dirty buffers to the file, and writers wait for that: the fewer are left, the shorter.
    const flushed = await this.#gtm.dse(['all', '-buffer_flush'], { limitMs: flushMs });
    if (!wentWell(flushed))
      this.#platform.log.info('flushing before the freeze failed', { said: complaintOf(flushed) });
    await this.#file.begin(record);
    this.#record = { ...record, freezers: {} };
    this.#replicated = states;
    // The first pass through this code costs milliseconds, which must not be time in the hold.
    parseFrozenRegions('');
    await this.observe();
  }

  async freeze(): Promise<FreezeAnswer> {
    const freezing = this.#freeze();
    this.#freezing = freezing.catch(() => undefined);
    return freezing;
  }

  async #freeze(): Promise<FreezeAnswer> {
    const spans: CommandSpan[] = [];
    const { clock } = this.#platform;
    const no = (said: string): FreezeAnswer => ({ frozen: false, said, at: clock.now(), spans });
    const record = this.#record;
    if (record === undefined) return no('the hold was not prepared');
    if (this.#ending.signal.aborted) return no('this session was thawed already');
    // Not frozen a moment ago: what we see frozen next is ours, unless the engine names another process.
    const before = await this.#gtm.states({ limitMs: stateMs, signal: this.#ending.signal }, this.#names);
    refuseFrozen(before.states);
    const limitMs = Math.max(500, Math.min(longestFreezeMs, this.#budgetMs));
    const answer = await this.#gtm.mupipMarked(
      freezeArguments(record.kind),
      { limitMs, signal: this.#ending.signal },
      record.run,
    );
    const at = clock.now();
    spans.push({ ...answer.span, what: `mupip freeze -on (${record.kind})` });
    if (this.#ending.signal.aborted) return no(`thawed while freezing: ${complaintOf(answer)}`);
    const switched = await this.#switchJournals(record, spans);
    const { states, span } = await this.#gtm.states({ limitMs: stateMs, signal: this.#ending.signal }, this.#names);
    spans.push(span);
    const said = parseFrozenRegions(answer.text);
    const alien = states.filter((state) => !isOurNewFreeze(state, record, said, answer.pid, this.#names.length));
    if (answer.unfinished || alien.length > 0) {
      return no(`${alien.map(describeFreeze).join('; ')}; mupip said: ${complaintOf(answer)}`);
    }
    const freezers = Object.fromEntries(states.map((state) => [state.region, state.frozen?.pid ?? 0]));
    this.#file.confirm(freezers);
    this.#record = { ...record, freezers };
    this.#atFreeze = states;
    const starts = switched ? states.map(startOf) : [];
    const more = starts.length === 0 ? {} : { starts };
    return { frozen: true, said: states.map(describeFreeze).join('; '), at, spans, ...more };
  }

  /**
   * A plain freeze leaves the journal as it is, in the middle of a file. Switched while nothing can be written, the new file begins at
   * exactly the transaction that the frozen files end with, so that they can be rolled forward. Costs some ms of the hold; a
   * failure costs only the rolling forward.
   */
  async #switchJournals(record: FreezeRecord, spans: CommandSpan[]): Promise<boolean> {
    if (record.kind === 'online' || this.#replicated.some((state) => state.journal !== 'on' || !state.beforeImages))
      return false;
    const answer = await this.#gtm.mupip(journalOnArguments('*'), { limitMs: switchMs, signal: this.#ending.signal });
    spans.push({ ...answer.span, what: 'mupip set -journal' });
    if (wentWell(answer)) return true;
    this.#platform.log.warn('the journals were not switched at the freeze; the point cannot be rolled forward', {
      said: complaintOf(answer),
    });
    return false;
  }

  async ask(): Promise<FreezeAnswer> {
    const { clock } = this.#platform;
    try {
      const { states, span } = await this.#gtm.states({ limitMs: stateMs }, this.#names);
      const frozen = this.#atFreeze.length > 0 && states.every((state) => this.#isOurs(state));
      return { frozen, said: states.map(describeFreeze).join('; '), at: clock.now(), spans: [span] };
    } catch (cause) {
      return { frozen: false, said: messageOf(cause), at: clock.now(), spans: [] };
    }
  }

  /** Only uid and pid together: a freeze of the same user that replaced ours is not ours. */
  #isOurs({ region, frozen }: RegionState): boolean {
    return frozen !== undefined && frozen.uid === this.#record?.uid && frozen.pid === this.#record.freezers[region];
  }

  async observe(): Promise<MemberObservation> {
    // Asks nothing where replication is off; a freeze does not keep the question waiting.
    return memberNow(this.#gtm, this.#platform.host.name, this.#regions, this.#replicated, { limitMs: stateMs });
  }

  async thaw(): Promise<ThawAnswer> {
    if (this.#thawed !== undefined) return this.#thawed;
    const { clock } = this.#platform;
    this.#ending.abort();
    const nothing = (said: string): ThawAnswer => ({
      thawed: true,
      heldThroughout: false,
      said,
      at: clock.now(),
      spans: [],
      artifacts: [],
    });
    if (this.#record === undefined) return nothing('nothing was frozen');
    // A freeze that is under way would overtake the thaw. It was told to end.
    await this.#freezing;
    const asked = this.#atFreeze.length > 0 ? await this.ask() : undefined;
    const released = await release(this.#gtm, this.#record, clock, clock.monoMs() + sessionThawMs);
    const held = asked?.frozen === true && !released.autoreleased && !released.journalingLost;
    const starts = held ? await this.#starts(released.renamed) : [];
    const answer: ThawAnswer = {
      thawed: released.thawed,
      heldThroughout: held,
      said: `${released.said}; before that: ${asked?.said ?? 'nothing was frozen'}`,
      at: released.at,
      spans: [...(asked?.spans ?? []), ...released.spans],
      ...(starts.length === 0 ? {} : { starts }),
      artifacts: [],
    };
    if (answer.thawed) {
      this.#thawed = answer;
      await this.#file.remove();
    }
    return answer;
  }

  /**
   * An online freeze begins a new journal file, and the thaw closes that one under a name of its own: it is the first whose changes
   * are not in the files.
   */
  async #starts(renamed: readonly { readonly from: string; readonly to: string }[]): Promise<readonly JournalStart[]> {
    const closed = this.#atFreeze.flatMap(({ region, journalFile, transaction, online }) => {
      const file = renamed.find((each) => each.from === journalFile);
      return online && file !== undefined ? [{ region, path: file.to, transaction }] : [];
    });
    if (closed.length === 0) return [];
    // Under an online freeze transactions go on: only the journal itself says with which of them it begins.
    const headers = await this.#headersOf(closed.map((each) => each.path));
    return closed.map(({ region, path, transaction }) => ({
      part: region,
      file: basename(path),
      position: headers.find((each) => each.file === path)?.begin ?? transaction,
    }));
  }

  async #headersOf(paths: readonly string[]): Promise<readonly JournalHeader[]> {
    try {
      return await within(this.#platform.clock, headersMs, readHeaders(this.#gtm, paths, never), () => []);
    } catch (cause) {
      this.#platform.log.info('the journals begun at the freeze cannot be read', { said: messageOf(cause) });
      return [];
    }
  }

  async close(): Promise<void> {
    this.#ending.abort();
    this.#file.closeDescriptor();
    // Never began, so there is nothing to find. After a failed thaw the record stays for those who come next.
    if (this.#atFreeze.length === 0 && this.#thawed === undefined && this.#record !== undefined) {
      await this.thaw().catch(() => undefined);
    }
  }
}

function startOf({ region, journalFile, transaction }: RegionState): JournalStart {
  return { part: region, file: basename(journalFile ?? ''), position: transaction };
}

/** The pid in the header is that of our mupip, or, when it freezes several regions online, that of a child of it. */
function isOurNewFreeze(
  { region, frozen, online, autorelease }: RegionState,
  record: FreezeRecord,
  said: readonly string[],
  pid: number | undefined,
  regions: number,
): boolean {
  if (frozen === undefined || frozen.uid !== record.uid || !said.includes(region)) return false;
  if (online !== (record.kind === 'online') || autorelease) return false;
  return frozen.pid === pid || (record.kind === 'online' && regions > 1 && frozen.pid > 0);
}

/** Freezes do not nest: the thaw of the one would end the other. */
function refuseFrozen(states: readonly RegionState[]): void {
  const frozen = states.filter((state) => state.frozen !== undefined);
  if (frozen.length === 0) return;
  throw new StillpointError(
    'freeze-failed',
    `somebody has frozen this database: ${frozen.map(describeFreeze).join('; ')}`,
    {
      hint: 'see `stillpoint status`; as that user, `mupip freeze -off "*"` ends it',
      details: { frozen: frozen.map((state) => ({ region: state.region, ...state.frozen })) },
    },
  );
}

/**
 * Online where the journal carries what the frozen files do not get: journaling on, with before-images, on every region. Releases
 * before 7.0 freeze one region after the other while writers go on, so that several regions could show different moments.
 */
export function chooseKind(
  wanted: FreezeKind | undefined,
  states: readonly RegionState[],
  version: string,
): FreezeKind {
  const why = whyNotOnline(states, version);
  if (wanted === 'online' && why !== undefined) {
    throw new StillpointError('freeze-failed', `an online freeze is not possible: ${why}`, {
      hint: 'set application.gtm.freeze to plain',
    });
  }
  return wanted ?? (why === undefined ? 'online' : 'plain');
}

export function whyNotOnline(states: readonly RegionState[], version: string): string | undefined {
  const mapped = states.find((state) => state.accessMethod !== 'BG');
  if (mapped !== undefined) return `region ${mapped.region} has access method ${mapped.accessMethod}`;
  const bare = states.find((state) => state.journal !== 'on' || !state.beforeImages);
  if (bare !== undefined) return `region ${bare.region} has no journaling with before-images`;
  const major = Number(/^GT\.M V(\d+)\./.exec(version)?.[1] ?? 0);
  if (states.length > 1 && major < 7) return `${version} freezes several regions one after the other`;
  return undefined;
}
