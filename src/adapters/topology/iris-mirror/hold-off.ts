import type { ClusterView } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { HoldOffToken } from '../../../ports/topology.ts';
import {
  flagScript,
  type HoldOffRequest,
  holdOffScript,
  letGoScript,
  markScript,
  overScript,
  unmarkScript,
} from './commands.ts';
import type { Instance } from './instance.ts';
import { type Answers, parseFlag } from './parse.ts';
import type { Listed } from './parse-qlist.ts';

/** What one instance says of the flag now. */
interface Looked {
  readonly instance: Instance;
  readonly listed: Listed | undefined;
  /** Undefined: it did not answer, or could not read its configuration. */
  readonly flag: string | undefined;
  readonly mark: string;
  readonly isFailover: boolean;
  /** Its own clock, in seconds. */
  readonly clockS: number | undefined;
  readonly said: string;
}

type Script = (nonce: string) => readonly string[];

/** A little longer than a session may take: whoever gets a login later is not waited for any more. */
const wantedS = 15;

/**
 * The engine's flag has no owner. So a mark of ours (a global in %SYS, which is not mirrored) is set beside it at each failover member that
 * is configured, before the flag, and only while the flag is free. It names the primary and the start of its instance: the engine clears
 * the flag by itself when the primary is started again, and what is set later is somebody else's.
 */
export class HoldOff {
  readonly #mirror: string;
  readonly #instances: readonly Instance[];

  constructor(mirror: string, instances: readonly Instance[]) {
    this.#mirror = mirror;
    this.#instances = instances;
  }

  /** Returns once every failover member that is configured says so. */
  async begin(token: HoldOffToken, view: ClusterView, signal: AbortSignal): Promise<void> {
    const primary = view.members.find(({ role }) => role === 'primary')?.name;
    const able = new Set(
      view.members.flatMap(({ name, role, mayTakeOver }) => (role === 'primary' || mayTakeOver ? [name] : [])),
    );
    const failover = this.#instances.filter(({ name }) => able.has(name));
    // The primary first: it has the other one told.
    const setter = failover.find(({ name }) => name === primary) ?? failover[0];
    if (primary === undefined || setter === undefined) {
      throw new StillpointError(
        'role-unsuitable',
        `${this.#mirror} has no primary, or no failover member is configured`,
        {
          hint: 'name both failover members under `instances` of the topology',
        },
      );
    }
    const primaryMember = this.#instances.find(({ name }) => name === primary)?.member ?? primary;
    const looked = await Promise.all(failover.map((instance) => this.#look(instance, signal)));
    for (const { instance, flag, mark, said } of looked) {
      if (flag === undefined) throw unanswered(instance, said);
      if (flag !== '' && !isOf(mark, token)) throw othersFlag(this.#mirror, instance, flag);
    }
    const requestFor = (instance: Instance): HoldOffRequest => {
      const clockS = looked.find((each) => each.instance === instance)?.clockS;
      if (clockS === undefined) throw unanswered(instance, 'it does not tell the time');
      return { mirror: this.#mirror, identity: token.identity, mark, untilS: clockS + wantedS };
    };
    const since = looked.find(({ instance }) => instance.name === primary)?.listed?.note ?? '';
    const mark = [token.identity, primary, since].join('|');
    const request = requestFor(setter);
    const set = await setter.session((nonce) => holdOffScript(request, nonce), signal);
    if (set.answers === undefined) throw unanswered(setter, set.refusal.said);
    this.#prove(setter, set.answers, token, primaryMember);
    await Promise.all(
      failover
        .filter((instance) => instance !== setter)
        .map(async (instance) => {
          const wanted = requestFor(instance);
          const marked = await instance.session((nonce) => markScript(wanted, nonce), signal);
          if (marked.answers === undefined) throw unanswered(instance, marked.refusal.said);
          this.#prove(instance, marked.answers, token, primaryMember);
        }),
    );
  }

  #prove(instance: Instance, answers: Answers, token: HoldOffToken, primaryMember: string): void {
    const before = answers.values.get('before') ?? '';
    const isOurs = isOf(answers.values.get('mark') ?? '', token);
    if (before !== '' && !isOurs) throw othersFlag(this.#mirror, instance, before);
    if (isOurs && parseFlag(answers) === primaryMember) return;
    const said = busy(answers) ?? answers.values.get('said') ?? '';
    throw new StillpointError(
      'command-failed',
      `${instance.name} does not say that failover of ${this.#mirror} is held off${said === '' ? '' : `: ${said}`}`,
      { hint: 'see `Change No Failover State` in ^MIRROR, and that the account may use SYS.Mirror and write to %SYS' },
    );
  }

  /** Of this token only. Throws `undo-failed` unless every member that could still hold it off has said that it does not. */
  async end(token: HoldOffToken): Promise<void> {
    const over: Script = (nonce) => overScript(this.#mirror, token.identity, nonce);
    const looked = await Promise.all(this.#instances.map((instance) => this.#look(instance, undefined, over)));
    // Where the flag was set first: there the other one is told. One that did not answer wholly is reported below.
    const ours = looked
      .filter(({ mark, flag }) => flag !== undefined && isOf(mark, token))
      .sort((one, other) => Number(isAtPrimary(other)) - Number(isAtPrimary(one)));
    const left: string[] = [];
    for (const each of ours) {
      const why = isStale(each.mark, looked) ? await this.#unmark(each) : await this.#clear(each);
      if (why !== undefined) left.push(`${each.instance.name}: ${why}`);
    }
    left.push(...stillOpen(looked, token));
    if (left.length === 0) return;
    throw new StillpointError(
      'undo-failed',
      `it is not proved that failover of ${this.#mirror} is let go: ${left.join('; ')}`,
      {
        hint: `in %SYS of a failover member: do ##class(SYS.Mirror).ClearNoFailover("${this.#mirror}",1); it also ends when the primary is started again`,
        details: { token, left },
      },
    );
  }

  async #clear({ instance, mark }: Looked): Promise<string | undefined> {
    const now = await this.#look(instance);
    if (now.flag === '') return await this.#unmark(now);
    let said = now.said;
    // `alone` only when the other one cannot be told: it would go on knowing of a hold that is over.
    for (const alone of [false, true]) {
      const result = await instance.session((nonce) => letGoScript(this.#mirror, mark, alone, nonce));
      said =
        (result.answers === undefined ? result.refusal.said : busy(result.answers)) ??
        result.answers?.values.get('said') ??
        said;
      if (result.answers !== undefined && parseFlag(result.answers) === '') return await this.#unmark(now);
    }
    return said === '' ? 'the flag is still set' : said;
  }

  async #unmark({ instance, mark }: Looked): Promise<string | undefined> {
    const result = await instance.session((nonce) => unmarkScript(this.#mirror, mark, nonce));
    if (result.answers === undefined) return result.refusal.said;
    return (
      busy(result.answers) ?? (result.answers.values.get('mark') === mark ? 'our mark cannot be taken away' : undefined)
    );
  }

  async #look(
    instance: Instance,
    signal?: AbortSignal,
    script: Script = (nonce) => flagScript(this.#mirror, nonce),
  ): Promise<Looked> {
    const [listed, { answers, refusal }] = await Promise.all([
      instance.listed(signal),
      instance.session(script, signal),
    ]);
    const isBusy = answers === undefined ? undefined : busy(answers);
    const flag = answers === undefined || isBusy !== undefined ? undefined : parseFlag(answers);
    const clock = Number(answers?.values.get('clock') ?? Number.NaN);
    return {
      instance,
      listed,
      flag,
      mark: answers?.values.get('mark') ?? '',
      isFailover: answers?.values.get('member') === '1',
      clockS: Number.isInteger(clock) ? clock : undefined,
      said: refusal?.said ?? isBusy ?? (flag === undefined ? 'it cannot read the configuration of the mirror' : ''),
    };
  }
}

/** A session that was not given the lock did nothing. */
function busy({ values }: Answers): string | undefined {
  return values.get('locked') === '0' ? 'another session is at work on the no-failover flag' : undefined;
}

function isOf(mark: string, { identity }: HoldOffToken): boolean {
  return mark.startsWith(`${identity}|`);
}

function isAtPrimary({ instance, mark }: Looked): boolean {
  return mark.split('|')[1] === instance.name;
}

/** The primary was started after we had set the flag, so that the flag is cleared, and another one is not ours. */
function isStale(mark: string, looked: readonly Looked[]): boolean {
  const [, primary, since = ''] = mark.split('|');
  const listed = looked.find(({ instance }) => instance.name === primary)?.listed;
  return since !== '' && listed?.state === 'running' && listed.note !== since;
}

/**
 * Members that did not answer. One whose instance is down keeps the flag in its configuration until it starts as primary or takes the
 * configuration of the primary; that harms nobody if another failover member is free of it.
 */
function stillOpen(looked: readonly Looked[], token: HoldOffToken): readonly string[] {
  const silent = looked.filter(({ flag }) => flag === undefined);
  const isFree = looked.some((each) => each.isFailover && (each.flag === '' || isOf(each.mark, token)));
  return silent.flatMap(({ instance, listed, said }) => {
    const isDown = listed?.state === 'down' || listed?.state === 'crashed';
    return isDown && isFree ? [] : [`${instance.name}: ${said}`];
  });
}

function unanswered(instance: Instance, said: string): StillpointError {
  return new StillpointError('cluster-unknown', `${instance.name} does not say whether failover is held off: ${said}`, {
    hint: 'see `stillpoint mirror status`',
  });
}

function othersFlag(mirror: string, instance: Instance, flag: string): StillpointError {
  return new StillpointError(
    'role-unsuitable',
    `failover of ${mirror} is held off by somebody else (${instance.name} says: only ${flag} may be primary)`,
    { hint: 'wait until they have cleared it, or clear it in the mirror monitor' },
  );
}
