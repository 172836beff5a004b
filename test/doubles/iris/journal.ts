import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { Gtm } from './gtm.ts';
import { append, type Database, type Instance, type JournalFile } from './state.ts';
import { compactDay, ctime, message, slash } from './texts.ts';

const magic = 'IRIS stand-in journal 1\n';
/** Journal files of the published logs have their first marker at about this offset. */
const headerBytes = 196_608;

interface Header {
  readonly name: string;
  readonly guid: string;
  readonly previous: string | undefined;
  readonly complete: boolean;
  readonly parts: readonly {
    readonly directory: string;
    readonly mirrorName: string | undefined;
    readonly length: number;
  }[];
}

export interface JournalContent {
  readonly header: Header;
  /** `directory` as the journal names the database, `home` where its file was. */
  readonly parts: readonly { readonly directory: string; readonly home: string; readonly bytes: Uint8Array }[];
}

export const current = (instance: Instance): JournalFile => {
  const last = instance.journal.files.at(-1);
  if (last === undefined) throw new Error('no journal file');
  return last;
};

export const pathOf = (instance: Instance, file: JournalFile): string => join(instance.journal.directory, file.name);

export const currentOffset = (instance: Instance): number => {
  const path = pathOf(instance, current(instance));
  // 976 bytes of records stand before the first marker in one of the published samples; ours are counted from the live parts.
  return existsSync(path) ? statSync(path).size + 976 : headerBytes;
};

/** Journals of the backing database live out of sight; what the instance shows are whole files packed from them. */
export const backingJournal = (gtm: Gtm, instance: Instance, database: Database): string =>
  join(gtm.root, 'gtm', 'journals', instance.name, database.name, 'live.mjl');

export const journaled = (instance: Instance): readonly Database[] =>
  instance.databases.filter((database) => database.journaled && database.mounted && !database.readOnly);

/** The next name: counts up within a day, begins at .001 on another. */
function nextName(instance: Instance): string {
  const day = compactDay(Date.now());
  const mirror =
    instance.mirror?.memberStatus.startsWith('Primary') === true
      ? `MIRROR-${instance.mirror.name}-`
      : instance.journal.prefix;
  const last = instance.journal.files.findLast((file) => file.name.startsWith(`${mirror}${day}.`));
  const number = last === undefined ? 1 : Number(last.name.slice(-3)) + 1;
  return `${mirror}${day}.${String(number).padStart(3, '0')}`;
}

export function openJournal(instance: Instance, reason: string): JournalFile {
  const file: JournalFile = {
    name: nextName(instance),
    guid: randomUUID().toUpperCase(),
    previous: instance.journal.files.at(-1)?.name,
    reason,
    closed: false,
    parts: [],
  };
  instance.journal.files.push(file);
  mkdirSync(instance.journal.directory, { recursive: true });
  mkdirSync(instance.journal.alternate, { recursive: true });
  writeContainer(instance, file, []);
  append(
    join(instance.manager, 'journal.log'),
    `${pathOf(instance, file)},${ctime(Date.now())},${file.guid},${reason}\n`,
  );
  return file;
}

function writeContainer(
  instance: Instance,
  file: JournalFile,
  parts: readonly { readonly directory: string; readonly bytes: Uint8Array }[],
): void {
  const header: Header = {
    name: file.name,
    guid: file.guid,
    previous: file.previous,
    complete: file.closed,
    parts: parts.map((part) => ({
      directory: part.directory,
      mirrorName: instance.databases.find((database) => database.directory === part.directory)?.mirrorName,
      length: part.bytes.byteLength,
    })),
  };
  const head = Buffer.alloc(headerBytes);
  head.write(`${magic}${JSON.stringify(header)}\n`);
  writeFileSync(pathOf(instance, file), Buffer.concat([head, ...parts.map((part) => part.bytes)]));
}

/** Puts what the backing journals hold by now into the file; a file that is still open gets copies of the live journals too. */
export function pack(gtm: Gtm, instance: Instance, file: JournalFile): void {
  const parts = file.parts.map((part) => ({ directory: part.directory, bytes: readFileSync(part.file) as Uint8Array }));
  if (!file.closed || instance.freeze !== undefined) {
    for (const database of journaled(instance)) {
      const live = backingJournal(gtm, instance, database);
      if (instance.freeze === undefined) gtm.flush(database.directory);
      if (existsSync(live)) parts.push({ directory: database.directory, bytes: readFileSync(live) });
    }
  }
  writeContainer(instance, file, parts);
  if (file.closed && instance.journal.compress) {
    const path = pathOf(instance, file);
    writeFileSync(`${path}z`, gzipSync(readFileSync(path)));
    rmSync(path);
  }
}

/** Remembers backing journals that GT.M has just closed as parts of the current file. */
export function closedParts(instance: Instance, database: Database, closed: readonly string[]): void {
  for (const file of closed) current(instance).parts.push({ directory: database.directory, file });
}

export function switchJournal(gtm: Gtm, instance: Instance, reason: string): JournalFile {
  const old = current(instance);
  if (instance.freeze === undefined) {
    for (const database of journaled(instance)) {
      closedParts(instance, database, gtm.switchJournal(database.directory));
    }
  }
  old.closed = true;
  pack(gtm, instance, old);
  const opened = openJournal(instance, reason);
  const product = instance.cache ? 'CACHE' : 'INTERSYSTEMS IRIS';
  message(
    instance,
    0,
    `${product} JOURNALING SYSTEM MESSAGE\nJournaling switched to: ${pathOf(instance, opened)}`,
    'Generic.Event',
  );
  return opened;
}

/** Reads `path`, or `path` with the `z` of a compressed file. */
export function readJournal(path: string): JournalContent | undefined {
  const found = [path, `${path}z`].find((candidate) => existsSync(candidate));
  if (found === undefined) return undefined;
  const raw = readFileSync(found);
  const bytes = raw[0] === 0x1f && raw[1] === 0x8b ? gunzipSync(raw) : raw;
  const text = bytes.subarray(0, headerBytes).toString('utf8');
  if (!text.startsWith(magic)) throw new Error(`${path} is no journal file`);
  const header = JSON.parse(text.slice(magic.length).split('\n')[0] as string) as Header;
  let at = headerBytes;
  const parts = header.parts.map(({ directory, mirrorName, length }) => {
    if (at + length > bytes.length) throw new Error(`${path} ends too early`);
    const part = { directory: mirrorName ?? slash(directory), home: directory, bytes: bytes.subarray(at, at + length) };
    at += length;
    return part;
  });
  return { header, parts };
}

/** Which files journal.log names, oldest first. */
export function journalLog(file: string): readonly string[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.split(',')[0] ?? '')
    .filter((path) => path !== '');
}

export const sameJournal = (path: string, name: string): boolean =>
  basename(path) === basename(name) && (dirname(name) === '.' || dirname(name) === dirname(path));
