import type { Role } from '../../../model/cluster.ts';
import type { Finding } from '../../../model/point.ts';
import type { Asked } from './instance.ts';
import { mirrorsOf } from './parse.ts';
import { mirrorSigns, parseLocalTime, severeIn } from './parse-signs.ts';
import { isDatabaseWell } from './parse-words.ts';

const windowMs = 3_600_000;
/** The primary keeps journals that a member has not received, and stops or freezes with a full journal disk. */
const fullPercent = 90;
/** Of a series only the newest: the log holds the rest. */
const mostLines = 5;

/** What is worth knowing of a member that was asked itself. Errors stand against a backup of it. */
export function findingsOf(mirror: string, asked: Asked, role: Role): readonly Finding[] {
  const found: Finding[] = [];
  const add = (severity: Finding['severity'], check: string, said: string): void =>
    void found.push({ severity, check, said });
  if (asked.listed?.health === 'alert' || asked.listed?.health === 'warn')
    add('warning', 'health', `its instance is in state ${asked.listed.health}: see alerts.log`);
  const { answers } = asked;
  if (answers === undefined) {
    add('warning', 'session', asked.refusal?.said ?? 'it gave no answers');
    return found;
  }
  const self = answers.values.get('self') ?? '';
  if (self.toUpperCase() !== asked.member)
    add('error', 'name', `it calls itself ${self || 'nothing'} in the mirror, and is configured as ${asked.member}`);
  if (!mirrorsOf(answers.values).includes(mirror))
    add('error', 'mirror', `it is a member of ${answers.values.get('mirrors') || 'no mirror'}, and not of ${mirror}`);
  databases(asked, role, add);
  journalDisk(asked, add);
  messages(asked, add);
  alerts(asked, add);
  return found;
}

type Add = (severity: Finding['severity'], check: string, said: string) => void;

/** A member may be Active and caught up while a database of it is not: the state of the mirror is not that of each database. */
function databases({ answers }: Asked, role: Role, add: Add): void {
  // A standby shows only what was applied, so what is not told stands against it. A primary has everything.
  const doubt = role === 'primary' ? 'warning' : 'error';
  if (answers?.databases === undefined) add(doubt, 'databases', 'it does not tell the state of its mirrored databases');
  for (const { name, status } of answers?.databases ?? []) {
    if (!isDatabaseWell(status)) add('error', 'databases', `database ${name} is ${status || 'in no state'}`);
  }
  if (answers?.missing === undefined) add(doubt, 'missing', 'it does not tell which mirrored databases it lacks');
  else if (answers.missing.length > 0)
    add('error', 'missing', `it lacks the mirrored databases ${answers.missing.join(', ')}`);
  const dejournal = answers?.values.get('dejournal') ?? '';
  if (role === 'async' && dejournal !== 'running')
    add('error', 'dejournal', `its dejournaling is ${dejournal || 'in no state that it tells'}`);
}

function journalDisk({ space }: Asked, add: Add): void {
  if (space === undefined) {
    add('warning', 'journal-disk', 'the free space of its journal disk is not known');
  } else if (space.usedPercent >= fullPercent) {
    const free = Math.round(space.freeBytes / 1024 ** 2);
    add('warning', 'journal-disk', `its journal disk is ${space.usedPercent} % full, ${free} MiB are free`);
  }
}

function messages({ log, answers }: Asked, add: Add): void {
  const now = parseLocalTime(answers?.values.get('now'));
  if (log === undefined || now === undefined) {
    add('warning', 'messages', 'its messages.log cannot be read, or its clock is not known');
    return;
  }
  // Seconds are cut off in the answer, and lines may be a little newer than it.
  const { severe, tookOver } = mirrorSigns(log, now, windowMs);
  if (tookOver !== undefined) add('warning', 'takeover', `${clock(tookOver.localMs)} (its time): ${tookOver.text}`);
  for (const { localMs, text } of severe.slice(-mostLines))
    add('warning', 'messages', `${clock(localMs)} (its time): ${text}`);
  if (severe.length > mostLines) add('info', 'messages', `and ${severe.length - mostLines} more within the last hour`);
}

/** Of mirroring they stand in messages.log too; that log may have been rotated since, and the alert is not. */
function alerts({ alerts: told, log, answers }: Asked, add: Add): void {
  const now = parseLocalTime(answers?.values.get('now'));
  if (told === undefined || now === undefined) return;
  const known = log === undefined ? [] : mirrorSigns(log, now, windowMs).severe;
  const fresh = severeIn(told.entries, now, windowMs).filter(
    (entry) => !known.some(({ localMs, text }) => localMs === entry.localMs && text === entry.text),
  );
  for (const { localMs, text } of fresh.slice(-mostLines))
    add('warning', 'alerts', `${clock(localMs)} (its time), alerts.log: ${text}`);
  if (fresh.length > mostLines) add('info', 'alerts', `and ${fresh.length - mostLines} more within the last hour`);
  if (told.entries.length === 0 && told.before.length > 0)
    add('info', 'alerts', 'its alerts.log is not understood: look at it by hand');
}

function clock(localMs: number): string {
  return new Date(localMs).toISOString().slice(11, 19);
}
