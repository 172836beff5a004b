import { basename } from 'node:path';
import type { CommandSpan } from '../../../model/hold.ts';
import type { JournalStart } from '../../../model/journal.ts';
import { freezeExpression, type FreezeRequest, suspendedExpression } from './commands.ts';
import type { Called, Control } from './control.ts';
import { type FreezeLog, parseFreezeLog } from './parse-freeze-log.ts';
import { partOf } from './parse-journal.ts';
import { needsNoJournal } from './questions.ts';

/** One instance of a hold, with all that its freeze and thaw need. Nothing of it changes after `prepare`. */
export interface Target {
  readonly name: string;
  readonly request: FreezeRequest;
  /** Whole path of the engine's own log, and how long it was before the freeze; undefined when it cannot be read. */
  readonly console: { readonly path: string; readonly from: number } | undefined;
  readonly required: string | undefined;
}

export interface InstanceFreeze {
  readonly target: Target;
  readonly frozen: boolean;
  readonly said: string;
  readonly spans: readonly CommandSpan[];
  /** Monotonic time at which the freeze was called: the engine's limit runs from a little later. */
  readonly calledMs: number;
  readonly start: JournalStart | undefined;
}

/** Below the session's patience. */
const askMs = 3_000;
const logMs = 2_000;

export async function askSuspended(control: Control, instance: string, timeoutMs = askMs): Promise<Called> {
  return control.method(instance, suspendedExpression, timeoutMs);
}

/**
 * Frozen is only what three witnesses say: the exit code 5, the log, and the engine when it is asked again. Whatever is missing makes
 * the whole hold fail, and a failed one is thawed like a successful one.
 */
export async function freezeInstance(
  control: Control,
  target: Target,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<InstanceFreeze> {
  const { name, request } = target;
  const calledMs = control.platform.clock.monoMs();
  const called = await control.method(name, freezeExpression(request), timeoutMs, { signal });
  const answer = (
    frozen: boolean,
    said: string,
    more: readonly CommandSpan[] = [],
    log?: FreezeLog,
  ): InstanceFreeze => ({
    target,
    frozen,
    said,
    spans: [called.span, ...more],
    calledMs,
    start: startOf(target, log),
  });
  if (called.exit !== 'yes') return answer(false, called.said);
  const [text, asked] = await Promise.all([
    control.read(request.log, 0, logMs),
    askSuspended(control, name, Math.min(askMs, timeoutMs)),
  ]);
  if (text === undefined) return answer(false, `the log ${request.log} of ${name} cannot be read`, [asked.span]);
  const log = parseFreezeLog(text);
  const said = objectionIn(log, name, (directory) => needsNoJournal(directory, control.config));
  if (said !== undefined) return answer(false, said, [asked.span], log);
  if (asked.exit !== 'yes') {
    return answer(false, `asked after the freeze, ${name} did not say that it is suspended: ${asked.said}`, [
      asked.span,
    ]);
  }
  return answer(true, `${name}: System suspended${where(log)}`, [asked.span], log);
}

function objectionIn(log: FreezeLog, name: string, allowed: (directory: string) => boolean): string | undefined {
  if (log.state !== 'suspended') return `the log of ${name} does not say "System suspended"`;
  if (log.suspended !== 1 || log.resumed !== 0) return `the log of ${name} tells of more than one freeze`;
  const missing = log.notJournaled.filter((directory) => !allowed(directory));
  if (missing.length > 0) return `${name} has databases that are not journaled: ${missing.join(', ')}`;
  if (log.notJournaledCount > log.notJournaled.length) {
    return `${name} counts ${log.notJournaledCount} databases that are not journaled and names ${log.notJournaled.length}`;
  }
  return undefined;
}

function where(log: FreezeLog): string {
  if (log.journalFile === undefined) return '';
  return `, journal ${log.journalFile}${log.markerOffset === undefined ? '' : ` at ${log.markerOffset}`}`;
}

function startOf(target: Target, log: FreezeLog | undefined): JournalStart | undefined {
  if (log?.journalFile === undefined) return undefined;
  const file = basename(log.journalFile);
  const required = target.required === undefined ? file : basename(target.required);
  return {
    part: partOf(target.name, file),
    file,
    position: log.markerOffset ?? '',
    ...(required === file ? {} : { required }),
  };
}
