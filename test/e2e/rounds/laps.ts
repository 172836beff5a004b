import { systemClock } from '../../../src/platform/clock.ts';

/** Where the time of a round goes, in seconds. */
export class Laps {
  readonly #said: string[] = [];
  #fromMs: number;

  constructor(fromMs: number) {
    this.#fromMs = fromMs;
  }

  end(name: string): number {
    const nowMs = systemClock.monoMs();
    const tookMs = nowMs - this.#fromMs;
    this.#fromMs = nowMs;
    this.#said.push(`${name} ${(tookMs / 1_000).toFixed(1)}`);
    return tookMs;
  }

  said(): string {
    return this.#said.join(' ');
  }
}
