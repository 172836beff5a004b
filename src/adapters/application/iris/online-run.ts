import { join } from 'node:path';
import { Readable } from 'node:stream';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { CommandSpan } from '../../../model/hold.ts';
import type { Moment } from '../../../model/time.ts';
import type { OnlineAnswer, OnlineRun, OnlineStream } from '../../../ports/online.ts';
import { abortScript, clearAbortScript, onlineScript } from './commands-online.ts';
import type { Control } from './control.ts';
import { askSuspended } from './freeze.ts';
import { describe } from './online-chain.ts';
import { type BackupPlace, bytesOf, removePlace } from './online-place.ts';
import { parseAnswers } from './parse.ts';
import { type OnlineLevel, parseOnlineLog, parseOnlineReturn } from './parse-online.ts';
import { thawInstance } from './thaw.ts';

const questionMs = 30_000;
/** For an aborted backup to come to its end. */
const endMs = 60_000;
const thawMs = 7_000;

/** The backup of one instance. */
export interface Job {
  readonly instance: string;
  readonly level: OnlineLevel;
  readonly file: string;
  readonly log: string;
}

interface Ended {
  /** What the session printed; undefined when it gave nothing. */
  readonly output: string | undefined;
  readonly said: string;
  readonly span: CommandSpan;
  readonly at: Moment;
}

export interface Finished {
  readonly job: Job;
  readonly returned: string;
  readonly log: string;
  readonly ended: Moment;
  readonly span: CommandSpan;
}

export function streamName(instance: string): string {
  return `${instance}.cbk`;
}

export function jobOf(place: BackupPlace, instance: string, level: OnlineLevel): Job {
  const file = join(place.directory, streamName(instance));
  return { instance, level, file, log: `${file}.log` };
}

/** Backups of all instances, at work at the same time. Each is a session; its file is read once the engine is done with it. */
export class IrisRun implements OnlineRun {
  readonly streams: readonly OnlineStream[];
  readonly #control: Control;
  readonly #place: BackupPlace;
  readonly #signal: AbortSignal;
  readonly #conclude: (finished: readonly Finished[]) => Promise<OnlineAnswer>;
  readonly #kill = new AbortController();
  readonly #work: readonly { readonly job: Job; readonly ended: Promise<Ended> }[];
  readonly #over = new Set<string>();

  constructor(
    control: Control,
    place: BackupPlace,
    jobs: readonly Job[],
    signal: AbortSignal,
    conclude: (finished: readonly Finished[]) => Promise<OnlineAnswer>,
  ) {
    this.#control = control;
    this.#place = place;
    this.#signal = signal;
    this.#conclude = conclude;
    this.#work = jobs.map((job) => ({ job, ended: this.#backUp(job) }));
    this.streams = this.#work.map(({ job, ended }) => ({
      name: streamName(job.instance),
      open: () => Readable.from(this.#bytes(job, ended), { objectMode: false }),
    }));
  }

  /** Never rejects. */
  async #backUp(job: Job): Promise<Ended> {
    const { clock } = this.#control.platform;
    const beganMs = clock.monoMs();
    const script = onlineScript({
      level: job.level,
      description: describe(this.#place.id, job.level),
      output: job.file,
      log: job.log,
      switchJournal: true,
    });
    const end = (output: string | undefined, said: string): Ended => {
      this.#over.add(job.instance);
      const span: CommandSpan = {
        party: 'engine',
        what: `BACKUP^DBACK ${job.instance}`,
        startMs: beganMs,
        endMs: clock.monoMs(),
      };
      return { output, said, span, at: clock.now() };
    };
    try {
      const options = { timeoutMs: this.#control.backupMs, signal: this.#kill.signal };
      return end(await this.#control.script(job.instance, script, options), 'its session ended without an answer');
    } catch (cause) {
      return end(undefined, messageOf(cause));
    }
  }

  async *#bytes(job: Job, ended: Promise<Ended>): AsyncGenerator<Uint8Array> {
    const end = await this.#patiently(ended);
    const returned = parseAnswers(end.output ?? '').get('backup') ?? '';
    if (parseOnlineReturn(returned)?.done !== true) {
      const log = ((await this.#control.read(job.log)) ?? '').trim().split(/\s*\n\s*/);
      const why = returned === '' ? end.said : `BACKUP^DBACK returned ${returned}`;
      throw new StillpointError(
        'command-failed',
        `the backup of ${job.instance} is not whole: ${why}; its log ends with ${JSON.stringify(log.slice(-3).join(' / '))}`,
        { hint: 'see messages.log of the instance; another backup may have been at work' },
      );
    }
    yield* bytesOf(this.#control, job.file);
  }

  /** Whoever reads must not wait for a session that only disposing will end. */
  async #patiently<T>(work: Promise<T>): Promise<T> {
    this.#signal.throwIfAborted();
    const cancelled = Promise.withResolvers<never>();
    const onAbort = (): void => cancelled.reject(this.#signal.reason);
    this.#signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([work, cancelled.promise]);
    } finally {
      this.#signal.removeEventListener('abort', onAbort);
    }
  }

  async finish(): Promise<OnlineAnswer> {
    const finished: Finished[] = [];
    for (const { job, ended } of this.#work) {
      const end = await this.#patiently(ended);
      const returned = parseAnswers(end.output ?? '').get('backup') ?? '';
      const log = (await this.#control.read(job.log, 0, questionMs)) ?? '';
      finished.push({ job, returned, log, ended: end.at, span: end.span });
    }
    return this.#conclude(finished);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (const { job, ended } of this.#work) {
      if (!this.#over.has(job.instance)) await this.#end(job, ended).catch((cause: unknown) => failures.push(cause));
    }
    await removePlace(this.#control, this.#place).catch((cause: unknown) => failures.push(cause));
    if (failures.length > 0) throw failures[0];
  }

  /** By the engine's own abort, so that it puts everything back itself; the session is killed only if that does not end it. */
  async #end(job: Job, ended: Promise<Ended>): Promise<void> {
    const { clock } = this.#control.platform;
    const { instance } = job;
    const log = (await this.#control.read(job.log)) ?? '';
    // Another backup that is at work is not ours to abort: ours has begun once its own log says so.
    const begun = log.includes(describe(this.#place.id, job.level));
    if (begun) await this.#ask(instance, abortScript);
    const limit = clock.monoMs() + (begun ? endMs : 0);
    while (!this.#over.has(instance) && clock.monoMs() < limit) await clock.sleep(100);
    this.#kill.abort();
    await ended;
    // Left set it would stop the next backup.
    if (begun) await this.#ask(instance, clearAbortScript);
    const after = parseOnlineLog((await this.#control.read(job.log)) ?? '');
    if (!after.enabled) await this.#resume(instance);
  }

  /** Its last words were that it suspends the write daemon. */
  async #resume(instance: string): Promise<void> {
    const asked = await askSuspended(this.#control, instance, questionMs);
    if (asked.exit === 'no') return;
    const thawed = await thawInstance(this.#control, { name: instance, log: undefined }, thawMs);
    if (thawed.thawed) return;
    throw new StillpointError(
      'thaw-unproven',
      `${instance} may be left suspended by an aborted backup: ${thawed.said}`,
      {
        hint: `\`iris stat ${instance} -W\` resumes its write daemon`,
      },
    );
  }

  async #ask(instance: string, script: readonly string[]): Promise<void> {
    await this.#control.script(instance, script, { timeoutMs: questionMs }).catch((cause: unknown) => {
      this.#control.platform.log.warn('an aborted backup could not be spoken to', { reason: messageOf(cause) });
    });
  }
}
