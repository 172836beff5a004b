import type { Kind, Scenario } from './cluster.ts';
import { Random } from './random.ts';
import { Network, World } from './world.ts';

export interface Soonest {
  readonly kind: string;
  readonly detectionMs: number;
  /** The shortest stun, in milliseconds, after which anything happened to the roles of any of the clusters; of the primary, of a standby. */
  readonly primaryMs: number;
  readonly standbyMs: number;
  /** The shortest one after which the others had given the member up. */
  readonly givenUpMs: number;
}

/** Stuns one machine of a healthy cluster for so long; what became of it. */
export function stunOnly(
  kind: Kind,
  scenario: Scenario,
  seed: string,
  member: string,
  stunMs: number,
): 'nothing' | 'given-up' | 'roles' {
  const world = new World(seed);
  const cluster = kind.build(world, networkOf(world, seed), scenario);
  const heartbeatMs = kind.heartbeatMs(scenario.detectionMs);
  world.runUntil(world.random.between(2, 3) * heartbeatMs + 1000);
  const before = { roles: cluster.truth.roleChanges.length, givenUp: cluster.truth.givenUp.length };
  cluster.machines.get(member)?.stun(stunMs);
  world.runUntil(world.now + stunMs + scenario.detectionMs * 1.3 + heartbeatMs * 3);
  if (cluster.truth.roleChanges.length > before.roles) return 'roles';
  return cluster.truth.givenUp.length > before.givenUp ? 'given-up' : 'nothing';
}

/** A local network, one with some distance, or one that loses a packet now and then. */
export function networkOf(world: World, seed: string): Network {
  const random = new Random(`${seed}/network`);
  return new Network(
    world,
    random.pick([
      { baseMs: 0.2, jitterMs: 0.1, lossPart: 0 },
      { baseMs: 1, jitterMs: 1, lossPart: 0.0005 },
      { baseMs: 5, jitterMs: 3, lossPart: 0.002 },
    ]),
  );
}

/**
 * Tries stuns of many lengths on many clusters. A cluster that leads its store from the stunned machine is left out: that is refused
 * whatever the length.
 */
export function soonest(kind: Kind, detectionMs: number, tries: number): Soonest {
  const least = { primary: Infinity, standby: Infinity, givenUp: Infinity };
  for (let index = 0; index < tries; index++) {
    const seed = `soonest/${kind.name}/${detectionMs}/${index}`;
    const random = new Random(seed);
    const scenario: Scenario = {
      kind: kind.name,
      detectionMs,
      busy: random.chance(0.5),
      variant: Math.floor(random.next() * 60),
      heldOff: false,
      fault: undefined,
    };
    const stunMs = random.between(0.2, 1.2) * detectionMs;
    const world = new World(seed);
    const cluster = kind.build(world, networkOf(world, seed), scenario);
    const primary = random.chance(0.5);
    const member = primary ? cluster.firstPrimary : (cluster.members[0] ?? '');
    if (cluster.view().members.some(({ name, leadsQuorum }) => name === member && leadsQuorum !== false)) continue;
    const became = stunOnly(kind, scenario, seed, member, stunMs);
    if (became === 'nothing') continue;
    least.givenUp = Math.min(least.givenUp, stunMs);
    if (became !== 'roles') continue;
    if (primary) least.primary = Math.min(least.primary, stunMs);
    else least.standby = Math.min(least.standby, stunMs);
  }
  return { kind: kind.name, detectionMs, primaryMs: least.primary, standbyMs: least.standby, givenUpMs: least.givenUp };
}
