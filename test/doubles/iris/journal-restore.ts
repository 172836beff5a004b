import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileOf, type Gtm } from './gtm.ts';
import {
  backingJournal,
  current,
  journalLog,
  pathOf,
  readJournal,
  switchJournal,
  type JournalContent,
} from './journal.ts';
import type { Database, Instance, Store } from './state.ts';
import { clockTime, compactDay, plain, slash } from './texts.ts';
import { number, ObjectValue, set, StatusValue, text, truth, type Value } from './values.ts';

class RestoreError extends Error {}

/** One `Journal.Restore` object: nothing of it survives the session. */
class Restore {
  readonly properties: Record<string, Value> = {
    FirstFile: '',
    LastFile: '',
    StartPosition: '',
    JournalLog: '',
    AbortOnJournalError: '1',
    AbortOnDatabaseError: '0',
    Filter: '',
    MarkerTrigger: '',
    DisableJournaling: '1',
    SwitchOnCurrentJournal: '1',
    RollBack: '1',
    Dismount: '0',
    SourceDatabases: listObject([]),
  };
  readonly #gtm: Gtm;
  readonly #store: Store;
  readonly #name: string;
  readonly #write: (text: string) => void;
  readonly #locations: string[] = [];
  readonly #redirects = new Map<string, string>();
  /** Source as in the journal -> globals; an empty list means all of them. */
  readonly #selected = new Map<string, string[]>();

  constructor(gtm: Gtm, store: Store, name: string, write: (text: string) => void) {
    this.#gtm = gtm;
    this.#store = store;
    this.#name = name;
    this.#write = write;
  }

  useLocation(directory: string): Value {
    this.#locations.push(plain(directory));
    return '1';
  }

  redirect(source: string, target: string): Value {
    this.#redirects.set(source, plain(target));
    return '1';
  }

  /** A name that no record of the journals bears selects nothing, and nobody says so. */
  select(source: string, global: string): Value {
    const globals = this.#selected.get(source) ?? [];
    if (global !== '') globals.push(global.replace(/^\^/, ''));
    this.#selected.set(source, globals);
    return '1';
  }

  check(scan: number): Value {
    return this.#attempt(() => {
      const files = this.#contents(this.#store.read(this.#name));
      if (scan > 0) {
        const sources = new Set(files.flatMap(({ content }) => content.parts.map((part) => part.directory)));
        this.properties['SourceDatabases'] = listObject([...sources]);
      }
    });
  }

  run(): Value {
    return this.#attempt(() => {
      this.#store.update(this.#name, (instance) => this.#runOn(instance));
    });
  }

  #attempt(act: () => void): Value {
    try {
      act();
      return '1';
    } catch (error) {
      if (error instanceof RestoreError) return new StatusValue(error.message);
      throw error;
    }
  }

  #flag(name: string): boolean {
    return truth(this.properties[name]);
  }

  /** The chosen files in order, in the place where they lie now. */
  #files(instance: Instance): readonly string[] {
    const first = text(this.properties['FirstFile']);
    const last = text(this.properties['LastFile']);
    if (first === '') throw new RestoreError("property 'FirstFile' is required");
    const log = text(this.properties['JournalLog']);
    const known =
      log === '-1' ? this.#scanned(first) : journalLog(log === '' ? join(instance.manager, 'journal.log') : log);
    const index = (name: string): number => known.findIndex((path) => basename(path) === basename(name));
    const from = index(first);
    const to = last === '' ? known.length - 1 : index(last);
    if (from === -1) throw new RestoreError(`journal file ${first} is not listed in the journal log`);
    if (to === -1) throw new RestoreError(`journal file ${last} is not listed in the journal log`);
    return known.slice(from, to + 1).map((path) => this.#located(path));
  }

  #scanned(first: string): readonly string[] {
    const directories = this.#locations.length > 0 ? this.#locations : [dirname(first)];
    return directories
      .flatMap((directory) =>
        existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [],
      )
      .map((path) => path.replace(/z$/, ''))
      .filter((path) => /\d{8}\.\d{3}$/.test(path))
      .sort((a, b) => basename(a).localeCompare(basename(b)));
  }

  #located(path: string): string {
    const found = this.#locations
      .map((directory) => join(directory, basename(path)))
      .find((candidate) => existsSync(candidate) || existsSync(`${candidate}z`));
    return found ?? path;
  }

  #contents(instance: Instance): readonly { readonly path: string; readonly content: JournalContent }[] {
    const found: { path: string; content: JournalContent }[] = [];
    for (const path of this.#files(instance)) {
      let problem = `journal file ${path} is missing`;
      let content: JournalContent | undefined;
      try {
        content = readJournal(path);
      } catch (error) {
        problem = `journal file ${path} is corrupt: ${error instanceof Error ? error.message : String(error)}`;
      }
      const before = found.at(-1);
      if (content !== undefined && before !== undefined && content.header.previous !== before.content.header.name) {
        problem = `journal files ${before.path} and ${path} are not consecutive`;
        if (this.#flag('AbortOnJournalError')) throw new RestoreError(problem);
      }
      if (content !== undefined) found.push({ path, content });
      else if (this.#flag('AbortOnJournalError')) throw new RestoreError(problem);
    }
    return found;
  }

  #runOn(instance: Instance): void {
    const open = pathOf(instance, current(instance));
    if (this.#flag('SwitchOnCurrentJournal') && this.#files(instance).includes(open)) {
      const last = text(this.properties['LastFile']);
      if (last === '') this.properties['LastFile'] = basename(open);
      switchJournal(this.#gtm, instance, 'by journal restore');
      this.#write(`\nJournaling switched to ${pathOf(instance, current(instance))}\n`);
    }
    const updated = new Set<string>();
    const skipped = new Set<string>();
    for (const { path, content } of this.#contents(instance)) {
      this.#write(`\nJournal file being applied: ${path}\n${path}\n`);
      this.#applyFile(instance, content, updated, skipped);
      this.#write(' 100.00%');
    }
    const now = Date.now();
    this.#write(`\n[Journal restore completed at ${compactDay(now)} ${clockTime(now)}]\n`);
    this.#report('updated', updated);
    this.#report('skipped', skipped);
  }

  #report(what: string, directories: ReadonlySet<string>): void {
    if (directories.size === 0) return;
    this.#write(`\nThe following databases have been ${what}:\n\n`);
    this.#write([...directories].map((directory, index) => `${index + 1}. ${slash(directory)}\n`).join(''));
  }

  #applyFile(instance: Instance, content: JournalContent, updated: Set<string>, skipped: Set<string>): void {
    for (const source of new Set(content.parts.map((part) => part.directory))) {
      const globals = this.#selected.get(source);
      // Nothing selected means everything, into the databases themselves: redirection has no effect then.
      if (this.#selected.size > 0 && globals === undefined) continue;
      const target =
        this.#selected.size > 0 ? (this.#redirects.get(source) ?? home(instance, source)) : home(instance, source);
      const database = instance.databases.find((one) => one.directory === target);
      if (skipped.has(target)) continue;
      const problem = whyNot(database) ?? this.#apply(instance, content, source, target, globals ?? []);
      if (problem === undefined) updated.add(target);
      else {
        if (this.#flag('AbortOnDatabaseError')) throw new RestoreError(`${slash(target)}: ${problem}`);
        skipped.add(target);
      }
    }
  }

  #apply(
    instance: Instance,
    content: JournalContent,
    source: string,
    target: string,
    globals: readonly string[],
  ): string | undefined {
    const scratch = mkdtempSync(join(this.#gtm.root, 'gtm', 'restore-'));
    try {
      const parts = content.parts.filter((part) => part.directory === source);
      const files = parts.map((part, index) => {
        const file = join(scratch, `part${index}`);
        writeFileSync(file, part.bytes);
        return file;
      });
      const origin = parts[0]?.home ?? '';
      const database = instance.databases.find((one) => one.directory === target);
      const done = this.#gtm.run(target, [
        'mupip',
        'journal',
        '-recover',
        '-forward',
        '-nochecktn',
        // Otherwise GT.M fetches earlier generations from where they once lay, and a lost file would never be missed.
        '-nochain',
        ...(origin === target ? [] : [`-redirect=${join(origin, basename(fileOf(target)))}=${fileOf(target)}`]),
        ...(globals.length === 0 ? [] : [`-global="(${globals.map((one) => `^${one}`).join(',')})"`]),
        files.join(','),
      ]);
      if (database?.journaled === true) this.#gtm.journalOn(target, backingJournal(this.#gtm, instance, database));
      return done.code === 0 ? undefined : done.text.trim();
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
}

function whyNot(database: Database | undefined): string | undefined {
  if (database?.mounted !== true) return 'not mounted';
  return database.readOnly ? 'read only' : undefined;
}

/** The directory of a source as it stands in a journal, or of the mirrored database of that name here. */
function home(instance: Instance, source: string): string {
  if (!source.startsWith(':mirror:')) return plain(source);
  return instance.databases.find((one) => one.mirrorName === source)?.directory ?? source;
}

function listObject(items: readonly string[]): ObjectValue {
  const cursor = { at: 0 };
  return new ObjectValue(
    '%ListOfDataTypes',
    {},
    {
      Count: () => String(items.length),
      GetAt: ([at]) => items[number(at) - 1] ?? '',
      GetNext: ([key]) => {
        // A reference shows nothing of its value here: the object counts by itself, from the first to the end.
        const next = cursor.at;
        cursor.at += 1;
        const found = items[next];
        set(key, found === undefined ? '' : String(next + 1));
        if (found === undefined) cursor.at = 0;
        return found ?? '';
      },
    },
  );
}

export function journalRestore(gtm: Gtm, store: Store, name: string, write: (text: string) => void): ObjectValue {
  mkdirSync(join(gtm.root, 'gtm'), { recursive: true });
  const restore = new Restore(gtm, store, name, write);
  return new ObjectValue('Journal.Restore', restore.properties, {
    UseJournalLocation: ([directory]) => restore.useLocation(text(directory)),
    CheckJournalIntegrity: ([scan]) => restore.check(number(scan)),
    RedirectDatabase: ([source, target]) => restore.redirect(text(source), text(target)),
    SelectUpdates: ([source, global]) => restore.select(text(source), text(global)),
    Run: () => restore.run(),
  });
}
