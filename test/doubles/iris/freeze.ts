import { randomUUID } from 'node:crypto';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Gtm } from './gtm.ts';
import { closedParts, current, currentOffset, pack, pathOf, switchJournal } from './journal.ts';
import { append, hang, pause, type Database, type Freeze, type Instance, type Store } from './state.ts';
import { historyEntry } from './history.ts';
import { logTime, message, slash } from './texts.ts';

/** Arguments 1 to 11 of ExternalFreeze; undefined where the call leaves one out. */
export interface FreezeArguments {
  readonly logFile: string;
  readonly switchJournal: boolean;
  readonly timeout: number;
  readonly username: string;
  readonly password: string;
  readonly suspendLimit: number;
}

export interface Outcome {
  readonly ok: boolean;
  readonly error: string;
  readonly requiredFile?: string;
}

const done: Outcome = { ok: true, error: '' };
const failed = (error: string): Outcome => ({ ok: false, error });

/** All databases that the write daemon writes to: journaled or not. */
const written = (instance: Instance): readonly Database[] =>
  instance.databases.filter((database) => database.mounted && !database.readOnly);

class Log {
  readonly #instance: Instance;
  readonly #file: string;
  readonly #method: string;

  constructor(instance: Instance, file: string, method: string) {
    this.#instance = instance;
    this.#file = file;
    this.#method = `Backup.General.${method}`;
  }

  line(text: string, severity: 0 | 1 = 0): void {
    this.raw(`${logTime(Date.now())}: ${this.#method}: ${text}\n`);
    message(this.#instance, severity, `${this.#method}: ${text}`);
  }

  /** In the log file only. */
  raw(text: string): void {
    if (this.#file !== '') append(this.#file, text);
  }

  /** Empty when the file can be written. */
  problem(): string {
    try {
      this.raw('');
      return '';
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}

export function externalFreeze(gtm: Gtm, store: Store, name: string, options: FreezeArguments): Outcome {
  const faults = store.faults(name);
  const outcome = store.update(name, (instance) => {
    expire(gtm, instance);
    const log = new Log(instance, options.logFile, 'ExternalFreeze');
    const problem = log.problem();
    if (problem !== '') return failed(`cannot write ${options.logFile}: ${problem}`);
    if (instance.freeze !== undefined && instance.secondFreeze === 'fails') {
      log.line('System is already suspended', 1);
      return failed('System is already suspended');
    }
    return freezeNow(gtm, store, instance, options, log, faults.freezeFails === true);
  });
  if (outcome.ok && faults.freezeHangs === true) hang();
  return outcome;
}

function freezeNow(
  gtm: Gtm,
  store: Store,
  instance: Instance,
  options: FreezeArguments,
  log: Log,
  fails: boolean,
): Outcome {
  log.line('Suspending system');
  const unprotected = instance.databases.filter(
    (database) => database.mounted && !database.journaled && !database.readOnly,
  );
  for (const database of unprotected) log.line(`Warning, ${slash(database.directory)} is not being journalled`, 1);
  if (unprotected.length > 0) {
    log.line(
      `Warning, ${unprotected.length} databases are not journalled, data will be lost in them if system crashes while suspended`,
      1,
    );
  }
  if (options.switchJournal) {
    const file = pathOf(instance, switchJournal(gtm, instance, 'by backup'));
    log.raw(`\nJournal file switched to:\n${file}\n`);
    log.line(`Start a journal restore for this backup with journal file: ${file}`);
    log.raw(`\nJournal marker set at\noffset ${currentOffset(instance)} of ${file}\n`);
  }
  pause(instance.freezeMs);
  if (fails || !suspend(gtm, instance)) {
    log.line('Failed to suspend system', 1);
    return failed('Failed to suspend system');
  }
  const now = Date.now();
  const limit = options.timeout > 0 ? Math.min(options.timeout, 1200) : 600;
  instance.freeze = {
    token: randomUUID(),
    frozenAtMs: now,
    blockAtMs: now + limit * instance.secondMs,
    resumeAtMs: options.suspendLimit > 0 ? now + options.suspendLimit * instance.secondMs : undefined,
    username: options.username,
    password: options.password,
    blocked: false,
    keeper: 0,
  };
  instance.freeze.keeper = startKeeper(store.root, instance.name, instance.freeze);
  log.line('System suspended');
  return { ok: true, error: '', requiredFile: requiredFile(instance) };
}

/** The oldest journal file that rolling back after a restore needs. */
export function requiredFile(instance: Instance): string {
  return instance.journal.openTransactionFile ?? pathOf(instance, current(instance));
}

/** All or none. */
function suspend(gtm: Gtm, instance: Instance): boolean {
  for (const database of written(instance)) {
    const frozen = gtm.freeze(database.directory);
    if (!frozen.ok) {
      message(instance, 2, frozen.text.replaceAll('\n', ' '));
      resume(gtm, instance);
      return false;
    }
    if (database.journaled) closedParts(instance, database, frozen.closed);
  }
  return true;
}

function resume(gtm: Gtm, instance: Instance): boolean {
  let ok = true;
  for (const database of written(instance)) {
    const thawed = gtm.thaw(database.directory);
    if (database.journaled) closedParts(instance, database, thawed.closed);
    ok &&= thawed.ok;
  }
  return ok;
}

/** The process that blocks updates at ExternalFreezeTimeOut and resumes the system at WDSuspendLimit. */
function startKeeper(root: string, name: string, freeze: Freeze): number {
  const program = fileURLToPath(new URL('./keeper.ts', import.meta.url));
  const child = spawn(process.execPath, [program, root, name, freeze.token], {
    detached: true,
    stdio: 'ignore',
    cwd: '/',
  });
  child.unref();
  return child.pid ?? 0;
}

/** Waits until the keeper has let the backing databases go, so that they can be thawed. */
export function endKeeper(freeze: Freeze, first: NodeJS.Signals = 'SIGTERM'): void {
  if (freeze.keeper === process.pid) return;
  for (let waited = 0; keeperLives(freeze); waited += 10) {
    signal(freeze.keeper, waited < 5000 ? first : 'SIGKILL');
    pause(10);
  }
}

/** Known by its token: a pid may belong to somebody else by now, and a dead one that nobody reaped has no command line. */
export function keeperLives(freeze: Freeze): boolean {
  try {
    return readFileSync(`/proc/${freeze.keeper}/cmdline`, 'utf8').includes(freeze.token);
  } catch {
    return false;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended in between.
  }
}

/** Lifts the freeze whoever asks. False when a backing database would not let go. */
export function resumeSystem(gtm: Gtm, instance: Instance): boolean {
  const { freeze } = instance;
  if (freeze === undefined) return true;
  endKeeper(freeze);
  if (!resume(gtm, instance)) return false;
  instance.freeze = undefined;
  pack(gtm, instance, current(instance));
  return true;
}

/** WDSuspendLimit: whoever looks first after it sees the system resumed. */
export function expire(gtm: Gtm, instance: Instance): void {
  const { freeze } = instance;
  if (freeze?.resumeAtMs === undefined || Date.now() < freeze.resumeAtMs) return;
  if (resumeSystem(gtm, instance)) message(instance, 1, 'Write daemon suspension limit reached, resuming system');
}

export function externalThaw(
  gtm: Gtm,
  store: Store,
  name: string,
  options: { readonly logFile: string; readonly username: string; readonly password: string },
): Outcome {
  const faults = store.faults(name);
  if (faults.thawHangs === true) hang();
  if ((faults.thawFails ?? 0) > 0) {
    store.setFaults(name, { ...faults, thawFails: (faults.thawFails ?? 0) - 1 });
    return failed('Failed to resume system');
  }
  return store.update(name, (instance) => {
    expire(gtm, instance);
    const log = new Log(instance, options.logFile, 'ExternalThaw');
    const problem = log.problem();
    if (problem !== '') return failed(`cannot write ${options.logFile}: ${problem}`);
    const { freeze } = instance;
    if (freeze === undefined) {
      log.line('Already resumed');
      return done;
    }
    if (freeze.username !== options.username || freeze.password !== options.password) {
      log.line('Username or password differ from those of ExternalFreeze', 1);
      return failed('Username or password differ from those of ExternalFreeze');
    }
    log.line('Resuming system');
    pause(instance.freezeMs);
    if (!resumeSystem(gtm, instance)) return failed('Failed to resume system');
    log.line('System resumed');
    return done;
  });
}

export function setHistory(store: Store, name: string, logFile: string, description: string): void {
  store.update(name, (instance) => {
    instance.history.push(historyEntry(instance, { type: 'E', description, device: logFile }));
  });
}
