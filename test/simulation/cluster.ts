import type { ClusterMember, ClusterView } from '../../src/model/cluster.ts';
import type { Machine, Network, World } from './world.ts';

/** What was made unsafe before the backup. `falsely-healthy` cannot be seen in a view; all the others can. */
export type Fault =
  | 'quorum-lead'
  | 'other-down'
  | 'arbiter-lost'
  | 'lagging-standby'
  | 'lag-unknown'
  | 'detection-unknown'
  | 'margin-small'
  | 'failover-in-progress'
  | 'stun-unknown'
  | 'falsely-healthy';

/** Drawn for a run before its world exists, so that several worlds can be the same cluster. */
export interface Scenario {
  readonly kind: string;
  /** What the documentation calls the detection time, in milliseconds; the other times of the kind are in proportion. */
  readonly detectionMs: number;
  readonly busy: boolean;
  /** The kind's own choices: arbiter or agent, store beside the members or apart... */
  readonly variant: number;
  readonly heldOff: boolean;
  readonly fault: Fault | undefined;
}

/** A cluster of nodes with their own failure detectors, which nobody but its own messages tells anything. */
export interface Cluster {
  readonly machines: ReadonlyMap<string, Machine>;
  /** What asking members and manager gives now; it can be wrong by as much as they are. */
  view(): ClusterView;
  /** The engine's or its file systems' writes stop, and go on. The machine lives. */
  hold(member: string, on: boolean): void;
  /** What only the simulator knows. */
  readonly truth: Truth;
  /** The members that may be backed up, the preferred ones first. */
  readonly members: readonly string[];
  /** The primary as it was set up. */
  readonly firstPrimary: string;
  /** A machine besides the candidate on which something of the cluster runs, and that is no primary. */
  other(candidate: string): Machine | undefined;
  /** Arbiter, store or witness goes, as far as the kind has one. */
  loseVoter(): void;
}

export interface Kind {
  readonly name: string;
  /** Detection times in use, the default twice. */
  readonly detectionsMs: readonly [number, ...number[]];
  /** The largest distance between two signs of life, for a detection time. */
  heartbeatMs(detectionMs: number): number;
  readonly faults: readonly Fault[];
  readonly canHoldOff: boolean;
  /** Whether its usual freeze stops writes (then the hold counts as silence). */
  readonly holdStopsWrites: boolean;
  build(world: World, network: Network, scenario: Scenario): Cluster;
}

/** Everything that happened to the roles, in order. */
export class Truth {
  readonly #world: World;
  readonly roleChanges: { readonly at: number; readonly said: string }[] = [];
  readonly givenUp: { readonly at: number; readonly member: string }[] = [];
  /** Writers of the whole cluster waited for a held member (Galera's flow control), in milliseconds. */
  stalledMs = 0;

  constructor(world: World) {
    this.#world = world;
  }

  roleChange(said: string): void {
    this.roleChanges.push({ at: this.#world.now, said });
  }

  /** The others take it for failed and go on without it. */
  giveUp(member: string): void {
    this.givenUp.push({ at: this.#world.now, member });
  }
}

/** The words for lag that a scenario asks for. */
export function lagOf(scenario: Scenario, candidate: boolean): Pick<ClusterMember, 'transfer' | 'apply'> {
  const { fault } = scenario;
  if (candidate && fault === 'lagging-standby')
    return { transfer: { ms: 0, caughtUp: true }, apply: { ms: 300_000, caughtUp: false } };
  if (candidate && fault === 'lag-unknown')
    return { transfer: { caughtUp: undefined }, apply: { caughtUp: undefined } };
  return { transfer: { ms: 0, caughtUp: true }, apply: { ms: 0, caughtUp: true } };
}

export function detectionOf(scenario: Scenario, ms: number): { readonly detectionMs?: number } {
  return scenario.fault === 'detection-unknown' ? {} : { detectionMs: ms };
}
