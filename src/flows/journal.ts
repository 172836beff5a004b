import { open, readFile, readdir, mkdir, rename, rm, type FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { join } from 'node:path';
import { StillpointError, codeOf, messageOf } from '../model/errors.ts';
import type { HoldToken } from '../model/hold.ts';
import type { ForgottenSplit, SplitWork } from '../model/mirror-split.ts';
import type { Outcome } from '../model/point.ts';
import type { SnapshotRef } from '../model/storage.ts';
import type { HoldOffToken } from '../ports/topology.ts';
import type { ProcessIdentity } from '../platform/process.ts';

/** What a run leaves behind outside itself, told before it is made, so that another process can take it away. */
export type Trace =
  | { readonly kind: 'hold'; readonly token: HoldToken; readonly socket: string; readonly resultFile: string }
  | { readonly kind: 'guard'; readonly process: ProcessIdentity }
  /** Failover that is held off. */
  | { readonly kind: 'failover'; readonly token: HoldOffToken }
  /** A mirror that is taken apart, and its servers' disks; the newest of a run counts. */
  | { readonly kind: 'split'; readonly work: SplitWork }
  /** A point that is no point any more, whose disk's snapshots are to follow it. */
  | { readonly kind: 'forgotten'; readonly forgotten: ForgottenSplit }
  | { readonly kind: 'snapshot'; readonly ref: SnapshotRef }
  /** Ours to remove, whatever became of the run: staging, work, a drill's copy. */
  | { readonly kind: 'directory'; readonly path: string }
  /** What the run makes for its user, and what it moved aside for it: undone only if the run did not commit. */
  | { readonly kind: 'target'; readonly path: string }
  | { readonly kind: 'renamed'; readonly from: string; readonly to: string; readonly member?: string };

export type JournalRecord =
  | {
      readonly type: 'run';
      readonly runId: string;
      readonly flow: string;
      readonly workload: string;
      readonly process: ProcessIdentity;
      readonly at: string;
    }
  | { readonly type: 'intent'; readonly step: string; readonly traces: readonly Trace[]; readonly at: string }
  | { readonly type: 'done'; readonly step: string; readonly at: string }
  /** What came before is real from here on: `recover` cleans up after it and undoes nothing of it. */
  | { readonly type: 'committed'; readonly step: string; readonly at: string }
  | { readonly type: 'undone'; readonly step: string; readonly at: string }
  | { readonly type: 'end'; readonly outcome: Outcome | 'recovered'; readonly at: string };

/** The intent journal of one run: a line a record, each with its CRC-32, each durable when `append` returns. */
export interface RunJournal {
  readonly file: string;
  append(record: JournalRecord): Promise<void>;
  close(): Promise<void>;
}

export interface RunHistory {
  readonly file: string;
  readonly records: readonly JournalRecord[];
  /** A last line that was being written when its process or the power died. */
  readonly torn: boolean;
}

const suffix = '.journal';

export function journalDirectory(stateDirectory: string): string {
  return join(stateDirectory, 'runs');
}

export async function openJournal(stateDirectory: string, runId: string): Promise<RunJournal> {
  const directory = journalDirectory(stateDirectory);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return await appendTo(join(directory, runId + suffix), directory);
}

/** Continues a dead run's journal, for `recover`. A torn last line is ended first, so that the next record starts on its own. */
export async function continueJournal(history: RunHistory, stateDirectory: string): Promise<RunJournal> {
  const journal = await appendTo(history.file, journalDirectory(stateDirectory));
  if (history.torn) await journal.append({ type: 'undone', step: '(torn line)', at: history.records[0]?.at ?? '' });
  return journal;
}

async function appendTo(file: string, directory: string): Promise<RunJournal> {
  const handle = await open(file, 'a', 0o600);
  await syncDirectory(directory);
  return new FileJournal(file, handle);
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

class FileJournal implements RunJournal {
  readonly file: string;
  readonly #handle: FileHandle;
  #first = true;

  constructor(file: string, handle: FileHandle) {
    this.file = file;
    this.#handle = handle;
  }

  async append(record: JournalRecord): Promise<void> {
    // A newline in front ends whatever a dead process left unfinished on the last line.
    const lead = this.#first && (await this.#handle.stat()).size > 0 ? '\n' : '';
    this.#first = false;
    try {
      await this.#handle.writeFile(`${lead}${encode(record)}\n`);
      await this.#handle.sync();
    } catch (error) {
      throw new StillpointError('io', `the intent journal cannot be written: ${messageOf(error)}`, {
        hint: `free space on the disk of ${this.file}; nothing is frozen without a journal`,
        cause: error,
      });
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

export function encode(record: JournalRecord): string {
  const text = JSON.stringify(record);
  return `${crc32(text).toString(16).padStart(8, '0')} ${text}`;
}

/** Undefined for a line whose checksum does not fit. */
export function decode(line: string): JournalRecord | undefined {
  const text = line.slice(9);
  if (line[8] !== ' ' || crc32(text).toString(16).padStart(8, '0') !== line.slice(0, 8)) return undefined;
  // Written by `encode` of this same version: the checksum proves it whole.
  return JSON.parse(text) as JournalRecord;
}

/**
 * A bad last line is a torn write: its record was never acted on, for acting comes after the sync. A bad line before that means
 * damage, and guessing around it could leave something frozen.
 */
export function parseJournal(file: string, text: string): RunHistory {
  const lines = text.split('\n').filter((line) => line !== '');
  const records: JournalRecord[] = [];
  let bad: number | undefined;
  for (const [index, line] of lines.entries()) {
    const record = decode(line);
    if (record === undefined) {
      bad ??= index;
      continue;
    }
    const recoveredAfterTear = record.type === 'undone' && record.step === '(torn line)';
    if (bad !== undefined && !recoveredAfterTear && bad !== index) {
      throw new StillpointError('journal-corrupt', `line ${bad + 1} of the intent journal ${file} is damaged`, {
        hint: `ask the engine itself whether it is frozen (docs/guide/recover.md says how); when it is not, \`stillpoint recover --discard ${file}\` sets the journal aside`,
        details: { file, line: bad + 1 },
      });
    }
    if (recoveredAfterTear) bad = undefined;
    records.push(record);
  }
  return { file, records, torn: bad !== undefined };
}

export async function readJournals(
  stateDirectory: string,
): Promise<{ readonly runs: readonly RunHistory[]; readonly damaged: readonly StillpointError[] }> {
  const directory = journalDirectory(stateDirectory);
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return { runs: [], damaged: [] };
    throw new StillpointError('io', `the journals in ${directory} cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const runs: RunHistory[] = [];
  const damaged: StillpointError[] = [];
  for (const name of names.filter((each) => each.endsWith(suffix)).sort()) {
    const file = join(directory, name);
    try {
      runs.push(parseJournal(file, await readFile(file, 'utf8')));
    } catch (error) {
      if (!(error instanceof StillpointError)) throw error;
      damaged.push(error);
    }
  }
  return { runs, damaged };
}

/** Every run that this state directory has a journal of: ended, open, damaged or set aside. */
export async function knownRuns(stateDirectory: string): Promise<ReadonlySet<string>> {
  const names = await readdir(journalDirectory(stateDirectory)).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  });
  return new Set(names.flatMap((name) => (name.includes(suffix) ? [name.slice(0, name.indexOf(suffix))] : [])));
}

/** Sets a damaged journal aside under another name; nothing is deleted. */
export async function setAside(file: string): Promise<string> {
  const aside = `${file}.damaged`;
  await rename(file, aside);
  return aside;
}

export function isCommitted(history: RunHistory): boolean {
  return history.records.some((record) => record.type === 'committed');
}

/** Ended runs are a diary; the newest are kept. Runs that have not ended are never touched. */
export async function pruneJournals(stateDirectory: string, keep: number): Promise<void> {
  const { runs } = await readJournals(stateDirectory);
  const ended = runs.filter(isOver);
  for (const history of ended.slice(0, Math.max(0, ended.length - keep))) await rm(history.file, { force: true });
}

export function isOver(history: RunHistory): boolean {
  return history.records.some((record) => record.type === 'end');
}
