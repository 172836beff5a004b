import { join } from 'node:path';
import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { FreezeAnswer, HoldToken, MemberObservation, ThawAnswer } from '../../../model/hold.ts';
import type { HoldSession } from '../../../ports/application.ts';
import { limitsFor } from './config.ts';
import type { Control } from './control.ts';
import { askSuspended, freezeInstance, type InstanceFreeze, type Target } from './freeze.ts';
import type { Instance } from './parse-instances.ts';
import { logDirectoryOf, logName, placesOf } from './places.ts';
import { ask, assertFit, memberOf, objections } from './questions.ts';
import { thawInstance } from './thaw.ts';

const thawMs = 10_000;
/** A freeze that hangs must have ended before the deadline of the hold, so that the thaw does not race with it. */
const freezeShare = 0.8;

type State = 'open' | 'freezing' | 'frozen' | 'failed' | 'thawed';

/** Several instances in one hold: all of them are frozen, or none stays so. */
export class IrisHold implements HoldSession {
  /** Each word is a session of its own: published logs show a second for a freeze or thaw, and a login costs some tenths. */
  readonly patience = { askMs: 3_500, thawMs: 5_000 };
  readonly #control: Control;
  readonly #token: HoldToken;
  readonly #budgetMs: number;
  readonly #abort = new AbortController();
  #instances: readonly Instance[] = [];
  #targets: readonly Target[] = [];
  #state: State = 'open';
  #freezes: readonly InstanceFreeze[] = [];
  #freezing: Promise<unknown> = Promise.resolve();
  #answer: ThawAnswer | undefined;

  constructor(control: Control, token: HoldToken, budgetMs: number) {
    this.#control = control;
    this.#token = token;
    this.#budgetMs = budgetMs;
  }

  async prepare(): Promise<void> {
    await this.#control.load();
    this.#instances = await this.#control.wanted();
    for (const instance of this.#instances) assertFit(instance);
    const targets = await Promise.all(this.#instances.map(async (instance) => this.#prepareOne(instance)));
    this.#targets = targets;
    // Only now that nothing stands against any of them: a file that exists means that a freeze may follow.
    for (const { request } of targets) await this.#touch(request.log);
  }

  async #prepareOne(instance: Instance): Promise<Target> {
    const { config } = this.#control;
    const places = await placesOf(this.#control, instance);
    const answers = await ask(this.#control, places);
    const [objection] = objections(places, answers, config);
    if (objection !== undefined) throw objection;
    const limits = limitsFor(config, this.#budgetMs);
    const from = await this.#control.sizeSoFar(places.console);
    return {
      name: instance.name,
      request: {
        log: join(logDirectoryOf(this.#control, instance), logName(this.#token.runId, instance.name)),
        text: `stillpoint ${this.#token.runId}`,
        switchJournal: config.maySwitchJournal,
        freezeTimeoutS: limits.freezeTimeoutS,
        wdSuspendLimitS: answers.hasLimit === false ? undefined : limits.wdSuspendLimitS,
      },
      console: from === undefined ? undefined : { path: places.console, from },
      required: answers.required,
    };
  }

  async #touch(log: string): Promise<void> {
    const result = await this.#control.command(['touch', '--', log]);
    if (result.exitCode === 0) return;
    throw new StillpointError('freeze-failed', `the log ${log} cannot be made: ${result.stderr.trim()}`, {
      hint: 'set application.iris.logDirectory to a directory that the instance may write to, or application.iris.user',
    });
  }

  async freeze(): Promise<FreezeAnswer> {
    if (this.#state !== 'open' || this.#targets.length === 0) {
      return this.#say(false, `the session is ${this.#targets.length === 0 ? 'not prepared' : this.#state}`, []);
    }
    this.#state = 'freezing';
    const freezing = this.#freezeAll();
    this.#freezing = freezing.catch(() => undefined);
    return freezing;
  }

  async #freezeAll(): Promise<FreezeAnswer> {
    const timeoutMs = Math.max(1_000, Math.floor(this.#budgetMs * freezeShare));
    const { signal } = this.#abort;
    const freezes = await Promise.all(
      this.#targets.map(async (target) => freezeInstance(this.#control, target, timeoutMs, signal)),
    );
    this.#freezes = freezes;
    const said = freezes.map((each) => each.said).join('; ');
    const spans = freezes.flatMap((each) => each.spans);
    const starts = freezes.flatMap((each) => (each.start === undefined ? [] : [each.start]));
    if (freezes.every((each) => each.frozen) && !signal.aborted) {
      this.#state = 'frozen';
      return { ...this.#say(true, said, spans), starts };
    }
    this.#state = 'failed';
    // At once and all of them: nobody may rely on a call that follows, and a thaw of what never froze does no harm.
    const thawed = await this.#thawAll();
    return this.#say(false, `${said}; thawed again: ${thawed.said}`, [...spans, ...thawed.spans]);
  }

  #say(frozen: boolean, said: string, spans: FreezeAnswer['spans']): FreezeAnswer {
    return { frozen, said, at: this.#control.platform.clock.now(), spans };
  }

  async ask(): Promise<FreezeAnswer> {
    if (this.#state !== 'frozen') return this.#say(false, `the session is ${this.#state}`, []);
    const asked = await Promise.all(this.#targets.map(async ({ name }) => askSuspended(this.#control, name)));
    const frozen = asked.every((each) => each.exit === 'yes');
    return this.#say(
      frozen,
      asked.map((each) => each.said).join('; '),
      asked.map((each) => each.span),
    );
  }

  async observe(): Promise<MemberObservation> {
    const all = await this.#control.instances();
    const mine = this.#instances.map(({ name }) => {
      const found = all.find((each) => each.name === name);
      if (found !== undefined) return found;
      throw new StillpointError('database-unreachable', `instance ${name} is not in the list any more`, {
        hint: 'see `iris list`',
      });
    });
    return memberOf(this.#control.platform.host.name, mine);
  }

  async thaw(): Promise<ThawAnswer> {
    if (this.#answer !== undefined) return this.#answer;
    if (this.#state === 'open') return this.#thawAnswer(true, false, 'nothing was frozen', []);
    if (this.#state === 'freezing') {
      this.#abort.abort();
      await this.#freezing;
    }
    return this.#answer ?? this.#thawAll();
  }

  /** Keeps the first answer that proves the thaw; until then every call tries again. */
  async #thawAll(): Promise<ThawAnswer> {
    const { clock } = this.#control.platform;
    const held = this.#state === 'frozen';
    const thaws = await Promise.all(
      this.#targets.map(async ({ name, request, console }) =>
        thawInstance(this.#control, { name, log: request.log, console }, thawMs),
      ),
    );
    const doneMs = clock.monoMs();
    const over = this.#freezes.filter(
      ({ calledMs, target }) => doneMs - calledMs >= (target.request.wdSuspendLimitS ?? Infinity) * 1000,
    );
    const thawed = thaws.every((each) => each.thawed);
    const late = over.length === 0 ? '' : '; WDSuspendLimit may have ended the freeze before';
    const answer = this.#thawAnswer(
      thawed,
      held && thaws.every((each) => each.held) && late === '',
      `${thaws.map((each) => each.said).join('; ')}${late}`,
      thaws.flatMap((each) => each.spans),
    );
    if (thawed) {
      this.#answer = answer;
      this.#state = 'thawed';
    }
    return answer;
  }

  #thawAnswer(thawed: boolean, heldThroughout: boolean, said: string, spans: ThawAnswer['spans']): ThawAnswer {
    const starts = this.#freezes.flatMap((each) => (each.start === undefined ? [] : [each.start]));
    return {
      thawed,
      heldThroughout,
      said,
      at: this.#control.platform.clock.now(),
      spans,
      ...(starts.length === 0 ? {} : { starts }),
      artifacts: [],
    };
  }

  /** A freeze that is still at work here would come after everybody's thaw: it is ended and thawed. */
  async close(): Promise<void> {
    try {
      if (this.#state === 'freezing') await this.thaw();
      if (this.#state !== 'open' && this.#answer === undefined) return;
      // A log that stays says that a hold may be in force.
      for (const { request } of this.#targets) await this.#control.command(['rm', '-f', '--', request.log]);
    } catch (cause) {
      this.#control.platform.log.warn('the log of a hold was left behind', { reason: messageOf(cause) });
    }
  }
}
