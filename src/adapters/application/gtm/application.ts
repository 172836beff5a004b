import { join } from 'node:path';
import { messageOf } from '../../../model/errors.ts';
import type { FreezeStatus, HoldToken, ThawAnswer } from '../../../model/hold.ts';
import type { Marks } from '../../../model/journal.ts';
import type { Finding, Level } from '../../../model/point.ts';
import type { Application, Copy, HoldSession, Located } from '../../../ports/application.ts';
import type { ApplicationModule, Platform } from '../../../ports/module.ts';
import type { Journals } from '../../../ports/journals.ts';
import type { OnlineBackup } from '../../../ports/online.ts';
import { adopt } from './adopt.ts';
import { check } from './check.ts';
import { gtmConfig, type GtmConfig } from './config.ts';
import { discover } from './discover.ts';
import { Gtm } from './engine.ts';
import { type Estimate, estimate } from './estimate.ts';
import { GtmHold } from './hold.ts';
import { GtmJournals } from './journals.ts';
import { locate, regionsOf } from './locate.ts';
import { GtmOnline } from './online.ts';
import type { Region } from './parse.ts';
import { openFilesOfOthers } from '../../../platform/process.ts';
import { describeFreeze, type FreezeRecord, RecordFile, whose } from './record.ts';
import { isFreezing, release } from './release.ts';
import { argvOf, GtmStop, markFileOf, startAgain, stopStatus } from './stop.ts';
import { verify } from './verify.ts';

const openMs = 3_000;
const statusMs = 4_000;
const thawMs = 9_000;

/** A GT.M database: all regions of one global directory, frozen and thawed together. README.md says what that covers. */
export class GtmApplication implements Application {
  readonly engine = 'gtm';
  readonly online: OnlineBackup;
  readonly journals: Journals;
  readonly openStop?: (token: HoldToken, budgetMs: number) => Promise<HoldSession>;
  readonly #config: GtmConfig;
  readonly #platform: Platform;

  constructor(config: GtmConfig, platform: Platform) {
    this.#config = config;
    this.#platform = platform;
    this.online = new GtmOnline(config, platform);
    this.journals = new GtmJournals(config, platform);
    const { stop, start } = config;
    if (stop !== undefined && start !== undefined) {
      this.openStop = async (token, budgetMs) => {
        const gtm = await Gtm.open(config, platform);
        const commands = { stop: argvOf(stop), start: argvOf(start), markFile: this.#markFile(token) };
        return new GtmStop(gtm, platform, await regionsOf(gtm), commands, budgetMs);
      };
    }
  }

  get #recordDirectory(): string {
    return join(this.#platform.stateDirectory, 'gtm');
  }

  #recordFile(token: HoldToken): RecordFile {
    return new RecordFile(this.#recordDirectory, token.runId);
  }

  #markFile(token: HoldToken): string {
    return markFileOf(this.#recordDirectory, token);
  }

  /** None if the engine cannot tell: an application that was stopped is started all the same. */
  async #regionsIfKnown(): Promise<readonly Region[]> {
    try {
      return await regionsOf(await this.#open());
    } catch {
      return [];
    }
  }

  async locate(signal: AbortSignal): Promise<Located> {
    return locate(this.#config, this.#platform, signal);
  }

  async *check(signal: AbortSignal): AsyncGenerator<Finding> {
    yield* check(this.#config, this.#platform, signal);
  }

  async openHold(token: HoldToken, budgetMs: number): Promise<HoldSession> {
    const gtm = await Gtm.open(this.#config, this.#platform);
    const regions = await regionsOf(gtm);
    return new GtmHold(gtm, this.#platform, regions, this.#config.freeze, budgetMs, this.#recordFile(token));
  }

  async status(token: HoldToken): Promise<FreezeStatus> {
    if (token.way === 'stop') return stopStatus(await this.#regionsIfKnown(), this.#markFile(token));
    let record: FreezeRecord | undefined;
    try {
      record = this.#recordFile(token).read();
      const gtm = await this.#open();
      const { states } = await gtm.states({ limitMs: statusMs }, record?.regions ?? []);
      const said = states.map(describeFreeze).join('; ');
      if (states.some((state) => whose(state, record) === 'ours')) return { state: 'frozen', said };
      if (record !== undefined && isFreezing(record)) {
        return { state: 'unknown', said: `${said}; a mupip of this hold is about to freeze` };
      }
      const foreign = states.some((state) => state.frozen !== undefined);
      return { state: 'thawed', said: foreign ? `${said}, and that is not this hold` : said };
    } catch (cause) {
      const said = messageOf(cause);
      // A record is durable before a freeze begins and goes only when its end was proved.
      const never = record === undefined && this.#hasNoRecord(token);
      return never ? { state: 'thawed', said: `this hold froze nothing; ${said}` } : { state: 'unknown', said };
    }
  }

  #hasNoRecord(token: HoldToken): boolean {
    try {
      return this.#recordFile(token).read() === undefined;
    } catch {
      return false;
    }
  }

  async #open(): Promise<Gtm> {
    return Gtm.open(this.#config, this.#platform, { limitMs: openMs });
  }

  async thaw(token: HoldToken): Promise<ThawAnswer> {
    if (token.way === 'stop') {
      const start = this.#config.start === undefined ? undefined : argvOf(this.#config.start);
      return startAgain(this.#platform, await this.#regionsIfKnown(), { start, markFile: this.#markFile(token) });
    }
    const { clock } = this.#platform;
    const file = this.#recordFile(token);
    const answer = (thawed: boolean, said: string): ThawAnswer => ({
      thawed,
      heldThroughout: false,
      said,
      at: clock.now(),
      spans: [],
      artifacts: [],
    });
    const untilMs = clock.monoMs() + thawMs;
    try {
      const record = file.read();
      if (record === undefined) {
        const status = await this.status(token);
        return answer(status.state === 'thawed', status.said);
      }
      const released = await release(await this.#open(), record, clock, untilMs);
      if (released.thawed) await file.remove();
      return { ...answer(released.thawed, released.said), at: released.at, spans: released.spans };
    } catch (cause) {
      return answer(false, messageOf(cause));
    }
  }

  verify(copy: Copy, signal: AbortSignal): AsyncIterable<Finding> {
    return verify(copy, signal, this.#config, this.#platform);
  }

  async adopt(copy: Copy): Promise<void> {
    await adopt(copy, this.#config, this.#platform);
  }

  async estimate(since: Readonly<Partial<Record<Level, Marks>>>, signal: AbortSignal): Promise<readonly Estimate[]> {
    return estimate(this.#config, this.#platform, since, signal);
  }

  async running(signal: AbortSignal): Promise<boolean> {
    const gtm = await Gtm.open(this.#config, this.#platform, { limitMs: openMs, signal });
    const files = new Set((await regionsOf(gtm, signal)).map((region) => region.file));
    for (const { files: open } of openFilesOfOthers()) if (open.some((file) => files.has(file))) return true;
    return false;
  }
}

export const gtm: ApplicationModule<GtmConfig> = {
  kind: 'gtm',
  config: gtmConfig,
  create: (config, _workload, platform) => new GtmApplication(config, platform),
  discover: async () => discover(),
};
