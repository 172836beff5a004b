import { messageOf, StillpointError } from '../../../model/errors.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { SecretReader } from '../../../ports/module.ts';
import type { HoldOffToken } from '../../../ports/topology.ts';
import { askEverybody, limitMs, type MemberAnswer } from './ask.ts';
import type { Config } from './config.ts';
import { type Dynamic, markerKey, parseDynamic, pausedBy, timingOf } from './parse.ts';
import { ask, readTls, type TlsFiles } from './rest.ts';

/**
 * Patroni answers a change only when the DCS has it, and tries for `retry_timeout` (10 s by default). A change is never cut off: one whose
 * answer nobody heard could come true after it was undone.
 */
const changeMs = 30_000;
const pollMs = 300;
const letGoMs = 90_000;
const lingerPollMs = 1000;
/** A change of a key that is not there changes nothing, but makes Patroni read the DCS, tell what it found, and wake its loop. */
const nothing: Dynamic = { stillpoint_question: null };
const defaults = { loopWait: 10, retryTimeout: 10 };

interface Step {
  /** `refused`: they do not take the login, and will not. */
  readonly outcome: 'removed' | 'over' | 'open' | 'refused';
  readonly said: string;
  readonly lingerMs: number;
}

interface Told {
  readonly name: string;
  readonly url: string;
  readonly dynamic: Dynamic | undefined;
  readonly said: string;
  readonly refused: boolean;
  /** Nobody knows whether a change came true, or will. */
  readonly inDoubt: boolean;
}

/** Patroni's pause, with a mark of whose it is. One write to the DCS holds both, so that neither can be there without the other. */
export class Pause {
  readonly #config: Config;
  readonly #clock: Clock;
  readonly #tls: TlsFiles;
  readonly #login: { readonly user: string; readonly password: string } | undefined;

  private constructor(
    config: Config,
    clock: Clock,
    tls: TlsFiles,
    login: { readonly user: string; readonly password: string } | undefined,
  ) {
    this.#config = config;
    this.#clock = clock;
    this.#tls = tls;
    this.#login = login;
  }

  static async open(config: Config, clock: Clock, secret: SecretReader): Promise<Pause> {
    const { login } = config;
    return new Pause(
      config,
      clock,
      await readTls(config.tls),
      login === undefined ? undefined : { user: login.user, password: await secret(login.password) },
    );
  }

  /** Returns when every member says that it is paused. `sent` is told before the change goes out, and whether its answer leaves a doubt. */
  async hold(token: HoldOffToken, signal: AbortSignal, sent: (inDoubt: boolean) => void): Promise<void> {
    const first = await this.#askAll();
    const now = this.#newest(first);
    const by = ownersOf(first);
    refuseOthers(by, token);
    signal.throwIfAborted();
    if (by.length === 0) {
      sent(true);
      const told = await this.#patch(now, { pause: true, [markerKey]: token.identity });
      sent(told.inDoubt);
      if (told.dynamic === undefined) throw unchanged(told);
    }
    const timing = timingOf(now.dynamic);
    const limit = 5000 + 2000 * (timing === undefined ? 10 : timing.loopWait);
    const deadline = this.#clock.monoMs() + limit;
    for (;;) {
      signal.throwIfAborted();
      const owners = ownersOf(await this.#askAll());
      refuseOthers(owners, token);
      const everybody = await askEverybody(this.#config, this.#tls, this.#clock);
      // One that does not answer may take over all the same.
      const waiting = everybody.filter(({ status }) => status?.pause !== true);
      if (waiting.length === 0 && owners.length > 0) return;
      if (this.#clock.monoMs() > deadline) {
        throw new StillpointError(
          'failover-risk',
          `not every member has paused within ${limit} ms: ${namesOf(waiting)}`,
          {
            hint: 'every member of topology.patroni.members must answer; see `patronictl list`',
          },
        );
      }
      await this.#clock.sleep(pollMs, signal);
    }
  }

  /**
   * Returns when the DCS and every member that answers say that our pause is over. Somebody else's pause is left alone.
   * `settled`: no change of this token's can be under way. Where that is not known (its process was killed) and no mark of ours is there, it
   * watches for as long as a Patroni may still be at work on such a change: one that came through after we had looked would stay for ever.
   */
  async letGo(token: HoldOffToken, settled: boolean): Promise<void> {
    const deadline = this.#clock.monoMs() + letGoMs;
    let sure = settled;
    let quietMs: number | undefined;
    let said = '';
    do {
      const step = await this.#letGoOnce(token);
      said = step.said;
      if (step.outcome === 'refused') break;
      if (step.outcome === 'removed') sure = true;
      if (step.outcome !== 'over') quietMs = undefined;
      else {
        quietMs ??= this.#clock.monoMs();
        if (sure || this.#clock.monoMs() - quietMs > step.lingerMs) return;
      }
      await this.#clock.sleep(step.outcome === 'over' ? lingerPollMs : pollMs);
    } while (this.#clock.monoMs() < deadline);
    throw new StillpointError('undo-failed', `it is not proved that ${token.cluster} fails over again: ${said}`, {
      hint: `see \`patronictl list\`; if it is paused and ${markerKey} in \`patronictl show-config\` is ${token.identity}, then \`patronictl resume\``,
    });
  }

  async #letGoOnce(token: HoldOffToken): Promise<Step> {
    const open = (said: string): Step => ({ outcome: 'open', said, lingerMs: 0 });
    const told = await this.#askAll();
    const answered = told.filter((each) => each.dynamic !== undefined);
    if (answered.length === 0) {
      const said = told.map((each) => `${each.name}: ${each.said}`).join('; ');
      return told.every(({ refused }) => refused) ? { outcome: 'refused', said, lingerMs: 0 } : open(said);
    }
    // One that is a little behind may not see our mark yet or still see it: one who sees it is enough, and the DCS refuses what is outdated.
    const marked = answered.filter(({ dynamic }) => dynamic?.[markerKey] === token.identity);
    const failed: string[] = [];
    for (const each of marked) {
      const change = await this.#patch(each, { pause: null, [markerKey]: null });
      if (change.dynamic !== undefined) return { outcome: 'removed', said: `${each.name} has let go`, lingerMs: 0 };
      failed.push(`${each.name}: ${change.said}`);
    }
    if (failed.length > 0) return open(failed.join('; '));
    const everybody = await askEverybody(this.#config, this.#tls, this.#clock);
    const timing = timingOf(answered[0]?.dynamic ?? {}) ?? defaults;
    const freshMs = (timing.loopWait + timing.retryTimeout) * 1000;
    // Cut off from the DCS, a member tells what it knew, which may be from before the pause.
    if (!everybody.some(({ status, dcsAgeMs }) => status !== undefined && (dcsAgeMs ?? 0) <= freshMs))
      return open('no member that answers reaches its DCS');
    const others = answered.some(({ dynamic }) => dynamic !== undefined && pausedBy(dynamic) !== undefined);
    const waiting = others ? [] : everybody.filter(({ status }) => status?.pause === true);
    if (waiting.length > 0) return open(`${namesOf(waiting)} still in pause`);
    // A change is one reading and one writing of the DCS, each tried for `retry_timeout`.
    return { outcome: 'over', said: 'no pause of ours is there', lingerMs: 2000 * timing.retryTimeout + 2000 };
  }

  async #askAll(): Promise<readonly Told[]> {
    return await Promise.all(
      Object.entries(this.#config.members).map(async ([name, url]) => this.#patch({ name, url }, nothing)),
    );
  }

  #newest(told: readonly Told[]): Told & { readonly dynamic: Dynamic } {
    const found = told.find((each) => each.dynamic !== undefined);
    if (found?.dynamic !== undefined) return { ...found, dynamic: found.dynamic };
    const refused = told.find((each) => each.refused);
    if (refused !== undefined) throw unchanged(refused);
    const said = told.map(({ name, said: why }) => `${name}: ${why}`).join('; ');
    throw new StillpointError('cluster-unknown', `no Patroni takes a change of its configuration: ${said}`, {
      hint: 'check that Patroni runs and reaches its DCS: `patronictl list`',
    });
  }

  async #patch({ name, url }: { readonly name: string; readonly url: string }, change: Dynamic): Promise<Told> {
    try {
      const { status, json } = await ask(
        {
          url: new URL('/config', url).href,
          method: 'PATCH',
          body: change,
          // A question may be given up; what changes something may not.
          limitMs: change === nothing ? limitMs : changeMs,
          ...(this.#login === undefined ? {} : { login: this.#login }),
        },
        this.#tls,
        this.#clock,
      );
      const dynamic = status === 200 ? parseDynamic(json) : undefined;
      const refused = status === 401 || status === 403;
      // 409: somebody else's change came first. 503: there is no configuration to change.
      const inDoubt = !(dynamic !== undefined || refused || status === 409 || status === 503);
      return { name, url, dynamic, refused, inDoubt, said: dynamic === undefined ? `HTTP status ${status}` : 'done' };
    } catch (cause) {
      return { name, url, dynamic: undefined, refused: false, inDoubt: true, said: messageOf(cause) };
    }
  }
}

function namesOf(members: readonly MemberAnswer[]): string {
  return members.map(({ name, said }) => `${name} (${said})`).join('; ');
}

/** Who paused, by whoever knows: any of the members may be a little behind. */
function ownersOf(told: readonly Told[]): readonly string[] {
  return told.flatMap(({ dynamic }) => (dynamic === undefined ? [] : (pausedBy(dynamic) ?? [])));
}

function refuseOthers(owners: readonly string[], { identity }: HoldOffToken): void {
  const other = owners.find((owner) => owner !== identity);
  if (other === undefined) return;
  throw new StillpointError('role-unsuitable', `failover is paused by ${other}, and not by this run`, {
    hint: 'wait until that is over; a pause that was forgotten ends with `patronictl resume`',
  });
}

function unchanged({ name, said, refused }: Told): StillpointError {
  return refused
    ? new StillpointError('database-login', `Patroni of ${name} refuses a change of its configuration: ${said}`, {
        hint: 'give topology.patroni.login, or a client certificate in topology.patroni.tls, and look at restapi.allowlist of Patroni',
      })
    : new StillpointError('cluster-unknown', `Patroni of ${name} does not say whether it has paused: ${said}`, {
        hint: 'see `patronictl list`',
      });
}
