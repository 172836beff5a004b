/**
 * An IRIS mirror: two failover members, at most one async member, an arbiter or none.
 *
 * Sources: "Configuring the Quality of Service (QoS) Timeout Setting" (docs.intersystems.com, GHA_mirror_set_tunable_params_qos): members and
 * arbiter wait between half and all of QoS, 8000 ms by default. "Quality of Service Timeout Guide for Mirroring" (community.intersystems.com)
 * and the addition of March 2018 to the article on VM backups there: an idle backup asks after half of QoS and waits the other half, and
 * the arbiter drops a member that it has not heard for QoS. Arbiter controlled: the backup takes over when it and the arbiter have both lost the primary. Agent
 * controlled: only when the primary's own ISCAgent says that the instance is down or hung, so never while the whole machine is silent.
 * ExternalFreeze stops the write daemon only; members go on talking. With frozen file systems below, the backup cannot acknowledge journals.
 */
import type { ClusterView } from '../../src/model/cluster.ts';
import { detectionOf, lagOf, Truth, type Cluster, type Kind, type Scenario } from './cluster.ts';
import { Machine, type Network, type World } from './world.ts';

/** Asks after half of QoS without a word, waits the other half, and then calls it lost, until it is heard again. */
class Watch {
  readonly #self: Machine;
  readonly #halfMs: number;
  readonly #ask: () => void;
  readonly #onLost: () => void;
  #heard: number;
  connected = true;

  constructor(self: Machine, qosMs: number, ask: () => void, onLost: () => void) {
    this.#self = self;
    this.#halfMs = qosMs / 2;
    this.#ask = ask;
    this.#onLost = onLost;
    this.#heard = self.clock;
    this.#look();
  }

  hear(): void {
    this.#heard = this.#self.clock;
    if (this.connected) return;
    this.connected = true;
    this.#look();
  }

  lose(): void {
    if (!this.connected) return;
    this.connected = false;
    this.#onLost();
    this.#retry();
  }

  #look(): void {
    if (!this.connected) return;
    const quiet = this.#heard + this.#halfMs - this.#self.clock;
    if (quiet > 0) {
      this.#self.after(quiet, () => this.#look());
      return;
    }
    const asked = this.#self.clock;
    this.#ask();
    this.#self.after(this.#halfMs, () => {
      if (this.#heard >= asked) this.#look();
      else this.lose();
    });
  }

  #retry(): void {
    if (this.connected) return;
    this.#ask();
    this.#self.after(this.#halfMs / 2, () => this.#retry());
  }
}

class Mirror implements Cluster {
  readonly machines: ReadonlyMap<string, Machine>;
  readonly truth: Truth;
  readonly members = ['MIRRORB', 'MIRRORA'];
  readonly firstPrimary = 'MIRRORA';
  readonly #world: World;
  readonly #network: Network;
  readonly #scenario: Scenario;
  readonly #qosMs: number;
  readonly #a: Machine;
  readonly #b: Machine;
  readonly #arbiter: Machine | undefined;
  /** Of A on B, of B on A, and of both on the arbiter. */
  readonly #aOnB: Watch;
  readonly #bOnA: Watch;
  readonly #onArbiter = new Map<Machine, Watch>();
  /** What the arbiter knows: when it heard whom, and whom it has dropped. */
  readonly #arbiterHeard = new Map<Machine, number>();
  readonly #dropped = new Set<Machine>();
  #backupWaits = false;
  #unanswered = 0;
  #held: string | undefined;
  #primary = 'MIRRORA';

  constructor(world: World, network: Network, scenario: Scenario) {
    this.#world = world;
    this.#network = network;
    this.#scenario = scenario;
    this.#qosMs = scenario.detectionMs;
    this.truth = new Truth(world);
    this.#a = new Machine(world, 'MIRRORA');
    this.#b = new Machine(world, 'MIRRORB');
    // Two of three mirrors have an arbiter; one that shall be lost must be there.
    if (scenario.variant % 3 !== 0 || scenario.fault === 'arbiter-lost') this.#arbiter = new Machine(world, 'arbiter');
    const all = this.#arbiter === undefined ? [this.#a, this.#b] : [this.#a, this.#b, this.#arbiter];
    this.machines = new Map(all.map((machine) => [machine.name, machine]));
    this.#aOnB = new Watch(
      this.#a,
      this.#qosMs,
      () => this.#ask(this.#a, this.#b),
      () => this.truth.giveUp('MIRRORB'),
    );
    this.#bOnA = new Watch(
      this.#b,
      this.#qosMs,
      () => this.#ask(this.#b, this.#a),
      () => this.#backupLosesPrimary(),
    );
    for (const machine of [this.#a, this.#b]) this.#connectArbiter(machine);
    if (scenario.busy) this.#sendJournal();
  }

  #watchOf(self: Machine): Watch {
    return self === this.#a ? this.#aOnB : this.#bOnA;
  }

  #ask(from: Machine, to: Machine): void {
    this.#network.send(from, to, () => {
      this.#watchOf(to).hear();
      this.#network.send(to, from, () => this.#watchOf(from).hear());
    });
  }

  #sendJournal(): void {
    this.#a.after(this.#world.random.exponential(200), () => {
      if (this.#primary === 'MIRRORA' && this.#aOnB.connected) this.#sendOne();
      this.#sendJournal();
    });
  }

  #sendOne(): void {
    const sent = ++this.#unanswered;
    this.#network.send(this.#a, this.#b, () => {
      this.#bOnA.hear();
      const acknowledge = (): void => {
        // A backup whose disks are frozen receives, and cannot write what it received.
        if (this.#held === 'MIRRORB') this.#b.after(50, acknowledge);
        else
          this.#network.send(this.#b, this.#a, () => {
            this.#aOnB.hear();
            this.#unanswered = 0;
          });
      };
      acknowledge();
    });
    if (sent > 1) return;
    // "Within the range defined by QoS": half at the soonest. Polled, because any later acknowledgement counts.
    const limit = this.#world.random.between(this.#qosMs / 2, this.#qosMs);
    const since = this.#a.clock;
    const look = (): void => {
      if (this.#unanswered === 0) return;
      if (this.#a.clock - since >= limit) this.#aOnB.lose();
      else this.#a.after(Math.min(100, limit), look);
    };
    this.#a.after(Math.min(100, limit), look);
  }

  #connectArbiter(machine: Machine): void {
    const arbiter = this.#arbiter;
    if (arbiter === undefined) return;
    this.#arbiterHeard.set(machine, arbiter.clock);
    const keepAlive = (): void =>
      this.#network.send(machine, arbiter, () => {
        this.#arbiterHeard.set(machine, arbiter.clock);
        this.#dropped.delete(machine);
        this.#network.send(arbiter, machine, () => this.#onArbiter.get(machine)?.hear());
      });
    this.#onArbiter.set(machine, new Watch(machine, this.#qosMs, keepAlive, () => undefined));
    const every = (): void => {
      keepAlive();
      machine.after(this.#qosMs / 2, every);
    };
    machine.after(this.#world.random.between(0, this.#qosMs / 2), every);
    const look = (): void => {
      const left = (this.#arbiterHeard.get(machine) ?? 0) + this.#qosMs - arbiter.clock;
      if (left <= 0 && !this.#dropped.has(machine)) {
        this.#dropped.add(machine);
        if (machine === this.#a) this.#arbiterConfirms(arbiter);
      }
      arbiter.after(left > 0 ? left : this.#qosMs / 8, look);
    };
    arbiter.after(this.#qosMs, look);
  }

  #backupLosesPrimary(): void {
    this.truth.giveUp('MIRRORA');
    this.#backupWaits = true;
    const arbiter = this.#arbiter;
    const controlled = arbiter !== undefined && this.#onArbiter.get(this.#b)?.connected === true;
    if (controlled) this.#network.send(this.#b, arbiter, () => this.#arbiterConfirms(arbiter));
    // The agent is on the primary's machine: it answers when that machine lives, and then says that the instance lives too.
    else this.#network.send(this.#b, this.#a, () => this.#network.send(this.#a, this.#b, () => this.#bOnA.hear()));
  }

  #arbiterConfirms(arbiter: Machine): void {
    if (!this.#dropped.has(this.#a) || !this.#backupWaits) return;
    this.#network.send(arbiter, this.#b, () => {
      if (this.#bOnA.connected || this.#scenario.heldOff || this.#primary === 'MIRRORB') return;
      this.#primary = 'MIRRORB';
      this.truth.roleChange('MIRRORB took over');
    });
  }

  hold(member: string, on: boolean): void {
    this.#held = on ? member : undefined;
  }

  loseVoter(): void {
    this.#arbiter?.crash();
  }

  other(candidate: string): Machine | undefined {
    return candidate === 'MIRRORA' ? this.#b : undefined;
  }

  /** `SYS.Mirror_MemberStatusList` of the primary, or of the backup when the primary does not answer. */
  view(): ClusterView {
    const byPrimary = this.#a.answers && this.#primary === 'MIRRORA';
    const took = this.#primary === 'MIRRORB';
    const aWell = byPrimary || (!took && this.#bOnA.connected);
    const bWell = byPrimary ? this.#aOnB.connected : this.#b.answers;
    const asked = byPrimary ? this.#a : this.#b;
    const arbiter = this.#onArbiter.get(asked);
    return {
      manager: 'iris-mirror',
      name: 'MIRROR',
      epoch: took ? '2' : '1',
      members: [
        {
          name: 'MIRRORA',
          role: took ? 'unknown' : 'primary',
          health: aWell ? 'healthy' : 'down',
          reported: aWell ? 'Primary' : 'Down',
          leadsQuorum: false,
          mayTakeOver: true,
          findings: [],
        },
        {
          name: 'MIRRORB',
          role: took ? 'primary' : 'backup',
          health: bWell ? 'healthy' : 'trouble',
          reported: bWell ? 'Active' : 'Trouble',
          ...lagOf(this.#scenario, true),
          leadsQuorum: false,
          mayTakeOver: true,
          findings: [],
        },
      ],
      quorum:
        arbiter === undefined
          ? { kind: 'none', health: 'healthy', said: 'agent controlled' }
          : { kind: 'arbiter', health: arbiter.connected ? 'healthy' : 'down', said: 'arbiter' },
      failover: {
        automatic: true,
        heldOff: this.#scenario.heldOff,
        said: `QoS ${this.#qosMs} ms`,
        ...detectionOf(this.#scenario, this.#qosMs),
      },
      findings: [],
    };
  }
}

export const irisMirror: Kind = {
  name: 'iris-mirror',
  detectionsMs: [8000, 8000, 2000, 12_000, 30_000],
  heartbeatMs: (detectionMs) => detectionMs / 2,
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
  canHoldOff: true,
  holdStopsWrites: false,
  build: (world, network, scenario) => new Mirror(world, network, scenario),
};
