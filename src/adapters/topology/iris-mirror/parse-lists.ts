import { questions } from './commands-lists.ts';
import type { MemberSettings } from './cpf-diff.ts';
import { parseCpf } from './parse-cpf.ts';

export interface Exported {
  /** Those that are whole; the others are not compared. */
  readonly lists: MemberSettings['lists'];
  /** Directories of mirrored databases, each with a slash at its end. Undefined: not told. */
  readonly mirrored: ReadonlySet<string> | undefined;
  readonly isPrimary: boolean;
}

/** What a session said to `listsScript`. Undefined: it did not come to its end. Never throws. */
export function parseLists(output: string, nonce: string): Exported | undefined {
  const lines = output.split(/\r?\n/);
  if (!lines.includes(`SP:end=${nonce}`)) return undefined;
  const lists: Partial<Record<keyof typeof questions, ReadonlyMap<string, string>>> = {};
  for (const [area, { word, fields }] of Object.entries(questions)) {
    const rows = rowsOf(lines, word, fields.length + 1);
    if (rows !== undefined) lists[area as keyof typeof questions] = itemsOf(rows, fields);
  }
  const mirrored = rowsOf(lines, 'mirrored', 2)?.map(([, directory]) => slashed(directory as string));
  return {
    lists,
    mirrored: mirrored === undefined ? undefined : new Set(mirrored),
    isPrimary: lines.includes('SP:primary=1'),
  };
}

export interface Catalogue {
  /** Directories have a slash at their end. */
  readonly databases: readonly { readonly name: string; readonly directory: string }[];
  /** Where journal files lie. */
  readonly journals: readonly string[];
}

/** What a session said to `catalogueScript`. Undefined: not all of it. Never throws. */
export function parseCatalogue(output: string, nonce: string): Catalogue | undefined {
  const lines = output.split(/\r?\n/);
  const rows = rowsOf(lines, 'mirrored', 2);
  if (!lines.includes(`SP:end=${nonce}`) || rows === undefined) return undefined;
  const journals = lines.flatMap((line) => /^SP:(?:journals|alternate)=(\/.*)$/.exec(line)?.[1] ?? []);
  return {
    databases: rows.map((row) => ({ name: row[0] as string, directory: slashed(row[1] as string) })),
    journals: [...new Set(journals.map((each) => each.trim()))],
  };
}

/** Rows `number^column...`, as many as were counted, or undefined. */
function rowsOf(lines: readonly string[], word: string, width: number): readonly (readonly string[])[] | undefined {
  const begin = `SP:${word}=`;
  const rows = lines.filter((line) => line.startsWith(begin)).map((line) => line.slice(begin.length).split('^'));
  if (!lines.includes(`SP:${word}s=${rows.length}`)) return undefined;
  const isWhole = rows.every((columns, at) => columns.length === width + 1 && columns[0] === String(at + 1));
  return isWhole ? rows.map((columns) => columns.slice(1).map((column) => column.trim())) : undefined;
}

/** By name; names of tasks may repeat. */
function itemsOf(rows: readonly (readonly string[])[], fields: readonly string[]): ReadonlyMap<string, string> {
  const items = new Map<string, string>();
  for (const [name, ...values] of rows as readonly (readonly [string, ...string[]])[]) {
    const definition = fields.map((field, at) => `${field}=${sorted(values[at] as string)}`).join('; ');
    let free = name;
    for (let copy = 2; items.has(free); copy += 1) free = `${name} (${copy})`;
    items.set(free, definition);
  }
  return items;
}

/** Lists of roles and resources have no order of their own. */
function sorted(value: string): string {
  const parts = value.split(',').map((part) => part.trim());
  return parts.length === 1 ? value.replaceAll(';', ',') : parts.sort().join(',').replaceAll(';', ',');
}

const slashed = (directory: string): string => directory.replace(/\/*$/, '/');

/** Databases that come with the engine, which every member has of its own. */
const engines =
  /^(?:IRIS|CACHE)(?:SYS|LIB|TEMP|LOCALDATA|AUDIT|METRICS|SECURITY)?$|^(?:ENSLIB|HSLIB|HSSYS|HSCUSTOM|HSSYSLOCALTEMP|DOCBOOK|SAMPLES)$/;

/** Directory, with a slash at its end, of a database of this machine. */
export function directoryIn(cpf: string, database: string): string | undefined {
  const [directory = '', server = ''] = (
    parseCpf(cpf).get('databases')?.settings.get(database.toLowerCase())?.value ?? ''
  ).split(',');
  return directory.trim() === '' || server.trim() !== '' ? undefined : slashed(directory.trim());
}

export interface LocalDatabase {
  readonly name: string;
  readonly directory: string;
  readonly namespaces: readonly string[];
}

/** Databases of this machine that namespaces refer to, and that are in no mirror: nobody replicates their data, nor the file streams beside them. */
export function localDatabases(cpf: string, mirrored: ReadonlySet<string>): readonly LocalDatabase[] {
  const sections = parseCpf(cpf);
  const users = new Map<string, Set<string>>();
  const refer = (namespace: string, database: string): void => {
    const name = database.trim().toUpperCase();
    if (name !== '') users.set(name, (users.get(name) ?? new Set()).add(namespace));
  };
  for (const { key, value } of sections.get('namespaces')?.settings.values() ?? [])
    for (const database of value.split(',')) refer(key, database);
  for (const { name, settings } of sections.values()) {
    const namespace = /^map\.(.+)$/i.exec(name)?.[1];
    if (namespace === undefined) continue;
    for (const { value } of settings.values()) refer(namespace, value.split(',')[0] as string);
  }
  return [...(sections.get('databases')?.settings.values() ?? [])].flatMap(({ key, value }) => {
    const [directory = '', server = ''] = value.split(',').map((part) => part.trim());
    const namespaces = users.get(key.toUpperCase());
    if (namespaces === undefined || server !== '' || engines.test(key.toUpperCase())) return [];
    if (mirrored.has(slashed(directory))) return [];
    return [{ name: key, directory: slashed(directory), namespaces: [...namespaces].sort() }];
  });
}
