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

/** Who may become primary without a person, and who is. */
function failoverMembers(view: ClusterView): readonly string[] {
  return view.members.flatMap(({ name, role, mayTakeOver }) => (role === 'primary' || mayTakeOver ? [name] : []));
}

/**
 * Names the members that a hold concerns, for another process. An async member that cannot be reached must not keep a hold from being
 * proved over. Names hold neither colon nor comma.
 */
export function identityOf(runId: string, view: ClusterView, configured: readonly string[]): string {
  const names = failoverMembers(view).filter((name) => configured.includes(name));
  return `stillpoint-${runId}:${names.join(',')}`;
}

function namesOf({ identity }: HoldOffToken): readonly string[] {
  return identity
    .slice(identity.lastIndexOf(':') + 1)
    .split(',')
    .filter((name) => name !== '');
}

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
    const able = failoverMembers(view);
    const failover = this.#instances.filter(({ name }) => able.includes(name));
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
    const others = failover.filter((instance) => instance !== setter);
    const named = namesOf(token);
    if (failover.some(({ name }) => !named.includes(name))) {
      throw new StillpointError('role-unsuitable', `${this.#mirror} has another failover member than a moment ago`, {
        hint: 'run again when it is settled; see `stillpoint mirror status`',
      });
    }
    const primaryMember = this.#instances.find(({ name }) => name === primary)?.member ?? primary;
    const looked = await Promise.all(failover.map((instance) => this.#look(instance, undefined, signal)));
    for (const { instance, flag, mark, said } of looked) {
      if (flag === undefined) throw unanswered(instance, said);
      if (flag !== '' && !isOf(mark, token)) throw othersFlag(this.#mirror, instance, flag);
    }
    const requestFor = (instance: Instance): HoldOffRequest => {
      const clockS = looked.find((each) => each.instance === instance)?.clockS;
      if (clockS === undefined) throw unanswered(instance, 'it does not tell the time');
      return { mirror: this.#mirror, identity: token.identity, mark, untilS: clockS + wantedS };
    };
    // Where the primary is not configured, a start of it is not seen.
    const since = looked.find(({ instance }) => instance.name === primary)?.listed?.note ?? '';
    if (setter.name === primary && since === '') throw unanswered(setter, 'since when it runs is not known');
    const mark = [token.identity, primary, since].join('|');
    // The others first: if the primary dies right after it has the flag, theirs is the mark by which it can be cleared.
    const requests = others.map((instance) => ({ instance, request: requestFor(instance) }));
    await Promise.all(
      requests.map(({ instance, request }) => this.#call(instance, (nonce) => markScript(request, nonce), signal)),
    );
    const request = requestFor(setter);
    this.#prove(
      setter,
      await this.#call(setter, (nonce) => holdOffScript(request, nonce), signal),
      token,
      primaryMember,
    );
    await Promise.all(
      others.map(async (instance) => {
        const answers = await this.#call(instance, (nonce) => flagScript(this.#mirror, nonce), signal);
        this.#prove(instance, answers, token, primaryMember);
      }),
    );
  }

  async #call(instance: Instance, script: Script, signal: AbortSignal): Promise<Answers> {
    const { answers, refusal } = await instance.session(script, signal);
    if (answers === undefined) throw unanswered(instance, refusal.said);
    return answers;
  }

  #prove(instance: Instance, answers: Answers, token: HoldOffToken, primaryMember: string): void {
    const before = answers.values.get('before') ?? '';
    const isOurs = isOf(answers.values.get('mark') ?? '', token);
    if (before !== '' && !isOurs) throw othersFlag(this.#mirror, instance, before);
    if (isOurs && parseFlag(answers) === primaryMember) return;
    const said = busy(answers) ?? saidBy(answers);
    throw new StillpointError(
      'command-failed',
      `${instance.name} does not say that failover of ${this.#mirror} is held off${said === '' ? '' : `: ${said}`}`,
      { hint: 'see `Change No Failover State` in ^MIRROR, and that the account may use SYS.Mirror and write to %SYS' },
    );
  }

  /** Of this token only. Throws `undo-failed` unless every member that could still hold it off has said that it does not. */
  async end(token: HoldOffToken): Promise<void> {
    const over: Script = (nonce) => overScript(this.#mirror, token.identity, nonce);
    const named = namesOf(token);
    const asked = this.#instances.filter(({ name }) => named.includes(name));
    const looked = await Promise.all(asked.map((instance) => this.#look(instance, over)));
    const gone = named.filter((name) => !asked.some((instance) => instance.name === name));
    const left = [...gone.map((name) => `${name}: it is no longer configured`), ...stillOpen(looked, token)];
    // One that did not answer wholly is among the open ones.
    const marked = looked.filter(({ mark, flag }) => flag !== undefined && isOf(mark, token));
    const ours = marked.filter(({ mark }) => !isStale(mark, looked) && !isVoid(mark, looked, token));
    if (ours.length > 0) left.push(...(await this.#clear(ours, looked)));
    // The marks last: without them nobody would know at the next try that the flag is ours.
    if (left.length === 0 || ours.length === 0) {
      const unmarked = await Promise.all(marked.map((each) => this.#unmark(each)));
      left.push(...unmarked.filter((each) => each !== undefined));
    }
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

  /** What is left of the flag, by the words of all failover members that answer. */
  async #clear(ours: readonly Looked[], before: readonly Looked[]): Promise<readonly string[]> {
    const why: string[] = [];
    const answering = before.filter(({ flag }) => flag !== undefined);
    let now: readonly Looked[] = answering;
    // Where it was set first: there the other one is told.
    const order = [...ours].sort((one, other) => Number(isAtPrimary(other)) - Number(isAtPrimary(one)));
    // `alone` only when the other one cannot be told: that one would go on knowing of a hold that is over.
    for (const alone of [false, true]) {
      for (const { instance, mark } of order) {
        if (openIn(now).length === 0) return [];
        const result = await instance.session((nonce) => letGoScript(this.#mirror, mark, alone, nonce));
        const said =
          result.answers === undefined ? result.refusal.said : (busy(result.answers) ?? saidBy(result.answers));
        if (said !== '') why.push(`${instance.name}: ${said}`);
        now = await Promise.all(answering.map((each) => this.#look(each.instance)));
      }
    }
    const open = openIn(now);
    return open.length === 0 ? [] : [...why, ...open];
  }

  async #unmark({ instance, mark }: Looked): Promise<string | undefined> {
    const { answers, refusal } = await instance.session((nonce) => unmarkScript(this.#mirror, mark, nonce));
    if (answers !== undefined && busy(answers) === undefined && answers.values.get('mark') !== mark) return undefined;
    return `${instance.name}: our mark cannot be taken away${refusal === undefined ? '' : `: ${refusal.said}`}`;
  }

  async #look(
    instance: Instance,
    script: Script = (nonce) => flagScript(this.#mirror, nonce),
    signal?: AbortSignal,
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

/** Who still has the flag, or does not say any more that it has not. */
function openIn(looked: readonly Looked[]): readonly string[] {
  return looked.flatMap(({ instance, flag, isFailover, said }) => {
    if (flag === undefined) return [`${instance.name}: ${said}`];
    return isFailover && flag !== '' ? [`${instance.name} still has the flag`] : [];
  });
}

/** What the engine said about a call that failed. */
function saidBy({ values }: Answers): string {
  return values.get('said') ?? '';
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

/** The primary was to set the flag, answers, and has no mark of ours: it never came so far, and a flag is somebody else's. */
function isVoid(mark: string, looked: readonly Looked[], token: HoldOffToken): boolean {
  const setter = looked.find(({ instance }) => instance.name === mark.split('|')[1]);
  return setter?.flag !== undefined && !isOf(setter.mark, token);
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
