import type { TlsOptions } from 'node:tls';
import { BSON } from 'mongodb';
import { systemClock } from '../../../src/platform/clock.ts';
import { common, configOf, helloOf, type SetFacts, statusOf } from './answers.ts';
import { Election, type Timing } from './election.ts';
import { Mongod, type SeatSettings } from './member.ts';
import { type ScramAccount, ScramLogin } from './scram.ts';
import { type Answering, type Document, WireServer } from './wire.ts';

const tickMs = 20;

export interface SetOptions {
  readonly set?: string;
  readonly timing?: Timing;
  readonly wireVersion?: number;
  /** With accounts, who does not log in may only say hello. */
  readonly accounts?: readonly ScramAccount[];
  readonly tls?: TlsOptions;
}

export type Seating = Partial<Omit<SeatSettings, 'id' | 'name'>>;

/** Short, so that tests are. */
export const quick: Timing = { electionTimeoutMs: 1500, heartbeatMs: 150 };

/**
 * A stand-in for a replica set: servers that speak the wire protocol, with terms, elections, oplogs and votes among them. The first member
 * begins as primary of term 1.
 */
export class ReplicaSet implements AsyncDisposable {
  readonly members: readonly Mongod[];
  readonly #options: SetOptions;
  readonly #election: Election;
  readonly #facts: SetFacts;
  readonly #servers = new Map<Mongod, WireServer>();
  readonly #ports = new Map<Mongod, number>();
  readonly #stop: () => void;

  private constructor(seats: Readonly<Record<string, Seating>>, options: SetOptions) {
    this.#options = options;
    const timing = options.timing ?? quick;
    this.members = Object.entries(seats).map(
      ([name, seat], id) =>
        new Mongod({
          id,
          name,
          arbiter: false,
          votes: 1,
          priority: seat.arbiter === true ? 0 : 1,
          hidden: false,
          delaySecs: 0,
          ...seat,
        }),
    );
    this.#election = new Election(this.members, timing);
    this.#facts = {
      set: options.set ?? 'rs0',
      identity: new BSON.ObjectId(),
      members: this.members,
      majority: this.#election.majority,
      timing,
      wireVersion: options.wireVersion ?? 21,
    };
    this.#stop = systemClock.every(tickMs, () => this.#election.tick());
  }

  /** Returns when all hear each other and have the first entry. */
  static async start(seats: Readonly<Record<string, Seating>>, options: SetOptions = {}): Promise<ReplicaSet> {
    const made = new ReplicaSet(seats, options);
    for (const member of made.members) await made.#listen(member, 0);
    const [first] = made.members;
    if (first === undefined) throw new Error('a set needs a member');
    first.state = 1;
    first.append();
    return made;
  }

  port(name: string): number {
    return this.#ports.get(this.member(name)) ?? 0;
  }

  member(name: string): Mongod {
    const found = this.members.find(({ seat }) => seat.name === name);
    if (found === undefined) throw new Error(`no member is called ${name}`);
    return found;
  }

  /** Writes to whoever is primary; its new position. */
  write(): void {
    this.#election.primary()?.append();
  }

  primary(): string | undefined {
    return this.#election.primary()?.seat.name;
  }

  async kill(name: string): Promise<void> {
    const member = this.member(name);
    member.running = false;
    await this.#servers.get(member)?.close();
    this.#servers.delete(member);
  }

  async revive(name: string): Promise<void> {
    await this.#listen(this.member(name), this.port(name));
  }

  /** It takes connections and says nothing, and neither hears nor speaks in the set. */
  hang(name: string, on: boolean): void {
    this.member(name).hung = on;
  }

  /** Nothing passes between the two groups; both can still be asked. */
  part(group: readonly string[], on: boolean): void {
    for (const one of this.members)
      for (const other of this.members)
        if (group.includes(one.seat.name) && !group.includes(other.seat.name)) this.#election.cut(one, other, on);
  }

  stepUp(name: string): void {
    this.#election.stepUp(this.member(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await Promise.all(this.members.map(async ({ seat }) => await this.kill(seat.name)));
  }

  async #listen(member: Mongod, port: number): Promise<void> {
    const server = new WireServer(() => this.#answering(member), this.#options.tls);
    const bound = await server.listen(port);
    this.#servers.set(member, server);
    this.#ports.set(member, bound);
    member.host = `localhost:${bound}`;
    member.running = true;
    this.#election.started(member);
  }

  #answering(member: Mongod): Answering {
    const accounts = this.#options.accounts;
    // An arbiter has no data, so no accounts.
    const login = new ScramLogin(member.seat.arbiter ? [] : (accounts ?? []));
    return (command) => {
      if (member.hung) return undefined;
      const [name = ''] = Object.keys(command);
      if (/^(hello|ismaster)$/i.test(name)) {
        const mechanisms = 'saslSupportedMechs' in command ? { saslSupportedMechs: ['SCRAM-SHA-256'] } : {};
        return { ...helloOf(member, this.#facts), ...mechanisms };
      }
      if (name === 'saslStart') return login.start(command);
      if (name === 'saslContinue') return login.continue(command);
      if (name === 'endSessions' || name === 'ping') return { ok: 1 };
      const refused = accounts === undefined ? undefined : refusal(name, login);
      if (refused !== undefined) return refused;
      if (name === 'replSetGetStatus') return statusOf(member, this.#facts);
      if (name === 'replSetGetConfig') return configOf(this.#facts);
      return { ok: 0, errmsg: `no such command: '${name}'`, code: 59, codeName: 'CommandNotFound' };
    };
  }
}

function refusal(name: string, { account }: ScramLogin): Document | undefined {
  const errmsg =
    account === undefined
      ? `command ${name} requires authentication`
      : account.powerless
        ? `not authorized on admin to execute command { ${name}: 1 }`
        : undefined;
  return errmsg === undefined ? undefined : { ok: 0, errmsg, code: 13, codeName: 'Unauthorized' };
}

/** A server that is no member of a set: what it says to hello beside the usual, or `old`, which knows only the name before. */
export async function lone(more: Document | 'old'): Promise<AsyncDisposable & { readonly port: number }> {
  const hello = { ...common(21), isWritablePrimary: true, ismaster: true };
  const server = new WireServer(() => (command) => {
    const [name = ''] = Object.keys(command);
    if (/^ismaster$/i.test(name) || (name === 'hello' && more !== 'old'))
      return { ...hello, ...(more === 'old' ? {} : more) };
    return { ok: 0, errmsg: `no such command: '${name}'`, code: 59, codeName: 'CommandNotFound' };
  });
  const port = await server.listen(0);
  return { port, [Symbol.asyncDispose]: () => server.close() };
}
