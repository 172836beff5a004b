import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pause } from './state.ts';

export const gtmDirectory = '/usr/lib/x86_64-linux-gnu/fis-gtm/V7.0-005_x86_64';

export interface GtmResult {
  readonly code: number;
  readonly text: string;
}

/** IRIS.DAT, or CACHE.DAT where there is one. */
export function fileOf(directory: string): string {
  const cache = join(directory, 'CACHE.DAT');
  return existsSync(cache) ? cache : join(directory, 'IRIS.DAT');
}

/** `^row(n)` and `^last` in one transaction, durable in the journal at its commit, `^ack` after it. */
const writerRoutine = `spwr    new n,pad,t0,sec,pace
        set sec=$piece($zcmdline," ",1),pace=$piece($zcmdline," ",2)
        set n=+$order(^row(""),-1),pad=$justify("",200),t0=$zut
        for  quit:($zut-t0)>(sec*1000000)  do
        . set n=n+1
        . tstart ():serial
        . set ^row(n)=n_"."_$zut_"."_pad,^last=n
        . tcommit
        . set ^ack=n
        . hang pace
        quit
rows    new n,c
        set (n,c)=0
        for  set n=$order(^row(n)) quit:n=""  set c=c+1
        write +$get(^last),"/",c,"/",+$order(^row(""),-1)
        quit
`;

/** It names no place, so every stand-in of this process takes the same one; making it takes half a second. */
let globalDirectory: Uint8Array | undefined;

/** The real database below an instance: one GT.M file for each IRIS.DAT. All calls are synchronous and bounded. */
export class Gtm {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  static available(): boolean {
    return existsSync(join(gtmDirectory, 'mupip'));
  }

  environment(directory: string): Readonly<Record<string, string>> {
    const at = (name: string): string => join(this.root, 'gtm', name);
    return {
      PATH: '/usr/bin:/bin',
      LC_ALL: 'C',
      gtm_dist: gtmDirectory,
      gtmgbldir: at('database.gld'),
      gtmroutines: `${at('o')}(${at('r')}) ${gtmDirectory}/libgtmutil.so`,
      gtm_tmp: at('tmp'),
      gtm_log: at('tmp'),
      gtm_etrap: 'write $zstatus,! zhalt 1',
      STANDIN_DB: directory,
      STANDIN_FILE: fileOf(directory),
    };
  }

  /** One global directory serves all databases: the file's place comes from the environment. */
  prepare(): void {
    for (const name of ['o', 'r', 'tmp', 'journals']) mkdirSync(join(this.root, 'gtm', name), { recursive: true });
    writeFileSync(join(this.root, 'gtm', 'r', 'spwr.m'), writerRoutine);
    // More blocks than buffers: a file that has to grow while frozen would stop a writer before its buffers are full.
    const script = [
      'change -segment DEFAULT -file_name="$STANDIN_FILE" -block_size=4096 -allocation=2000 -extension=2000 -global_buffer_count=1024 -access_method=bg',
      'change -region DEFAULT -stdnull -key_size=255 -record_size=4000',
      'exit',
      '',
    ].join('\n');
    const file = join(this.root, 'gtm', 'database.gld');
    if (globalDirectory === undefined) {
      this.#must(this.run('/nonexistent', ['mumps', '-run', '^GDE'], script), 'GDE');
      globalDirectory = readFileSync(file);
    } else writeFileSync(file, globalDirectory);
  }

  run(
    directory: string,
    [program, ...args]: readonly [string, ...string[]],
    stdin = '',
    timeoutMs = 60_000,
  ): GtmResult {
    const done = spawnSync(join(gtmDirectory, program), args, {
      env: this.environment(directory),
      input: stdin,
      timeout: timeoutMs,
      encoding: 'utf8',
      cwd: join(this.root, 'gtm', 'tmp'),
      maxBuffer: 64 * 1024 * 1024,
    });
    return { code: done.status ?? -1, text: `${done.stdout ?? ''}${done.stderr ?? ''}` };
  }

  create(directory: string, cache: boolean): void {
    mkdirSync(directory, { recursive: true });
    this.#must(this.run(directory, ['mupip', 'create']), 'mupip create');
    if (cache) renameSync(join(directory, 'IRIS.DAT'), join(directory, 'CACHE.DAT'));
  }

  /** The journal keeps one name for ever, so that GT.M links the generations; closed ones are renamed by GT.M. */
  journalOn(directory: string, file: string): void {
    mkdirSync(dirname(file), { recursive: true });
    this.#must(
      this.run(directory, ['mupip', 'set', '-region', 'DEFAULT', `-journal=enable,on,before,file=${file}`]),
      'mupip set -journal',
    );
  }

  /** Closed journals, oldest first. Empty while an online freeze is in force: GT.M refuses then. */
  switchJournal(directory: string): readonly string[] {
    return renamed(this.run(directory, ['mupip', 'set', '-region', 'DEFAULT', '-journal=on,before']).text);
  }

  /** The write daemon stops, the journal goes on. */
  freeze(directory: string): { readonly ok: boolean; readonly closed: readonly string[]; readonly text: string } {
    const done = this.run(directory, ['mupip', 'freeze', '-on', '-online', '-noautorelease', 'DEFAULT']);
    return { ok: done.code === 0, closed: renamed(done.text), text: done.text };
  }

  thaw(directory: string): { readonly ok: boolean; readonly closed: readonly string[]; readonly text: string } {
    const done = this.run(directory, ['mupip', 'freeze', '-off', 'DEFAULT']);
    return { ok: done.code === 0 && !this.frozen(directory), closed: renamed(done.text), text: done.text };
  }

  frozen(directory: string): boolean {
    const text = this.run(directory, ['dse', 'dump', '-fileheader']).text;
    const id = /Cache freeze id +(FROZEN BY ROOT|0x[0-9A-F]+)/.exec(text)?.[1];
    if (id === undefined) throw new Error(`dse said nothing of a freeze: ${text.slice(0, 500)}`);
    return id !== '0x00000000';
  }

  flush(directory: string): void {
    this.run(directory, ['dse', 'all', '-buffer_flush']);
  }

  /** One value in M's own words, as `write`. */
  evaluate(directory: string, expression: string): string {
    const done = this.run(directory, ['mumps', '-run', '%XCMD', `write ${expression}`]);
    if (done.code !== 0) throw new Error(done.text.trim());
    return done.text;
  }

  execute(directory: string, command: string): GtmResult {
    return this.run(directory, ['mumps', '-run', '%XCMD', command]);
  }

  /** The writer's rows: number in `^last`, how many there are, the highest. */
  rows(directory: string): { readonly last: number; readonly count: number; readonly highest: number } {
    const done = this.run(directory, ['mumps', '-run', 'rows^spwr']);
    const found = /^(\d+)\/(\d+)\/(\d+)$/.exec(done.text.trim());
    if (done.code !== 0 || found === null) throw new Error(`rows: exit ${done.code}: ${done.text.trim()}`);
    return { last: Number(found[1]), count: Number(found[2]), highest: Number(found[3]) };
  }

  /** What was in memory only is gone, as at a power cut: processes killed, shared memory and semaphores removed. */
  loseMemory(directory: string): void {
    this.endProcesses(directory, 'SIGKILL');
    const header = this.run(directory, ['mupip', 'dumpfhead', '-file', fileOf(directory)]).text;
    for (const [kind, flag] of [
      ['shmid', '-m'],
      ['semid', '-s'],
    ] as const) {
      const id = new RegExp(`sgmnt_data\\.${kind}"\\)=(-?\\d+)`).exec(header)?.[1];
      if (id !== undefined && Number(id) >= 0) spawnSync('/usr/bin/ipcrm', [flag, id], { timeout: 5000 });
    }
  }

  /** Ends what has the database open, as a stop of the instance does; only processes with this stand-in's own environment. */
  endProcesses(directory: string, signal: NodeJS.Signals = 'SIGTERM'): void {
    const mark = `STANDIN_DB=${directory}\0`;
    const found = readdirSync('/proc').filter((pid) => {
      if (!/^\d+$/.test(pid)) return false;
      try {
        return (
          readFileSync(`/proc/${pid}/environ`, 'utf8').includes(mark) &&
          readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'mumps'
        );
      } catch {
        return false;
      }
    });
    for (const pid of found) {
      process.kill(Number(pid), signal);
      for (let waited = 0; waited < 5000 && existsSync(`/proc/${pid}/exe`); waited += 10) pause(10);
    }
  }

  currentTransaction(directory: string): string {
    const text = this.run(directory, ['mupip', 'dumpfhead', '-file', fileOf(directory)]).text;
    const found = /trans_hist\.curr_tn"\)="0x([0-9A-F]+)"/.exec(text)?.[1];
    if (found === undefined) throw new Error(`no transaction number in ${directory}: ${text.slice(0, 300)}`);
    return found;
  }

  /**
   * Makes a file that was copied from elsewhere (perhaps frozen, with the live one's memory and journal in its header) a database of
   * its own. The rundown comes first: any other first command could remove the live database's semaphores.
   */
  adopt(directory: string, journal?: string): GtmResult {
    const file = fileOf(directory);
    let done = this.run(directory, ['mupip', 'rundown', '-file', file]);
    if (done.code !== 0 && journal !== undefined && existsSync(journal)) {
      // The engine's own recovery after a crash, by its journal's before-images.
      done = this.run(directory, ['mupip', 'journal', '-recover', '-backward', journal]);
    }
    if (done.code !== 0) done = this.run(directory, ['mupip', 'rundown', '-file', file, '-override']);
    if (done.code !== 0) return done;
    this.run(directory, ['mupip', 'set', '-file', file, '-journal=disable']);
    this.run(directory, ['mupip', 'freeze', '-off', 'DEFAULT']);
    return done;
  }

  /** Shared memory of a frozen or killed database stays behind otherwise. */
  rundown(directory: string): void {
    const file = fileOf(directory);
    if (!existsSync(file)) return;
    if (this.run(directory, ['mupip', 'rundown', '-file', file]).code !== 0) this.loseMemory(directory);
  }

  integrity(directory: string): GtmResult {
    return this.run(directory, ['mupip', 'integ', '-online', '-region', 'DEFAULT']);
  }

  #must(done: GtmResult, what: string): void {
    if (done.code !== 0) throw new Error(`${what}: exit ${done.code}: ${done.text.trim()}`);
  }
}

/** `%GTM-I-FILERENAME, File A is renamed to B`. */
function renamed(text: string): readonly string[] {
  return [...text.matchAll(/%GTM-I-FILERENAME, File \S+ is renamed to (\S+)/g)].map((found) => found[1] as string);
}
