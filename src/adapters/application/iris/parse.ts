/** What the exit code of one call means. `unknown` is an alarm: a login that failed says nothing about the write daemon. */
export type Exit = 'yes' | 'no' | 'unknown';

/** The parts of a command result that say how it ended. */
export interface Ended {
  readonly exitCode: number | null;
  readonly timedOut: boolean;
  readonly cancelled: boolean;
}

/**
 * Exit code of a class method that was the command's argument: 5 yes (frozen, thawed, suspended), 3 no. Everything else (0 and 1 too, the codes
 * of a shell, of `docker exec`, of a killed process) means that the method did not answer (class reference of Backup.General).
 */
export function methodExit(ended: Ended): Exit {
  if (ended.timedOut || ended.cancelled) return 'unknown';
  if (ended.exitCode === 5) return 'yes';
  return ended.exitCode === 3 ? 'no' : 'unknown';
}

/** Exit code of `iris freeze` and `iris thaw`, which follow the usual rule instead. */
export function verbExit(ended: Ended): Exit {
  if (ended.timedOut || ended.cancelled) return 'unknown';
  if (ended.exitCode === 0) return 'yes';
  return ended.exitCode === 1 ? 'no' : 'unknown';
}

/** Values that scripts of ours print as `SP:name=value`, behind prompts and between whatever else a session says. The last of a name counts. */
export function parseAnswers(output: string): ReadonlyMap<string, string> {
  const answers = new Map<string, string>();
  for (const line of output.split(/\r?\n/)) {
    const found = /SP:([a-z]+)=(.*)$/.exec(line);
    if (found !== null) answers.set(found[1] as string, (found[2] as string).trimEnd());
  }
  return answers;
}

/** All values of one name, for questions that are asked of each database. */
export function answersOf(output: string, name: string): readonly string[] {
  const values: string[] = [];
  for (const line of output.split(/\r?\n/)) {
    const at = line.indexOf(`SP:${name}=`);
    if (at !== -1) values.push(line.slice(at + name.length + 4).trimEnd());
  }
  return values;
}

/** Why a session said nothing of use, in words for an error. */
export function refusalIn(output: string): string | undefined {
  const known: readonly (readonly [RegExp, string])[] = [
    [/<LICENSE LIMIT EXCEEDED>/i, 'the licence limit is exceeded'],
    [/<ACCESS DENIED>|Access Denied/i, 'the login was refused'],
    [/^\s*Username:/im, 'a user name was asked for: operating-system authentication is not enabled for this service'],
    [/<NAMESPACE>/i, 'there is no namespace %SYS'],
    [/<PROTECT>/i, 'the account may not use this class or database'],
    [/<CLASS DOES NOT EXIST>/i, 'the account does not start in %SYS: its Startup Namespace wins over -U'],
    [/sign-?on inhibited|logins? (?:are |is )?disabled/i, 'logins are disabled'],
    [/not (?:up|running|started)/i, 'the instance does not run'],
  ];
  return known.find(([pattern]) => pattern.test(output))?.[1];
}

export type Suitability =
  | { readonly suitable: true; readonly said: string }
  | { readonly suitable: false; readonly why: string };

/** An async member that is further behind than this shows too old a state. */
const mostLatencyS = 60;

/**
 * Whether a mirror member may be backed up. `status` is `$SYSTEM.Mirror.GetStatus()`, whose words are not translated, and empty outside of any
 * mirror. `ready`: IsFailoverReady of a backup member, `1` or `0|reason`. `latency`: DatabasesLatency in seconds, -1 for an error. A
 * member that is not the primary must prove that it has caught up. `watched`: a topology asks the whole mirror; a backup member may be no
 * candidate for a failover then, because that is held off, and its own latency counts.
 */
export function mirrorSuitability(
  status: string,
  ready: string | undefined,
  latency: string | undefined,
  watched: boolean,
): Suitability {
  const word = status.trim().toUpperCase();
  if (word === '' || word === 'NOTINIT' || word === 'NOT INITIALIZED') return { suitable: true, said: 'no mirror' };
  if (word === 'PRIMARY') return { suitable: true, said: 'primary' };
  if (word === 'BACKUP') {
    if (ready === '1') return { suitable: true, said: 'backup, caught up' };
    const behind = secondsOf(latency);
    if (watched && behind <= mostLatencyS) return { suitable: true, said: `backup, ${behind} s behind` };
    return { suitable: false, why: `it is a backup member and not proved to have caught up: ${ready ?? 'no answer'}` };
  }
  const several = /^(?:MULTIASYNC\^)?(\d+)\/(\d+)(?: CONNECTED)?$/.exec(word);
  if (word !== 'CONNECTED' && (several === null || several[1] !== several[2])) {
    return { suitable: false, why: `its mirror status is ${status.trim()}` };
  }
  const seconds = secondsOf(latency);
  if (seconds <= mostLatencyS) return { suitable: true, said: `async, ${seconds} s behind` };
  return {
    suitable: false,
    why: `it is an async member and not proved to have caught up: ${latency ?? 'no answer'} s`,
  };
}

/** Anything but a figure is as far behind as can be. */
function secondsOf(latency: string | undefined): number {
  return /^\d+(?:\.\d+)?$/.test(latency ?? '') ? Number(latency) : Infinity;
}

/** Role of a member from the mirror fields of `qlist`. Undefined when they say something new. */
export function roleOf(memberType: string, status: string): 'primary' | 'backup' | 'async' | 'standalone' | undefined {
  const type = memberType.trim().toLowerCase();
  if (type === '' || type === 'not member') return 'standalone';
  if (type === 'failover') {
    const word = status.trim().toLowerCase();
    if (word === 'primary' || word === 'backup') return word;
    return undefined;
  }
  return /^(?:async|disaster recovery|read-only reporting|read-write reporting)$/.test(type) ? 'async' : undefined;
}

/** `LocalMirrorStatus^MIRROR`. */
export interface LocalMirrorStatus {
  readonly memberType: string;
  readonly mirrors: readonly { readonly name: string; readonly status: string }[];
}

export function parseLocalMirrorStatus(output: string): LocalMirrorStatus | undefined {
  const type = /This instance is an? (.+?) member/.exec(output);
  if (type === null) return undefined;
  const mirrors = [...output.matchAll(/Status for mirror (\S+) is "([^"]*)"/g)].map((found) => ({
    name: found[1] as string,
    status: found[2] as string,
  }));
  return { memberType: type[1] as string, mirrors };
}

/** A row of the query MemberStatusList, as RunQuery prints it. The words are translated on instances that speak another language. */
export interface MemberStatus {
  readonly name: string;
  readonly role: string;
  readonly status: string;
  readonly journalLatency: string;
  readonly databaseLatency: string;
  readonly displayType: string;
  readonly displayStatus: string;
}

export function parseMemberStatusList(output: string): readonly MemberStatus[] {
  const rows: MemberStatus[] = [];
  for (const line of output.split(/\r?\n/)) {
    const fields = line.split(':');
    // Nine fields, each with a colon behind it.
    if (fields.length !== 10 || fields[9] !== '' || fields[0] === 'Member Name') continue;
    const [name, role, status, journalLatency, databaseLatency, , , displayType, displayStatus] = fields;
    rows.push({
      name: name as string,
      role: role as string,
      status: status as string,
      journalLatency: journalLatency as string,
      databaseLatency: databaseLatency as string,
      displayType: displayType as string,
      displayStatus: displayStatus as string,
    });
  }
  return rows;
}
