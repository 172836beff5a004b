import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { CommandSpan, FreezeAnswer, HoldToken, MemberObservation, ThawAnswer } from '../../../model/hold.ts';
import type { JournalStart } from '../../../model/journal.ts';
import type { HoldSession } from '../../../ports/application.ts';
import type { Control } from './control.ts';
import { roleOf } from './parse.ts';
import type { Instance } from './parse-instances.ts';
import { journalDirectories, logDirectoryOf, logName, placesOf } from './places.ts';
import { lastOwn } from './parse-journal.ts';
import { assertFit, memberOf } from './questions.ts';

const pollMs = 200;
const startMs = 115_000;
/** Of the budget, so that a stop that hangs is given up before the deadline. */
const stopShare = 0.8;

export interface StopTarget {
  readonly name: string;
  readonly mark: string;
  readonly journals: readonly string[];
}

export interface Started {
  readonly running: boolean;
  readonly said: string;
  readonly spans: readonly CommandSpan[];
}

/**
 * Starts what is down, waits for what is on its way, and proves it by the list of instances. The command is never cut off: a start that
 * is killed in the middle leaves a half-started instance. Never throws.
 */
export async function startAll(control: Control, names: readonly string[], mostMs: number): Promise<Started> {
  const { clock } = control.platform;
  const beganMs = clock.monoMs();
  const asked = new Set<string>();
  let said = '';
  for (;;) {
    try {
      const all = await control.instances();
      const mine = all.filter((each) => names.includes(each.name));
      const running = mine.filter((each) => each.state === 'running');
      said = mine.map((each) => `${each.name} is ${each.status}`).join('; ');
      const spans: CommandSpan[] = [{ party: 'engine', what: 'start', startMs: beganMs, endMs: clock.monoMs() }];
      if (running.length === names.length) return { running: true, said, spans };
      for (const each of mine) {
        if (each.state !== 'down' || asked.has(each.name)) continue;
        asked.add(each.name);
        await control.launch('start', each.name);
      }
    } catch (cause) {
      said = messageOf(cause);
    }
    if (clock.monoMs() - beganMs >= mostMs) return { running: false, said, spans: [] };
    await clock.sleep(pollMs);
  }
}

/** A cold backup's hold: the instances are stopped, the list of instances proves it, and they are started again. */
export class IrisStop implements HoldSession {
  readonly #control: Control;
  readonly #token: HoldToken;
  readonly #budgetMs: number;
  #before: readonly Instance[] = [];
  #targets: readonly StopTarget[] = [];
  #stopped: readonly Instance[] = [];
  #state: 'open' | 'stopping' | 'stopped' | 'failed' = 'open';
  #stopping: Promise<unknown> = Promise.resolve();
  #answer: ThawAnswer | undefined;

  constructor(control: Control, token: HoldToken, budgetMs: number) {
    this.#control = control;
    this.#token = token;
    this.#budgetMs = budgetMs;
  }

  async prepare(): Promise<void> {
    await this.#control.load();
    const instances = await this.#control.wanted();
    for (const instance of instances) {
      assertFit(instance);
      if (roleOf(instance.memberType, instance.mirrorStatus) !== 'primary') continue;
      throw new StillpointError(
        'role-unsuitable',
        `${instance.name} is the primary of a mirror: its stop is a failover`,
        {
          hint: 'make the cold backup on another member, or use the method `snapshot`',
        },
      );
    }
    this.#before = instances;
    this.#targets = await Promise.all(
      instances.map(async (each) => ({
        name: each.name,
        mark: join(logDirectoryOf(this.#control, each), logName(this.#token.runId, each.name)),
        journals: journalDirectories(await placesOf(this.#control, each)),
      })),
    );
    for (const { mark } of this.#targets) {
      const result = await this.#control.command(['touch', '--', mark]);
      if (result.exitCode === 0) continue;
      throw new StillpointError('freeze-failed', `the mark ${mark} cannot be made: ${result.stderr.trim()}`, {
        hint: 'set application.iris.logDirectory to a directory that this user may write to',
      });
    }
  }

  async freeze(): Promise<FreezeAnswer> {
    if (this.#state !== 'open' || this.#targets.length === 0)
      return this.#say(false, `the session is ${this.#state}`, []);
    this.#state = 'stopping';
    const stopping = this.#stop();
    this.#stopping = stopping.catch(() => undefined);
    return stopping;
  }

  async #stop(): Promise<FreezeAnswer> {
    const { clock } = this.#control.platform;
    const beganMs = clock.monoMs();
    const spans = (): CommandSpan[] => [{ party: 'engine', what: 'stop', startMs: beganMs, endMs: clock.monoMs() }];
    let said = '';
    try {
      await Promise.all(this.#targets.map(async ({ name }) => this.#control.launch('stop', name)));
      for (;;) {
        const mine = await this.#list();
        said = mine.map((each) => `${each.name} is ${each.status}`).join('; ');
        if (mine.every((each) => each.state === 'down')) {
          this.#stopped = mine;
          this.#state = 'stopped';
          return { ...this.#say(true, said, spans()), starts: await this.#starts() };
        }
        if (clock.monoMs() - beganMs >= this.#budgetMs * stopShare) break;
        await clock.sleep(pollMs);
      }
    } catch (cause) {
      said = messageOf(cause);
    }
    this.#state = 'failed';
    return this.#say(false, `not stopped in time: ${said}`, spans());
  }

  /** The last file of the stopped instance: all of it is in the point, and applying it again changes nothing. */
  async #starts(): Promise<readonly JournalStart[]> {
    const found: JournalStart[] = [];
    for (const { name, journals } of this.#targets) {
      const listed = await Promise.all(journals.map(async (each) => this.#control.command(['ls', '-1A', '--', each])));
      const file = lastOwn(listed.flatMap(({ stdout }) => stdout.split('\n')));
      if (file !== undefined) found.push({ part: name, file, position: '' });
    }
    return found;
  }

  async #list(): Promise<readonly Instance[]> {
    const all = await this.#control.instances();
    return this.#targets.map(({ name }) => {
      const found = all.find((each) => each.name === name);
      if (found !== undefined) return found;
      throw new StillpointError('database-unreachable', `instance ${name} is not in the list any more`, {
        hint: 'see `iris list`',
      });
    });
  }

  #say(frozen: boolean, said: string, spans: readonly CommandSpan[]): FreezeAnswer {
    return { frozen, said, at: this.#control.platform.clock.now(), spans };
  }

  async ask(): Promise<FreezeAnswer> {
    if (this.#state !== 'stopped') return this.#say(false, `the session is ${this.#state}`, []);
    const broken = await this.#broken();
    return this.#say(
      broken === undefined,
      broken ?? this.#stopped.map((each) => `${each.name} is down`).join('; '),
      [],
    );
  }

  /** Why the files may have been used since the stop: `last used` changes with every start. */
  async #broken(): Promise<string | undefined> {
    const mine = await this.#list();
    const changed = mine.find((each, i) => each.state !== 'down' || each.note !== this.#stopped[i]?.note);
    return changed === undefined ? undefined : `${changed.name} is ${changed.status}, ${changed.note}`;
  }

  /** Nobody can take a role while it is down. */
  async observe(): Promise<MemberObservation> {
    const mine = await this.#list();
    const seen = mine.map((each, i) => (each.state === 'running' ? each : (this.#before[i] ?? each)));
    return memberOf(this.#control.platform.host.name, seen);
  }

  async thaw(): Promise<ThawAnswer> {
    if (this.#answer !== undefined) return this.#answer;
    if (this.#state === 'open') return this.#end(true, false, 'nothing was stopped', []);
    await this.#stopping;
    const broken = this.#state === 'stopped' ? await this.#broken().catch(messageOf) : 'it was not stopped';
    const names = this.#targets.map(({ name }) => name);
    const { running, said, spans } = await startAll(this.#control, names, startMs);
    const answer = this.#end(
      running,
      broken === undefined,
      `${said}${broken === undefined ? '' : `; ${broken}`}`,
      spans,
    );
    if (running) this.#answer = answer;
    return answer;
  }

  #end(thawed: boolean, heldThroughout: boolean, said: string, spans: readonly CommandSpan[]): ThawAnswer {
    return { thawed, heldThroughout, said, at: this.#control.platform.clock.now(), spans, artifacts: [] };
  }

  async close(): Promise<void> {
    if (this.#state !== 'open' && this.#answer === undefined) return;
    for (const { mark } of this.#targets) {
      await this.#control.command(['rm', '-f', '--', mark]).catch(() => undefined);
    }
  }
}
