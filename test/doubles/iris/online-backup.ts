import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { requiredFile } from './freeze.ts';
import { resumedForRestore } from './databases.ts';
import { fileOf, type Gtm } from './gtm.ts';
import { current, currentOffset, pathOf, switchJournal } from './journal.ts';
import { historyEntry, horolog, indexOf, timeOf } from './history.ts';
import { append, pause, type Database, type HistoryEntry, type Instance, type Store } from './state.ts';
import { clockTime, isoDay, logTime, message, plain, slash } from './texts.ts';

const magic = 'IRIS stand-in backup 1\n';
const headerBytes = 8192;

interface BackupHeader {
  readonly type: string;
  readonly at: string;
  readonly description: string;
  /** `$horolog` of its beginning, and those of what the engine knew before it. */
  readonly began: string;
  readonly previous: Earlier | undefined;
  readonly lastFull: Earlier | undefined;
  readonly databases: readonly {
    readonly directory: string;
    readonly from: string;
    readonly to: string;
    readonly length: number;
    readonly blocks: number;
  }[];
}

interface Earlier {
  readonly atMs: number;
  readonly type: string;
}

export interface BackupRequest {
  readonly type: string;
  readonly description: string;
  readonly device: string;
  readonly logFile: string;
  readonly switchJournal: boolean;
}

/** What it printed, and what the function returned: 0, 1 or `1,warning~warning`. */
export interface BackupAnswer {
  readonly log: string;
  readonly answer: string;
}

const names: Readonly<Record<string, string>> = { F: 'Full', I: 'Incremental', C: 'Cumulative Incremental' };

const listed = (instance: Instance): readonly Database[] =>
  instance.databases.filter((one) => one.inBackupList && one.mounted);

export function onlineBackup(gtm: Gtm, store: Store, name: string, request: BackupRequest): BackupAnswer {
  const faults = store.faults(name);
  if (request.type !== 'E' && store.read(name).backup.running) {
    return { log: '\nAnother backup is at work\n', answer: '0' };
  }
  if (faults.backupHangs === true && request.type !== 'E') return hangingBackup(store, name, request);
  const done = wholeBackup(gtm, store, name, request, faults.backupLogLacks);
  return faults.backupSays === undefined ? done : { ...done, answer: faults.backupSays };
}

/** As far as the first pass; only AbortBackup ends it, or the end of its session. */
function hangingBackup(store: Store, name: string, request: BackupRequest): BackupAnswer {
  store.update(name, (instance) => {
    instance.backup.running = true;
  });
  const log = `Performing a ${names[request.type] ?? ''} backup.\nBacking up to device: ${request.device}\nDescription\n${request.description}\n\nStarting backup pass 1\n`;
  if (request.logFile !== '') append(request.logFile, log);
  writeFileSync(request.device, Buffer.alloc(headerBytes));
  while (!store.read(name).backup.aborting) pause(20);
  store.update(name, (instance) => {
    instance.backup.running = false;
  });
  return { log: `${log}\nBackup aborted\n`, answer: '0' };
}

function wholeBackup(
  gtm: Gtm,
  store: Store,
  name: string,
  request: BackupRequest,
  lacks: string | undefined,
): BackupAnswer {
  return store.update(name, (instance) => {
    if (request.type === 'E') {
      for (const { directory } of listed(instance)) {
        instance.backup.full[directory] ??= instance.backup.last[directory] ?? gtm.currentTransaction(directory);
        instance.backup.last[directory] ??= instance.backup.full[directory];
      }
      instance.history.push(historyEntry(instance, { type: 'E', description: request.description, device: '' }));
      return { log: '', answer: '1' };
    }
    if (names[request.type] === undefined || request.device === '') return { log: '\nInvalid argument\n', answer: '0' };
    const run = new Run(gtm, instance, request);
    const answer = run.run();
    if (request.logFile !== '') append(request.logFile, lacks === undefined ? run.log : run.log.replaceAll(lacks, ''));
    return { log: run.log, answer };
  });
}

class Run {
  log = '';
  readonly #gtm: Gtm;
  readonly #instance: Instance;
  readonly #request: BackupRequest;
  readonly #entry: HistoryEntry;

  constructor(gtm: Gtm, instance: Instance, request: BackupRequest) {
    this.#gtm = gtm;
    this.#instance = instance;
    this.#request = request;
    const { description, device } = request;
    this.#entry = historyEntry(instance, { type: request.type as HistoryEntry['type'], description, device });
  }

  run(): string {
    const databases = listed(this.#instance);
    const writable = databases.filter((one) => !one.readOnly);
    const readOnly = databases.filter((one) => one.readOnly);
    const type = this.#type(databases);
    const now = Date.now();
    this.#say(`*** The time is: ${isoDay(now)} ${clockTime(now)} ***\n`);
    this.#say(`              InterSystems IRIS Backup Utility\n              --------------------------------`);
    this.#say(`Performing a ${names[type] ?? ''} backup.\nBacking up to device: ${this.#request.device}`);
    this.#say(`Description\n${this.#request.description}\n\n\nBacking up the following directories:`);
    for (const one of databases) this.#say(` ${slash(one.directory)}`);
    if (readOnly.length > 0) {
      const directories = readOnly.map((one) => slash(one.directory)).join(' ');
      this.#say(`WARNING - the following directories could not be backed up ${directories} (Database is readonly)`);
    }
    if (!existsSync(dirname(this.#request.device))) {
      this.#say(`\nCould not open output device ${this.#request.device}`);
      return '0';
    }
    if (this.#request.switchJournal) {
      const file = switchJournal(this.#gtm, this.#instance, 'by backup');
      this.#say(`\n\nJournal file switched to:\n${pathOf(this.#instance, file)}\n`);
    }
    this.#copy(writable, type);
    this.#say('\n***FINISHED BACKUP***\n\nGlobal references are enabled.\n\nBackup complete.\n');
    this.#instance.history.push({ ...this.#entry, type: type as HistoryEntry['type'] });
    message(this.#instance, 0, `Backup complete: ${names[type] ?? ''} ${this.#request.device}`);
    return readOnly.length === 0
      ? '1'
      : `1,${readOnly.map((one) => `${slash(one.directory)} (Database is readonly)`).join('~')}`;
  }

  #say(text: string): void {
    this.log += `${text}\n`;
  }

  /** An incremental becomes a full one when any database in the list has no full, is read only, or lost its bitmap. */
  #type(databases: readonly Database[]): string {
    const { backup } = this.#instance;
    const needsFull = databases.some(
      ({ directory, readOnly }) =>
        readOnly || backup.full[directory] === undefined || backup.noBackup.includes(directory),
    );
    return needsFull ? 'F' : this.#request.type;
  }

  #copy(databases: readonly Database[], type: string): void {
    const { backup } = this.#instance;
    const copies = databases.map(({ directory }) => ({
      directory,
      ...extract(this.#gtm, this.#instance, directory, type),
    }));
    for (const pass of [1, 2, 3]) {
      this.#say(`\nStarting backup pass ${pass}`);
      if (pass === 3) {
        const required = requiredFile(this.#instance);
        const marked = pathOf(this.#instance, current(this.#instance));
        this.#say(
          `\nJournal file '${required}' and the subsequent ones are required for recovery purpose if the backup were to be restored`,
        );
        this.#say(`\nJournal marker set at\noffset ${currentOffset(this.#instance)} of ${marked}`);
        this.#say('\n - This is the last pass - Suspending write daemon');
      }
      for (const copy of copies) {
        this.#say(`Backing up ${slash(copy.directory)} at ${logTime(Date.now())}`);
        this.#say(`Copied ${pass === 1 ? copy.blocks : 1} blocks in 0.001 seconds`);
        this.#say(`\nFinished this pass of copying ${slash(copy.directory)}\n`);
      }
      this.#say(`Backup pass ${pass} complete at ${logTime(Date.now())}`);
    }
    const header: BackupHeader = {
      type,
      at: logTime(Date.now()),
      description: this.#request.description,
      began: horolog(this.#entry.index),
      previous: earlier(this.#instance.history.at(-1)),
      lastFull: earlier(this.#instance.history.findLast((one) => one.type === 'F' || one.type === 'E')),
      databases: copies.map(({ directory, from, to, blocks, bytes }) => ({
        directory,
        from,
        to,
        blocks,
        length: bytes.length,
      })),
    };
    const head = Buffer.alloc(headerBytes);
    head.write(`${magic}${JSON.stringify(header)}\n`);
    writeFileSync(this.#request.device, Buffer.concat([head, ...copies.map((copy) => copy.bytes)]));
    for (const { directory, to } of copies) {
      backup.last[directory] = to;
      if (type === 'F') backup.full[directory] = to;
      backup.noBackup = backup.noBackup.filter((one) => one !== directory);
    }
  }
}

const earlier = (entry: HistoryEntry | undefined): Earlier | undefined =>
  entry === undefined ? undefined : { atMs: timeOf(entry.index), type: entry.type };

/** What GetBackupVolumeInfo tells of a file; undefined when it is none of ours. */
export function volumeInfo(device: string): ReadonlyMap<string, string> | undefined {
  const header = readHeader(device);
  if (header === undefined) return undefined;
  const info = new Map([
    ['BackupVersion', '1'],
    ['BackupVolume', '1'],
    ...labelTime('Backup', { atMs: timeOf(indexOf(header.began)), type: header.type }),
    ['BackupTimeDH', header.began],
    ...labelTime('PrevBackup', header.previous),
    ...labelTime('LastFullBackup', header.lastFull),
    ['Description', header.description],
  ]);
  for (const [at, { directory }] of header.databases.entries()) {
    info.set(`Database,${at + 1},Directory`, slash(directory));
  }
  return info;
}

/** `SEP 17 2022` and `03:28PM`: the label is exact to the minute only. */
function labelTime(key: string, time: Earlier | undefined): readonly (readonly [string, string])[] {
  if (time === undefined) return [];
  const at = new Date(time.atMs);
  const two = (value: number): string => String(value).padStart(2, '0');
  const month =
    ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'][at.getMonth()] ?? '';
  const hour = two(at.getHours() % 12 === 0 ? 12 : at.getHours() % 12);
  return [
    [`${key}Date`, `${month} ${at.getDate()} ${at.getFullYear()}`],
    [`${key}Time`, `${hour}:${two(at.getMinutes())}${at.getHours() < 12 ? 'AM' : 'PM'}`],
    ...(key === 'LastFullBackup' ? [] : [[`${key}Type`, names[time.type] ?? 'External'] as const]),
  ];
}

function readHeader(device: string): BackupHeader | undefined {
  if (!existsSync(device)) return undefined;
  const head = readFileSync(device).subarray(0, headerBytes).toString('utf8');
  if (!head.startsWith(magic)) return undefined;
  return JSON.parse(head.slice(magic.length).split('\n')[0] as string) as BackupHeader;
}

interface Extract {
  readonly from: string;
  readonly to: string;
  readonly blocks: number;
  readonly bytes: Buffer;
}

/** The blocks that changed since the point of `type`, as GT.M's own byte stream. */
function extract(gtm: Gtm, instance: Instance, directory: string, type: string): Extract {
  const since =
    type === 'F' ? undefined : type === 'C' ? instance.backup.full[directory] : instance.backup.last[directory];
  const scratch = mkdtempSync(join(gtm.root, 'gtm', 'backup-'));
  try {
    const file = join(scratch, 'stream');
    // Transaction numbers are hexadecimal to mupip backup.
    const done = gtm.run(directory, [
      'mupip',
      'backup',
      '-bytestream',
      '-online',
      `-transaction=${since ?? '1'}`,
      '-nonewjnlfiles',
      'DEFAULT',
      file,
    ]);
    if (done.code === 0 && done.text.includes('no blocks backed up')) {
      const at = gtm.currentTransaction(directory);
      return { from: at, to: at, blocks: 0, bytes: Buffer.alloc(0) };
    }
    const span = /Transactions from 0x([0-9A-F]+) to 0x([0-9A-F]+)/.exec(done.text);
    if (done.code !== 0 || span === null) throw new Error(`mupip backup: exit ${done.code}: ${done.text}`);
    return {
      from: span[1] as string,
      to: span[2] as string,
      blocks: Number(/(\d+) blocks saved/.exec(done.text)?.[1] ?? '0'),
      bytes: readFileSync(file),
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Clears the bitmaps of the list: from now on changed blocks are counted anew. The history is gone too. */
export function clearIncremental(gtm: Gtm, store: Store, name: string): readonly string[] {
  return store.update(name, (instance) => {
    instance.history = [];
    for (const { directory } of listed(instance)) {
      delete instance.backup.full[directory];
      gtm.flush(directory);
      instance.backup.last[directory] = gtm.currentTransaction(directory);
    }
    return listed(instance).map((one) => one.directory);
  });
}

/** `$$INT^DBSIZE(n)`: 1 incremental, 2 full, 3 cumulative. Seven pieces; -1 blocks when it cannot be told. */
export function sizeEstimate(gtm: Gtm, instance: Instance, kind: number): string {
  const type = ['', 'I', 'F', 'C'][kind];
  const databases = listed(instance).filter((one) => !one.readOnly);
  if (type === undefined || type === '') return '-1^0^0^0^0^0^0';
  let blocks = 0;
  let bytes = 0;
  for (const { directory } of databases) {
    const known = type === 'F' || instance.backup.full[directory] !== undefined;
    const found = extract(gtm, instance, directory, known ? type : 'F');
    blocks += found.blocks;
    bytes += found.bytes.length;
  }
  const units = Math.ceil(bytes / 512);
  return [blocks, databases.length, bytes, Math.ceil(bytes / 59_392), units * 512, units, units].join('^');
}

/**
 * EXTALL and EXTSELCT of ^DBREST: puts the databases of a backup file back, all of them or those that the list names as
 * `source,target,create`. The list is deleted at the end, as documented.
 */
export function restoreBackup(
  gtm: Gtm,
  store: Store,
  name: string,
  device: string,
  listFile: string | undefined,
  write: (text: string) => void,
): string {
  const { restoreSays } = store.faults(name);
  if (restoreSays !== undefined) return restoreSays;
  if (!existsSync(device)) return '-1';
  const raw = readFileSync(device);
  const head = raw.subarray(0, headerBytes).toString('utf8');
  if (!head.startsWith(magic)) return '-2';
  const header = JSON.parse(head.slice(magic.length).split('\n')[0] as string) as BackupHeader;
  const targets = listFile === undefined ? undefined : readTargets(listFile);
  const answer = store.update(name, (instance) => {
    let at = headerBytes;
    for (const one of header.databases) {
      const bytes = raw.subarray(at, at + one.length);
      at += one.length;
      const target = targets === undefined ? one.directory : targets.get(one.directory);
      if (target === undefined) continue;
      const problem = restoreOne(gtm, instance, header.type, one.from, target, bytes);
      if (problem !== undefined) {
        write(`\n${slash(target)}: ${problem}\n`);
        return '-5';
      }
      const to = target === one.directory ? '' : ` to ${slash(target)}`;
      write(`\n***Restoring ${slash(one.directory)}${to} at ${clockTime(Date.now())}\n`);
      write(`${one.blocks} blocks restored in 0.1 seconds for this pass, ${one.blocks} total restored.\n`);
      write(`\nMounting ${slash(target)}\n    ${slash(target)}  ... (Mounted)\n`);
    }
    return '1';
  });
  if (listFile !== undefined) rmSync(listFile, { force: true });
  return answer;
}

function readTargets(listFile: string): ReadonlyMap<string, string> {
  const lines = readFileSync(listFile, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '');
  return new Map(
    lines.map((line) => {
      const [source = '', target = ''] = line.split(',').map((part) => part.trim());
      return [plain(source), plain(target === '' ? source : target)];
    }),
  );
}

function restoreOne(
  gtm: Gtm,
  instance: Instance,
  type: string,
  from: string,
  target: string,
  bytes: Uint8Array,
): string | undefined {
  const file = fileOf(target);
  const scratch = mkdtempSync(join(gtm.root, 'gtm', 'restore-'));
  try {
    const stream = join(scratch, 'stream');
    writeFileSync(stream, bytes);
    return resumedForRestore(gtm, instance, target, () => {
      if (type === 'F') {
        rmSync(file, { force: true });
        gtm.create(target, instance.cache);
      } else if (!existsSync(file) || statSync(file).size === 0) return 'no database to put an incremental on';
      else if (gtm.currentTransaction(target) !== from) {
        // A dirty copy bears the number of the moment of the copy; the incremental holds every block that changed since its own.
        const change = `change -fileheader -current_tn=${from.replace(/^0+(?=.)/, '')}\nexit\n`;
        gtm.run(target, ['dse'], change);
      }
      if (bytes.length === 0) return undefined;
      const done = gtm.run(target, ['mupip', 'restore', fileOf(target), stream]);
      return done.code === 0 ? undefined : done.text.trim();
    });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
