import { quoted, say, withSlash } from './commands.ts';

/** Types of `$$INT^DBSIZE`; the menu of ^DBSIZE counts differently. */
const sizeTypes = { incremental: 1, full: 2, cumulative: 3 } as const;

export function sizeScript(
  levels: readonly (keyof typeof sizeTypes)[] = ['incremental', 'full', 'cumulative'],
): readonly string[] {
  return [...levels.map((level) => say(level, `$$INT^DBSIZE(${sizeTypes[level]})`)), 'halt'];
}

const levelLetters = { full: 'F', cumulative: 'C', incremental: 'I' } as const;

export interface OnlineCall {
  readonly level: keyof typeof levelLetters;
  readonly description: string;
  readonly output: string;
  readonly log: string;
  readonly switchJournal: boolean;
}

/** NOINPUT: a question (another volume, an existing file) ends the backup instead of waiting for an answer that nobody gives. */
export function onlineScript(call: OnlineCall): readonly string[] {
  const yes = call.switchJournal ? '"Y"' : '"N"';
  const args = [
    '""',
    `"${levelLetters[call.level]}"`,
    quoted(call.description),
    quoted(call.output),
    yes,
    quoted(call.log),
  ];
  return [`set spx=$$BACKUP^DBACK(${[...args, '"NOINPUT"', '"N"', yes].join(',')})`, say('backup', 'spx'), 'halt'];
}

/** Records a full that was made by other means: bitmaps stay as they are (type E). */
export function externalScript(description: string): readonly string[] {
  return [`set spx=$$BACKUP^DBACK("","E",${quoted(description)},"","","")`, say('external', 'spx')];
}

/** Clears the bitmaps and deletes the history, so that every full of before is no ground for a level any more. */
export function clearScript(): readonly string[] {
  return ['set spx=$$CLRINC^DBACK("QUIET")', say('cleared', 'spx')];
}

/** Backups that are listed; one of ours is the newest or next to it, unless others are at work. */
const historyLength = 50;

/**
 * What the engine remembers of its backups, newest first: the class reference gives the form of the subscript (`GetBackupVolumeInfo`), the
 * manual says that the description is kept there.
 */
export function memoryScript(): readonly string[] {
  const global = '^SYS("BUHISTORY",spi';
  return [
    say('full', '$listtostring(##class(Backup.General).GetLastFullBackupInfo(),"|")'),
    say('abort', '##class(Backup.General).GetAbortStatus()'),
    // One line: what fails in the middle of it does not come to its last words.
    `set spi="" for spn=1:1:${historyLength} { set spi=$order(${global}),-1)  quit:spi<1  write !,"SP:history=",spi,"=",$get(${global},"DESC")),! } ${say('walked', '1')}`,
  ];
}

/** Databases of which the next backup must be a full (GFNOBACKUP): a new file, or a bitmap that is damaged. */
export function flagScript(directories: readonly string[]): readonly string[] {
  return directories.map((directory) => {
    const name = quoted(withSlash(directory));
    return `set spsc=##class(Backup.General).GetDBNoBackupFlag(${name},.spf) ${say('flag', `spf,"=",${name}`)}`;
  });
}

/** The databases that a backup of the list would hold, written by the engine into a file of ours. */
export function listScript(file: string): readonly string[] {
  return [`do LISTDIRS^DBACK(${quoted(file)},"QUIET")`];
}

const labelKeys = {
  date: 'BackupDate',
  time: 'BackupTime',
  type: 'BackupType',
  began: 'BackupTimeDH',
  prevdate: 'PrevBackupDate',
  prevtime: 'PrevBackupTime',
  prevtype: 'PrevBackupType',
  fulldate: 'LastFullBackupDate',
  fulltime: 'LastFullBackupTime',
  description: 'Description',
} as const;

/** The label of a backup file, which the engine wrote into it. */
export function labelScript(file: string): readonly string[] {
  const directory = 'spv("Database",spi,"Directory")';
  return [
    'kill spv',
    `set spsc=##class(Backup.General).GetBackupVolumeInfo(${quoted(file)},.spv)`,
    ...Object.entries(labelKeys).map(([name, key]) => say(name, `$get(spv("${key}"))`)),
    `for spi=1:1:9999 { quit:'$data(${directory})  write !,"SP:directory=",${directory},! }`,
  ];
}

export const abortScript: readonly string[] = [say('aborted', '##class(Backup.General).AbortBackup()'), 'halt'];

export const clearAbortScript: readonly string[] = [
  say('cleared', '##class(Backup.General).ClearAbortStatus()'),
  'halt',
];

export interface RestoreCall {
  readonly file: string;
  /** Lines `source,target,Y`; the engine deletes it at the end. */
  readonly list: string;
  readonly targets: readonly string[];
  /** A level goes on top of databases that are there and mounted; a full makes them. */
  readonly mount: boolean;
}

/** Restores, looks at the pointers of what came of it, and dismounts, so that no lock file stays with the copy. */
export function restoreScript(call: RestoreCall): readonly string[] {
  const targets = call.targets.map((target) => quoted(withSlash(target)));
  const all = `$listbuild(${targets.join(',')})`;
  return [
    ...(call.mount ? targets.map((each) => `set spsc=##class(SYS.Database).MountDatabase(${each},0)`) : []),
    // 4: no journal; rolling forward is a step of its own.
    `set spx=$$EXTSELCT^DBREST(1,0,${quoted(call.file)},${quoted(call.list)},4,"","")`,
    say('restore', 'spx'),
    ...targets.map((each) => say('mounted', `##class(SYS.Database).%OpenId(${each}).Mounted,"=",${each}`)),
    `set spsc=$$CheckList^Integrity(,${all},0,,1,1)`,
    say('integrity', '$system.Status.IsOK(spsc)'),
    'do Display^Integrity(,0)',
    ...targets.map((each) => `set spsc=##class(SYS.Database).DismountDatabase(${each})`),
    'halt',
  ];
}
