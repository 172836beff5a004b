import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FreezeAnswer, HoldToken, MemberObservation, ThawAnswer } from '../../src/model/hold.ts';
import type { Clock } from '../../src/platform/clock.ts';
import type { HoldSession } from '../../src/ports/application.ts';
import { locked, observe, startsOf, toyFiles, type ToyConfig } from './toy-files.ts';

export async function stoppedBy(directory: string): Promise<string | undefined> {
  return await readFile(join(directory, toyFiles.users), 'utf8').catch(() => undefined);
}

/** Whoever stopped them. Idempotent. */
export async function startUsers(directory: string): Promise<void> {
  if (!existsSync(join(directory, toyFiles.broken))) await rm(join(directory, toyFiles.users), { force: true });
}

/** The hold of a cold backup: nobody writes, because nobody works. It outlives its process, as stopped users do. */
export class StopSession implements HoldSession {
  readonly #config: ToyConfig;
  readonly #token: HoldToken;
  readonly #clock: Clock;

  constructor(settings: ToyConfig, token: HoldToken, clock: Clock) {
    this.#config = settings;
    this.#token = token;
    this.#clock = clock;
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  async freeze(): Promise<FreezeAnswer> {
    const { directory } = this.#config;
    // Under the lock: a write under way ends before.
    const starts = await locked(directory, async () => {
      await writeFile(join(directory, toyFiles.users), this.#token.identity);
      return await startsOf(this.#config);
    });
    return { ...(await this.ask()), starts };
  }

  async ask(): Promise<FreezeAnswer> {
    const by = await stoppedBy(this.#config.directory);
    const frozen = by === this.#token.identity;
    return { frozen, said: by === undefined ? 'users work' : `stopped by ${by}`, at: this.#clock.now(), spans: [] };
  }

  async observe(): Promise<MemberObservation> {
    return await observe(this.#config.directory);
  }

  async thaw(): Promise<ThawAnswer> {
    const held = await this.ask();
    await startUsers(this.#config.directory);
    const { frozen, ...now } = await this.ask();
    const thawed = !frozen && now.said === 'users work';
    return { ...now, thawed, heldThroughout: held.frozen, artifacts: [] };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
