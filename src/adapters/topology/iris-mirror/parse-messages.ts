export interface LogLine {
  /** Milliseconds since 1970 as if the instance's local time were UTC: the file names no zone. */
  readonly localMs: number;
  /** 0 info, 1 warning, 2 severe, 3 fatal. */
  readonly severity: number;
  readonly text: string;
}

const prefix = /^(\d\d)\/(\d\d)\/(\d\d)-(\d\d):(\d\d):(\d\d):(\d{3}) \(\s*\d+\) ([0-3]) (?:\[[A-Za-z0-9_.]+\] )?(.*)$/;

/** Lines of messages.log or cconsole.log that begin an entry. The tail of a log may begin in the middle of one. */
export function parseMessages(text: string): readonly LogLine[] {
  return text.split(/\r?\n/).flatMap((line) => {
    const found = prefix.exec(line);
    if (found === null) return [];
    const [month, day, year, hour, minute, second, milli] = found.slice(1, 8).map(Number) as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const localMs = Date.UTC(2000 + year, month - 1, day, hour, minute, second, milli);
    return [{ localMs, severity: Number(found[8]), text: found[9] as string }];
  });
}

/** `$zdatetime($horolog,3)`: the instance's own clock, by which its log is written. */
export function parseLocalTime(answer: string | undefined): number | undefined {
  const found = /^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)$/.exec(answer ?? '');
  if (found === null) return undefined;
  const [year, month, day, hour, minute, second] = found.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

const ofMirroring = /mirror|arbiter|dejournal|failover|iscagent/i;

/** What the log says of mirroring within the window before `nowMs`: severe lines, and when this member took over. */
export function mirrorSigns(
  lines: readonly LogLine[],
  nowMs: number,
  windowMs: number,
): { readonly severe: readonly LogLine[]; readonly tookOver: LogLine | undefined } {
  const recent = lines.filter(({ localMs }) => localMs > nowMs - windowMs);
  const isTakeover = ({ text }: LogLine): boolean => /^becoming primary mirror server/i.test(text);
  return {
    severe: recent.filter((line) => line.severity >= 2 && ofMirroring.test(line.text) && !isTakeover(line)),
    tookOver: recent.findLast(isTakeover),
  };
}
