/**
 * An etcd cluster of three with one lease: what Patroni's leader lock is.
 *
 * Sources: etcd.io "Tuning": the leader speaks every 100 ms; a follower without it for 1000 ms starts an election, at random up to twice that
 * (Raft); --pre-vote since 3.5; a leader that hears no majority for an election timeout steps down (CheckQuorum). Lessor (etcd
 * server/lease): only the raft leader lets leases expire; a new one gives them their whole time again; one that has just lost the lead answers a
 * renewal with "not a primary lessor". Followers pass renewals on to the leader and wait up to 5 s for it.
 */
import type { Machine, Network, World } from './world.ts';

export const electionMs = 1000;
const heartbeatMs = 100;
const forwardMs = 5000;

export type Renewal = 'renewed' | 'expired' | 'not a primary lessor' | 'no answer';

class Voter {
  readonly machine: Machine;
  term = 1;
  votedIn = 1;
  leader: Voter | undefined;
  heard: number;
  readonly heardFrom = new Map<Voter, number>();

  constructor(machine: Machine) {
    this.machine = machine;
    this.heard = machine.clock;
  }
}

interface Lease {
  readonly holder: string;
  renewed: number;
  lost: boolean;
}

export class Etcd {
  readonly #world: World;
  readonly #network: Network;
  readonly #ttlMs: number;
  readonly #voters: readonly Voter[];
  #lease: Lease;
  /** Told when the lock is free; by a watch, so after a way through the network. */
  readonly #watchers: { readonly machine: Machine; readonly action: () => void }[] = [];

  /** A new leader: a role change of its own. */
  readonly #onLead: (machine: Machine) => void;

  constructor(
    world: World,
    network: Network,
    machines: readonly Machine[],
    leader: Machine,
    lock: { readonly ttlMs: number; readonly holder: string },
    onLead: (machine: Machine) => void,
  ) {
    this.#world = world;
    this.#network = network;
    this.#ttlMs = lock.ttlMs;
    this.#onLead = onLead;
    this.#voters = machines.map((machine) => new Voter(machine));
    const first = this.#voters.find((voter) => voter.machine === leader);
    for (const voter of this.#voters) {
      voter.leader = first;
      this.#await(voter);
    }
    this.#lease = { holder: lock.holder, renewed: leader.clock, lost: false };
    if (first !== undefined) this.#lead(first);
  }

  /** Who leads, as the voters that answer say; undefined when they do not agree or none answers. */
  get leader(): Machine | undefined {
    const told = new Set(this.#voters.filter(({ machine }) => machine.answers).map((voter) => voter.leader));
    const [only] = told;
    return told.size === 1 ? only?.machine : undefined;
  }

  get answering(): number {
    return this.#voters.filter(({ machine }) => machine.answers).length;
  }

  get holder(): string | undefined {
    return this.#lease.lost ? undefined : this.#lease.holder;
  }

  watch(machine: Machine, action: () => void): void {
    this.#watchers.push({ machine, action });
  }

  /** A client on `from` asks the voter on `at` to renew its lock. */
  renew(from: Machine, at: Machine, holder: string, answer: (renewal: Renewal) => void): void {
    this.#request(from, at, answer, (leader) => {
      if (this.#lease.holder !== holder || this.#lease.lost) return 'expired';
      this.#lease.renewed = leader.machine.clock;
      return 'renewed';
    });
  }

  /** Takes the lock if it is free. */
  acquire(from: Machine, at: Machine, holder: string, answer: (taken: boolean) => void): void {
    this.#request(
      from,
      at,
      (renewal) => answer(renewal === 'renewed'),
      (leader) => {
        if (!this.#lease.lost) return 'expired';
        this.#lease = { holder, renewed: leader.machine.clock, lost: false };
        return 'renewed';
      },
    );
  }

  #request(from: Machine, at: Machine, answer: (renewal: Renewal) => void, act: (leader: Voter) => Renewal): void {
    let answered = false;
    const reply = (voter: Machine, renewal: Renewal): void =>
      this.#network.send(voter, from, () => {
        if (answered) return;
        answered = true;
        answer(renewal);
      });
    const asked = this.#voters.find(({ machine }) => machine === at);
    if (asked === undefined) return;
    this.#network.send(from, at, () => this.#serve(asked, asked, forwardMs, reply, act));
  }

  #serve(
    first: Voter,
    voter: Voter,
    leftMs: number,
    reply: (voter: Machine, renewal: Renewal) => void,
    act: (leader: Voter) => Renewal,
  ): void {
    const { leader } = voter;
    if (leftMs <= 0) reply(first.machine, 'no answer');
    else if (leader === voter) {
      // A leader that was still while a new one was chosen does not know it yet: its proposal is not committed.
      this.#commit(voter, (committed) => reply(voter.machine, committed ? act(voter) : 'not a primary lessor'));
    } else if (leader === undefined) voter.machine.after(50, () => this.#serve(first, voter, leftMs - 50, reply, act));
    else
      this.#network.send(voter.machine, leader.machine, () => {
        if (leader.leader === leader) this.#serve(first, leader, leftMs, reply, act);
        else reply(leader.machine, 'not a primary lessor');
      });
  }

  #commit(leader: Voter, done: (committed: boolean) => void): void {
    const { term } = leader;
    let [agreed, over] = [1, false];
    const end = (committed: boolean): void => {
      if (over) return;
      over = true;
      done(committed);
    };
    for (const voter of this.#voters) {
      if (voter === leader) continue;
      this.#network.send(leader.machine, voter.machine, () => {
        const agrees = voter.term === term;
        this.#network.send(voter.machine, leader.machine, () => {
          if (agrees && leader.leader === leader) agreed += 1;
          if (!agrees || leader.leader !== leader) end(false);
          else if (agreed * 2 > this.#voters.length) end(true);
        });
      });
    }
    leader.machine.after(forwardMs, () => end(false));
  }

  #lead(leader: Voter): void {
    const { term } = leader;
    const leads = (): boolean => leader.leader === leader && leader.term === term;
    const speak = (): void => {
      if (!leads()) return;
      for (const voter of this.#voters) if (voter !== leader) this.#heartbeat(leader, voter);
      leader.machine.after(heartbeatMs, speak);
    };
    const checkQuorum = (): void => {
      if (!leads()) return;
      const since = leader.machine.clock - electionMs;
      const heard = [...leader.heardFrom.values()].filter((at) => at >= since).length;
      if ((heard + 1) * 2 <= this.#voters.length) leader.leader = undefined;
      else leader.machine.after(electionMs, checkQuorum);
    };
    const expire = (): void => {
      if (!leads()) return;
      const lease = this.#lease;
      if (!lease.lost && leader.machine.clock - lease.renewed >= this.#ttlMs)
        this.#commit(leader, (committed) => {
          if (!committed || lease.lost || leader.machine.clock - lease.renewed < this.#ttlMs) return;
          lease.lost = true;
          for (const { machine, action } of this.#watchers) this.#network.send(leader.machine, machine, action);
        });
      leader.machine.after(500, expire);
    };
    for (const voter of this.#voters) if (voter !== leader) leader.heardFrom.set(voter, leader.machine.clock);
    speak();
    leader.machine.after(electionMs, checkQuorum);
    leader.machine.after(500, expire);
  }

  #heartbeat(leader: Voter, voter: Voter): void {
    const { term } = leader;
    this.#network.send(leader.machine, voter.machine, () => {
      if (voter.term <= term) {
        voter.term = term;
        voter.leader = leader;
        voter.heard = voter.machine.clock;
      }
      const answered = voter.term;
      this.#network.send(voter.machine, leader.machine, () => {
        leader.heardFrom.set(voter, leader.machine.clock);
        if (answered <= leader.term) return;
        leader.term = answered;
        if (leader.leader === leader) leader.leader = undefined;
      });
    });
  }

  #await(voter: Voter): void {
    const patience = this.#world.random.between(electionMs, electionMs * 2);
    const look = (): void => {
      const left = voter.heard + patience - voter.machine.clock;
      if (voter.leader === voter) voter.machine.after(patience, () => this.#await(voter));
      else if (left > 0) voter.machine.after(left, look);
      else this.#campaign(voter);
    };
    voter.machine.after(patience, look);
  }

  #campaign(candidate: Voter): void {
    candidate.leader = undefined;
    candidate.heard = candidate.machine.clock;
    this.#ask(
      candidate,
      // Pre-vote: who hears a leader does not want another.
      (voter) => voter.machine.clock - voter.heard >= electionMs && voter.leader !== voter,
      () => {
        candidate.term += 1;
        candidate.votedIn = candidate.term;
        const { term } = candidate;
        this.#ask(
          candidate,
          (voter) => {
            if (voter.votedIn >= term || voter.term > term) return false;
            voter.votedIn = term;
            voter.term = term;
            if (voter.leader === voter) voter.leader = undefined;
            return true;
          },
          () => {
            if (candidate.term !== term || candidate.leader !== undefined) return;
            candidate.leader = candidate;
            // The new lessor cannot know how old a lease is: its whole time begins again.
            this.#lease.renewed = candidate.machine.clock;
            this.#onLead(candidate.machine);
            this.#lead(candidate);
          },
        );
      },
    );
    this.#await(candidate);
  }

  #ask(candidate: Voter, agrees: (voter: Voter) => boolean, won: () => void): void {
    const { term } = candidate;
    let [votes, over] = [1, false];
    for (const voter of this.#voters) {
      if (voter === candidate) continue;
      this.#network.send(candidate.machine, voter.machine, () => {
        const vote = agrees(voter);
        this.#network.send(voter.machine, candidate.machine, () => {
          if (!vote || over || candidate.term !== term) return;
          votes += 1;
          if (votes * 2 <= this.#voters.length) return;
          over = true;
          won();
        });
      });
    }
  }
}
