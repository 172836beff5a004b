import { systemClock } from '../../../src/platform/clock.ts';
import { compare, type Entry, type Heard, type Mongod } from './member.ts';

export interface Timing {
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
}

const offsetPart = 0.15;
const rollbackMs = 1500;

/**
 * What the members of a set do among each other: heartbeats, elections by terms, a primary that steps down without a majority, copying
 * and rolling back. All in one process, by direct calls that fail where a network would: a member that is killed, hangs or is cut off.
 */
export class Election {
  readonly #members: readonly Mongod[];
  readonly #timing: Timing;
  /** Pairs that cannot speak with each other. */
  readonly #cuts = new Set<string>();

  constructor(members: readonly Mongod[], timing: Timing) {
    this.#members = members;
    this.#timing = timing;
  }

  get majority(): number {
    return Math.floor(this.#members.filter(({ seat }) => seat.votes > 0).length / 2) + 1;
  }

  cut(one: Mongod, other: Mongod, on: boolean): void {
    const pair = pairOf(one, other);
    if (on) this.#cuts.add(pair);
    else this.#cuts.delete(pair);
  }

  reaches(one: Mongod, other: Mongod): boolean {
    return one.running && other.running && !one.hung && !other.hung && !this.#cuts.has(pairOf(one, other));
  }

  started(member: Mongod): void {
    member.heard.clear();
    member.state = member.kept ?? (member.seat.arbiter ? 7 : 2);
    member.catchingUp = false;
    this.#hearsPrimary(member);
  }

  tick(): void {
    const now = systemClock.monoMs();
    for (const member of this.#members) {
      if (!member.running || member.hung) continue;
      if (member.kept !== undefined && member.state !== 1) member.state = member.kept;
      if (now >= member.nextBeatMs) {
        member.nextBeatMs = now + this.#timing.heartbeatMs;
        for (const other of this.#members) if (other !== member) this.#beat(member, other, now);
      }
      this.#copy(member, now);
      if (member.state === 1) this.#lead(member, now);
      else if (now >= member.ringsAtMs) this.#campaign(member);
    }
  }

  primary(): Mongod | undefined {
    return this.#members
      .filter(({ running, state }) => running && state === 1)
      .toSorted((one, other) => other.term - one.term)[0];
  }

  /** `replSetStepUp`: it stands at once. */
  stepUp(member: Mongod): void {
    this.#campaign(member);
  }

  #beat(member: Mongod, other: Mongod, now: number): void {
    if (this.reaches(member, other)) {
      this.#sees(member, other, now);
      this.#sees(other, member, now);
      return;
    }
    const heard = member.hears(other);
    // A port that refuses is noticed at once, silence only after its time.
    if (!other.running || now - heard.atMs >= this.#timing.electionTimeoutMs) heard.up = false;
  }

  #sees(member: Mongod, other: Mongod, now: number): void {
    const { state, term, last } = other;
    const source = this.#members.find(({ seat }) => seat.id === other.source) ?? this.primary();
    const seen: Heard = {
      ...{ atMs: now, up: true, state, term, applied: last },
      syncsFrom: state === 2 && source !== undefined && source !== other ? source.host : '',
    };
    member.heard.set(other.seat.id, seen);
    this.#learn(member, term);
    if (state === 1 && term >= member.term) this.#hearsPrimary(member);
  }

  #learn(member: Mongod, term: number): void {
    if (term <= member.term) return;
    member.term = term;
    if (member.state === 1) this.#stepDown(member);
  }

  #stepDown(member: Mongod): void {
    member.state = member.kept ?? 2;
    this.#hearsPrimary(member);
  }

  #hearsPrimary(member: Mongod): void {
    const { electionTimeoutMs } = this.#timing;
    member.ringsAtMs = systemClock.monoMs() + electionTimeoutMs * (1 + Math.random() * offsetPart);
  }

  #lead(primary: Mongod, now: number): void {
    const { electionTimeoutMs } = this.#timing;
    const live = this.#members.filter(
      (each) => each.seat.votes > 0 && (each === primary || now - primary.hears(each).atMs < electionTimeoutMs),
    );
    if (live.length < this.majority) return this.#stepDown(primary);
    const voters = this.#members.filter(({ seat }) => seat.votes > 0 && !seat.arbiter);
    const needed = Math.min(this.majority, voters.length);
    const has = (each: Mongod, entry: Entry): boolean => {
      const last = each === primary ? primary.last : primary.hears(each).applied;
      return last?.term === primary.term && compare(last, entry) >= 0;
    };
    const committed = primary.log.findLast(
      (entry) => entry.term === primary.term && voters.filter((each) => has(each, entry)).length >= needed,
    );
    if (committed !== undefined) primary.committed = committed;
  }

  #campaign(member: Mongod): void {
    this.#hearsPrimary(member);
    if (!member.electable) return;
    const asked = this.#members.filter((each) => each !== member && each.seat.votes > 0 && this.reaches(member, each));
    const fresh = (voter: Mongod): boolean =>
      voter.last === undefined || (member.last !== undefined && compare(member.last, voter.last) >= 0);
    const dry = asked.filter((voter) => voter.term <= member.term && fresh(voter));
    if (dry.length + 1 < this.majority) return;
    member.term += 1;
    member.votedIn = member.term;
    let votes = 1;
    for (const voter of asked) {
      this.#learn(voter, member.term);
      if (voter.votedIn >= member.term || voter.term > member.term || !fresh(voter)) continue;
      voter.votedIn = member.term;
      votes += 1;
    }
    if (votes < this.majority) return;
    member.state = 1;
    // The first entry of its term.
    member.append();
  }

  #copy(member: Mongod, now: number): void {
    const { seat, state } = member;
    if (seat.arbiter || state === 1 || member.lagging || state === 3 || state === 5) return;
    if (state === 9 && now < member.rollbackUntilMs) return;
    const primary = this.#members.find(
      (each) => each.state === 1 && each.term >= member.term && this.reaches(member, each),
    );
    const source = this.#members.find((each) => each.seat.id === member.source) ?? primary;
    if (source === undefined || source === member || !this.reaches(member, source)) return;
    if (state === 9) {
      member.rollBack(source);
      if (member.kept === undefined) member.state = 2;
      return;
    }
    if (!member.pull(source)) {
      member.state = 9;
      member.rollbackUntilMs = now + rollbackMs;
      return;
    }
    if (source.committed !== undefined) member.committed = source.committed;
    // Its position goes to the primary at once, not by the next heartbeat.
    if (primary !== undefined) primary.hears(member).applied = member.last;
  }
}

function pairOf({ seat: one }: Mongod, { seat: other }: Mongod): string {
  return `${Math.min(one.id, other.id)}-${Math.max(one.id, other.id)}`;
}
