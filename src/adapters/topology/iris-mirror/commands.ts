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

/** `runuser` keeps the user's groups, which the instance's own group is one of; it needs root. */
export function asUser(user: string | undefined, argv: Argv): Argv {
  return user === undefined ? argv : ['runuser', '-u', user, '--', ...argv];
}

/** One instance only: another one of that machine that hangs may hang the whole list. */
export function qlistArgv(tool: Tool, instance: string): Argv {
  return asUser(tool.user, [tool.program, 'qlist', instance]);
}

/** A session that takes its commands from standard input. Never with a terminal: there is nobody to answer a prompt. */
export function sessionArgv(tool: Tool, instance: string): Argv {
  const session: Argv = tool.kind === 'iris' ? [tool.program, 'session'] : [tool.session];
  return asUser(tool.user, [...session, instance, '-U%SYS']);
}

/** The newest part of a log: it may be as large as MaxConsoleLogSize, 5 MB by default. */
export function tailArgv(tool: Tool, path: string): Argv {
  return asUser(tool.user, ['tail', '-c', '524288', '--', path]);
}

export function spaceArgv(tool: Tool, directory: string): Argv {
  return asUser(tool.user, ['df', '-P', '-k', '--', directory]);
}

/** A string literal of ObjectScript. A line end on standard input would begin a new command. */
export function quoted(text: string): string {
  if (/\p{Cc}|\p{Zl}|\p{Zp}/u.test(text)) {
    throw new StillpointError('config-invalid', `${JSON.stringify(text)} holds a control character`, {
      hint: 'correct the name in the configuration',
    });
  }
  return `"${text.replaceAll('"', '""')}"`;
}

/** Answers come as lines `SP:name=value`, so that prompts, banners and an echo cannot be taken for them. */
function say(name: string, expression: string): string {
  return `write !,"SP:${name}=",${expression},!`;
}

/** Rows of a class query, numbered and counted: a list that was cut off somewhere must not pass for a whole one. */
function sayRows(name: string, query: string, argument: string, columns: readonly string[]): string {
  const fields = columns.map((column) => `"^",sprs.${column}`).join(',');
  return [
    `set sprs=##class(%ResultSet).%New(${quoted(query)})`,
    `set spsc=sprs.Execute(${argument})`,
    'set spn=0',
    `while sprs.Next() { set spn=spn+1 write !,"SP:${name}=",spn,${fields},! }`,
    `if $system.Status.IsOK(spsc) { ${say(`${name}s`, 'spn')} }`,
  ].join(' ');
}

/** A value of ours beside the engine's flag, which has no owner. Globals in %SYS that begin with Z survive an upgrade. */
function markGlobal(mirror: string): string {
  return `^ZSTILLPOINT("holdoff",${quoted(mirror)})`;
}

/** Where the engine keeps that failover is held off, its timeout and its arbiter. `variable` takes them. */
function readSettings(mirror: string, variable: string): string {
  return `set spsc=##class(Config.Mirrors).Get(${quoted(mirror)},.${variable})`;
}

function saySettings(mirror: string, variable: string): string {
  return [
    readSettings(mirror, variable),
    say('settings', '$system.Status.IsOK(spsc)'),
    say('heldoff', `$get(${variable}("DefinedPrimary"))`),
    say('mark', `$get(${markGlobal(mirror)})`),
  ].join(' ');
}

/** English words for whatever is translated. A release without that language or class goes on in its own. */
const inEnglish = 'set splang=##class(%MessageDictionary).SetSessionLanguage("en")';

/**
 * What a member is asked. One command a line: a line that fails (an older release without the class) costs only its own answers.
 * `nonce` proves at the end that the session came through.
 */
export function viewScript(mirror: string, nonce: string): readonly string[] {
  const name = quoted(mirror);
  const system = '$SYSTEM.Mirror';
  const member = '##class(SYS.Mirror)';
  return [
    inEnglish,
    say('member', `${system}.IsMember()`),
    say('mirrors', `$listtostring(${system}.GetMirrorNames(),"^")`),
    say('primary', `${system}.IsPrimary()`),
    say('backup', `${system}.IsBackup()`),
    say('async', `${system}.IsAsyncMember()`),
    say('status', `${system}.GetStatus(${name})`),
    say('type', `${system}.GetMemberType()`),
    say('detail', `$listget(${system}.GetMemberStatus(${name}),2)`),
    `set spsc=##class(Config.MirrorMember).Get(.spm) ${say('self', '$get(spm("SystemName"))')}`,
    saySettings(mirror, 'spp'),
    say('qos', '$get(spp("QOSTimeout"))'),
    say('arbiter', '$get(spp("ArbiterNode"))'),
    [
      `set spsc=${member}.GetFailoverMemberStatus(.spt,.spo)`,
      say('this', '$listget(spt,1)_"^"_$listget(spt,3)_"^"_$listget(spt,4)'),
      say('other', '$listget(spo,1)_"^"_$listget(spo,3)_"^"_$listget(spo,4)'),
    ].join(' '),
    // As late as can be: lag is judged apart, and would hide the rest.
    `set spr=${member}.IsFailoverReady(999999999) ${say('ready', '$listget(spr,1)_"^"_$listget(spr,2)')}`,
    say('transfer', `${member}.JournalFilesLatency(${name})`),
    say('apply', `${member}.DatabasesLatency(${name})`),
    say('dejournal', `${member}.AsyncDejournalStatus(${name})`),
    sayRows(
      'row',
      'SYS.Mirror:MemberStatusList',
      name,
      [1, 2, 3, 4, 5, 6, 7, 8, 9].map((column) => `GetData(${column})`),
    ),
    sayRows('database', 'SYS.Mirror:MirroredDatabaseList', `"*",${name}`, ['Get("Name")', 'Get("MirrorStatus")']),
    sayRows('missing', 'SYS.Mirror:MissingMirroredDatabases', name, ['GetData(1)']),
    say('journals', '##class(%SYS.Journal.System).GetPrimaryDirectory()'),
    say('manager', '$SYSTEM.Util.ManagerDirectory()'),
    say('now', '$zdatetime($horolog,3)'),
    say('end', quoted(nonce)),
    'halt',
  ];
}

/** Whether failover is held off, and by whom. `clock` is the instance's own, in seconds. */
export function flagScript(mirror: string, nonce: string): readonly string[] {
  return [
    say('member', '$SYSTEM.Mirror.IsMember()'),
    say('clock', clock),
    saySettings(mirror, 'spp'),
    say('end', quoted(nonce)),
    'halt',
  ];
}

const clock = '+$horolog*86400+$piece($horolog,",",2)';

/** Which hold was let go last here: a session of it that comes late must do nothing any more. */
function overGlobal(mirror: string): string {
  return `^ZSTILLPOINT("over",${quoted(mirror)})`;
}

/**
 * Lines under the engine's lock, which ends with the session. A session goes on when its client is killed: without a lock it could set the
 * flag after it was let go.
 */
function locked(mirror: string, nonce: string, lines: readonly string[]): readonly string[] {
  return [
    `lock +${markGlobal(mirror)}:5 set spgot=$test ${say('locked', 'spgot')}`,
    ...lines.map((line) => `if spgot=1 { ${line} }`),
    saySettings(mirror, 'spp'),
    say('end', quoted(nonce)),
    'halt',
  ];
}

export interface HoldOffRequest {
  readonly mirror: string;
  /** Of the token. */
  readonly identity: string;
  readonly mark: string;
  /** By the clock of the instance, in seconds: a session that gets a login later than that does nothing. */
  readonly untilS: number;
}

/**
 * The mark first, in the same line and only where failover is not held off: whoever finds the mark later knows that the flag was free
 * when we set it.
 */
export function holdOffScript(request: HoldOffRequest, nonce: string): readonly string[] {
  const { mirror, identity, mark, untilS } = request;
  const isWanted = `((${clock})<=${untilS})&&($get(${overGlobal(mirror)})'=${quoted(identity)})`;
  const set = [
    `set ${markGlobal(mirror)}=${quoted(mark)}`,
    `set spsc=##class(SYS.Mirror).SetNoFailover(${quoted(mirror)})`,
    say('set', '$system.Status.IsOK(spsc)'),
    say('said', '$system.Status.GetErrorText(spsc)'),
  ].join(' ');
  return locked(mirror, nonce, [
    `${readSettings(mirror, 'spb')} set spok=$system.Status.IsOK(spsc) set spflag=$get(spb("DefinedPrimary")) ${say('before', 'spflag')}`,
    `if (spok=1)&&(spflag="")&&${isWanted} { ${set} }`,
  ]);
}

/** A mark at a member that did not set the flag itself, so that it can be cleared there when the other one dies. */
export function markScript({ mirror, identity, mark, untilS }: HoldOffRequest, nonce: string): readonly string[] {
  const isWanted = `((${clock})<=${untilS})&&($get(${overGlobal(mirror)})'=${quoted(identity)})`;
  return locked(mirror, nonce, [`if ${isWanted} { set ${markGlobal(mirror)}=${quoted(mark)} }`]);
}

/** Notes at a failover member that the hold is over, whether or not it came so far, and says what there is of it. */
export function overScript(mirror: string, identity: string, nonce: string): readonly string[] {
  const member = '$SYSTEM.Mirror.IsMember()';
  return [
    say('member', member),
    ...locked(mirror, nonce, [`if ${member}=1 { set ${overGlobal(mirror)}=${quoted(identity)} }`]),
  ];
}

/**
 * Clears the flag and says what is left of it. `alone`: also where the other failover member cannot be told. Only where the mark is
 * still that one.
 */
export function letGoScript(mirror: string, mark: string, alone: boolean, nonce: string): readonly string[] {
  const clear = [
    `set spsc=##class(SYS.Mirror).ClearNoFailover(${quoted(mirror)},${alone ? '1' : '0'})`,
    say('said', '$system.Status.GetErrorText(spsc)'),
  ].join(' ');
  return locked(mirror, nonce, [`if $get(${markGlobal(mirror)})=${quoted(mark)} { ${clear} }`]);
}

/** Takes the mark away, if it is that one. The flag is left alone. */
export function unmarkScript(mirror: string, mark: string, nonce: string): readonly string[] {
  const global = markGlobal(mirror);
  return locked(mirror, nonce, [`if $get(${global})=${quoted(mark)} { kill ${global} }`]);
}
