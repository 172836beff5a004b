import { existsSync } from 'node:fs';
import { appendFile, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FreezeAnswer, FreezeStatus, HoldToken, MemberObservation, ThawAnswer } from '../../src/model/hold.ts';
import type { Marks } from '../../src/model/journal.ts';
import type { Finding, Level } from '../../src/model/point.ts';
import type { Clock } from '../../src/platform/clock.ts';
import { tryLock, type ProcessLock } from '../../src/platform/process-lock.ts';
import type { Application, Canary, Copy, EngineEvent, HoldSession, Located } from '../../src/ports/application.ts';
import type { ApplicationModule } from '../../src/ports/module.ts';
import {
  decodeRows,
  fileOf,
  locked,
  marksOf,
  observe,
  partsOf,
  readRows,
  recordBytes,
  startsOf,
  toyConfig,
  toyFiles,
  writeRow,
  type ToyConfig,
} from './toy-files.ts';
import { ToyJournals } from './toy-journals.ts';
import { ToyOnline } from './toy-online.ts';
import { startUsers, stoppedBy, StopSession } from './toy-stop.ts';

export { decodeRows, encodeRow, toyFiles, writeRow } from './toy-files.ts';

/**
 * The smallest engine with a real hold: numbers with checksums in files, each appended under a lock that the kernel drops when its
 * process dies. For the contract suite, and for flows that must meet an engine that lies. It can all that an engine may be able to: its
 * own backup in levels, a journal, users that are stopped.
 */
export class ToyApplication implements Application {
  readonly engine = 'toy';
  readonly online: ToyOnline;
  readonly journals: ToyJournals;
  readonly #config: ToyConfig;
  readonly #clock: Clock;

  constructor(settings: ToyConfig, clock: Clock) {
    this.#config = settings;
    this.#clock = clock;
    this.online = new ToyOnline(settings, clock);
    this.journals = new ToyJournals(settings);
  }

  async locate(): Promise<Located> {
    const directory = await realpath(this.#config.directory);
    const parts = partsOf(this.#config);
    const sizes = await Promise.all(parts.map(async (part) => (await stat(fileOf(directory, part))).size));
    return {
      version: '1',
      member: await observe(directory),
      holdKind: 'writes-stopped',
      paths: parts.map((part, index) => ({
        path: fileOf(directory, part),
        role: 'data',
        name: part,
        kind: 'file',
        companions: index === 0 ? [join(directory, toyFiles.canary)] : [],
        leftOut: [],
      })),
      bytes: sizes.reduce((sum, size) => sum + size, 0),
      identity: directory,
      facts: {},
    };
  }

  openHold(token: HoldToken): Promise<HoldSession> {
    return Promise.resolve(new ToySession(this.#config, token, this.#clock));
  }

  openStop(token: HoldToken): Promise<HoldSession> {
    return Promise.resolve(new StopSession(this.#config, token, this.#clock));
  }

  async status(token: HoldToken): Promise<FreezeStatus> {
    if (token.way === 'stop') {
      const by = await stoppedBy(this.#config.directory);
      return by === undefined ? { state: 'thawed', said: 'users work' } : { state: 'frozen', said: `stopped by ${by}` };
    }
    for (let attempt = 0; attempt < 20; attempt++) {
      const lock = tryLock(join(this.#config.directory, toyFiles.lock));
      if (lock !== undefined) {
        lock.release();
        return { state: 'thawed', said: 'the lock can be taken' };
      }
      await this.#clock.sleep(10);
    }
    const holder = await readFile(join(this.#config.directory, toyFiles.hold), 'utf8').catch(() => '');
    return holder === token.identity
      ? { state: 'frozen', said: `locked by ${holder}` }
      : { state: 'unknown', said: 'locked by somebody' };
  }

  async thaw(token: HoldToken): Promise<ThawAnswer> {
    if (token.way === 'stop') await startUsers(this.#config.directory);
    let status = await this.status(token);
    for (let attempt = 0; status.state !== 'thawed' && attempt < 5; attempt++) status = await this.status(token);
    const thawed = status.state === 'thawed';
    return { thawed, heldThroughout: false, said: status.said, at: this.#clock.now(), spans: [], artifacts: [] };
  }

  async *verify(copy: Copy): AsyncIterable<Finding> {
    const all = await Promise.all(copy.required.map((path) => readRows(copy.at(path.path))));
    const rows = all.flat();
    yield { severity: 'info', check: 'start', said: `${rows.length} rows` };
    for (const [index, row] of rows.entries()) {
      if (row === undefined) yield { severity: 'error', check: 'rows', said: `row ${index + 1} is damaged` };
    }
    const file = copy.at(copy.required[0]?.companions[0] ?? '');
    if (!existsSync(file)) return;
    const canary = decodeRows(await readFile(file));
    const broken = canary.findIndex((row, index) => row !== index + 1);
    if (broken >= 0)
      yield { severity: 'error', check: 'canary', said: `number ${broken + 1} is missing`, value: broken };
    else yield { severity: 'info', check: 'canary', said: `prefix 1..${canary.length}`, value: canary.length };
  }

  async estimate(
    since: Readonly<Partial<Record<Level, Marks>>>,
  ): Promise<readonly { readonly level: Level; readonly bytes: number; readonly said: string }[]> {
    const now = await locked(this.#config.directory, () => marksOf(this.#config));
    const grown = (marks: Marks | undefined): number =>
      Object.entries(now).reduce(
        (sum, [part, mark]) => sum + (Number(mark) - Number(marks?.[part] ?? 0)) * recordBytes,
        0,
      );
    const levels = (['full', 'cumulative', 'incremental'] as const).filter(
      (level) => level === 'full' || since[level] !== undefined,
    );
    return levels.map((level) => ({ level, bytes: grown(since[level]), said: 'rows times their size' }));
  }

  async events(fromMs: number, toMs: number): Promise<readonly EngineEvent[]> {
    const text = await readFile(join(this.#config.directory, toyFiles.log), 'utf8').catch(() => '');
    const lines = text.split('\n').filter((line) => line !== '');
    const all = lines.map((line): EngineEvent => {
      const [atMs = '', severity = '', ...words] = line.split(' ');
      return { atMs: Number(atMs), severity: severity as EngineEvent['severity'], text: words.join(' ') };
    });
    return all.filter((event) => event.atMs >= fromMs && event.atMs <= toMs);
  }

  async confirm(point: { readonly id: string }): Promise<void> {
    await appendFile(join(this.#config.directory, toyFiles.confirmed), `${point.id}\n`);
  }

  async openCanary(): Promise<Canary> {
    const { directory } = this.#config;
    await rm(join(directory, toyFiles.canary), { force: true });
    await appendFile(join(directory, toyFiles.canary), '');
    const canary = {
      acknowledged: 0,
      async write() {
        if (!(await writeRow(directory, toyFiles.canary, canary.acknowledged + 1))) return false;
        canary.acknowledged += 1;
        return true;
      },
      close: () => Promise.resolve(),
    };
    return canary;
  }
}

class ToySession implements HoldSession {
  readonly #config: ToyConfig;
  readonly #token: HoldToken;
  readonly #clock: Clock;
  #lock: ProcessLock | undefined;
  #froze = false;

  constructor(settings: ToyConfig, token: HoldToken, clock: Clock) {
    this.#config = settings;
    this.#token = token;
    this.#clock = clock;
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  async freeze(): Promise<FreezeAnswer> {
    const startMs = this.#clock.monoMs();
    if (this.#config.fault === 'hangs') await new Promise<never>(() => undefined);
    if (this.#config.fault !== 'lies') {
      for (let attempt = 0; this.#lock === undefined && attempt < 100; attempt++) {
        this.#lock = tryLock(join(this.#config.directory, toyFiles.lock));
        if (this.#lock === undefined) await this.#clock.sleep(5);
      }
      await writeFile(join(this.#config.directory, toyFiles.hold), this.#token.identity);
    }
    this.#froze = this.#lock !== undefined || this.#config.fault === 'lies';
    const starts = await startsOf(this.#config);
    const spans = [{ party: 'engine' as const, what: 'lock', startMs, endMs: this.#clock.monoMs() }];
    return {
      frozen: this.#froze,
      said: this.#froze ? 'done, exit 0' : 'the lock is taken',
      at: this.#clock.now(),
      spans,
      starts,
    };
  }

  ask(): Promise<FreezeAnswer> {
    if (this.#config.fault === 'loses') this.#release();
    const frozen = this.#lock !== undefined;
    return Promise.resolve({
      frozen,
      said: frozen ? 'locked by us' : 'not locked by us',
      at: this.#clock.now(),
      spans: [],
    });
  }

  async observe(): Promise<MemberObservation> {
    return await observe(this.#config.directory);
  }

  thaw(): Promise<ThawAnswer> {
    const heldThroughout = this.#lock !== undefined;
    this.#release();
    return Promise.resolve({
      thawed: true,
      heldThroughout,
      said: 'unlocked',
      at: this.#clock.now(),
      spans: [],
      artifacts: [],
    });
  }

  close(): Promise<void> {
    this.#release();
    return Promise.resolve();
  }

  #release(): void {
    this.#lock?.release();
    this.#lock = undefined;
  }
}

export const toy: ApplicationModule<ToyConfig> = {
  kind: 'toy',
  config: toyConfig,
  create: (settings, _workload, platform) => new ToyApplication(settings, platform.clock),
};
