import { setTimeout as sleepFor } from 'node:timers/promises';
import { readFileSync } from 'node:fs';
import type { Moment } from '../model/time.ts';

/** The only door to clocks and timers, so that tests can hand in a clock of their own. */
export interface Clock {
  now(): Moment;
  /** Milliseconds of CLOCK_MONOTONIC: process.hrtime reads that clock on Linux, so all processes of one boot agree. */
  monoMs(): number;
  wallMs(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls back once, at or after `ms` from now, unless the returned function is called before. Does not keep the process alive. */
  after(ms: number, callback: () => void): () => void;
  every(ms: number, callback: () => void): () => void;
}

function monoMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

export const systemClock: Clock = {
  now: () => ({ monoMs: monoMs(), wall: new Date().toISOString() }),
  monoMs,
  wallMs: () => Date.now(),
  async sleep(ms, signal) {
    await sleepFor(ms, undefined, signal === undefined ? {} : { signal });
  },
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
  every(ms, callback) {
    const timer = setInterval(callback, ms);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** Waits for `work`, but no longer than `ms`: what `late` gives or throws stands in for it then. `work` itself goes on. */
export async function within<T, L>(clock: Clock, ms: number, work: Promise<T>, late: () => L): Promise<T | L> {
  let cancel = (): void => undefined;
  const tooLong = new Promise<L>((resolve, reject) => {
    cancel = clock.after(ms, () => {
      try {
        resolve(late());
      } catch (error) {
        reject(error);
      }
    });
  });
  try {
    return await Promise.race([work, tooLong]);
  } finally {
    cancel();
  }
}

/** Changes at every boot; monotonic times of different boots must not be compared. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
