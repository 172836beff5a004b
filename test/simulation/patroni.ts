/**
 * Patroni with three members of PostgreSQL and three of etcd, on the same machines or on others.
 *
 * Sources: patroni.readthedocs.io "Dynamic configuration": ttl 30 s, loop_wait 10 s, retry_timeout 10 s, loop_wait + 2 * retry_timeout <= ttl.
 * "DCS Failsafe Mode": who cannot renew the leader lock demotes itself; the others take the lock when it is free. patroni/patroni issue
 * 3407: the snapshot of a replica's machine silenced the etcd leader on it, and the primary's renewal met "not a primary lessor", for which
 * there was no second try. Paused (`patronictl pause`): nobody is promoted. pg_backup_start lets writers go on; with frozen file systems
 * below, Patroni still answers and renews.
 */
import type { ClusterMember, ClusterView } from '../../src/model/cluster.ts';
import { detectionOf, lagOf, Truth, type Cluster, type Kind, type Scenario } from './cluster.ts';
import { Etcd } from './etcd.ts';
import { Machine, type Network, type World } from './world.ts';

class Member {
  readonly machine: Machine;
  readonly etcd: Machine;
  touched = 0;
  leads = false;
  giveUp = false;

  constructor(machine: Machine, etcd: Machine) {
    this.machine = machine;
    this.etcd = etcd;
  }
}

class Patroni implements Cluster {
  readonly machines: ReadonlyMap<string, Machine>;
  readonly truth: Truth;
  readonly members = ['db2', 'db3', 'db1'];
  readonly firstPrimary = 'db1';
  readonly #voters: readonly Machine[];
  readonly #world: World;
  readonly #scenario: Scenario;
  readonly #ttlMs: number;
  readonly #loopMs: number;
  readonly #retryMs: number;
  readonly #members: readonly Member[];
  readonly #etcd: Etcd;
  #epoch = 1;

  constructor(world: World, network: Network, scenario: Scenario) {
    this.#world = world;
    this.#scenario = scenario;
    this.#ttlMs = scenario.detectionMs;
    this.#loopMs = scenario.detectionMs / 3;
    this.#retryMs = scenario.detectionMs / 3;
    this.truth = new Truth(world);
    const machines = ['db1', 'db2', 'db3'].map((name) => new Machine(world, name));
    // Three of five clusters have the store on the members' machines; a member cannot lead one that is elsewhere.
    const apart = scenario.fault !== 'quorum-lead' && (scenario.fault === 'arbiter-lost' || scenario.variant % 5 < 2);
    this.#voters = apart ? ['etcd1', 'etcd2', 'etcd3'].map((name) => new Machine(world, name)) : machines;
    this.machines = new Map([...machines, ...this.#voters].map((machine) => [machine.name, machine]));
    const leader = scenario.fault === 'quorum-lead' ? machines[1] : this.#voters[scenario.variant % 3];
    this.#members = machines.map((machine, index) => new Member(machine, this.#voters[index] ?? machine));
    this.#etcd = new Etcd(
      world,
      network,
      this.#voters,
      leader ?? new Machine(world, 'none'),
      { ttlMs: this.#ttlMs, holder: 'db1' },
      ({ name }) => this.truth.roleChange(`${name} leads the store`),
    );
    for (const member of this.#members) {
      member.leads = member.machine.name === 'db1';
      member.touched = world.now;
      const every = (): void => {
        this.#round(member);
        member.machine.after(this.#loopMs, every);
      };
      member.machine.after(world.random.between(0, this.#loopMs), every);
      this.#etcd.watch(member.machine, () => this.#race(member));
      this.#watchKey(member);
    }
  }

  /** The member's own key in the store: without it the others do not count on this member. */
  #watchKey(member: Member): void {
    this.#world.at(this.#world.now + 500, () => {
      const gone = this.#world.now - member.touched >= this.#ttlMs;
      if (gone && !member.giveUp) this.truth.giveUp(member.machine.name);
      member.giveUp = gone;
      this.#watchKey(member);
    });
  }

  #round(member: Member): void {
    if (member.leads) this.#renew(member, member.machine.clock, 0);
    else {
      // An update that changes nothing: it is answered when a majority of the store has it, and so is that of a member's key.
      this.#etcd.renew(member.machine, member.etcd, '', (renewal) => {
        if (renewal === 'expired') member.touched = this.#world.now;
      });
      this.#race(member);
    }
  }

  /** Asks its own etcd first, then the others, until retry_timeout is over. */
  #renew(member: Member, begun: number, attempt: number): void {
    const { machine } = member;
    const index = this.#voters.indexOf(member.etcd);
    const at = this.#voters[(index + attempt) % this.#voters.length] ?? member.etcd;
    let answered = false;
    const again = (): void => {
      if (answered) return;
      answered = true;
      if (!member.leads) return;
      if (machine.clock - begun < this.#retryMs) this.#renew(member, begun, attempt + 1);
      else this.#demote(member, 'could not renew the leader lock');
    };
    this.#etcd.renew(machine, at, machine.name, (renewal) => {
      if (answered) return;
      if (renewal === 'no answer') return again();
      answered = true;
      if (!member.leads) return;
      if (renewal === 'renewed') member.touched = this.#world.now;
      else this.#demote(member, renewal === 'expired' ? 'its leader lock was gone' : renewal);
    });
    machine.after(this.#retryMs / 3, again);
  }

  #demote(member: Member, why: string): void {
    // Paused, PostgreSQL stays as it is, whoever holds the lock.
    if (this.#scenario.heldOff) return;
    member.leads = false;
    this.#epoch += 1;
    this.truth.roleChange(`${member.machine.name} demoted itself: ${why}`);
  }

  #race(member: Member): void {
    if (this.#etcd.holder !== undefined || (this.#scenario.heldOff && !member.leads)) return;
    // Before it takes the lock, a member asks the others how far they are (GET /patroni), and gives them a moment.
    member.machine.after(this.#world.random.between(20, 500), () => {
      this.#etcd.acquire(member.machine, member.etcd, member.machine.name, (taken) => {
        if (!taken || member.leads) return;
        for (const other of this.#members) other.leads = false;
        member.leads = true;
        this.#epoch += 1;
        this.truth.roleChange(`${member.machine.name} was promoted`);
      });
    });
  }

  hold(): void {
    // Readers, the REST API and the lock need no write to the database's files.
  }

  loseVoter(): void {
    // Not the leader: that the store chose another one is over soon.
    this.#voters[(this.#scenario.variant + 1) % 3]?.crash();
  }

  other(candidate: string): Machine | undefined {
    return this.machines.get(candidate === 'db3' ? 'db2' : 'db3');
  }

  /** The members' keys in the store, `etcdctl endpoint status` of all its members. */
  view(): ClusterView {
    const { answering, leader } = this.#etcd;
    const store = answering === this.#voters.length && leader !== undefined ? 'healthy' : 'trouble';
    const holder = this.#etcd.holder;
    return {
      manager: 'patroni',
      name: 'shard',
      epoch: String(this.#epoch),
      // The store forgets a member whose key ran out; the configuration does not.
      members: this.#members.map((member) => this.#memberOf(member, holder, leader)),
      quorum: { kind: 'dcs', health: leader === undefined ? 'down' : store, said: `etcd: ${answering} answer` },
      failover: {
        automatic: true,
        heldOff: this.#scenario.heldOff,
        said: `ttl ${this.#ttlMs} ms`,
        // The lock was renewed up to one loop before the silence began. That time also keeps a silence in the middle of a renewal below
        // retry_timeout, after which the primary gives up by itself.
        ...detectionOf(this.#scenario, this.#ttlMs - this.#loopMs),
      },
      findings: [],
    };
  }

  #memberOf(member: Member, holder: string | undefined, leader: Machine | undefined): ClusterMember {
    const { name } = member.machine;
    const leads = this.#voters.includes(member.machine)
      ? leader === undefined
        ? undefined
        : leader === member.machine
      : false;
    return {
      name,
      role: name === holder ? 'primary' : 'replica',
      health: member.giveUp ? 'down' : 'healthy',
      reported: member.giveUp ? 'no key' : 'running',
      ...(name === holder ? {} : lagOf(this.#scenario, name === 'db2')),
      ...(leads === undefined ? {} : { leadsQuorum: leads }),
      mayTakeOver: true,
      findings: [],
    };
  }
}

export const patroni: Kind = {
  name: 'patroni',
  detectionsMs: [30_000, 30_000, 20_000, 60_000],
  heartbeatMs: (detectionMs) => detectionMs / 3,
  faults: [
    'quorum-lead',
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
  build: (world, network, scenario) => new Patroni(world, network, scenario),
};
