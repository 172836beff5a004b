import { existsSync, realpathSync, statSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { JournalFile, RecoveryTarget } from '../../../model/journal.ts';
import type { Finding } from '../../../model/point.ts';
import type { Copy } from '../../../ports/application.ts';
import type { JournalNeed, Journals, PlacedJournal } from '../../../ports/journals.ts';
import type { Platform } from '../../../ports/module.ts';
import { sameFile } from './backup-pipes.ts';
import type { GtmConfig } from './config.ts';
import { Gtm, has, unreachable, wentWell } from './engine.ts';
import { readHeaders } from './headers.ts';
import { mark } from './marks.ts';
import type { JournalHeader } from './parse-journal.ts';
import type { RegionState } from './parse.ts';
import { isYoung, replicationOf, sourceServers, type Wanted, wantedByOthers } from './replication.ts';
import { rollForward } from './roll-forward.ts';

const limitMs = 60_000;
const never = new AbortController().signal;
/** Before-image or other journals of all regions, as the files that GT.M closes and renames when a new one begins. */
export class GtmJournals implements Journals {
  readonly #config: GtmConfig;
  readonly #platform: Platform;

  constructor(config: GtmConfig, platform: Platform) {
    this.#config = config;
    this.#platform = platform;
  }

  /** With times in UTC: GT.M prints and reads local time, which is ambiguous once a year. */
  async #open(signal: AbortSignal): Promise<{ readonly gtm: Gtm; readonly states: readonly RegionState[] }> {
    const local = await Gtm.open(this.#config, this.#platform, { limitMs, signal });
    const gtm = local.at({ variables: { ...local.place.variables, TZ: 'UTC' } });
    const names = (await gtm.regions({ limitMs, signal })).map((region) => region.name);
    const { states } = await gtm.states({ limitMs, signal }, names);
    return { gtm, states };
  }

  /** Files and headers of all regions; each in the order in which the files were written. */
  async #survey(signal: AbortSignal): Promise<{ readonly gtm: Gtm; readonly seen: readonly Seen[] }> {
    const { gtm, states } = await this.#open(signal);
    const seen: Seen[] = [];
    for (const state of states) {
      const { journalFile } = state;
      if (journalFile === undefined) continue;
      const paths = await this.#generations(journalFile);
      const headers = await readHeaders(gtm, paths, signal);
      const mine = headers.filter((header) => sameFile(header.database, state.file));
      const ordered = inOrder(mine, basename(journalFile)).map((header) => ({
        header,
        region: state.region,
        open: header.crash || (state.journal === 'on' && sameFile(header.file, journalFile)),
      }));
      seen.push(...ordered);
    }
    return { gtm, seen };
  }

  /** The current file and everything beside it, or in the configured directory, that bears its name and a suffix. */
  async #generations(journalFile: string): Promise<readonly string[]> {
    const base = basename(journalFile);
    const directories = new Set([dirname(journalFile), this.#config.journalDirectory ?? dirname(journalFile)]);
    const found: string[] = [];
    for (const directory of directories) {
      const names = existsSync(directory) ? await readdir(directory) : [];
      found.push(
        ...names.filter((name) => name === base || name.startsWith(`${base}_`)).map((name) => join(directory, name)),
      );
    }
    return found.toSorted();
  }

  async list(signal: AbortSignal): Promise<readonly JournalFile[]> {
    const { seen } = await this.#survey(signal);
    return seen.flatMap((each) => {
      const file = journalFileOf(each);
      return file === undefined ? [] : [file];
    });
  }

  /** All regions in one command: it locks all of them first, so all files end at one instant and no transaction is torn by it. */
  async switch(signal: AbortSignal): Promise<void> {
    const { gtm, states } = await this.#open(signal);
    const on = states.filter((state) => state.journal === 'on');
    if (on.length === 0) {
      throw new StillpointError('method-unsupported', 'no region is journaled', {
        hint: 'mupip set -region "*" -journal=enable,on,before',
      });
    }
    for (const [kind, regions] of Map.groupBy(on, (state) => (state.beforeImages ? 'before' : 'nobefore'))) {
      const names = regions.map((state) => state.region);
      const args = ['set', '-region', names.join(','), `-journal=on,${kind}`];
      const answer = await gtm.mupip(args, { limitMs, signal });
      const begun = answer.messages.filter((each) => each.mnemonic === 'JNLCREATE').length;
      if (!wentWell(answer) || !has(answer, 'JNLSTATE') || begun < names.length)
        throw unreachable(`the journals of ${names.join(', ')} were not switched`, answer);
    }
  }

  async needed(signal: AbortSignal): Promise<readonly JournalNeed[]> {
    const { gtm, seen } = await this.#survey(signal);
    // After the files: what is acknowledged only grows, so a file that ends since then is not missed.
    const wanted = await this.#wanted(gtm, signal);
    const needs: JournalNeed[] = [];
    const nowMs = this.#platform.clock.wallMs();
    const turnMs = turningPointMs(seen);
    for (const mine of Map.groupBy(seen, (each) => each.region).values()) {
      const newest = mine.findLast((each) => !each.open);
      // As it is set now.
      const epochSeconds = mine.at(-1)?.header.epochSeconds ?? Number.NaN;
      for (const [index, each] of mine.entries()) {
        const need = (why: string): number => needs.push({ name: basename(each.header.file), part: each.region, why });
        if (each.open) need('the engine writes to it');
        else if (each === newest || reachesTo(mine[index + 1] ?? each) >= turnMs)
          need('recovery after a crash would go back into it');
        if (!each.header.replicated) continue;
        // A closed file's end number is that of the first update after it.
        for (const { from, why, young } of wanted) {
          if (each.open || each.header.endSequence > from) need(why);
          else if (young !== undefined && isYoung(endOf(mine[index + 1]), epochSeconds, nowMs)) need(young);
        }
      }
    }
    return needs;
  }

  async #wanted(gtm: Gtm, signal: AbortSignal): Promise<readonly Wanted[]> {
    const file = await replicationOf(gtm, { limitMs, signal });
    if (file !== undefined) return wantedByOthers(file, await sourceServers(gtm, { limitMs, signal }));
    const why = 'it is replicated, and without application.gtm.replicationInstance it is not known to whom';
    return [{ from: 0n, why }];
  }

  async remove(file: JournalFile): Promise<void> {
    if (!existsSync(file.path)) return;
    const { gtm, states } = await this.#open(never);
    const current = states.find((state) => state.journalFile !== undefined && sameFile(state.journalFile, file.path));
    const [header] = await readHeaders(gtm, [file.path], never);
    // Names are used again: the file of that path must be the one that was meant.
    if (current !== undefined || header === undefined || header.crash || mark(header.begin) !== file.begin) {
      throw new StillpointError('engine-running', `journal file ${file.path} is not the closed file of ${file.begin}`, {
        hint: 'see stillpoint journal status',
      });
    }
    await rm(file.path, { force: true });
  }

  async rollForward(
    copy: Copy,
    files: readonly PlacedJournal[],
    target: RecoveryTarget,
    signal: AbortSignal,
  ): Promise<readonly Finding[]> {
    return rollForward(this.#config, this.#platform, { copy, files, target, signal });
  }
}

interface Seen {
  readonly header: JournalHeader;
  readonly region: string;
  readonly open: boolean;
}

/** The journal's times are whole seconds, some ms late, and of a clock that may be set. */
const turnMarginMs = 10_000;

/**
 * Recovery after a crash goes back, in all regions, to before the last record of that region which was written to longest ago: seen with
 * V7.0-005, it then wants every file of the others since. A region's open file began no later than its last record, so no file that ended
 * well before the oldest open one began is wanted.
 */
function turningPointMs(seen: readonly Seen[]): number {
  const open = seen.filter((each) => each.open).map((each) => Date.parse(each.header.created));
  const oldest = Math.min(...open);
  // Nothing open, or a time that cannot be read: everything is wanted.
  return Number.isFinite(oldest) ? oldest - turnMarginMs : Number.NEGATIVE_INFINITY;
}

/** A file holds everything until its successor begins. Unknown counts as until now. */
function reachesTo({ header }: Seen): number {
  const ms = Date.parse(header.created);
  return Number.isNaN(ms) ? Number.POSITIVE_INFINITY : ms;
}

/** When the next file of the region began; NaN if it is not known. */
function endOf(next: Seen | undefined): number {
  return Date.parse(next?.header.created ?? '');
}

function journalFileOf({ header, region, open }: Seen): JournalFile | undefined {
  try {
    return {
      part: region,
      name: basename(header.file),
      path: realpathSync(header.file),
      begin: mark(header.begin),
      beganAt: header.created,
      bytes: statSync(header.file).size,
      ...(open ? {} : { end: mark(header.end), endedAt: header.updated }),
    };
  } catch {
    return undefined; // Removed since it was read.
  }
}

/**
 * By their numbers. Files without a change begin and end at the same one, and come before the one that has it; the current one, which has
 * the shortest name, is the last of them.
 */
function inOrder(headers: readonly JournalHeader[], current: string): readonly JournalHeader[] {
  // `_9` before `_10`: several files of one second are counted.
  const natural = new Intl.Collator('en', { numeric: true });
  const difference = (a: string, b: string): number => Number(BigInt(a) - BigInt(b));
  return headers.toSorted(
    (a, b) =>
      difference(a.begin, b.begin) ||
      difference(a.end, b.end) ||
      Number(basename(a.file) === current) - Number(basename(b.file) === current) ||
      natural.compare(a.file, b.file),
  );
}
