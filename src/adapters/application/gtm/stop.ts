import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type {
  CommandSpan,
  FreezeAnswer,
  FreezeStatus,
  HoldToken,
  MemberObservation,
  ThawAnswer,
} from '../../../model/hold.ts';
import type { JournalStart } from '../../../model/journal.ts';
import { writeDurably } from '../../../platform/files.ts';
import type { HoldSession } from '../../../ports/application.ts';
import type { Platform } from '../../../ports/module.ts';
import type { Argv } from './commands.ts';
import { complaintOf, type Gtm, unreachable, wentWell } from './engine.ts';
import { memberOf, termNow } from './member.ts';
import { mark } from './marks.ts';
import { parseCurrent } from './parse-backup.ts';
import type { Region, RegionState } from './parse.ts';
import { openFilesOfOthers } from '../../../platform/process.ts';

const pollMs = 100;
const quickMs = 10_000;
/** Below the time that a guard gives to a start. */
const startMs = 110_000;
/** After the start, for somebody to open the database: only told, for applications open it when they first need it. */
const openedMs = 3_000;
/** Of the budget, so that a stop that hangs is given up before the deadline. */
const stopShare = 0.7;

/** The application's own commands, and where the stop is remembered. */
export interface StopCommands {
  readonly stop: Argv;
  readonly start: Argv;
  /** Of this hold. There from before the stop until a start has succeeded. */
  readonly markFile: string;
}

/** Of a setting that has one element at least. */
export function argvOf(setting: readonly string[]): Argv {
  const [program = '', ...args] = setting;
  return [program, ...args];
}

export function markFileOf(directory: string, token: HoldToken): string {
  return join(directory, `${encodeURIComponent(token.runId)}.stop`);
}

/**
 * A cold backup's hold: the application's own command ends its users, and the engine proves it by running every region down, which it
 * only does when nobody is attached. While nobody runs, the journals are switched, so that the copy can be rolled forward.
 */
export class GtmStop implements HoldSession {
  readonly #gtm: Gtm;
  readonly #platform: Platform;
  readonly #regions: readonly Region[];
  readonly #commands: StopCommands;
  readonly #budgetMs: number;
  #state: 'open' | 'stopping' | 'stopped' | 'failed' = 'open';
  #states: readonly RegionState[] = [];
  #role: MemberObservation['role'] = 'standalone';
  #still: readonly string[] = [];
  #stopping: Promise<unknown> = Promise.resolve();
  #answer: ThawAnswer | undefined;

  constructor(gtm: Gtm, platform: Platform, regions: readonly Region[], commands: StopCommands, budgetMs: number) {
    this.#gtm = gtm;
    this.#platform = platform;
    this.#regions = regions;
    this.#commands = commands;
    this.#budgetMs = budgetMs;
  }

  async prepare(): Promise<void> {
    const { exec } = this.#platform;
    for (const [program] of [this.#commands.stop, this.#commands.start]) {
      if ((await exec.which(program)) !== undefined) continue;
      throw new StillpointError('config-invalid', `${program} cannot be executed`, {
        hint: 'see application.gtm.stop and application.gtm.start; give absolute paths',
      });
    }
    const names = this.#regions.map((region) => region.name);
    this.#states = (await this.#gtm.states({ limitMs: quickMs }, names)).states;
    const frozen = this.#states.find((state) => state.frozen !== undefined);
    if (frozen !== undefined) {
      throw new StillpointError('freeze-failed', `region ${frozen.region} is frozen: its users cannot end`, {
        hint: 'see `stillpoint status`',
      });
    }
    // Its own side cannot change while it is down; that another takes over meanwhile is seen when it starts again.
    this.#role = await this.#gtm.role(this.#states, { limitMs: quickMs });
    await mkdir(dirname(this.#commands.markFile), { recursive: true, mode: 0o700 });
    await writeDurably(this.#commands.markFile, `${JSON.stringify(this.#commands.start)}\n`);
  }

  async freeze(): Promise<FreezeAnswer> {
    if (this.#state !== 'open') return this.#say(false, `the session is ${this.#state}`, []);
    this.#state = 'stopping';
    const stopping = this.#stop();
    this.#stopping = stopping.catch(() => undefined);
    return stopping;
  }

  async #stop(): Promise<FreezeAnswer> {
    const { clock, exec } = this.#platform;
    const beganMs = clock.monoMs();
    const spans: CommandSpan[] = [];
    const timeoutMs = Math.max(1_000, this.#budgetMs * stopShare);
    const untilMs = beganMs + timeoutMs;
    const no = (said: string): FreezeAnswer => {
      this.#state = 'failed';
      return this.#say(false, said, spans);
    };
    try {
      const result = await exec.run({ argv: this.#commands.stop, timeoutMs });
      spans.push({ party: 'engine', what: 'stop', startMs: result.startedMs, endMs: result.endedMs });
      if (result.exitCode !== 0) {
        return no(
          `${this.#commands.stop[0]} ended with ${result.exitCode ?? result.killedBy}: ${result.stderr.trim()}`,
        );
      }
      for (;;) {
        const why = await this.#runDown(spans);
        if (why === undefined) break;
        if (clock.monoMs() >= untilMs) return no(`the database is still in use: ${why}`);
        await clock.sleep(pollMs);
      }
      const starts = await this.#switch(spans);
      this.#still = this.#regions.map(stampOf);
      this.#state = 'stopped';
      return { ...this.#say(true, 'nobody has the database open', spans), ...(starts.length === 0 ? {} : { starts }) };
    } catch (cause) {
      return no(messageOf(cause));
    }
  }

  /** Undefined: all regions were run down by the engine, and nobody has their files open. */
  async #runDown(spans: CommandSpan[]): Promise<string | undefined> {
    const users = usersOf(this.#regions);
    if (users.length > 0) return `process ${users.slice(0, 5).join(', ')}`;
    const answer = await this.#gtm.mupip(['rundown', '-region', '*'], { limitMs: quickMs });
    spans.push(answer.span);
    const done = answer.messages.filter((each) => each.mnemonic === 'MUFILRNDWNSUC').length;
    const clean = !answer.messages.some((each) => each.severity === 'W');
    return wentWell(answer) && clean && done >= this.#regions.length ? undefined : complaintOf(answer);
  }

  async #switch(spans: CommandSpan[]): Promise<readonly JournalStart[]> {
    const starts: JournalStart[] = [];
    const on = this.#states.filter((state) => state.journal === 'on');
    for (const [kind, states] of Map.groupBy(on, (state) => (state.beforeImages ? 'before' : 'nobefore'))) {
      const names = states.map((state) => state.region).join(',');
      const answer = await this.#gtm.mupip(['set', '-region', names, `-journal=on,${kind}`], { limitMs: quickMs });
      spans.push(answer.span);
      if (!wentWell(answer)) throw unreachable('the journals cannot be switched', answer);
      for (const { region, journalFile } of states) {
        const file = this.#regions.find((each) => each.name === region)?.file ?? '';
        const header = await this.#gtm.mupip(['dumpfhead', '-file', file], { limitMs: quickMs });
        const current = parseCurrent(header.text);
        if (current === undefined || journalFile === undefined) throw unreachable(`${file} cannot be read`, header);
        starts.push({ part: region, file: basename(journalFile), position: mark(current) });
      }
    }
    return starts;
  }

  async ask(): Promise<FreezeAnswer> {
    if (this.#state !== 'stopped') return this.#say(false, `the session is ${this.#state}`, []);
    const broken = this.#broken();
    return this.#say(broken === undefined, broken ?? 'nobody has had the database open since', []);
  }

  /** Whoever opens a region, to read or to write, leaves a mark in the header of its file. */
  #broken(): string | undefined {
    try {
      const users = usersOf(this.#regions);
      if (users.length > 0) return `process ${users[0]} has opened the database`;
      const touched = this.#regions.find((region, index) => stampOf(region) !== this.#still[index]);
      return touched === undefined ? undefined : `${touched.file} was opened since the stop`;
    } catch (cause) {
      return messageOf(cause);
    }
  }

  #say(frozen: boolean, said: string, spans: readonly CommandSpan[]): FreezeAnswer {
    return { frozen, said, at: this.#platform.clock.now(), spans };
  }

  async observe(): Promise<MemberObservation> {
    const term = await termNow(this.#gtm, this.#states, { limitMs: quickMs });
    return memberOf(this.#platform.host.name, this.#regions, this.#role, term);
  }

  async thaw(): Promise<ThawAnswer> {
    if (this.#answer !== undefined) return this.#answer;
    if (this.#state === 'open') {
      await rm(this.#commands.markFile, { force: true });
      return thawed(this.#platform, 'nothing was stopped', false, []);
    }
    // A stop under way would overtake the start.
    await this.#stopping;
    const broken = this.#state === 'stopped' ? this.#broken() : 'it was not stopped';
    const answer = await startAgain(this.#platform, this.#regions, this.#commands);
    if (answer.thawed) this.#answer = { ...answer, heldThroughout: broken === undefined };
    return this.#answer ?? { ...answer, heldThroughout: false };
  }

  async close(): Promise<void> {
    if (this.#state === 'open') await rm(this.#commands.markFile, { force: true }).catch(() => undefined);
  }
}

/** Inode, size and times in nanoseconds. */
function stampOf({ file }: Region): string {
  const { ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
  return [ino, size, mtimeNs, ctimeNs].join(' ');
}

function usersOf(regions: readonly Region[]): readonly number[] {
  const files = new Set(regions.map((region) => region.file));
  return [...openFilesOfOthers()].filter((each) => each.files.some((file) => files.has(file))).map(({ pid }) => pid);
}

/**
 * Starts the application again, from any process: whatever is left half stopped is started too, so the command must be one that may be
 * given to what runs already (`systemctl start`). Without the mark of this hold nothing was stopped, and nothing is started. Never throws.
 */
export async function startAgain(
  platform: Platform,
  regions: readonly Region[],
  { markFile, ...configured }: { readonly start: Argv | undefined; readonly markFile: string },
): Promise<ThawAnswer> {
  const { clock, exec } = platform;
  const spans: CommandSpan[] = [];
  try {
    if (!existsSync(markFile))
      return thawed(platform, 'this hold has stopped nothing that is not started again', false, spans);
    // The setting may be gone since; then it is the one with which the application was stopped.
    const written: readonly string[] = JSON.parse(readFileSync(markFile, 'utf8'));
    const start = configured.start ?? argvOf(written);
    const result = await exec.run({ argv: start, timeoutMs: startMs });
    spans.push({ party: 'engine', what: 'start', startMs: result.startedMs, endMs: result.endedMs });
    if (result.exitCode !== 0) {
      const said = `${start[0]} ended with ${result.exitCode ?? result.killedBy}: ${result.stderr.trim()}`;
      return { ...thawed(platform, said, false, spans), thawed: false };
    }
    await rm(markFile, { force: true });
    const at = clock.now();
    const untilMs = clock.monoMs() + openedMs;
    let users = usersOf(regions);
    while (users.length === 0 && clock.monoMs() < untilMs) {
      await clock.sleep(pollMs);
      users = usersOf(regions);
    }
    const opened =
      users.length > 0 ? `process ${users[0]} has opened the database` : 'nobody has opened the database yet';
    return { ...thawed(platform, `${start[0]} has succeeded; ${opened}`, false, spans), at };
  } catch (cause) {
    return { ...thawed(platform, messageOf(cause), false, spans), thawed: false };
  }
}

/** What a process that does not own the hold can see. Never throws. */
export function stopStatus(regions: readonly Region[], markFile: string): FreezeStatus {
  try {
    if (!existsSync(markFile))
      return { state: 'thawed', said: 'this hold has stopped nothing that is not started again' };
    const users = usersOf(regions);
    const open = users.length === 0 ? 'nobody has the database open' : `process ${users[0]} has the database open`;
    return { state: 'frozen', said: `the application was told to stop and not yet to start; ${open}` };
  } catch (cause) {
    return { state: 'unknown', said: messageOf(cause) };
  }
}

function thawed(platform: Platform, said: string, heldThroughout: boolean, spans: readonly CommandSpan[]): ThawAnswer {
  return { thawed: true, heldThroughout, said, at: platform.clock.now(), spans, artifacts: [] };
}
