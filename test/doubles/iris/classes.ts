/** The class methods and routines that the stand-in knows. Everything else is <CLASS DOES NOT EXIST>, <METHOD DOES NOT EXIST>, <NOROUTINE>. */
import { settingsClasses, settingsQuery, taskQuery } from './settings.ts';
import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { expire, externalFreeze, externalThaw, requiredFile, setHistory } from './freeze.ts';
import type { Gtm } from './gtm.ts';
import { current, currentOffset, pack, pathOf, sameJournal, switchJournal } from './journal.ts';
import { journalRestore } from './journal-restore.ts';
import { checkList } from './integrity.ts';
import { clearIncremental, onlineBackup, restoreBackup, sizeEstimate, volumeInfo } from './online-backup.ts';
import {
  localMirrorStatus,
  messageDictionary,
  mirrorClass,
  mirrorConfiguration,
  mirrorQuery,
  systemMirror,
  heldByMirror,
  mirroredStatus,
  noteMounted,
} from './mirror.ts';
import { dismount, mount } from './databases.ts';
import type { Faults, Instance, Store } from './state.ts';
import { clockTime, isoDay, plain, slash } from './texts.ts';
import {
  Halt,
  list,
  ListValue,
  number,
  ObjectValue,
  ScriptError,
  set,
  StatusValue,
  text,
  truth,
  yes,
  type Argument,
  type Method,
  type Value,
} from './values.ts';

export interface Context {
  readonly gtm: Gtm;
  readonly store: Store;
  readonly name: string;
  readonly faults: Faults;
  readonly write: (text: string) => void;
}

export type Methods = Readonly<Record<string, Method>>;

const read = (context: Context): Instance => context.store.read(context.name);

const status = (outcome: { readonly ok: boolean; readonly error: string }): Value =>
  outcome.ok ? '1' : new StatusValue(outcome.error);

export function suspended(context: Context): boolean {
  if (context.faults.statusSays !== undefined) return context.faults.statusSays === 'suspended';
  return context.store.update(context.name, (instance) => {
    expire(context.gtm, instance);
    return instance.freeze !== undefined;
  });
}

function backupGeneral(context: Context): Methods {
  const { gtm, store, name } = context;
  return {
    ExternalFreeze: (args) => {
      if (args.length > read(context).freezeArguments)
        throw new ScriptError('PARAMETER', 'ExternalFreeze,Backup.General');
      const [logFile, , switches, , , , timeout, username, password, suspendLimit, required] = args;
      const outcome = externalFreeze(gtm, store, name, {
        logFile: text(logFile),
        switchJournal: switches === undefined || truth(switches),
        timeout: number(timeout),
        username: text(username),
        password: text(password),
        suspendLimit: number(suspendLimit),
      });
      if (outcome.requiredFile !== undefined) set(required, outcome.requiredFile);
      return status(outcome);
    },
    ExternalThaw: ([logFile, username, password]) =>
      status(
        externalThaw(gtm, store, name, {
          logFile: text(logFile),
          username: text(username),
          password: text(password),
        }),
      ),
    ExternalSetHistory: ([logFile, description]) => {
      setHistory(store, name, text(logFile), text(description));
      return '1';
    },
    IsWDSuspended: () => yes(suspended(context)),
    IsWDSuspendedExt: () => yes(suspended(context)),
    GetLastFullBackupInfo: () => {
      const last = read(context).history.findLast((entry) => entry.type === 'F' || entry.type === 'E');
      return last === undefined
        ? new ListValue(['0', 'No information recorded about a full backup'])
        : new ListValue(['1', `${isoDay(last.atMs)} ${clockTime(last.atMs)}`, last.description, last.device]);
    },
    ClearDatabaseList: () => inList(context, () => false),
    AddDatabaseToList: ([database]) => inList(context, (one, before) => before || one === text(database).toUpperCase()),
    RemoveDatabaseFromList: ([database]) =>
      inList(context, (one, before) => before && one !== text(database).toUpperCase()),
    GetDBNoBackupFlag: ([directory, result]) => {
      set(result, yes(read(context).backup.noBackup.includes(plain(text(directory)))));
      return '1';
    },
    GetBackupVolumeInfo: ([device, info]) => {
      const found = volumeInfo(text(device));
      for (const [subscript, value] of found ?? []) set(info, value, subscript);
      return yes(found !== undefined);
    },
    AbortBackup: () =>
      context.store.update(context.name, ({ backup }) => {
        if (!backup.running) return '1';
        if (backup.aborting) return '2';
        backup.aborting = true;
        return '0';
      }),
    GetAbortStatus: () => yes(read(context).backup.aborting),
    ClearAbortStatus: () =>
      context.store.update(context.name, ({ backup }) => {
        const before = yes(backup.aborting);
        backup.aborting = false;
        return before;
      }),
  };
}

function inList(context: Context, keep: (name: string, before: boolean) => boolean): string {
  context.store.update(context.name, (instance) => {
    for (const database of instance.databases) database.inBackupList = keep(database.name, database.inBackupList);
  });
  return '1';
}

const stateNames = ['Normal', 'Disabled', 'Suspended', 'Frozen', 'Paused'] as const;

function journalSystem(context: Context): Methods {
  const { gtm, store, name } = context;
  const currentPath = (): string => {
    const instance = read(context);
    return pathOf(instance, current(instance));
  };
  const refresh = (): string =>
    store.update(name, (instance) => {
      pack(gtm, instance, current(instance));
      return String(currentOffset(instance));
    });
  return {
    GetState: () => String(read(context).journal.state),
    GetStateString: () => stateNames[read(context).journal.state],
    GetCurrentFileName: currentPath,
    GetCurrentFileOffset: refresh,
    GetCurrentFileCount: () => String(read(context).journal.files.length),
    GetCurrentFile: () => new ObjectValue('%SYS.Journal.File', { Name: currentPath(), Offset: refresh() }, {}),
    SwitchFile: () => {
      store.update(name, (instance) => void switchJournal(gtm, instance, 'by user'));
      return '1';
    },
    Sync: () => {
      refresh();
      return '1';
    },
    GetPrimaryDirectory: () => slash(read(context).journal.directory),
    GetAlternateDirectory: () => slash(read(context).journal.alternate),
    GetJournalFilePrefix: () => read(context).journal.prefix,
    GetImageJournalInfo: ([file, offset, count, openFile, openCount]) => {
      const instance = read(context);
      set(file, pathOf(instance, current(instance)));
      set(offset, String(currentOffset(instance)));
      set(count, String(instance.journal.files.length));
      set(openFile, requiredFile(instance));
      set(openCount, String(instance.journal.files.length));
      return '1';
    },
  };
}

function journalFile(context: Context): Methods {
  const around = (path: string, step: 1 | -1): string => {
    const instance = read(context);
    const { files } = instance.journal;
    const at = files.findIndex((file) => sameJournal(pathOf(instance, file), path));
    const found = at === -1 ? undefined : files[at + step];
    return found === undefined ? '' : pathOf(instance, found);
  };
  const required = (): readonly [string, string] => {
    const instance = read(context);
    const file = requiredFile(instance);
    const at = instance.journal.files.findIndex((one) => sameJournal(pathOf(instance, one), file));
    return [file, String(at + 1)];
  };
  const both: Method = ([file, count]) => {
    const [path, index] = required();
    set(file, path);
    set(count, index);
    return '1';
  };
  const find = (path: string) => {
    const instance = read(context);
    return instance.journal.files.find((file) => sameJournal(pathOf(instance, file), path));
  };
  return {
    RequiredForRollback: both,
    RequiredForRecovery: both,
    GetPrev: ([path]) => around(text(path), -1),
    GetNext: ([path]) => around(text(path), 1),
    GetReason: ([path]) => find(text(path))?.reason ?? '',
    GetGUID: ([path]) => find(text(path))?.guid ?? '',
  };
}

function systemClasses(context: Context): Readonly<Record<string, Methods>> {
  const errorText: Method = ([one]) => (one instanceof StatusValue ? one.message : '');
  return {
    '%SYSTEM.Process': {
      Terminate: ([pid, code]) => {
        if (text(pid) !== '') throw new ScriptError('FUNCTION');
        throw new Halt(number(code));
      },
    },
    '%SYSTEM.Status': {
      IsOK: ([one]) => yes(!(one instanceof StatusValue)),
      IsError: ([one]) => yes(one instanceof StatusValue),
      GetErrorText: errorText,
      GetOneErrorText: errorText,
      GetErrorCodes: ([one]) => (one instanceof StatusValue ? one.code : ''),
      DisplayError: ([one]) => {
        if (one instanceof StatusValue) context.write(`\n${one.message}`);
        return '1';
      },
    },
    '%SYSTEM.Version': {
      GetVersion: () => versionText(read(context)),
      GetNumber: () => read(context).version.split('.').slice(0, 2).join('.'),
    },
    '%SYSTEM.Util': {
      InstallDirectory: () => slash(read(context).directory),
      ManagerDirectory: () => slash(read(context).manager),
    },
    '%SYSTEM.INetInfo': { LocalHostName: () => hostname() },
    '%SYS.System': {
      GetInstanceName: () => context.name,
      GetUniqueInstanceName: () => `${hostname()}:${context.name}`,
    },
  };
}

export function versionText(instance: Instance): string {
  const product = instance.cache ? 'Cache' : 'IRIS';
  const short = instance.version.split('.').slice(0, 2).join('.');
  return `${product} for UNIX (Ubuntu Server LTS for x86-64 Containers) ${short} (Build ${instance.version.split('.').slice(3).join('.')}U) ${isoDay(instance.sinceMs)}`;
}

function databaseClass(context: Context): Methods {
  const { gtm, store, name } = context;
  return {
    DismountDatabase: ([directory]) => {
      if (heldByMirror(store, name, plain(text(directory))))
        throw new ScriptError('PROTECT', 'Dismount+6^SYS.Database.1');
      return status(store.update(name, (instance) => dismount(gtm, instance, plain(text(directory)))));
    },
    MountDatabase: ([directory, readOnly]) => {
      const done = status(
        store.update(name, (instance) => mount(gtm, instance, plain(text(directory)), truth(readOnly))),
      );
      if (done === '1') noteMounted(store, name, plain(text(directory)));
      return done;
    },
    '%OpenId': ([directory]) => {
      const found = read(context).databases.find((one) => one.directory === plain(text(directory)));
      if (found === undefined) return '';
      return new ObjectValue(
        'SYS.Database',
        {
          Directory: slash(found.directory),
          Mounted: yes(found.mounted),
          ReadOnly: yes(found.readOnly),
          GlobalJournalState: found.journaled ? '3' : '2',
          SFN: String(read(context).databases.findIndex(({ name: each }) => each === found.name)),
          MirrorActivationRequired: yes(mirroredStatus(store, name, found.directory) === 'Needs Activation'),
        },
        {},
      );
    },
  };
}

/** Prints a query's rows as `RunQuery` does: fields with a colon behind each. */
function resultSet(context: Context): Methods {
  return {
    RunQuery: ([className, query, ...words]) => {
      const { rows } = queryRows(context, text(className), text(query), words);
      context.write(`\n${rows.map((row) => `${row.map((field) => `${field}:`).join('')}\n`).join('')}`);
      return '1';
    },
    '%New': ([query]) => {
      const [className = '', name = ''] = text(query).split(':');
      let found: ReturnType<typeof queryRows> = { columns: [], rows: [] };
      let at = 0;
      let prepared: Argument;
      const named = (column: string): string => found.rows[at]?.[found.columns.indexOf(column)] ?? '';
      return new ObjectValue(
        '%ResultSet',
        {},
        {
          Prepare: ([sql]) => {
            prepared = sql;
            return '1';
          },
          Execute: (words) => {
            found =
              className === '%DynamicQuery'
                ? taskQuery(context.store, context.name, prepared)
                : queryRows(context, className, name, words);
            const { unreadable = [] } = context.store.faults(context.name);
            if (className === 'SYS.Mirror' && unreadable.includes(className)) return new StatusValue('Access denied');
            at = 0;
            return '1';
          },
          Next: () => yes((at += 1) < found.rows.length),
          Data: ([column]) => named(text(column)),
          Get: ([column]) => named(text(column)),
          GetData: ([column]) => found.rows[at]?.[number(column) - 1] ?? '',
          Close: () => '1',
        },
      );
    },
  };
}

/** The first row holds the columns' headings. */
function queryRows(
  { store, name }: Context,
  className: string,
  query: string,
  words: readonly Argument[],
): { readonly columns: readonly string[]; readonly rows: readonly (readonly string[])[] } {
  const found =
    className === 'SYS.Mirror' ? mirrorQuery(store, name, query, words) : settingsQuery(store, name, className, query);
  if (found === undefined) throw new ScriptError('CLASS DOES NOT EXIST', `${className}:${query}`);
  return found;
}

export function classesOf(context: Context): Readonly<Record<string, Methods>> {
  const { gtm, store, name } = context;
  return {
    ...systemClasses(context),
    'Backup.General': backupGeneral(context),
    '%SYS.Journal.System': journalSystem(context),
    '%SYS.Journal.File': journalFile(context),
    'SYS.Database': databaseClass(context),
    'SYS.Mirror': mirrorClass(store, name),
    '%SYSTEM.Mirror': systemMirror(store, name),
    '%MessageDictionary': messageDictionary(),
    ...mirrorConfiguration(store, name),
    ...settingsClasses(store, name),
    '%ResultSet': resultSet(context),
    '%Dictionary.CompiledMethod': { '%OpenId': ([id]) => compiledMethod(read(context), text(id)) },
    'Journal.Restore': { '%New': () => journalRestore(gtm, store, name, context.write) },
  };
}

/** What the last CheckList of this session left for Display. */
let shownIntegrity = '';

const freezeArguments = [
  'LogFile:%String=""',
  'Text:%String=""',
  'SwitchJournalFile:%Boolean=1',
  'TimeOut:%Integer=10',
  'Hibernate:%Integer=0',
  'Verbose:%Boolean=0',
  'ExternalFreezeTimeOut:%Integer=0',
  'Username:%String=""',
  'Password:%String=""',
  'WDSuspendLimit:%Integer=0',
  'RequiredFile:%String',
] as const;

/** The class dictionary's word on which arguments ExternalFreeze takes here. */
function compiledMethod(instance: Instance, id: string): Value {
  if (id !== 'Backup.General||ExternalFreeze') return '';
  const formal = freezeArguments.slice(0, instance.freezeArguments).join(',');
  return new ObjectValue('%Dictionary.CompiledMethod', { Name: 'ExternalFreeze', FormalSpec: formal }, {});
}

export function routinesOf(context: Context): Readonly<Record<string, Methods>> {
  const { gtm, store, name } = context;
  return {
    DBACK: {
      BACKUP: (args) => {
        const words = args.map((one) => text(one));
        const [
          ,
          type = '',
          description = '',
          device = '',
          killJournal = '',
          logFile = '',
          mode = 'NOISY',
          clear = '',
          swap = '',
        ] = words;
        const done = onlineBackup(gtm, store, name, {
          type: type.toUpperCase(),
          description,
          device,
          logFile,
          switchJournal: [killJournal, clear, swap].some((word) => word.toUpperCase() === 'Y'),
        });
        if (mode.toUpperCase() === 'NOISY' || mode === '') context.write(done.log);
        return done.answer;
      },
      CLRINC: ([mode]) => {
        const directories = clearIncremental(gtm, store, name);
        if (text(mode) !== 'QUIET') {
          context.write(directories.map((one) => `\n     Cleared incremental backup bitmap in ${slash(one)}`).join(''));
        }
        return '1';
      },
      LISTDIRS: ([file]) => {
        const listed = read(context).databases.filter((one) => one.inBackupList && one.mounted);
        writeFileSync(text(file), listed.map((one) => `${slash(one.directory)}\n`).join(''));
        return '1';
      },
    },
    DBSIZE: { INT: ([kind]) => sizeEstimate(gtm, read(context), number(kind)) },
    DBREST: {
      EXTALL: ([, , device]) => restoreBackup(gtm, store, name, text(device), undefined, context.write),
      EXTSELCT: ([, , device, file]) => restoreBackup(gtm, store, name, text(device), text(file), context.write),
    },
    Integrity: {
      CheckList: ([, directories, stopAfterError]) => {
        const asked = list(directories).map((one) => plain(text(one)));
        const checked = checkList(gtm, read(context), asked, truth(stopAfterError));
        shownIntegrity = checked.report;
        return checked.status;
      },
      Display: () => {
        context.write(shownIntegrity);
        return '';
      },
    },
    MIRROR: {
      LocalMirrorStatus: () => {
        context.write(localMirrorStatus(read(context)));
        return '';
      },
    },
    JRNSWTCH: {
      '': () => {
        store.update(name, (instance) => void switchJournal(gtm, instance, 'by user'));
        return '';
      },
    },
  };
}

export function noteCall(store: Store, name: string, what: string, exit: number): void {
  store.update(name, (instance) => {
    instance.calls.push({ atMs: Date.now(), what, exit });
  });
}
