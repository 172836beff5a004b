/** Stillpoint as the simulated clusters meet it. It knows what `view` tells and nothing else; only `mode` and the records are the simulator's. */
import { chooseMember } from '../../src/model/choose-member.ts';
import { changeBetween, observe, type ClusterView } from '../../src/model/cluster.ts';
import { budgetWithin, failoverMargin, type MarginAnswer } from '../../src/model/failover-margin.ts';
import type { Cluster, Kind } from './cluster.ts';
import type { Plan } from './plan.ts';
import { Random } from './random.ts';
import { networkOf } from './soonest.ts';
import { World } from './world.ts';

/** `ask` the rules and obey; `force` the backup whatever they say; only `watch` the same cluster. */
export type Mode = 'ask' | 'force' | 'watch';

export interface Played {
  /** Undefined: allowed. */
  readonly refusedBy: readonly string[] | undefined;
  readonly member: string | undefined;
  /** From the beginning of the silence on. */
  readonly roleChanges: readonly string[];
  readonly givenUp: readonly string[];
  /** When the silence began (or would have begun). */
  readonly begunAt: number;
  readonly stalledMs: number;
}

/** Plays one backup on one cluster. The same kind, plan and seed give the same cluster up to the beginning of the silence, in every mode. */
export function play(kind: Kind, plan: Plan, seed: string, mode: Mode): Played {
  const { scenario } = plan;
  const world = new World(seed);
  const cluster = kind.build(world, networkOf(world, seed), scenario);
  const heartbeatMs = kind.heartbeatMs(scenario.detectionMs);
  const target = plan.policy === 'primary' ? cluster.firstPrimary : (cluster.members[0] ?? cluster.firstPrimary);
  seedFault(world, cluster, plan, target, heartbeatMs, seed);

  const only = plan.only === undefined ? undefined : target;
  const first = decide(cluster.view(), plan, only, undefined);
  world.runUntil(world.now + plan.prepareMs);
  const second = first.refusedBy === undefined ? decide(cluster.view(), plan, only, first) : first;
  const begunAt = world.now;
  const member = second.member ?? target;
  if (mode === 'force' || (mode === 'ask' && second.refusedBy === undefined))
    silence(world, cluster, plan, member, second.answer);
  world.runUntil(begunAt + plan.stunMs + plan.budgetMs + scenario.detectionMs * 1.3 + heartbeatMs * 3 + 2000);
  return {
    refusedBy: second.refusedBy,
    member: second.member,
    roleChanges: cluster.truth.roleChanges.filter(({ at }) => at >= begunAt).map(({ said }) => said),
    givenUp: cluster.truth.givenUp.filter(({ at }) => at >= begunAt).map((each) => each.member),
    begunAt,
    stalledMs: cluster.truth.stalledMs,
  };
}

/** Brings the cluster to where the first view is taken. */
function seedFault(
  world: World,
  cluster: Cluster,
  plan: Plan,
  target: string,
  heartbeatMs: number,
  seed: string,
): void {
  const { fault, detectionMs } = plan.scenario;
  const random = new Random(`${seed}/fault`);
  world.runUntil(random.between(2, 3) * heartbeatMs + 1000);
  const other = cluster.other(target);
  if (fault === 'other-down' || fault === 'arbiter-lost') {
    if (fault === 'other-down') other?.crash();
    else cluster.loseVoter();
    world.runUntil(world.now + detectionMs * 1.5 + heartbeatMs * 2);
  } else if (fault === 'failover-in-progress') {
    cluster.machines.get(cluster.firstPrimary)?.crash();
    const limit = world.now + detectionMs * 3;
    while (world.now < limit && hasHealthyPrimary(cluster)) world.runUntil(world.now + 50);
  } else if (fault === 'falsely-healthy') {
    // It dies within one heartbeat before the last view, so that this view may still call it healthy.
    const dies = world.now + plan.prepareMs - random.between(0, heartbeatMs);
    world.at(dies, () => (other === undefined || random.chance(0.3) ? cluster.loseVoter() : other.crash()));
    world.runUntil(world.now + 1);
  }
}

function hasHealthyPrimary(cluster: Cluster): boolean {
  const { members } = cluster.view();
  return members.every(({ health }) => health === 'healthy') && members.some(({ role }) => role === 'primary');
}

interface Decision {
  readonly view: ClusterView;
  readonly member: string | undefined;
  readonly answer: MarginAnswer | undefined;
  readonly refusedBy: readonly string[] | undefined;
}

/** A second time for the member of the first: what changed since refuses too. */
function decide(view: ClusterView, plan: Plan, only: string | undefined, earlier: Decision | undefined): Decision {
  const reachable = new Set(only === undefined ? view.members.map(({ name }) => name) : [only]);
  const choice = chooseMember({ view, policy: plan.policy, reachable, maxLagMs: 60_000 });
  const member = earlier?.member ?? choice.member;
  if (member === undefined || choice.member === undefined) {
    const codes = choice.considered.flatMap(({ objections }) => objections.map(({ code }) => code));
    return { view, member: undefined, answer: undefined, refusedBy: [...new Set(codes)] };
  }
  const answer = failoverMargin(view, member, plan.predicted);
  const risks: string[] = answer.risks.map(({ code }) => code);
  if (earlier !== undefined && changeBetween(observe(earlier.view, member), observe(view, member)) !== undefined)
    risks.push('changed');
  return { view, member, answer, refusedBy: risks.length > 0 ? risks : undefined };
}

/** Freeze, cut, thaw. The hold ends when the cut is done, or when the guard's deadline is over; the guard may be late, and is still with its machine. */
function silence(world: World, cluster: Cluster, plan: Plan, member: string, answer: MarginAnswer | undefined): void {
  const budgetMs = answer === undefined ? plan.budgetMs : budgetWithin(plan.budgetMs, answer, plan.predicted);
  const ownMs = Math.min(plan.holdMs, budgetMs + plan.guardLateMs);
  cluster.hold(member, plan.holdCounts);
  const cutAt = world.now + Math.min(20, ownMs / 2);
  world.at(cutAt, () => cluster.machines.get(member)?.stun(plan.stunMs));
  world.at(Math.max(world.now + ownMs, cutAt + plan.stunMs), () => cluster.hold(member, false));
}
