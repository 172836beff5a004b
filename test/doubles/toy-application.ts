import { existsSync } from 'node:fs';
import { appendFile, open, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import type { FreezeAnswer, FreezeStatus, HoldToken, MemberObservation, ThawAnswer } from '../../src/model/hold.ts';
import type { Finding } from '../../src/model/point.ts';
import type { Clock } from '../../src/platform/clock.ts';
import { tryLock, type ProcessLock } from '../../src/platform/process-lock.ts';
import type { Application, Canary, Copy, HoldSession, Located } from '../../src/ports/application.ts';
import type { ApplicationModule } from '../../src/ports/module.ts';

/**
 * The smallest engine with a real hold: numbers with checksums in a file, each appended under a lock that the kernel drops when its
 * process dies. For the contract suite, and for flows that must meet an engine that lies.
 */
const config = z.strictObject({
  directory: z.string(),
  /** `lies`: says that it froze and did not. `loses`: its hold ends by itself before it is asked. `hangs`: never answers a freeze. */
  fault: z.enum(['none', 'lies', 'loses', 'hangs']).default('none'),
});

type ToyConfig = z.output<typeof config>;

const recordBytes = 16;

export function encodeRow(row: number): Buffer {
  const record = Buffer.alloc(recordBytes);
  record.writeBigUInt64LE(BigInt(row), 0);
  record.writeUInt32LE(crc32(record.subarray(0, 8)), 8);
  return record;
}

/** Undefined in place of a row whose checksum does not fit. */
export function decodeRows(data: Buffer): readonly (number | undefined)[] {
  const rows: (number | undefined)[] = [];
  for (let at = 0; at + recordBytes <= data.length; at += recordBytes) {
    const record = data.subarray(at, at + recordBytes);
    rows.push(record.readUInt32LE(8) === crc32(record.subarray(0, 8)) ? Number(record.readBigUInt64LE(0)) : undefined);
  }
  return rows;
}

export const toyFiles = {
  rows: 'rows.toy',
  canary: 'canary.toy',
  lock: 'toy.lock',
  epoch: 'epoch.toy',
  hold: 'hold.toy',
} as const;

/** One durable row, or false while the engine is frozen. */
export async function writeRow(directory: string, file: string, row: number): Promise<boolean> {
  const lock = tryLock(join(directory, toyFiles.lock));
  if (lock === undefined) return false;
  try {
    const handle = await open(join(directory, file), 'a');
    await handle.writeFile(encodeRow(row));
    await handle.sync();
    await handle.close();
    return true;
  } finally {
    lock.release();
  }
}

async function epochOf(directory: string): Promise<string> {
  return existsSync(join(directory, toyFiles.epoch))
    ? (await readFile(join(directory, toyFiles.epoch), 'utf8')).trim()
    : '1';
}

async function observe(directory: string): Promise<MemberObservation> {
  return { member: 'toy', role: 'standalone', epoch: await epochOf(directory) };
}

export class ToyApplication implements Application {
  readonly engine = 'toy';
  readonly #config: ToyConfig;
  readonly #clock: Clock;

  constructor(settings: ToyConfig, clock: Clock) {
    this.#config = settings;
    this.#clock = clock;
  }

  async locate(): Promise<Located> {
    const directory = await realpath(this.#config.directory);
    const rows = join(directory, toyFiles.rows);
    return {
      version: '1',
      member: await observe(directory),
      holdKind: 'writes-stopped',
      paths: [
        {
          path: rows,
          role: 'data',
          name: 'rows',
          kind: 'file',
          companions: [join(directory, toyFiles.canary)],
          leftOut: [],
        },
      ],
      bytes: (await stat(rows)).size,
      identity: directory,
      facts: {},
    };
  }

  openHold(token: HoldToken): Promise<HoldSession> {
    return Promise.resolve(new ToySession(this.#config, token, this.#clock));
  }

  async status(token: HoldToken): Promise<FreezeStatus> {
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
    let status = await this.status(token);
    for (let attempt = 0; status.state !== 'thawed' && attempt < 5; attempt++) status = await this.status(token);
    const thawed = status.state === 'thawed';
    return { thawed, heldThroughout: false, said: status.said, at: this.#clock.now(), spans: [], artifacts: [] };
  }

  async *verify(copy: Copy): AsyncIterable<Finding> {
    const path = copy.required[0] ?? { path: '', companions: [] };
    const rows = decodeRows(await readFile(copy.at(path.path)));
    yield { severity: 'info', check: 'start', said: `${rows.length} rows` };
    for (const [index, row] of rows.entries()) {
      if (row === undefined) yield { severity: 'error', check: 'rows', said: `row ${index + 1} is damaged` };
    }
    const file = copy.at(path.companions[0] ?? '');
    if (!existsSync(file)) return;
    const canary = decodeRows(await readFile(file));
    const broken = canary.findIndex((row, index) => row !== index + 1);
    if (broken >= 0)
      yield { severity: 'error', check: 'canary', said: `number ${broken + 1} is missing`, value: broken };
    else yield { severity: 'info', check: 'canary', said: `prefix 1..${canary.length}`, value: canary.length };
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
    const spans = [{ party: 'engine' as const, what: 'lock', startMs, endMs: this.#clock.monoMs() }];
    return {
      frozen: this.#froze,
      said: this.#froze ? 'done, exit 0' : 'the lock is taken',
      at: this.#clock.now(),
      spans,
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
  config,
  create: (settings, _workload, platform) => new ToyApplication(settings, platform.clock),
};
