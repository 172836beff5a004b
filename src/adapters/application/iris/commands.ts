import { StillpointError } from '../../../model/errors.ts';

export type Argv = readonly [string, ...string[]];

/** How an instance's machine is spoken to. */
export interface Tool {
  readonly kind: 'iris' | 'ccontrol';
  /** `iris` or `ccontrol`, and `csession` beside the latter. */
  readonly program: string;
  readonly session: string;
  /** Operating-system user to run as, by `runuser`; the own user if undefined. */
  readonly user: string | undefined;
}

function as(tool: Tool, argv: Argv): Argv {
  return asUser(tool.user, argv);
}

/** `runuser` keeps the user's groups, which the instance's own group is one of; it needs root. */
export function asUser(user: string | undefined, argv: Argv): Argv {
  return user === undefined ? argv : ['runuser', '-u', user, '--', ...argv];
}

/**
 * A string literal of ObjectScript. Control characters have no place in any of ours: on standard input a line end would begin a new
 * command.
 */
export function quoted(text: string): string {
  if (/\p{Cc}|\p{Zl}|\p{Zp}/u.test(text)) {
    throw new StillpointError('config-invalid', `${JSON.stringify(text)} holds a control character`, {
      hint: 'correct the path or name in the configuration',
    });
  }
  return `"${text.replaceAll('"', '""')}"`;
}

/** An instance name as the programs take it; never an option. */
export function instanceName(name: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) {
    throw new StillpointError('config-invalid', `${JSON.stringify(name)} is no name of an instance`, {
      hint: 'use a name that `iris list` prints',
    });
  }
  return name;
}

/** One class method or routine as the command's argument: the form whose exit codes 5 and 3 are documented. */
export function methodArgv(tool: Tool, instance: string, expression: string): Argv {
  return [...scriptArgv(tool, instance), expression];
}

/** A session that takes its commands from standard input. Never with a terminal: there is nobody to answer a prompt. */
export function scriptArgv(tool: Tool, instance: string): Argv {
  const session: Argv = tool.kind === 'iris' ? [tool.program, 'session'] : [tool.session];
  return as(tool, [...session, instanceName(instance), '-U%SYS']);
}

export function qlistArgv(tool: Tool): Argv {
  return as(tool, [tool.program, 'qlist']);
}

export function listArgv(tool: Tool): Argv {
  return as(tool, [tool.program, 'list']);
}

/** `stat INST -W` resumes the write daemon without a login; other letters only look. */
export function statArgv(tool: Tool, instance: string, ...options: readonly string[]): Argv {
  return as(tool, [tool.program, 'stat', instanceName(instance), ...options]);
}

/** Neither asks anything then. A stop of a mirror member leaves the others to take over if they must. */
export function lifecycleArgv(tool: Tool, verb: 'start' | 'stop', instance: string): Argv {
  return as(tool, [tool.program, verb, instanceName(instance), 'quietly']);
}

export interface FreezeRequest {
  readonly log: string;
  /** Text of the journal marker. */
  readonly text: string;
  readonly switchJournal: boolean;
  /** ExternalFreezeTimeOut: from then on the engine makes updating processes wait. */
  readonly freezeTimeoutS: number;
  /** Undefined only for releases that have no such argument. */
  readonly wdSuspendLimitS: number | undefined;
}

/** User name and password (8, 9) stay empty: then ExternalThaw needs none, and none stands in a list of processes. */
export function freezeExpression(request: FreezeRequest): string {
  const { log, text, switchJournal, freezeTimeoutS, wdSuspendLimitS } = request;
  const limit = wdSuspendLimitS === undefined ? '' : `,,,${seconds(wdSuspendLimitS)}`;
  const switching = switchJournal ? '1' : '0';
  return `##class(Backup.General).ExternalFreeze(${quoted(log)},${quoted(text)},${switching},,,,${seconds(freezeTimeoutS)}${limit})`;
}

function seconds(value: number): string {
  if (!Number.isInteger(value) || value < 1) throw new Error(`${value} is no number of seconds`);
  return String(value);
}

export function thawExpression(log: string): string {
  return `##class(Backup.General).ExternalThaw(${quoted(log)})`;
}

export const suspendedExpression = '##class(Backup.General).IsWDSuspendedExt()';

/** Answers of scripts come as `SP:name=value`, so that prompts and banners cannot be taken for them. */
export function say(name: string, expression: string): string {
  return `write !,"SP:${name}=",${expression},!`;
}

/**
 * What must be known before a freeze. One command a line: a line that fails (an older release without the class) costs only its own
 * answer. `databases`: directories whose journaling is asked for.
 */
export function questions(databases: readonly string[]): readonly string[] {
  return [
    say('version', '$zversion'),
    say('journal', '##class(%SYS.Journal.System).GetStateString()'),
    say('suspended', '##class(Backup.General).IsWDSuspended()'),
    say('mirror', '$SYSTEM.Mirror.GetStatus()'),
    say('member', '$SYSTEM.Mirror.IsMember()'),
    say('ready', '$listtostring(##class(SYS.Mirror).IsFailoverReady(60),"|")'),
    say('latency', '##class(SYS.Mirror).DatabasesLatency()'),
    say('formal', '##class(%Dictionary.CompiledMethod).%OpenId("Backup.General||ExternalFreeze").FormalSpec'),
    `set spsc=##class(%SYS.Journal.File).RequiredForRollback(.spfile) ${say('required', 'spfile')}`,
    ...databases.map((directory) =>
      say(
        'journaled',
        `##class(SYS.Database).%OpenId(${quoted(withSlash(directory))}).GlobalJournalState,"=",${quoted(directory)}`,
      ),
    ),
    'halt',
  ];
}

/** Mounts each copy read-only, checks it, prints the report, and dismounts. */
export function integrityScript(directories: readonly string[], partial: boolean): readonly string[] {
  const dirs = directories.map((directory) => quoted(withSlash(directory)));
  return [
    ...dirs.map(
      (directory) =>
        `set spsc=##class(SYS.Database).MountDatabase(${directory},1) ${say('mounted', `spsc,"=",${directory}`)}`,
    ),
    `set spsc=$$CheckList^Integrity(,$listbuild(${dirs.join(',')}),0,,1,${partial ? '1' : '0'})`,
    say('integrity', '$system.Status.IsOK(spsc)'),
    'do Display^Integrity(,0)',
    ...dirs.map((directory) => `set spsc=##class(SYS.Database).DismountDatabase(${directory})`),
    'halt',
  ];
}

export function withSlash(directory: string): string {
  return directory.endsWith('/') ? directory : `${directory}/`;
}

/** Counts for the engine's journal purge. */
export function historyScript(description: string): readonly string[] {
  return [
    `set spsc=##class(Backup.General).ExternalSetHistory("",${quoted(description)})`,
    say('history', '$system.Status.IsOK(spsc)'),
    'halt',
  ];
}

export function switchScript(): readonly string[] {
  return [
    'set spsc=##class(%SYS.Journal.System).SwitchFile()',
    say('switched', '$system.Status.IsOK(spsc)'),
    say('current', '##class(%SYS.Journal.System).GetCurrentFileName()'),
    'halt',
  ];
}

/** What the engine itself still needs, and the file that it writes to. */
export function neededScript(): readonly string[] {
  const file = '##class(%SYS.Journal.File)';
  return [
    `set spsc=${file}.RequiredForRollback(.spfile) ${say('rollback', 'spfile')}`,
    `set spsc=${file}.RequiredForRecovery(.spfile) ${say('recovery', 'spfile')}`,
    say('current', '##class(%SYS.Journal.System).GetCurrentFileName()'),
    'halt',
  ];
}

/** PurgeOne does not look for open transactions by itself: whoever calls this has asked `neededScript`. */
export function purgeScript(path: string): readonly string[] {
  return [
    `set spsc=##class(%SYS.Journal.File).PurgeOne(${quoted(path)})`,
    say('purged', '$system.Status.IsOK(spsc)'),
    'halt',
  ];
}

export interface RollForward {
  readonly directory: string;
  readonly first: string;
  readonly last: string;
  /** Directories as the journal names them, and where the copies lie. */
  readonly databases: readonly { readonly source: string; readonly target: string }[];
}

/**
 * Journal.Restore on other directories. A redirection works only for databases that SelectUpdates names, and an update that cannot
 * be applied must end it: by default the class passes over such databases.
 */
export function rollForwardScript({ directory, first, last, databases }: RollForward): readonly string[] {
  const pairs = databases.map(({ source, target }) => ({
    source: quoted(withSlash(source)),
    target: quoted(withSlash(target)),
  }));
  return [
    ...pairs.map(({ target }) => `set spsc=##class(SYS.Database).MountDatabase(${target},0)`),
    'set spr=##class(Journal.Restore).%New()',
    `set spr.FirstFile=${quoted(first)}`,
    `set spr.LastFile=${quoted(last)}`,
    // No journal log: it would name the files of this instance.
    'set spr.JournalLog=-1',
    'set spr.AbortOnJournalError=1',
    'set spr.AbortOnDatabaseError=1',
    `do spr.UseJournalLocation(${quoted(withSlash(directory))})`,
    ...pairs.flatMap(({ source, target }) => [
      `do spr.RedirectDatabase(${source},${target})`,
      `do spr.SelectUpdates(${source})`,
    ]),
    'set spsc=spr.CheckJournalIntegrity(1)',
    say('checked', '$system.Status.IsOK(spsc)'),
    'set spsc=spr.Run()',
    say('ran', '$system.Status.IsOK(spsc)'),
    ...pairs.map(({ target }) => `set spsc=##class(SYS.Database).DismountDatabase(${target})`),
    'halt',
  ];
}

/** `iris freeze` and `iris thaw` (exit 0 and 1). They take neither a limit nor a log file, so no hold of ours uses them. */
export function verbArgv(tool: Tool, verb: 'freeze' | 'thaw', instance: string, timeoutS?: number): Argv {
  const timeout = timeoutS === undefined ? [] : [`timeout=${seconds(timeoutS)}`];
  return as(tool, [tool.program, verb, instanceName(instance), ...timeout]);
}

/** Where a Windows command line will stand: in a .cmd file `%` begins a parameter and must be doubled, elsewhere it must not. */
export type WindowsPlace = 'cmd-file' | 'prompt';

/**
 * The text of a command line for Windows, where `irisdb.exe` is called with the manager's directory. Only text: the adapter itself runs on
 * Unix. String arguments need three double quotes (class reference of Backup.General).
 */
export function windowsLine(binary: string, manager: string, expression: string, place: WindowsPlace): string {
  for (const path of [binary, manager]) {
    if (/["%]|\p{Cc}/u.test(path)) {
      throw new StillpointError('config-invalid', `${JSON.stringify(path)} cannot stand in a command line`, {
        hint: 'use the short (8.3) form of the path',
      });
    }
  }
  const percent = place === 'cmd-file' ? '%%' : '%';
  const escaped = expression.replaceAll('%', percent).replaceAll('"', '"""');
  return `"${binary}" -s"${manager.replace(/\\+$/, '')}" -U${percent}SYS ${escaped}`;
}

/** ERRORLEVEL n means n or more, so 5 comes before 3, and 6 before 5: a larger code is no success. */
export function windowsExitLines(): readonly string[] {
  return [
    'if errorlevel 6 goto UNKNOWN',
    'if errorlevel 5 goto YES',
    'if errorlevel 4 goto UNKNOWN',
    'if errorlevel 3 goto NO',
    'goto UNKNOWN',
  ];
}
