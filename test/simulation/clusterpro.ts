/**
 * CLUSTERPRO (EXPRESSCLUSTER): two servers with a mirror disk and one failover group.
 *
 * Sources: NEC, EXPRESSCLUSTER X Reference Guide, "Cluster properties, Timeout tab": a heartbeat every 3 s, a server is down after 90 s without
 * (Linux) or 30 s (Windows); "Network partition resolution": a server that has lost the other one asks the ping target, and stops itself when
 * that does not answer; "Both-system activation detection". `clptoratio` (REST: toratio/set) makes all these times longer for a while. These figures were not checked against the
 * guide; both are settings of
 * a site; nothing else here depends on them. A freeze is one of file systems of the active server: heartbeats of the kernel go on.
 */
import type { ClusterView } from '../../src/model/cluster.ts';
import { detectionOf, lagOf, Truth, type Cluster, type Kind, type Scenario } from './cluster.ts';
import { Machine, type Network, type World } from './world.ts';

class Server {
  readonly machine: Machine;
  heard: number;
  peerOnline = true;
  active: boolean;
  pinged: number;
  stopped = false;

  constructor(machine: Machine, active: boolean) {
    this.machine = machine;
    this.active = active;
    this.heard = machine.clock;
    this.pinged = machine.clock;
  }
}

class Clusterpro implements Cluster {
  readonly machines: ReadonlyMap<string, Machine>;
  readonly truth: Truth;
  readonly members = ['server2', 'server1'];
  readonly firstPrimary = 'server1';
  readonly #network: Network;
  readonly #scenario: Scenario;
  readonly #timeoutMs: number;
  readonly #everyMs: number;
  readonly #first: Server;
  readonly #second: Server;
  readonly #target: Machine | undefined;
  #epoch = 1;

  constructor(world: World, network: Network, scenario: Scenario) {
    this.#network = network;
    this.#scenario = scenario;
    this.#timeoutMs = scenario.detectionMs;
    this.#everyMs = Math.min(3000, scenario.detectionMs / 10);
    this.truth = new Truth(world);
    this.#first = new Server(new Machine(world, 'server1'), true);
    this.#second = new Server(new Machine(world, 'server2'), false);
    if (scenario.fault === 'arbiter-lost' || scenario.variant % 3 > 0) this.#target = new Machine(world, 'gateway');
    const servers = [this.#first.machine, this.#second.machine];
    const all = this.#target === undefined ? servers : [...servers, this.#target];
    this.machines = new Map(all.map((each) => [each.name, each]));
    for (const server of [this.#first, this.#second]) {
      server.machine.after(world.random.between(0, this.#everyMs), () => this.#beat(server));
      server.machine.after(this.#timeoutMs, () => this.#look(server));
      this.#ping(server);
    }
  }

  #peer(server: Server): Server {
    return server === this.#first ? this.#second : this.#first;
  }

  #beat(server: Server): void {
    if (server.stopped) return;
    const peer = this.#peer(server);
    // Two interconnects, each with its own datagrams.
    for (let link = 0; link < 2; link++) {
      const { active } = server;
      this.#network.cast(server.machine, peer.machine, () => this.#hear(peer, active));
    }
    server.machine.after(this.#everyMs, () => this.#beat(server));
  }

  #hear(server: Server, otherActive: boolean): void {
    server.heard = server.machine.clock;
    server.peerOnline = true;
    if (!server.active || !otherActive || server.stopped) return;
    server.stopped = true;
    this.truth.roleChange(`${server.machine.name} stopped: both servers were active`);
  }

  #look(server: Server): void {
    if (server.stopped) return;
    const left = server.heard + this.#timeoutMs - server.machine.clock;
    if (left > 0) {
      server.machine.after(left, () => this.#look(server));
      return;
    }
    server.machine.after(this.#everyMs, () => this.#look(server));
    if (!server.peerOnline) return;
    server.peerOnline = false;
    this.truth.giveUp(this.#peer(server).machine.name);
    if (this.#target === undefined) this.#takeOver(server);
    else this.#resolve(server, this.#target);
  }

  #resolve(server: Server, target: Machine): void {
    let answered = false;
    this.#network.send(server.machine, target, () =>
      this.#network.send(target, server.machine, () => {
        answered = true;
        if (!server.peerOnline) this.#takeOver(server);
      }),
    );
    server.machine.after(5000, () => {
      if (answered || server.peerOnline) return;
      server.stopped = true;
      if (server.active)
        this.truth.roleChange(`${server.machine.name} stopped: it sees neither server nor ping target`);
    });
  }

  #takeOver(server: Server): void {
    if (server.active) return;
    server.active = true;
    this.#epoch += 1;
    this.truth.roleChange(`${server.machine.name} started the failover group`);
  }

  #ping(server: Server): void {
    const target = this.#target;
    if (target === undefined) return;
    this.#network.send(server.machine, target, () =>
      this.#network.send(target, server.machine, () => {
        server.pinged = server.machine.clock;
      }),
    );
    server.machine.after(this.#everyMs, () => this.#ping(server));
  }

  hold(): void {
    // Heartbeats are the kernel's and write nothing.
  }

  loseVoter(): void {
    this.#target?.crash();
  }

  other(candidate: string): Machine | undefined {
    return candidate === 'server1' ? this.#second.machine : undefined;
  }

  /** `clpstat` of the active server, or of the other one when that does not answer. */
  view(): ClusterView {
    const servers = [this.#first, this.#second].filter((server) => server.machine.answers && !server.stopped);
    const asked = servers.find((server) => server.active) ?? servers[0] ?? this.#first;
    const online = (server: Server): boolean => server === asked || asked.peerOnline;
    const reached = asked.machine.clock - asked.pinged < this.#everyMs * 3;
    return {
      manager: 'clusterpro',
      name: 'cluster',
      epoch: String(this.#epoch),
      members: [this.#first, this.#second].map((server) => {
        const active = server === asked ? server.active : !asked.active;
        return {
          name: server.machine.name,
          role: active ? 'primary' : 'backup',
          health: online(server) ? 'healthy' : 'down',
          reported: online(server) ? 'Online' : 'Offline',
          ...(active ? {} : lagOf(this.#scenario, true)),
          leadsQuorum: false,
          mayTakeOver: true,
          findings: [],
        };
      }),
      quorum:
        this.#target === undefined
          ? { kind: 'none', health: 'healthy', said: 'no network partition resolution' }
          : { kind: 'arbiter', health: reached ? 'healthy' : 'down', said: 'ping target' },
      failover: {
        automatic: true,
        said: `heartbeat timeout ${this.#timeoutMs} ms`,
        ...detectionOf(this.#scenario, this.#timeoutMs),
      },
      findings: [],
    };
  }
}

export const clusterpro: Kind = {
  name: 'clusterpro',
  // The last one is 90 s with a toratio of 3.
  detectionsMs: [90_000, 90_000, 30_000, 30_000, 270_000],
  heartbeatMs: (detectionMs) => Math.min(3000, detectionMs / 10),
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
  build: (world, network, scenario) => new Clusterpro(world, network, scenario),
};
