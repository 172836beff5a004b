import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expire, externalFreeze, externalThaw, resumeSystem } from './freeze.ts';
import { fileOf, type Gtm } from './gtm.ts';
import { backingJournal, closedParts, current, openJournal, pack } from './journal.ts';
import { hang, type Instance, type Store } from './state.ts';
import { ctime, message, slash } from './texts.ts';

/** What a command wrote and how it ended. */
export interface Answer {
  readonly out: string;
  readonly code: number;
}

const ok = (out: string): Answer => ({ out, code: 0 });

function statusText(instance: Instance): string {
  if (instance.status === 'running') return `running, since ${ctime(instance.sinceMs)}`;
  if (instance.status === 'down') return `down, last used ${ctime(instance.sinceMs)}`;
  return instance.status;
}

export function qlistLine(instance: Instance): string {
  const { ports, mirror } = instance;
  const fields = [
    instance.name,
    instance.cache ? slash(instance.directory) : instance.directory,
    instance.version,
    statusText(instance),
    instance.cache ? 'cache.cpf' : 'iris.cpf',
    String(ports.superserver),
    String(ports.web),
    String(ports.gateway),
    instance.status === 'running' ? instance.health : '',
    instance.cache ? '' : instance.product,
    mirror?.memberType ?? '',
    mirror?.memberStatus ?? '',
    instance.directory,
    String(ports.superserver),
  ];
  return fields.slice(0, instance.qlistFields).join('^');
}

export function qlist(store: Store, wanted: string | undefined): Answer {
  const instances = wanted === undefined ? store.names().map((name) => store.read(name)) : [store.find(wanted)];
  let out = '';
  for (const instance of instances) {
    if (instance === undefined) return { out: '', code: 1 };
    if (store.faults(instance.name).qlistHangs === true) hang();
    out += `${qlistLine(instance)}\n`;
  }
  return ok(out);
}

export function list(store: Store, wanted: string | undefined): Answer {
  const instances = store.names().map((name) => store.read(name));
  const shown = wanted === undefined ? instances : instances.filter((one) => one.name === wanted.toUpperCase());
  return ok(shown.map(listBlock).join(''));
}

function listBlock(instance: Instance): string {
  const { ports, mirror } = instance;
  const lines = [
    '',
    `Configuration '${instance.name}'${instance.isDefault ? '   (default)' : ''}`,
    `\tdirectory:    ${instance.directory}`,
    `\tversionid:    ${instance.version}`,
    ...(instance.cache ? [] : [`\tdatadir:      ${instance.directory}`]),
    `\tconf file:    ${instance.cache ? 'cache.cpf' : 'iris.cpf'}  (SuperServer port = ${ports.superserver}, WebServer = ${ports.web})`,
    `\tstatus:       ${statusText(instance)}`,
    ...(mirror === undefined
      ? []
      : [`\tmirroring: Member Type = ${mirror.memberType}; Status = ${mirror.memberStatus}`]),
    ...(instance.status === 'running' ? [`\tstate:        ${instance.health}`] : []),
    ...(instance.cache ? [] : [`\tproduct:      InterSystems ${instance.product}`]),
  ];
  return `${lines.join('\n')}\n`;
}

/** `qall` cuts lines to 78 characters and marks that with `~`; `all` and `allw` do not. */
export function all(store: Store, cut: boolean): Answer {
  const rows = [
    '    Instance Name     Version ID        Port   Directory',
    '    ----------------  ----------------  -----  --------------------------------',
    ...store.names().map((name) => {
      const one = store.read(name);
      const state =
        one.status === 'running'
          ? 'up'
          : one.status === 'down'
            ? 'dn'
            : one.status.startsWith('starting')
              ? 'st'
              : '  ';
      const mark = one.isDefault ? '>' : ' ';
      const columns = [
        one.name.padEnd(16),
        one.version.padEnd(16),
        String(one.ports.superserver).padEnd(5),
        one.directory,
      ];
      return `${state} ${mark}${columns.join('  ')}`;
    }),
  ];
  return ok(
    rows.map((row, index) => `${cut && index > 1 && row.length > 78 ? `${row.slice(0, 77)}~` : row}\n`).join(''),
  );
}

export const lockFile = (instance: Instance, directory: string): string =>
  join(directory, instance.cache ? 'cache.lck' : 'iris.lck');

/** Written at mount; a copy of the directory carries it along. */
export function writeLock(instance: Instance, directory: string): void {
  writeFileSync(lockFile(instance, directory), `${instance.name} ${slash(directory)}\n`);
}

export function start(gtm: Gtm, store: Store, name: string): Answer {
  return store.update(name, (instance) => {
    if (instance.status === 'running') return { out: `${instance.name} is already up!\n`, code: 0 };
    message(instance, 0, `*** Recovery started at ${ctime(Date.now())}`, 'Generic.Event');
    for (const database of instance.databases.filter((one) => !one.foreign)) {
      gtm.adopt(database.directory, backingJournal(gtm, instance, database));
      if (database.journaled && !database.readOnly) {
        gtm.journalOn(database.directory, backingJournal(gtm, instance, database));
      }
      writeLock(instance, database.directory);
      database.mounted = true;
    }
    instance.freeze = undefined;
    current(instance).closed = true;
    openJournal(instance, 'by system startup');
    instance.status = 'running';
    instance.sinceMs = Date.now();
    message(instance, 0, 'Startup of InterSystems IRIS complete');
    return ok(`Starting ${instance.name}\n`);
  });
}

/** `iris stop INST quietly`. Without `quietly` the real command asks; so this one refuses. */
export function stop(gtm: Gtm, store: Store, name: string, words: readonly string[]): Answer {
  if (!words.includes('quietly')) return { out: 'Do you want to broadcast a message to anyone? No => ', code: 1 };
  return store.update(name, (instance) => {
    if (instance.status !== 'running') return { out: `${instance.name} is already down\n`, code: 0 };
    resumeSystem(gtm, instance);
    for (const database of instance.databases.filter((one) => one.mounted)) {
      gtm.endProcesses(database.directory);
      if (database.journaled && !database.readOnly) {
        closedParts(instance, database, gtm.switchJournal(database.directory));
      }
      gtm.rundown(database.directory);
      rmSync(lockFile(instance, database.directory), { force: true });
      database.mounted = false;
    }
    const file = current(instance);
    file.closed = true;
    pack(gtm, instance, file);
    instance.status = 'down';
    instance.sinceMs = Date.now();
    message(instance, 0, 'Shutdown of InterSystems IRIS complete');
    return ok(`Shutting down ${instance.name}\n`);
  });
}

/** `iris stat INST [-W]`: needs no login, so it works while logins hang. */
export function stat(gtm: Gtm, store: Store, name: string, words: readonly string[]): Answer {
  return store.update(name, (instance) => {
    expire(gtm, instance);
    if (instance.status !== 'running') return { out: 'Failed to attach to the shared memory\n', code: 1 };
    if (words.includes('-W')) {
      const held = instance.freeze !== undefined;
      const resumed = resumeSystem(gtm, instance);
      message(instance, 1, `irisstat -W: ${held ? 'write daemon resumed' : 'write daemon was not suspended'}`);
      return resumed ? ok('') : { out: 'write daemon is still suspended\n', code: 1 };
    }
    const flags = instance.freeze === undefined ? '' : 'WDSUSPD ';
    return ok(`System Flags: ${flags}${instance.freeze?.blocked === true ? 'SWITCH13 ' : ''}\n`);
  });
}

/** `iris freeze`, `iris thaw`: exit codes 0 and 1, no limit, no log file. */
export function freezeVerb(gtm: Gtm, store: Store, name: string, words: readonly string[]): Answer {
  const timeout = Number(words.find((word) => word.startsWith('timeout='))?.slice(8) ?? '0');
  const outcome = externalFreeze(gtm, store, name, {
    logFile: '',
    switchJournal: true,
    timeout,
    username: '',
    password: '',
    suspendLimit: 0,
  });
  return outcome.ok ? ok('') : { out: `${outcome.error}\n`, code: 1 };
}

export function thawVerb(gtm: Gtm, store: Store, name: string): Answer {
  const outcome = externalThaw(gtm, store, name, { logFile: '', username: '', password: '' });
  return outcome.ok ? ok('') : { out: `${outcome.error}\n`, code: 1 };
}

export const hasDatabase = (directory: string): boolean => existsSync(fileOf(directory));
