import { existsSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { messageOf } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import type { RequiredPath } from '../../../model/storage.ts';
import type { Copy } from '../../../ports/application.ts';
import { canaryFinding, type CanarySeen, readCanary } from './canary.ts';
import { openDatabase, text } from './database.ts';

const mostTablesCounted = 100;
const mostFindings = 100;

export async function* verifyFiles(
  copy: Copy,
  integrity: 'full' | 'quick',
  signal: AbortSignal,
): AsyncIterable<Finding> {
  const canaries: CanarySeen[] = [];
  for (const required of copy.required) yield* verifyFile(copy, required, integrity, canaries, signal);
  const canary = canaryFinding(canaries);
  if (canary !== undefined) yield canary;
}

/** Opens the copy for writing: that is what replays its WAL or rolls its journal back, as the application's first open would. */
async function* verifyFile(
  copy: Copy,
  required: RequiredPath,
  integrity: 'full' | 'quick',
  canaries: CanarySeen[],
  signal: AbortSignal,
): AsyncIterable<Finding> {
  const { name } = required;
  const file = copy.at(required.path);
  for (const companion of required.companions) {
    const beside = file + companion.slice(required.path.length);
    if (copy.at(companion) !== beside && existsSync(copy.at(companion))) {
      yield error('file', `${name}: ${copy.at(companion)} does not lie beside ${file}, so SQLite would ignore it`);
    }
  }
  let database: DatabaseSync;
  try {
    database = openDatabase(file, 'write');
  } catch (cause) {
    yield error('file', messageOf(cause));
    return;
  }
  try {
    yield { severity: 'info', check: 'start', said: `${name}: opened, and its journal replayed` };
    for (const check of [
      () => integrityOf(database, name, integrity),
      () => foreignKeysOf(database, name),
      () => rowsOf(database, name),
    ]) {
      signal.throwIfAborted();
      try {
        yield* check();
      } catch (cause) {
        yield error('read', `${name}: ${messageOf(cause)}`);
      }
    }
    try {
      canaries.push(...[readCanary(database, name)].filter((seen) => seen !== undefined));
    } catch (cause) {
      yield error('canary', `${name}: ${messageOf(cause)}`);
    }
  } finally {
    database.close();
  }
}

function error(check: string, said: string): Finding {
  return { severity: 'error', check, said };
}

function integrityOf(database: DatabaseSync, name: string, integrity: 'full' | 'quick'): readonly Finding[] {
  const check = integrity === 'full' ? 'integrity_check' : 'quick_check';
  const lines = database
    .prepare(`PRAGMA ${check}(${mostFindings})`)
    .all()
    .map((row) => text(row[check]));
  if (lines.length === 1 && lines[0] === 'ok') return [{ severity: 'info', check, said: `${name}: ok` }];
  return lines.map((line) => error(check, `${name}: ${line}`));
}

function foreignKeysOf(database: DatabaseSync, name: string): readonly Finding[] {
  const check = 'foreign_key_check';
  const broken: Finding[] = [];
  for (const row of database.prepare('PRAGMA foreign_key_check').iterate()) {
    if (broken.length === mostFindings) {
      broken.push(error(check, `${name}: there are more`));
      break;
    }
    const [table, rowid, parent] = [text(row['table']), text(row['rowid']), text(row['parent'])];
    broken.push(error(check, `${name}: row ${rowid} of table ${table} refers to a missing row of ${parent}`));
  }
  return broken.length > 0 ? broken : [{ severity: 'info', check, said: `${name}: ok` }];
}

function rowsOf(database: DatabaseSync, name: string): readonly Finding[] {
  // Only plain tables: virtual ones may need an extension that is not loaded here.
  const tables = database
    .prepare(
      "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )
    .all()
    .map((row) => text(row['name']));
  const counted = tables.slice(0, mostTablesCounted).map((table) => {
    const row = database.prepare(`SELECT count(*) AS rows FROM "${table.replaceAll('"', '""')}"`).get();
    return `${table} ${text(row?.['rows'])}`;
  });
  const more = tables.length > counted.length ? `, and ${tables.length - counted.length} tables not counted` : '';
  const said = counted.length === 0 ? 'no tables' : `${counted.join(', ')}${more}`;
  return [{ severity: 'info', check: 'rows', said: `${name}: ${said}` }];
}
