import { basename } from 'node:path';
import type { JournalStart } from '../../../model/journal.ts';
import type { Level } from '../../../model/point.ts';
import {
  describe,
  type DirtyMark,
  type Made,
  type Mark,
  unprovenClosing,
  unprovenOn,
  writeMark,
} from './online-chain.ts';
import { missingIn, type Needed } from './online-list.ts';
import type { BackupPlace } from './online-place.ts';
import type { Finished, Job } from './online-run.ts';
import { partOf } from './parse-journal.ts';
import type { Label, Memory } from './parse-label.ts';
import { type OnlineLevel, parseOnlineLog } from './parse-online.ts';

/** An instance, what its backup must hold, and what the backup goes on top of. */
export interface Target {
  readonly name: string;
  readonly needed: readonly Needed[];
  readonly level: OnlineLevel;
  /** Why a larger level is made than was asked for. */
  readonly why?: string;
  readonly below?: Mark;
  /** Directories whose flag said beforehand that a full would be made. */
  readonly flagged?: readonly string[];
  readonly dirty?: { readonly begin: DirtyMark; readonly end: DirtyMark };
}

/** What came of one instance. */
export interface Result {
  readonly name: string;
  readonly level: OnlineLevel;
  readonly why: string | undefined;
  readonly faults: readonly string[];
  readonly said: string;
  readonly from: string;
  readonly to: string | undefined;
  readonly start: JournalStart | undefined;
}

export function resultOf(
  target: Target,
  place: BackupPlace,
  { job, returned, log }: Finished,
  { label, memory }: { readonly label: Label | undefined; readonly memory: Memory },
  since: string | undefined,
): Result {
  const seen = parseOnlineLog(log);
  const level = label?.level ?? seen.made ?? job.level;
  const faults = faultsOf(target, place, job, { returned, label, log });
  const unproven = label === undefined ? 'the file has no label' : unprovenWhy(target, label, memory);
  const own: Made | undefined = label && { id: place.id, index: label.index, name: label.name };
  const full = level === 'full' ? own : target.below?.full;
  const whole = own !== undefined && (full !== undefined || target.dirty !== undefined);
  const turned = `the engine made a ${level} of the ${job.level}: ${reasonFor(target, seen.warnings)}`;
  return {
    name: target.name,
    level,
    why: level === job.level ? target.why : turned,
    faults,
    said: [`${target.name}: ${label?.name ?? 'no label'}, ${seen.blocks} blocks, returned ${returned}`, ...faults].join(
      ', ',
    ),
    from: unproven === undefined ? (since ?? '') : `unproven: ${unproven}`,
    to: whole ? writeMark({ self: own, full: full ?? own }) : undefined,
    start: startOf(target.name, seen.journalFile, seen.markerOffset, seen.requiredFile),
  };
}

function unprovenWhy(target: Target, label: Label, memory: Memory): string | undefined {
  if (target.dirty !== undefined) return unprovenClosing(target.dirty.begin, target.dirty.end, label, memory);
  return target.below === undefined ? undefined : unprovenOn(target.below, label, memory);
}

/** Whatever keeps a backup from counting as finished. The return value, the end marks and the label must all be there. */
function faultsOf(
  target: Target,
  place: BackupPlace,
  job: Job,
  { returned, label, log }: { readonly returned: string; readonly label: Label | undefined; readonly log: string },
): readonly string[] {
  const seen = parseOnlineLog(log);
  const faults: string[] = [];
  if (returned !== '1') faults.push(`it did not return 1 but ${returned === '' ? 'nothing' : returned}`);
  if (!seen.finished || !seen.resumed) faults.push('its log lacks an end mark');
  faults.push(...seen.warnings);
  if (label === undefined) return [...faults, 'its file has no label that the engine can read'];
  if (label.description !== describe(place.id, job.level)) faults.push('its label has another description');
  if (label.level === undefined) faults.push('its label names no level that is known');
  if (seen.made !== undefined && seen.made !== label.level) faults.push('its log and its label name different levels');
  const missing = missingIn(label.directories, target.needed);
  if (missing.length > 0) faults.push(`it lacks ${missing.join(', ')}`);
  return faults;
}

function reasonFor(target: Target, warnings: readonly string[]): string {
  const [first] = warnings;
  if (first !== undefined) return first;
  if (target.flagged !== undefined && target.flagged.length > 0) {
    return `the bitmap of ${target.flagged.join(', ')} cannot be used (GFNOBACKUP)`;
  }
  return `a database of ${target.name} is new in its list or has had no full, or its bitmap was cleared`;
}

function startOf(
  name: string,
  path: string | undefined,
  position: string | undefined,
  requiredPath: string | undefined,
): JournalStart | undefined {
  if (path === undefined) return undefined;
  const file = basename(path);
  const required = requiredPath === undefined ? file : basename(requiredPath);
  return { part: partOf(name, file), file, position: position ?? '', ...(required === file ? {} : { required }) };
}

/** Several instances are one level: a full only if all are, else the largest that goes on top of what is below. */
export function madeOf(asked: Level, results: readonly Result[]): { readonly made: Level; readonly why: string } {
  const why = results.flatMap((each) => (each.why === undefined ? [] : [`${each.name}: ${each.why}`])).join('; ');
  if (results.every(({ level }) => level === 'full')) return { made: 'full', why };
  const larger = results.some(({ level }) => level !== 'incremental');
  return { made: asked === 'incremental' && !larger ? 'incremental' : 'cumulative', why };
}
