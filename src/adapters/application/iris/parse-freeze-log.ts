/** What the log file that was given to ExternalFreeze and ExternalThaw tells, in the order in which it was written. */
export interface FreezeLog {
  /** ExternalFreeze began. */
  readonly begun: boolean;
  /** How often `System suspended` was written. */
  readonly suspended: number;
  /** How often `System resumed` was written. */
  readonly resumed: number;
  /** A thaw found that somebody or something had resumed the system before: what was cut is not valid. */
  readonly alreadyResumed: boolean;
  /** What the last of those marks says; undefined when there is none. */
  readonly state: 'suspended' | 'resumed' | undefined;
  /** The journal file with which rolling forward begins, as the engine writes it (a whole path). */
  readonly journalFile: string | undefined;
  readonly markerOffset: string | undefined;
  /** Directories of databases that are not journaled. */
  readonly notJournaled: readonly string[];
  /** The engine's own count of them, to hold against the list. */
  readonly notJournaledCount: number;
  /** Lines that nobody here knows; errors are among them. */
  readonly unknown: readonly string[];
}

const prefix = /^\d{2}\/\d{2}\/\d{4} \d{2}:\d{2}:\d{2}: Backup\.General\.(\w+): (.*)$/;

/** Never throws; what it does not know stands in `unknown`. */
export function parseFreezeLog(text: string): FreezeLog {
  const log = {
    begun: false,
    suspended: 0,
    resumed: 0,
    alreadyResumed: false,
    state: undefined as FreezeLog['state'],
    journalFile: undefined as string | undefined,
    markerOffset: undefined as string | undefined,
    notJournaled: [] as string[],
    notJournaledCount: 0,
    unknown: [] as string[],
  };
  const lines = text.split(/\r?\n/).map((line) => line.trimEnd());
  for (let i = 0; i < lines.length; i += 1) {
    const line = lines[i] as string;
    const entry = prefix.exec(line);
    if (entry !== null) takeEntry(log, entry[2] as string, line);
    else if (line.startsWith('Journal file switched to:') || line.startsWith('Journal marker set at')) {
      // The value stands behind the words or on the next line.
      const value = /(?:to:|at)\s*(\S.*)$/.exec(line)?.[1] ?? lines[(i += 1)] ?? '';
      const marker = /^offset (\d+) of (.+)$/.exec(value);
      if (marker !== null) log.markerOffset = marker[1];
      else if (line.startsWith('Journal file')) log.journalFile ??= value === '' ? undefined : value;
      else log.unknown.push(`${line} ${value}`.trim());
    } else if (line !== '') log.unknown.push(line);
  }
  return log;
}

function takeEntry(
  log: { -readonly [K in keyof FreezeLog]: FreezeLog[K] } & { notJournaled: string[]; unknown: string[] },
  said: string,
  line: string,
): void {
  const start = /^Start a journal restore for this backup with journal file:\s*(\S.*)$/.exec(said);
  const warned = /^Warning, (\S.*) is not being journall?ed$/.exec(said);
  const counted = /^Warning, (\d+) databases? (?:are|is) not journall?ed/.exec(said);
  if (said === 'Suspending system') log.begun = true;
  else if (said === 'System suspended') {
    log.suspended += 1;
    log.state = 'suspended';
  } else if (said === 'System resumed') {
    log.resumed += 1;
    log.state = 'resumed';
  } else if (/already resumed/i.test(said)) {
    log.alreadyResumed = true;
    log.state = 'resumed';
  } else if (start !== null) log.journalFile = start[1];
  else if (counted !== null) log.notJournaledCount = Number(counted[1]);
  else if (warned !== null) log.notJournaled.push(warned[1] as string);
  else if (said !== 'Resuming system') log.unknown.push(line);
}
