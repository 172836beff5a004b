/** One entry of messages.log (Caché: cconsole.log) with its continuation lines. */
export interface LogEntry {
  /** Milliseconds since 1970 as if the local time in the file were UTC: the file names no zone. */
  readonly localMs: number;
  readonly severity: Severity;
  readonly pid: number | undefined;
  /** `Utility.Event`...; Caché writes none. */
  readonly event: string | undefined;
  readonly text: string;
}

export type Severity = 'info' | 'warning' | 'severe' | 'fatal';

const severities: readonly Severity[] = ['info', 'warning', 'severe', 'fatal'];
const prefix =
  /^(\d\d)\/(\d\d)\/(\d\d)-(\d\d):(\d\d):(\d\d):(\d{3}) \(\s*(\d+)\) ([0-3]) (?:\[([A-Za-z0-9_.]+)\] )?(.*)$/;
/** Startup and recovery print blocks without the usual prefix; this is how one begins. */
const block = /^\*\*\* .* at \w{3} (\w{3}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})$/;
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

export interface Messages {
  readonly entries: readonly LogEntry[];
  /** Lines before the first entry: the tail of a log may begin in the middle of one. */
  readonly before: readonly string[];
}

/** Never throws. A line without a prefix continues the entry above it. */
export function parseMessages(text: string): Messages {
  const entries: LogEntry[] = [];
  const before: string[] = [];
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  for (const line of lines) {
    const entry = entryOf(line) ?? blockOf(line);
    if (entry !== undefined) {
      entries.push(entry);
      continue;
    }
    const last = entries.pop();
    if (last === undefined) before.push(line);
    else entries.push({ ...last, text: `${last.text}\n${line}` });
  }
  return { entries: entries.map((entry) => ({ ...entry, text: entry.text.trimEnd() })), before };
}

function entryOf(line: string): LogEntry | undefined {
  const found = prefix.exec(line);
  if (found === null) return undefined;
  const numbers = found.slice(1, 10).map(Number);
  const [month, day, year, hour, minute, second, milli, pid, level] = numbers as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const localMs = localTime(2000 + year, month, day, hour, minute, second, milli);
  if (localMs === undefined) return undefined;
  return { localMs, severity: severities[level] as Severity, pid, event: found[10], text: found[11] as string };
}

function blockOf(line: string): LogEntry | undefined {
  const found = block.exec(line);
  if (found === null) return undefined;
  const [, name, day, hour, minute, second, year] = found as unknown as string[];
  const month = months.indexOf(name as string) + 1;
  const localMs = localTime(Number(year), month, Number(day), Number(hour), Number(minute), Number(second), 0);
  if (localMs === undefined) return undefined;
  return { localMs, severity: 'info', pid: undefined, event: undefined, text: line };
}

/** Undefined for a date or time that does not exist. */
export function localTime(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
  milli: number,
): number | undefined {
  const ms = Date.UTC(year, month - 1, day, hour, minute, second, milli);
  const back = new Date(ms);
  const same = back.getUTCMonth() === month - 1 && back.getUTCDate() === day && back.getUTCHours() === hour;
  return same && back.getUTCMinutes() === minute && back.getUTCSeconds() === second ? ms : undefined;
}

const levels: Readonly<Record<string, Severity>> = {
  DEBUG2: 'info',
  DEBUG: 'info',
  INFO: 'info',
  WARNING: 'warning',
  SEVERE: 'severe',
  FATAL: 'fatal',
};

/** The structured log (^LOGDMN), one entry a line, as `name=value` pairs or as JSON. Lines that are neither are left out and counted. */
export function parseStructured(text: string): {
  readonly entries: readonly LogEntry[];
  readonly notUnderstood: number;
} {
  const entries: LogEntry[] = [];
  let notUnderstood = 0;
  for (const line of text.split(/\r?\n/)) {
    if (line.trim() === '') continue;
    const entry = structuredEntry(line.trimStart().startsWith('{') ? fromJson(line) : fromPairs(line));
    if (entry === undefined) notUnderstood += 1;
    else entries.push(entry);
  }
  return { entries, notUnderstood };
}

function fromPairs(line: string): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>();
  for (const found of line.matchAll(/(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))/g)) {
    pairs.set(found[1] as string, found[2] === undefined ? (found[3] as string) : found[2].replace(/\\(.)/g, '$1'));
  }
  return pairs;
}

function fromJson(line: string): ReadonlyMap<string, string> {
  try {
    const value: unknown = JSON.parse(line);
    return new Map(Object.entries(value as object).map(([name, each]) => [name, String(each)]));
  } catch {
    return new Map();
  }
}

function structuredEntry(values: ReadonlyMap<string, string>): LogEntry | undefined {
  const when = /^(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,3}))?Z?$/.exec(values.get('when') ?? '');
  const severity = levels[(values.get('level') ?? '').toUpperCase()];
  const text = values.get('text');
  if (when === null || severity === undefined || text === undefined) return undefined;
  const [year, month, day, hour, minute, second] = when.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const localMs = localTime(year, month, day, hour, minute, second, Number((when[7] ?? '0').padEnd(3, '0')));
  if (localMs === undefined) return undefined;
  const pid = Number(values.get('pid') ?? Number.NaN);
  return { localMs, severity, pid: Number.isInteger(pid) ? pid : undefined, event: values.get('event'), text };
}

/** What happened to the hold according to messages.log, where every freeze and thaw is written down, whoever asked for it. */
export interface WindowSigns {
  readonly suspended: number;
  readonly resumed: number;
  /** The mirror took over here, or restarted: the identity of the history may have changed. */
  readonly takeover: string | undefined;
  /** `iris stat -W` or a limit that fired; named as the engine names it. */
  readonly foreign: readonly string[];
}

export function signsIn(entries: readonly LogEntry[]): WindowSigns {
  const signs = { suspended: 0, resumed: 0, takeover: undefined as string | undefined, foreign: [] as string[] };
  for (const { text } of entries) {
    if (/Backup\.General\.ExternalFreeze: System suspended/.test(text)) signs.suspended += 1;
    else if (/Backup\.General\.ExternalThaw: System resumed/.test(text)) signs.resumed += 1;
    else if (/^becoming primary mirror server/i.test(text)) signs.takeover ??= text;
    else if (/suspend.*(?:limit|exceed|expire)|irisstat -W|stat -W|VSS Writer: On(?:Freeze|Thaw)/i.test(text)) {
      signs.foreign.push(text);
    }
  }
  return signs;
}
