/**
 * A MongoDB replica set of three with data, or of two and an arbiter.
 *
 * Sources: mongodb.com "Self-Managed Replica Set Configuration" (settings) and "Replica Set Elections": heartbeatIntervalMillis 2000,
 * electionTimeoutMillis 10000. Source of the server, src/mongo/db/repl: the election timer begins again with each word of the primary and has up
 * to 15 % more at random (replElectionTimeoutOffsetLimitFraction); a candidate runs a dry election first; voters refuse whoever is
 * behind them; a primary marks members that it did not hear for the election timeout as down, and steps down without a majority.
 * fsyncLock stops writes; heartbeats go on, and a locked member cannot write down a vote.
 */
import type { ClusterView } from '../../src/model/cluster.ts';
import { detectionOf, lagOf, Truth, type Cluster, type Kind, type Scenario } from './cluster.ts';
import { Machine, type Network, type World } from './world.ts';

const offsetPart = 0.15;

class Mongod {
  readonly machine: Machine;
  readonly data: boolean;
  term = 1;
  votedIn = 1;
  primary: boolean;
  optime = 0;
  held = false;
  /** When the election timer rings; nothing of the primary may be heard until then. */
  rings = 0;
  readonly heard = new Map<Mongod, number>();
  readonly down = new Set<Mongod>();
  /** Who leads, as it was last told. */
  follows: Mongod | undefined;

  constructor(machine: Machine, data: boolean, primary: boolean) {
    this.machine = machine;
    this.data = data;
    this.primary = primary;
  }
}

class ReplicaSet implements Cluster {
  readonly machines: ReadonlyMap<string, Machine>;
  readonly truth: Truth;
  readonly members: readonly string[];
  readonly firstPrimary = 'mongo1';
  readonly #world: World;
  readonly #network: Network;
  readonly #scenario: Scenario;
  readonly #timeoutMs: number;
  readonly #everyMs: number;
  readonly #nodes: readonly Mongod[];

  constructor(world: World, network: Network, scenario: Scenario) {
    this.#world = world;
    this.#network = network;
    this.#scenario = scenario;
    this.#timeoutMs = scenario.detectionMs;
    this.#everyMs = Math.min(2000, scenario.detectionMs / 2);
    this.truth = new Truth(world);
    const arbiter = scenario.fault === 'arbiter-lost' || scenario.variant % 4 === 0;
    this.#nodes = ['mongo1', 'mongo2', 'mongo3'].map(
      (name, index) => new Mongod(new Machine(world, name), !(arbiter && index === 2), index === 0),
    );
    this.members = arbiter ? ['mongo2', 'mongo1'] : ['mongo2', 'mongo3', 'mongo1'];
    this.machines = new Map(this.#nodes.map(({ machine }) => [machine.name, machine]));
    for (const node of this.#nodes) {
      node.follows = this.#nodes[0];
      for (const other of this.#nodes) {
        if (other === node) continue;
        node.heard.set(other, node.machine.clock);
        node.machine.after(world.random.between(0, this.#everyMs), () => this.#beat(node, other));
      }
      this.#hearsPrimary(node);
      this.#ring(node);
      this.#checkMajority(node);
    }
    if (scenario.busy) this.#write();
  }

  #beat(node: Mongod, other: Mongod): void {
    this.#network.send(node.machine, other.machine, () => {
      this.#sees(other, node);
      this.#network.send(other.machine, node.machine, () => this.#sees(node, other));
    });
    node.machine.after(this.#everyMs, () => this.#beat(node, other));
  }

  #sees(node: Mongod, other: Mongod): void {
    node.heard.set(other, node.machine.clock);
    node.down.delete(other);
    this.#learnTerm(node, other.term);
    if (other.primary && other.term >= node.term) {
      node.follows = other;
      this.#hearsPrimary(node);
      if (!node.held && node.data) node.optime = Math.max(node.optime, other.optime);
    }
  }

  #learnTerm(node: Mongod, term: number): void {
    if (term <= node.term) return;
    node.term = term;
    if (node.primary) this.#stepDown(node, 'saw a higher term');
  }

  #stepDown(node: Mongod, why: string): void {
    node.primary = false;
    if (node.follows === node) node.follows = undefined;
    this.truth.roleChange(`${node.machine.name} stepped down: ${why}`);
    this.#hearsPrimary(node);
  }

  #hearsPrimary(node: Mongod): void {
    node.rings = node.machine.clock + this.#timeoutMs * (1 + this.#world.random.between(0, offsetPart));
  }

  #ring(node: Mongod): void {
    const left = node.rings - node.machine.clock;
    if (left > 0) {
      node.machine.after(left, () => this.#ring(node));
      return;
    }
    if (!node.primary && node.data && !node.held) this.#campaign(node);
    this.#hearsPrimary(node);
    node.machine.after(node.rings - node.machine.clock, () => this.#ring(node));
  }

  #campaign(node: Mongod): void {
    const fresh = (voter: Mongod): boolean => !voter.data || node.optime >= voter.optime;
    this.#ask(
      node,
      (voter) => node.term >= voter.term && fresh(voter),
      () => {
        node.term += 1;
        node.votedIn = node.term;
        const { term } = node;
        this.#ask(
          node,
          (voter) => {
            this.#learnTerm(voter, term);
            if (voter.votedIn >= term || voter.term > term || voter.held || !fresh(voter)) return false;
            voter.votedIn = term;
            return true;
          },
          () => {
            if (node.term !== term || node.primary) return;
            node.primary = true;
            node.follows = node;
            this.truth.roleChange(`${node.machine.name} was elected in term ${term}`);
          },
        );
      },
    );
  }

  #ask(node: Mongod, agrees: (voter: Mongod) => boolean, won: () => void): void {
    const { term } = node;
    let [votes, over] = [1, false];
    for (const voter of this.#nodes) {
      if (voter === node) continue;
      this.#network.send(node.machine, voter.machine, () => {
        const vote = agrees(voter);
        this.#network.send(voter.machine, node.machine, () => {
          if (!vote || over || node.term !== term) return;
          votes += 1;
          if (votes * 2 <= this.#nodes.length) return;
          over = true;
          won();
        });
      });
    }
  }

  #checkMajority(node: Mongod): void {
    const { clock } = node.machine;
    let soonest = clock + this.#timeoutMs;
    for (const [other, at] of node.heard) {
      const due = at + this.#timeoutMs;
      if (due > clock) soonest = Math.min(soonest, due);
      else if (!node.down.has(other)) {
        node.down.add(other);
        if (node.primary || other === this.#nodes[0]) this.truth.giveUp(other.machine.name);
      }
    }
    if (node.primary && (this.#nodes.length - node.down.size) * 2 <= this.#nodes.length)
      this.#stepDown(node, 'did not see a majority');
    node.machine.after(Math.max(1, soonest - clock), () => this.#checkMajority(node));
  }

  #write(): void {
    this.#world.at(this.#world.now + this.#world.random.exponential(300), () => {
      const primary = this.#nodes.find((node) => node.primary && node.machine.answers && !node.held);
      if (primary !== undefined) {
        primary.optime += 1;
        const { optime, term } = primary;
        // The oplog is pulled by open requests: its batches are words of the primary too.
        for (const node of this.#nodes)
          if (node !== primary && node.data)
            this.#network.send(primary.machine, node.machine, () => {
              if (node.term > term) return;
              if (!node.held) node.optime = Math.max(node.optime, optime);
              this.#hearsPrimary(node);
            });
      }
      this.#write();
    });
  }

  hold(member: string, on: boolean): void {
    for (const node of this.#nodes) if (node.machine.name === member) node.held = on;
  }

  loseVoter(): void {
    for (const node of this.#nodes) if (!node.data) node.machine.crash();
  }

  other(candidate: string): Machine | undefined {
    const [first, second, third] = this.#nodes;
    const choice = third?.data === true && candidate !== 'mongo3' ? third : second;
    return choice?.machine.name === candidate ? first?.machine : choice?.machine;
  }

  /** `replSetGetStatus` of the first member that answers. */
  view(): ClusterView {
    const asked = this.#nodes.find((node) => node.machine.answers && node.data);
    const healthy = (node: Mongod): boolean => node === asked || asked?.down.has(node) === false;
    return {
      manager: 'mongodb',
      name: 'rs0',
      epoch: String(asked?.term ?? 0),
      members: this.#nodes
        .filter((node) => node.data)
        .map((node) => {
          const primary = asked?.follows === node;
          return {
            name: node.machine.name,
            role: primary ? 'primary' : 'replica',
            health: healthy(node) ? 'healthy' : 'down',
            reported: primary ? 'PRIMARY' : 'SECONDARY',
            ...(primary ? {} : lagOf(this.#scenario, node.machine.name === 'mongo2')),
            leadsQuorum: false,
            mayTakeOver: true,
            findings: [],
          };
        }),
      quorum: {
        kind: 'votes',
        health: this.#nodes.every(healthy) ? 'healthy' : 'trouble',
        said: 'members with a vote',
      },
      failover: {
        automatic: true,
        said: `electionTimeoutMillis ${this.#timeoutMs}`,
        ...detectionOf(this.#scenario, this.#timeoutMs),
      },
      findings: [],
    };
  }
}

export const mongodb: Kind = {
  name: 'mongodb',
  detectionsMs: [10_000, 10_000, 5000, 30_000],
  heartbeatMs: (detectionMs) => Math.min(2000, detectionMs / 2),
  faults: [
    'other-down',
    'arbiter-lost',
    'lagging-standby',
    'lag-unknown',
    'detection-unknown',
    'margin-small',
    'failover-in-progress',
    'stun-unknown',
    'falsely-healthy',
  ],
  canHoldOff: false,
  holdStopsWrites: true,
  build: (world, network, scenario) => new ReplicaSet(world, network, scenario),
};
