export type OnlineLevel = 'full' | 'cumulative' | 'incremental';

/** The log of `BACKUP^DBACK`. */
export interface OnlineLog {
  /** The end mark was written. Without it the file is no backup, whatever the exit code says. */
  readonly finished: boolean;
  /** Updates go on after the last pass, according to the log. False after a pass that suspended the write daemon and said no more. */
  readonly enabled: boolean;
  /** It says so itself that updates go on. */
  readonly resumed: boolean;
  /** Passes that were begun and that were completed. */
  readonly passesBegun: number;
  readonly passes: number;
  /** The last pass began, in which the write daemon is suspended. */
  readonly lastPass: boolean;
  /** What the engine really made, if it said so. */
  readonly made: OnlineLevel | undefined;
  readonly databases: readonly string[];
  readonly blocks: number;
  /** Whole path of the file that rolling back open transactions may need, and where rolling forward begins. */
  readonly requiredFile: string | undefined;
  readonly journalFile: string | undefined;
  readonly markerOffset: string | undefined;
  readonly warnings: readonly string[];
}

export function parseOnlineLog(text: string): OnlineLog {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const warnings: string[] = [];
  const databases = new Set<string>();
  let [passesBegun, passes, blocks, made, requiredFile, journalFile, markerOffset] = [
    0,
    0,
    0,
    undefined as OnlineLevel | undefined,
    undefined as string | undefined,
    undefined as string | undefined,
    undefined as string | undefined,
  ];
  for (const [i, line] of lines.entries()) {
    const next = lines[i + 1] ?? '';
    const copied = /^Copied (\d+) blocks? in /.exec(line);
    const backingUp = /^Backing up (\S.*?) at \d\d\/\d\d\/\d{4} /.exec(line);
    const required = /^Journal file '([^']+)' and the subsequent ones are required/.exec(line);
    const marker = /^offset (\d+) of (\S.*)$/.exec(line);
    if (copied !== null) blocks += Number(copied[1]);
    else if (backingUp !== null) databases.add(backingUp[1] as string);
    else if (required !== null) requiredFile = required[1];
    else if (marker !== null) [markerOffset, journalFile] = [marker[1], marker[2]];
    else if (/^Starting backup pass \d+/.test(line)) passesBegun += 1;
    else if (/^Backup pass \d+ complete/.test(line)) passes += 1;
    else if (/WARNING/.test(line)) warnings.push(`${line} ${next}`.trim());
    else made = levelIn(line) ?? made;
  }
  const has = (mark: string): boolean => lines.some((line) => line.includes(mark));
  return {
    finished: has('***FINISHED BACKUP***') && has('Backup complete.'),
    enabled: !has('Suspending write daemon') || has('Global references are enabled.'),
    resumed: has('Global references are enabled.'),
    passesBegun,
    passes,
    lastPass: has('This is the last pass'),
    made,
    databases: [...databases],
    blocks,
    requiredFile,
    journalFile,
    markerOffset,
    warnings,
  };
}

/** Lines such as `Performing a Full backup.`; they name the level that is made, also where another was asked for. */
function levelIn(line: string): OnlineLevel | undefined {
  const found = /\b(?:Performing|Starting|making|made|is|be)\b.*?\b(full|cumulative|incremental)\b.*\bbackup\b/i.exec(
    line,
  );
  return found === null ? undefined : ((found[1] as string).toLowerCase() as OnlineLevel);
}

/** What `$$BACKUP^DBACK` returns: 0 failed, 1 done, `1,warning~warning` done with warnings. Undefined for anything else. */
export function parseOnlineReturn(
  value: string,
): { readonly done: boolean; readonly warnings: readonly string[] } | undefined {
  const found = /^([01])(?:,(.*))?$/.exec(value.trim());
  if (found === null) return undefined;
  const warnings = (found[2] ?? '').split('~').filter((each) => each !== '');
  return { done: found[1] === '1', warnings };
}

/** `$$INT^DBSIZE`: seven numbers. */
export interface BackupSize {
  readonly blocks: number;
  readonly directories: number;
  readonly mediaBytes: number;
  readonly mediaBlocks: number;
  readonly fileBytes: number;
}

/** Undefined when the engine reported an error (-1 blocks) or said something else. */
export function parseBackupSize(value: string): BackupSize | undefined {
  const pieces = value.trim().split('^');
  if (pieces.length !== 7 || !pieces.every((piece) => /^\d+$/.test(piece))) return undefined;
  const [blocks, directories, mediaBytes, mediaBlocks, fileBytes] = pieces.map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  return { blocks, directories, mediaBytes, mediaBlocks, fileBytes };
}
