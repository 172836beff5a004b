import { appendFile, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { StillpointError } from '../../src/model/errors.ts';
import type { JournalStart, Marks } from '../../src/model/journal.ts';
import type { Level } from '../../src/model/point.ts';
import { identify } from '../../src/platform/process.ts';
import type { Clock } from '../../src/platform/clock.ts';
import type { Copy } from '../../src/ports/application.ts';
import type { AppliedLevel, OnlineAnswer, OnlineBackup, OnlineRequest, OnlineRun } from '../../src/ports/online.ts';
import { fileOf, locked, marksOf, partsOf, recordBytes, startsOf, toyFiles, type ToyConfig } from './toy-files.ts';

const headBytes = 64;

/** A backup of the toy ends with the process that it runs in. */
export async function isBackingUp(directory: string): Promise<boolean> {
  const pid = await readFile(join(directory, toyFiles.backup), 'utf8').catch(() => '');
  return pid !== '' && identify(Number(pid)) !== undefined;
}

/** The toy's own backup: a stream a part, `<level> <from row> <to row>` and then the rows. It copies while others write. */
export class ToyOnline implements OnlineBackup {
  readonly #config: ToyConfig;
  readonly #clock: Clock;

  constructor(config: ToyConfig, clock: Clock) {
    this.#config = config;
    this.#clock = clock;
  }

  async mark(): Promise<Marks> {
    return await locked(this.#config.directory, () => marksOf(this.#config));
  }

  async start(request: OnlineRequest): Promise<OnlineRun> {
    const { directory, fault } = this.#config;
    const busy = join(directory, toyFiles.backup);
    if (fault === 'will-not-start' || (await isBackingUp(directory)))
      throw new StillpointError('command-failed', 'the toy does not start a backup', { hint: 'look at backup.toy' });
    if (request.level !== 'full' && request.since === undefined)
      throw new StillpointError('level-misfit', 'a level without marks', { hint: 'make a full' });
    const made: Level = fault === 'full-instead' ? 'full' : request.level;
    const began = this.#clock.now();
    const state = await locked(directory, async () => {
      await writeFile(busy, String(process.pid));
      return { to: await marksOf(this.#config), starts: await startsOf(this.#config) };
    });
    await writeFile(join(request.scratch, 'staged'), 'the toy at work');
    const from = made === 'full' ? {} : (request.since ?? {});
    return new ToyRun(
      this.#config,
      this.#clock,
      { asked: request.level, made, from, began, ...state },
      request.scratch,
    );
  }

  async apply(level: AppliedLevel, copy: Copy): Promise<void> {
    for (const path of copy.required) {
      const stream = level.streams.get(basename(path.path));
      if (stream === undefined) throw misfit(`there is no stream of ${path.name}`);
      const data = await readFile(stream);
      const [made, from, to] = data.subarray(0, headBytes).toString().trimEnd().split(' ');
      const rows = data.subarray(headBytes);
      if (made !== level.level || rows.length !== (Number(to) - Number(from)) * recordBytes)
        throw misfit(`${stream} is not what it says`);
      const file = copy.at(path.path);
      if (made === 'full') {
        await writeFile(file, rows, { flag: 'wx' });
        continue;
      }
      // Whatever a live copy caught after the marks is in the level again, and may be torn in the copy.
      const since = level.dirtySince?.[path.name];
      if (since !== undefined && (await stat(file)).size >= Number(since) * recordBytes)
        await truncate(file, Number(since) * recordBytes);
      if ((await stat(file)).size !== Number(from) * recordBytes) throw misfit(`${path.name} does not end at ${from}`);
      await appendFile(file, rows);
    }
  }
}

function misfit(said: string): StillpointError {
  return new StillpointError('level-misfit', said, { hint: 'choose another point' });
}

interface Begun {
  readonly asked: Level;
  readonly made: Level;
  readonly from: Marks;
  readonly to: Marks;
  readonly starts: readonly JournalStart[];
  readonly began: ReturnType<Clock['now']>;
}

class ToyRun implements OnlineRun {
  readonly streams: OnlineRun['streams'];
  readonly #config: ToyConfig;
  readonly #clock: Clock;
  readonly #begun: Begun;
  readonly #scratch: string;
  #given = 0;
  #due = 0;

  constructor(config: ToyConfig, clock: Clock, begun: Begun, scratch: string) {
    this.#config = config;
    this.#clock = clock;
    this.#begun = begun;
    this.#scratch = scratch;
    this.streams = partsOf(config).map((part) => ({
      name: `${part}.toy`,
      open: () => Readable.from(this.#pieces(part)),
    }));
  }

  async *#pieces(part: string): AsyncGenerator<Buffer> {
    const { directory, fault } = this.#config;
    const { made, from, to } = this.#begun;
    const first = Number(from[part] ?? 0);
    const last = Number(to[part]);
    const rows = (await readFile(fileOf(directory, part))).subarray(first * recordBytes, last * recordBytes);
    const whole = Buffer.concat([Buffer.from(`${made} ${first} ${last}`.padEnd(headBytes)), rows]);
    this.#due += whole.length;
    const some = fault === 'ends-early' || fault === 'stream-fails' ? Math.floor(whole.length / 2) : whole.length;
    // In odd pieces: nobody may count on rows coming whole.
    for (let at = 0; at < some; at += 1000) {
      const piece = whole.subarray(at, Math.min(at + 1000, some));
      this.#given += piece.length;
      yield piece;
    }
    if (fault === 'stream-fails')
      throw new StillpointError('command-failed', 'the toy broke off', { hint: 'look at the disk of the toy' });
  }

  finish(): Promise<OnlineAnswer> {
    const { fault } = this.#config;
    if (fault === 'answers-nonsense')
      return Promise.reject(new StillpointError('command-failed', 'the toy says xyzzy', { hint: 'ask its maker' }));
    const { asked, made, from, to, starts, began } = this.#begun;
    const whole = this.#given === this.#due;
    return Promise.resolve({
      finished: whole && fault !== 'unfinished',
      said: whole ? (fault === 'unfinished' ? 'exit 0' : 'backup done') : `${this.#given} of ${this.#due} bytes`,
      made,
      ...(made === asked ? {} : { why: 'the block map is not valid' }),
      from:
        fault === 'misfit' ? Object.fromEntries(Object.entries(from).map(([part, mark]) => [part, `${mark}1`])) : from,
      to,
      began,
      ended: this.#clock.now(),
      starts,
      spans: [{ party: 'engine', what: `${made} backup`, startMs: began.monoMs, endMs: this.#clock.monoMs() }],
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(join(this.#config.directory, toyFiles.backup), { force: true });
    await rm(join(this.#scratch, 'staged'), { force: true });
  }
}
