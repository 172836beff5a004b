/**
 * A Galera cluster of three: every node is a primary, and a term is one membership of the primary component.
 *
 * Sources: galeracluster.com "Node Failure and Recovery": a node that is silent for evs.suspect_timeout (5 s) is suspected, and is out when all the
 * others suspect it, or after evs.inactive_timeout (15 s); one with nothing to say speaks every evs.keepalive_period (1 s); peers are looked at every
 * evs.inactive_check_period (0.5 s). A component goes on with more than half of the votes. MariaDB "wsrep_provider_options": the defaults,
 * gcs.fc_limit 16. A node that itself was still for three periods skips its next look (gcomm: "last inactive check more than ... ago, skipping
 * check"). Held (FLUSH TABLES WITH READ LOCK), a node answers, and stops all writers of the cluster once fc_limit write sets wait for it.
 */
import type { ClusterView } from '../../src/model/cluster.ts';
import { detectionOf, lagOf, Truth, type Cluster, type Kind, type Scenario } from './cluster.ts';
import { Machine, type Network, type World } from './world.ts';

const writeSetsPerSecond = 100;
const flowControlLimit = 16;

interface Membership {
  readonly id: number;
  readonly nodes: readonly Node[];
}

class Node {
  readonly machine: Machine;
  membership: Membership = { id: 1, nodes: [] };
  /** False: it belongs to no primary component and takes no queries. */
  primary = true;
  looked: number;
  readonly heard = new Map<Node, number>();
  /** Whom it suspects, and whom the others told it that they suspect. */
  readonly suspects = new Set<Node>();
  readonly told = new Map<Node, ReadonlySet<Node>>();

  constructor(machine: Machine) {
    this.machine = machine;
    this.looked = machine.clock;
  }
}

class Galera implements Cluster {
  readonly machines: ReadonlyMap<string, Machine>;
  readonly truth: Truth;
  readonly members: readonly string[];
  readonly firstPrimary = 'node1';
  readonly #world: World;
  readonly #network: Network;
  readonly #scenario: Scenario;
  readonly #nodes: readonly Node[];
  /** garbd: a third vote without data, in one of four clusters. */
  readonly #arbitrator: Node | undefined;
  readonly #suspectMs: number;
  readonly #keepAliveMs: number;
  readonly #lookMs: number;
  #heldSince: number | undefined;

  constructor(world: World, network: Network, scenario: Scenario) {
    this.#world = world;
    this.#network = network;
    this.#scenario = scenario;
    this.#suspectMs = scenario.detectionMs;
    // Whoever changes evs.suspect_timeout leaves the other periods alone, unless they would be longer than that.
    this.#keepAliveMs = Math.min(1000, scenario.detectionMs / 5);
    this.#lookMs = Math.min(500, scenario.detectionMs / 10);
    this.truth = new Truth(world);
    this.#nodes = ['node1', 'node2', 'node3'].map((name) => new Node(new Machine(world, name)));
    this.#arbitrator = scenario.fault === 'arbiter-lost' || scenario.variant % 4 === 0 ? this.#nodes[2] : undefined;
    this.members = this.#arbitrator === undefined ? ['node2', 'node3', 'node1'] : ['node2', 'node1'];
    this.machines = new Map(this.#nodes.map(({ machine }) => [machine.name, machine]));
    const membership = { id: 1, nodes: this.#nodes };
    for (const node of this.#nodes) {
      node.membership = membership;
      for (const other of this.#nodes) if (other !== node) node.heard.set(other, node.machine.clock);
      this.#speak(node);
      node.machine.after(world.random.between(0, this.#lookMs), () => this.#look(node));
    }
  }

  #speak(node: Node): void {
    this.#tell(node);
    const wait = this.#scenario.busy ? this.#world.random.exponential(200) : this.#keepAliveMs;
    node.machine.after(Math.min(wait, this.#keepAliveMs), () => this.#speak(node));
  }

  #tell(node: Node): void {
    for (const other of this.#nodes) {
      if (other === node) continue;
      const { membership } = node;
      const suspects: ReadonlySet<Node> = new Set(node.suspects);
      this.#network.send(node.machine, other.machine, () => this.#hear(other, node, membership, suspects));
    }
  }

  #hear(node: Node, from: Node, membership: Membership, suspects: ReadonlySet<Node>): void {
    node.heard.set(from, node.machine.clock);
    node.suspects.delete(from);
    node.told.set(from, suspects);
    if (membership.id <= node.membership.id || membership.nodes.includes(node)) return;
    // The others went on without it: it stops taking queries and asks to be let in again (IST).
    if (node.primary) this.truth.roleChange(`${node.machine.name} fell out of the primary component`);
    node.primary = false;
    node.membership = { id: membership.id, nodes: [node] };
  }

  #look(node: Node): void {
    const { clock } = node.machine;
    const late = clock - node.looked > this.#lookMs * 3;
    node.looked = clock;
    node.machine.after(this.#lookMs, () => this.#look(node));
    if (late || !node.primary) return;
    const others = node.membership.nodes.filter((other) => other !== node);
    const known = node.suspects.size;
    for (const other of others) if (clock - (node.heard.get(other) ?? 0) >= this.#suspectMs) node.suspects.add(other);
    if (node.suspects.size > known) this.#tell(node);
    const well = others.filter((other) => !node.suspects.has(other));
    const out = others.filter(
      (other) =>
        node.suspects.has(other) &&
        (well.every((each) => node.told.get(each)?.has(other) === true) ||
          clock - (node.heard.get(other) ?? 0) >= this.#suspectMs * 3),
    );
    if (out.length > 0) this.#goOnWithout(node, out);
  }

  #goOnWithout(node: Node, out: readonly Node[]): void {
    const { id, nodes } = node.membership;
    const left = nodes.filter((each) => !out.includes(each));
    for (const each of out) this.truth.giveUp(each.machine.name);
    if (left.length * 2 <= nodes.length) {
      node.primary = false;
      this.truth.roleChange(`${node.machine.name} lost the primary component`);
      return;
    }
    const membership = { id: id + 1, nodes: left };
    this.#install(node, membership);
    for (const other of left)
      if (other !== node) this.#network.send(node.machine, other.machine, () => this.#install(other, membership));
  }

  #install(node: Node, membership: Membership): void {
    if (membership.id <= node.membership.id) return;
    node.membership = membership;
    this.truth.roleChange(`${node.machine.name} is in membership ${membership.id}`);
  }

  hold(_member: string, on: boolean): void {
    if (on) {
      this.#heldSince = this.#world.now;
    } else if (this.#heldSince !== undefined && this.#scenario.busy) {
      const untilFull = (flowControlLimit / writeSetsPerSecond) * 1000;
      this.truth.stalledMs += Math.max(0, this.#world.now - this.#heldSince - untilFull);
      this.#heldSince = undefined;
    }
  }

  loseVoter(): void {
    this.#arbitrator?.machine.crash();
  }

  other(candidate: string): Machine | undefined {
    const free = this.#nodes.find(
      (node) => node !== this.#arbitrator && node.machine.name !== candidate && node.machine.name !== 'node1',
    );
    return (
      free?.machine ?? this.#nodes.find((node) => node.machine.name !== candidate && node !== this.#arbitrator)?.machine
    );
  }

  /** wsrep_cluster_* of the first node that answers; nodes that it does not count are known from the configuration. */
  view(): ClusterView {
    const asked = this.#nodes.find((node) => node.machine.answers && node !== this.#arbitrator) ?? this.#nodes[0];
    const membership = asked?.membership ?? { id: 0, nodes: [] };
    const counted = (node: Node): boolean => asked?.primary === true && membership.nodes.includes(node);
    const suspected = (node: Node): boolean => asked?.suspects.has(node) === true;
    const all = this.#nodes.every((node) => counted(node));
    return {
      manager: 'galera',
      name: 'wsrep',
      epoch: String(membership.id),
      members: this.#nodes
        .filter((node) => node !== this.#arbitrator)
        .map((node) => ({
          name: node.machine.name,
          role: counted(node) ? 'primary' : 'unknown',
          health: counted(node) ? (suspected(node) ? 'trouble' : 'healthy') : 'down',
          reported: counted(node) ? 'Synced' : 'not in the component',
          ...lagOf(this.#scenario, node.machine.name === 'node2'),
          leadsQuorum: false,
          mayTakeOver: true,
          findings: [],
        })),
      quorum: { kind: 'votes', health: all ? 'healthy' : 'trouble', said: `${membership.nodes.length} of 3 votes` },
      failover: {
        automatic: true,
        said: `suspected after ${this.#suspectMs} ms`,
        ...detectionOf(this.#scenario, this.#suspectMs),
      },
      findings: [],
    };
  }
}

export const galera: Kind = {
  name: 'galera',
  detectionsMs: [5000, 5000, 10_000, 30_000],
  heartbeatMs: (detectionMs) => Math.min(1000, detectionMs / 5),
  faults: [
    'other-down',
    'arbiter-lost',
    'detection-unknown',
    'margin-small',
    'failover-in-progress',
    'stun-unknown',
    'falsely-healthy',
  ],
  canHoldOff: false,
  holdStopsWrites: true,
  build: (world, network, scenario) => new Galera(world, network, scenario),
};
