/** A row of MemberStatusList, in the words of the session's language. */
export interface MemberRow {
  readonly name: string;
  readonly role: string;
  readonly status: string;
  readonly journalLatency: string;
  readonly databaseLatency: string;
  readonly journalTime: string;
  readonly databaseTime: string;
  readonly displayType: string;
  readonly displayStatus: string;
}

/** One of the two failover members, of GetFailoverMemberStatus. */
export interface PairMember {
  readonly name: string;
  readonly role: string;
  readonly status: string;
}

/** What an instance said in one session. A name that is not there was not answered. */
export interface Answers {
  /** The session came to its end: what is missing was refused or does not exist, and did not get lost. */
  readonly complete: boolean;
  readonly values: ReadonlyMap<string, string>;
  /** Undefined: not answered, or not wholly. */
  readonly rows: readonly MemberRow[] | undefined;
  readonly databases: readonly { readonly name: string; readonly status: string }[] | undefined;
  readonly missing: readonly string[] | undefined;
}

/** Never throws: what is not understood is not answered. */
export function parseAnswers(output: string, nonce: string): Answers {
  const values = new Map<string, string>();
  const lists = new Map<string, string[]>();
  for (const line of output.split(/\r?\n/)) {
    // From the first column on: an echo of the command stands behind a prompt.
    const found = /^SP:([a-z]+)=(.*)$/.exec(line);
    if (found === null) continue;
    const [, name, value] = found as unknown as [string, string, string];
    values.set(name, value.trimEnd());
    lists.set(name, [...(lists.get(name) ?? []), value.trimEnd()]);
  }
  const rowsOf = (name: string, width: number): readonly (readonly string[])[] | undefined =>
    numbered(lists.get(name) ?? [], values.get(`${name}s`), width);
  return {
    complete: values.get('end') === nonce,
    values,
    rows: rowsOf('row', 9)?.map((fields) => memberRow(fields)),
    databases: rowsOf('database', 2)?.map((fields) => ({ name: fields[0] as string, status: fields[1] as string })),
    missing: rowsOf('missing', 1)?.map((fields) => fields[0] as string),
  };
}

/** Fields of rows `number^field^...` if they are as many as were counted, in order, and each as wide as it must be. */
function numbered(
  lines: readonly string[],
  count: string | undefined,
  width: number,
): readonly (readonly string[])[] | undefined {
  if (count !== String(lines.length)) return undefined;
  const rows = lines.map((line) => line.split('^'));
  const isWhole = rows.every((fields, at) => fields.length === width + 1 && fields[0] === String(at + 1));
  return isWhole ? rows.map((fields) => fields.slice(1)) : undefined;
}

function memberRow(fields: readonly string[]): MemberRow {
  const [name, role, status, journalLatency, databaseLatency, journalTime, databaseTime, displayType, displayStatus] =
    fields as [string, string, string, string, string, string, string, string, string];
  return {
    name: name.toUpperCase(),
    role,
    status,
    journalLatency,
    databaseLatency,
    journalTime,
    databaseTime,
    displayType,
    displayStatus,
  };
}

/** `name^role^status` of GetFailoverMemberStatus; undefined when there is none. */
export function parsePair(answer: string | undefined): PairMember | undefined {
  const [name = '', role, status, ...more] = (answer ?? '').split('^');
  if (name === '' || role === undefined || status === undefined || more.length > 0) return undefined;
  return { name: name.toUpperCase(), role, status };
}

/** QOSTimeout in milliseconds. 0 and what is no number are not known. */
export function parseQos(answer: string | undefined): number | undefined {
  const ms = /^\d+$/.test(answer ?? '') ? Number(answer) : 0;
  return ms > 0 ? ms : undefined;
}

/**
 * The only member that may be primary now (DefinedPrimary), empty when failover is not held off. Undefined: the configuration of the mirror
 * could not be read.
 */
export function parseFlag({ values }: Pick<Answers, 'values'>): string | undefined {
  return values.get('settings') === '1' ? values.get('heldoff')?.toUpperCase() : undefined;
}

/** The mirrors that an instance is a member of. */
export function mirrorsOf(values: ReadonlyMap<string, string>): readonly string[] {
  return (values.get('mirrors') ?? '').split('^').filter((each) => each !== '');
}

/** Why a session said nothing of use. `login`: it was not allowed to ask. */
export function refusalIn(output: string): { readonly login: boolean; readonly said: string } {
  const known: readonly (readonly [RegExp, boolean, string])[] = [
    [/<LICENSE LIMIT EXCEEDED>/i, true, 'the licence limit is exceeded'],
    [/<ACCESS DENIED>|Access Denied/i, true, 'the login was refused'],
    [/^\s*Username:/im, true, 'a user name was asked for: operating-system authentication is not enabled'],
    [/<NAMESPACE>/i, true, 'there is no namespace %SYS'],
    [/<PROTECT>/i, true, 'the account may not use these classes'],
    [/<CLASS DOES NOT EXIST>/i, true, 'the account does not start in %SYS: its Startup Namespace wins over -U'],
    [/sign-?on inhibited|logins? (?:are |is )?disabled/i, false, 'logins are disabled'],
    [/not (?:up|running|started|registered)/i, false, 'the instance does not run'],
  ];
  const found = known.find(([pattern]) => pattern.test(output));
  return found === undefined ? { login: false, said: 'it gave no answers' } : { login: found[1], said: found[2] };
}

/** Free and used part of the file system in `df -P -k`. Undefined when it says something else. */
export function parseSpace(output: string): { readonly freeBytes: number; readonly usedPercent: number } | undefined {
  const found = /\s\d+\s+\d+\s+(\d+)\s+(\d{1,3})%\s+\S+\s*$/.exec(output);
  return found === null ? undefined : { freeBytes: Number(found[1]) * 1024, usedPercent: Number(found[2]) };
}
