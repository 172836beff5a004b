import { systemClock } from '../../../src/platform/clock.ts';

export interface Entry {
  readonly term: number;
  readonly seconds: number;
  readonly count: number;
  readonly wallMs: number;
}

export interface SeatSettings {
  readonly id: number;
  readonly name: string;
  readonly arbiter: boolean;
  readonly priority: number;
  readonly votes: number;
  readonly hidden: boolean;
  readonly delaySecs: number;
}

/** What a member last heard of another one. */
export interface Heard {
  atMs: number;
  up: boolean;
  state: number;
  term: number;
  applied: Entry | undefined;
  syncsFrom: string;
}

export const states: Readonly<Record<number, string>> = {
  1: 'PRIMARY',
  2: 'SECONDARY',
  3: 'RECOVERING',
  5: 'STARTUP2',
  7: 'ARBITER',
  8: '(not reachable/healthy)',
  9: 'ROLLBACK',
  10: 'REMOVED',
};

/** State of one mongod that does not depend on the network: its oplog survives a restart, what it heard does not. */
export class Mongod {
  readonly seat: SeatSettings;
  /** host:port in the set's configuration. */
  host = '';
  running = false;
  /** It takes connections and packets, and does nothing: its machine stands still. */
  hung = false;
  /** It receives nothing more, and answers. */
  lagging = false;
  /** A primary that takes no writes yet. */
  catchingUp = false;
  /** As maintenance mode, or a state that nothing in here leaves by itself. */
  kept: number | undefined;
  state: number;
  term = 1;
  votedIn = 1;
  log: Entry[] = [];
  committed: Entry | undefined;
  heard = new Map<number, Heard>();
  ringsAtMs = Number.POSITIVE_INFINITY;
  nextBeatMs = 0;
  rollbackUntilMs = 0;
  /** Who it copies from; the primary if undefined. */
  source: number | undefined;

  constructor(seat: SeatSettings) {
    this.seat = seat;
    this.state = seat.arbiter ? 7 : 2;
  }

  get last(): Entry | undefined {
    return this.log.at(-1);
  }

  get electable(): boolean {
    return this.seat.priority > 0 && this.seat.votes > 0 && this.state === 2 && this.kept === undefined;
  }

  hears(other: Mongod): Heard {
    const known = this.heard.get(other.seat.id);
    if (known !== undefined) return known;
    const fresh: Heard = {
      atMs: systemClock.monoMs(),
      up: false,
      state: 8,
      term: -1,
      applied: undefined,
      syncsFrom: '',
    };
    this.heard.set(other.seat.id, fresh);
    return fresh;
  }

  append(): void {
    const { last } = this;
    const wallMs = Math.max(systemClock.wallMs(), last?.wallMs ?? 0);
    const seconds = Math.floor(wallMs / 1000);
    const count = last?.seconds === seconds ? last.count + 1 : 1;
    this.log.push({ term: this.term, seconds, count, wallMs });
  }

  /** Takes what the source has, but for the youngest entries of a delayed member. False: histories differ. */
  pull(source: Mongod): boolean {
    const untilMs = systemClock.wallMs() - this.seat.delaySecs * 1000;
    const { last } = this;
    const at = last === undefined ? -1 : source.log.findIndex((entry) => compare(entry, last) === 0);
    // A source that is behind has nothing to give.
    if (last !== undefined && at === -1) return source.log.every((entry) => this.#has(entry));
    for (const entry of source.log.slice(at + 1)) if (entry.wallMs <= untilMs) this.log.push(entry);
    return true;
  }

  /** Back to the last entry that both have. */
  rollBack(source: Mongod): void {
    this.log = this.log.filter((entry) => source.log.some((each) => compare(each, entry) === 0));
  }

  #has(entry: Entry): boolean {
    return this.log.some((each) => compare(each, entry) === 0);
  }
}

export function compare(one: Entry, other: Entry): number {
  return one.term - other.term || one.seconds - other.seconds || one.count - other.count;
}
