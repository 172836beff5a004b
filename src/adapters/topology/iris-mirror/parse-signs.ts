import { localTime, type LogEntry } from '../../../platform/parse-iris-messages.ts';

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
  return localTime(year, month, day, hour, minute, second, 0);
}

const ofMirroring = /mirror|arbiter|dejournal|failover|iscagent/i;

const isTakeover = ({ text }: LogEntry): boolean => /^becoming primary mirror server/i.test(text);

/** Severe entries of any kind within the window; who took over is told apart. */
export function severeIn(entries: readonly LogEntry[], nowMs: number, windowMs: number): readonly LogEntry[] {
  return entries.filter(
    (entry) =>
      entry.localMs > nowMs - windowMs &&
      (entry.severity === 'severe' || entry.severity === 'fatal') &&
      !isTakeover(entry),
  );
}

/** What the log says of mirroring within the window before `nowMs`: severe entries, and when this member took over. */
export function mirrorSigns(
  entries: readonly LogEntry[],
  nowMs: number,
  windowMs: number,
): { readonly severe: readonly LogEntry[]; readonly tookOver: LogEntry | undefined } {
  const recent = entries.filter(({ localMs }) => localMs > nowMs - windowMs);
  return {
    severe: severeIn(entries, nowMs, windowMs).filter(({ text }) => ofMirroring.test(text)),
    tookOver: recent.findLast(isTakeover),
  };
}
