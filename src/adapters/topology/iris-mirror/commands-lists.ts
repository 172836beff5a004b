import { type Argv, asUser, quoted, type Tool } from './commands.ts';

/** The configuration as it stands in the file. 4 MB are more than any has. */
export function cpfArgv(tool: Tool, path: string): Argv {
  return asUser(tool.user, ['cat', '--', path]);
}

export function existsArgv(tool: Tool, path: string): Argv {
  return asUser(tool.user, ['stat', '-c', 'exists', '--', path]);
}

/** A list that a session can give, by the word that begins its lines. */
export interface ListQuestion {
  /** Lines are `SP:<word>=...`, their count `SP:<word>s=`. */
  readonly word: string;
  /** Names of the fields behind the item's own name, in the order of their columns. */
  readonly fields: readonly string[];
  readonly script: string;
}

/** One value on one line: what parts columns, and line ends, must not come from inside it. */
const clean = (expression: string): string => `$translate(${expression},"^"_$char(10,13),"   ")`;

function rows(word: string, open: string, perRow: string, columns: readonly string[]): string {
  const fields = columns.map((column) => `"^",${clean(column)}`).join(',');
  return [
    `${open} set spn=0 set spbad=0`,
    `while sprs.Next() { set spn=spn+1 ${perRow} write !,"SP:${word}=",spn,${fields},! }`,
    // One definition that could not be read must not pass for an empty one.
    `if $system.Status.IsOK(spsc)&&(spbad=0) { write !,"SP:${word}s=",spn,! }`,
  ].join(' ');
}

/** Names by the class's own query, definitions one by one by its `Get`: the queries lack most columns, and differ between releases. */
function security(word: string, className: string, fields: readonly string[]): ListQuestion {
  const open = `set sprs=##class(%ResultSet).%New(${quoted(`${className}:List`)}) set spsc=sprs.Execute("*")`;
  const perRow = [
    'set spk=sprs.Get("Name") kill spp',
    `set spok=##class(${className}).Get(spk,.spp)`,
    "if '$system.Status.IsOK(spok) { set spbad=1 }",
  ].join(' ');
  const columns = ['spk', ...fields.map((field) => `$get(spp(${quoted(field)}))`)];
  return { word, fields, script: rows(word, open, perRow, columns) };
}

const taskColumns = [
  ...['TaskClass', 'NameSpace', 'Suspended', 'MirrorStatus', 'TimePeriod', 'TimePeriodEvery'],
  ...['DailyFrequency', 'DailyIncrement', 'DailyStartTime'],
] as const;

/** `Settings` of a task may hold anything, also passwords: it is not asked for. */
function tasks(): ListQuestion {
  const sql = `SELECT Name,${taskColumns.join(',')} FROM %SYS.Task`;
  const open = [
    'set sprs=##class(%ResultSet).%New("%DynamicQuery:SQL")',
    `set spsc=sprs.Prepare(${quoted(sql)})`,
    'if $system.Status.IsOK(spsc) { set spsc=sprs.Execute() }',
  ].join(' ');
  const columns = ['Name', ...taskColumns].map((_, at) => `sprs.GetData(${at + 1})`);
  return { word: 'task', fields: taskColumns, script: rows('task', open, '', columns) };
}

/** Never a password, its hash or its salt: those are not asked for, so that they cannot be printed. */
export const questions = {
  users: security('user', 'Security.Users', ['Enabled', 'Roles', 'NameSpace', 'Routine', 'ExpirationDate']),
  roles: security('role', 'Security.Roles', ['Resources', 'GrantedRoles']),
  resources: security('resource', 'Security.Resources', ['PublicPermission', 'Type']),
  services: security('service', 'Security.Services', ['Enabled', 'AutheEnabled', 'ClientSystems']),
  'web-applications': security('application', 'Security.Applications', [
    ...['Enabled', 'NameSpace', 'DispatchClass', 'Path', 'AutheEnabled', 'MatchRoles', 'Resource'],
  ]),
  tasks: tasks(),
} as const satisfies Readonly<Record<string, ListQuestion>>;

function mirroredRows(mirror: string): string {
  const open = `set sprs=##class(%ResultSet).%New("SYS.Mirror:MirroredDatabaseList") set spsc=sprs.Execute("*",${quoted(mirror)})`;
  // By number: the headings are not the same in all releases.
  return rows('mirrored', open, '', ['sprs.GetData(1)', 'sprs.GetData(2)']);
}

/** What is mirrored, and where journals lie. */
export function catalogueScript(mirror: string, nonce: string): readonly string[] {
  return [
    mirroredRows(mirror),
    'write !,"SP:journals=",##class(%SYS.Journal.System).GetPrimaryDirectory(),!',
    'write !,"SP:alternate=",##class(%SYS.Journal.System).GetAlternateDirectory(),!',
    `write !,"SP:end=",${quoted(nonce)},!`,
    'halt',
  ];
}

/** One list a line: an older release without a class loses that list only. */
export function listsScript(mirror: string, nonce: string): readonly string[] {
  return [
    'write !,"SP:primary=",$SYSTEM.Mirror.IsPrimary(),!',
    ...Object.values(questions).map(({ script }) => script),
    mirroredRows(mirror),
    `write !,"SP:end=",${quoted(nonce)},!`,
    'halt',
  ];
}
