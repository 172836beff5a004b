import { existsSync, readFileSync, rmSync } from 'node:fs';
import { basename } from 'node:path';
import type { Gtm } from './gtm.ts';
import { backingJournal, closedParts } from './journal.ts';
import { hasDatabase, lockFile, writeLock } from './registry.ts';
import type { Outcome } from './freeze.ts';
import type { Database, Instance } from './state.ts';
import { message, slash } from './texts.ts';

const done: Outcome = { ok: true, error: '' };
const failed = (error: string): Outcome => ({ ok: false, error });

export function dismount(gtm: Gtm, instance: Instance, directory: string): Outcome {
  const database = instance.databases.find((one) => one.directory === directory);
  if (database?.mounted !== true) return failed(`Database ${slash(directory)} is not mounted`);
  if (instance.freeze !== undefined && !database.readOnly) return failed('The write daemon is suspended');
  if (database.journaled && !database.readOnly) closedParts(instance, database, gtm.switchJournal(directory));
  gtm.rundown(directory);
  rmSync(lockFile(instance, directory), { force: true });
  database.mounted = false;
  message(instance, 0, `Dismounted database ${slash(directory)}`);
  return done;
}

/** Any directory with an IRIS.DAT may be mounted; one that the configuration does not know is not journaled. */
export function mount(gtm: Gtm, instance: Instance, directory: string, readOnly: boolean): Outcome {
  if (!hasDatabase(directory)) return failed(`No database exists in directory ${slash(directory)}`);
  const known = instance.databases.find((one) => one.directory === directory);
  if (known?.mounted === true) return done;
  const lock = lockFile(instance, directory);
  if (existsSync(lock)) {
    const owner = readFileSync(lock, 'utf8').trim();
    return failed(`Database ${slash(directory)} cannot be mounted: its ${basename(lock)} belongs to ${owner}`);
  }
  const adopted = gtm.adopt(directory);
  if (adopted.code !== 0) return failed(`Database ${slash(directory)} cannot be mounted: ${adopted.text.trim()}`);
  const database: Database = known ?? {
    name: `M${instance.databases.length}`,
    directory,
    journaled: false,
    foreign: true,
    readOnly,
    mounted: true,
    mirrorName: undefined,
    inBackupList: false,
  };
  if (known === undefined) instance.databases.push(database);
  database.readOnly = readOnly;
  database.mounted = true;
  if (database.journaled && !readOnly) gtm.journalOn(directory, backingJournal(gtm, instance, database));
  writeLock(instance, directory);
  message(instance, 0, `Mounted database ${slash(directory)}${readOnly ? ' read only' : ''}`);
  return done;
}

/** Runs `act` on a database that nobody has open; a mounted one is dismounted before and mounted again afterwards. */
export function resumedForRestore(
  gtm: Gtm,
  instance: Instance,
  directory: string,
  act: () => string | undefined,
): string | undefined {
  const known = instance.databases.find((one) => one.directory === directory);
  if (known?.mounted === true) {
    const out = dismount(gtm, instance, directory);
    if (!out.ok) return out.error;
  } else if (hasDatabase(directory)) gtm.adopt(directory);
  const problem = act();
  if (problem !== undefined) return problem;
  const back = mount(gtm, instance, directory, false);
  return back.ok ? undefined : back.error;
}
