import { answersOf, parseAnswers } from './parse.ts';
import type { OnlineLevel } from './parse-online.ts';

/** What the engine wrote into a backup file about it. Dates and times are the label's own text, exact to the minute. */
export interface Label {
  readonly description: string;
  readonly level: OnlineLevel | undefined;
  /** `SEP 17 2022 03:28PM Full`. */
  readonly name: string;
  /** The same of the backup before it, and, without the type, of the last full. */
  readonly previous: string;
  readonly lastFull: string;
  /** Subscript in the history of backups; 0 when the label does not tell it. */
  readonly index: number;
  /** Directories of the databases in it, as the engine names them. */
  readonly directories: readonly string[];
}

const levels: Readonly<Record<string, OnlineLevel>> = {
  Full: 'full',
  Incremental: 'incremental',
  'Cumulative Incremental': 'cumulative',
};

/** Undefined when the file has no label that the engine can read. */
export function parseLabel(output: string): Label | undefined {
  const answers = parseAnswers(output);
  const all = (...names: readonly string[]): string =>
    names
      .map((name) => answers.get(name) ?? '')
      .join(' ')
      .trim();
  const type = all('type');
  if (all('date') === '' || all('time') === '' || type === '') return undefined;
  const [, days, seconds] = /^(\d+),(\d+)/.exec(all('began')) ?? [];
  return {
    description: all('description'),
    level: levels[type],
    name: all('date', 'time', 'type'),
    previous: all('prevdate', 'prevtime', 'prevtype'),
    lastFull: all('fulldate', 'fulltime'),
    index: days === undefined ? 0 : Number(days) * 1_000_000 + Number(seconds),
    directories: answersOf(output, 'directory'),
  };
}

/** One entry of the engine's history of backups. */
export interface Remembered {
  readonly index: number;
  readonly description: string;
}

export interface Memory {
  /** Description of the last full that the engine knows of, external ones included; undefined when it knows none or did not say. */
  readonly lastFull: string | undefined;
  /** Newest first; undefined when it cannot be read whole. */
  readonly history: readonly Remembered[] | undefined;
  readonly aborting: boolean;
}

export function parseMemory(output: string): Memory {
  const answers = parseAnswers(output);
  const history: Remembered[] = [];
  for (const answer of answersOf(output, 'history')) {
    const [, index, description = ''] = /^(\d+)=(.*)$/.exec(answer) ?? [];
    if (index !== undefined) history.push({ index: Number(index), description });
  }
  return {
    // $LB(1, date, description, device)
    lastFull: /^1\|[^|]*\|(.*)\|[^|]*$/.exec(answers.get('full') ?? '')?.[1],
    // Without its last words the list may have ended early.
    history: answers.has('walked') ? history : undefined,
    aborting: answers.get('abort') === '1',
  };
}

/** Directories in the file that LISTDIRS^DBACK wrote: one a line, between titles that are not understood. */
export function parseDirectoryList(text: string): readonly string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => /^\/.*\/$/.test(line));
}

/** What EXTSELCT^DBREST printed. */
export interface RestoreReport {
  /** Targets that blocks were written to; databases without a changed block are named too. */
  readonly restored: readonly string[];
  readonly mounted: readonly string[];
  readonly complaints: readonly string[];
}

export function parseRestore(output: string): RestoreReport {
  const restored = new Set<string>();
  const mounted = new Set<string>();
  const complaints: string[] = [];
  for (const raw of output.split(/\r?\n/)) {
    const line = raw.trim();
    const written = /^\*\*\*Restoring (\S.*?)(?: to (\S.*))? at \d\d:\d\d:\d\d$/.exec(line);
    const mount = /^(\S.*?)\s+\.\.\. \(Mounted\)$/.exec(line);
    if (written !== null) restored.add(written[2] ?? (written[1] as string));
    else if (mount !== null) mounted.add(mount[1] as string);
    else if (/\bERROR\b|\bcannot\b|\bcould not\b|^<[A-Z ]+>/i.test(line)) complaints.push(line);
  }
  return { restored: [...restored], mounted: [...mounted], complaints };
}
