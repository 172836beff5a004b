import { Random } from './random.ts';

interface Event {
  readonly at: number;
  readonly order: number;
  readonly action: () => void;
}

/** Virtual time in milliseconds, and what happens in it. Two worlds with one seed do the same until somebody interferes with one of them. */
export class World {
  readonly random: Random;
  #now = 0;
  #order = 0;
  readonly #queue: Event[] = [];

  constructor(seed: string) {
    this.random = new Random(seed);
  }

  get now(): number {
    return this.#now;
  }

  at(time: number, action: () => void): void {
    const queue = this.#queue;
    const event = { at: Math.max(time, this.#now), order: this.#order++, action };
    let index = queue.length;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = queue[parent];
      if (above === undefined || !before(event, above)) break;
      queue[index] = above;
      index = parent;
    }
    queue[index] = event;
  }

  runUntil(time: number): void {
    for (let next = this.#queue[0]; next !== undefined && next.at <= time; next = this.#queue[0]) {
      this.#removeFirst();
      this.#now = next.at;
      next.action();
    }
    this.#now = Math.max(this.#now, time);
  }

  #removeFirst(): void {
    const queue = this.#queue;
    const last = queue.pop();
    if (last === undefined || queue.length === 0) return;
    let index = 0;
    for (;;) {
      let child = index * 2 + 1;
      const left = queue[child];
      if (left === undefined) break;
      const right = queue[child + 1];
      let least = left;
      if (right !== undefined && before(right, left)) {
        least = right;
        child += 1;
      }
      if (!before(least, last)) break;
      queue[index] = least;
      index = child;
    }
    queue[index] = last;
  }
}

function before(one: Event, other: Event): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}

/** A rest of a wait that rounding left over must let time go on. */
const leastTimerMs = 0.01;

/**
 * A machine with everything on it: engine, manager's daemon, a member of the store. A stun stops all of it at once. Packets that arrive
 * meanwhile wait in its network card; whether a program sees them or its overdue timers first is open (`timersFirst`), and so is whether
 * its clock stood still with it (`clockStops`) or jumps.
 */
export class Machine {
  readonly name: string;
  readonly timersFirst: boolean;
  readonly clockStops: boolean;
  readonly #world: World;
  #down = false;
  #stunnedUntil = -1;
  #lost = 0;
  #overdue: (() => void)[] = [];
  #arrived: (() => void)[] = [];

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
    this.timersFirst = world.random.chance(0.5);
    this.clockStops = world.random.chance(0.25);
  }

  get down(): boolean {
    return this.#down;
  }

  get answers(): boolean {
    return !this.#down && this.#world.now >= this.#stunnedUntil;
  }

  /** What programs on it take for the time. */
  get clock(): number {
    return this.#world.now - this.#lost;
  }

  /** A timer of a program on it. Nothing can take it back: the action looks whether it is still wanted. */
  after(ms: number, action: () => void): void {
    const wait = Math.max(ms, leastTimerMs);
    const due = this.clock + wait;
    const fire = (): void => {
      if (this.#down) return;
      if (!this.answers) this.#overdue.push(fire);
      // The clock stood still meanwhile: the rest of the time is still to come.
      else if (this.clock < due - 1e-6) this.#world.at(this.#world.now + due - this.clock, fire);
      else action();
    };
    this.#world.at(this.#world.now + wait, fire);
  }

  receive(action: () => void): void {
    if (this.#down) return;
    if (this.answers) action();
    else this.#arrived.push(action);
  }

  crash(): void {
    this.#down = true;
  }

  stun(ms: number): void {
    if (this.#down || ms <= 0) return;
    const until = this.#world.now + ms;
    this.#stunnedUntil = until;
    this.#world.at(until, () => {
      if (this.#down) return;
      if (this.clockStops) this.#lost += ms;
      const [overdue, arrived] = [this.#overdue, this.#arrived];
      this.#overdue = [];
      this.#arrived = [];
      for (const action of this.timersFirst ? [...overdue, ...arrived] : [...arrived, ...overdue]) action();
    });
  }
}

/** Milliseconds of one way, and how much a lost packet costs. */
export interface Link {
  readonly baseMs: number;
  readonly jitterMs: number;
  readonly lossPart: number;
}

/** The first retransmission of Linux' TCP (TCP_RTO_MIN); each further one takes twice as long. */
const retransmitMs = 200;

export class Network {
  readonly #world: World;
  readonly #link: Link;

  constructor(world: World, link: Link) {
    this.#world = world;
    this.#link = link;
  }

  /** By a connection: what is lost comes again later. */
  send(from: Machine, to: Machine, action: () => void): void {
    let late = 0;
    for (let wait = retransmitMs; late < 10_000 && this.#loses(); wait *= 2) late += wait;
    this.#deliver(from, to, late, action);
  }

  /** By datagrams: what is lost is lost. */
  cast(from: Machine, to: Machine, action: () => void): void {
    if (!this.#loses()) this.#deliver(from, to, 0, action);
  }

  #loses(): boolean {
    return this.#world.random.chance(this.#link.lossPart);
  }

  #deliver(from: Machine, to: Machine, late: number, action: () => void): void {
    const { baseMs, jitterMs } = this.#link;
    const way = from === to ? 0.05 : baseMs + this.#world.random.exponential(jitterMs) + late;
    this.#world.at(this.#world.now + way, () => to.receive(action));
  }
}
