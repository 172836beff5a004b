import { note, type Backup } from './backup-state.ts';
import type { Environment, Workload } from './environment.ts';
import type { Trace } from './journal.ts';
import { chooseMember, type Choice, type Considered, type MemberPolicy } from '../model/choose-member.ts';
import { changeBetween, observe, othersAtWork, type ClusterObservation, type ClusterView } from '../model/cluster.ts';
import { codeOf, StillpointError } from '../model/errors.ts';
import type { ClusterEvidence } from '../model/evidence.ts';
import { budgetWithin, failoverMargin, marginOf, type MarginAnswer, type Silence } from '../model/failover-margin.ts';
import type { StunForecast, StunsSeen } from '../model/stun.ts';
import { expectedStuns } from './stun-logs.ts';
import type { GuardSpec } from '../guard/protocol.ts';
import { within } from '../platform/clock.ts';
import type { Finding } from '../model/point.ts';
import type { HoldOffToken, Topology } from '../ports/topology.ts';

/** The cluster that a workload's application is a member of. */
export interface Cluster {
  readonly topology: Topology;
  readonly policy: MemberPolicy;
  readonly maxLagMs: number;
  /** Longest time that a member's machine stands still at a cut, as promised; 0 where nothing stops it. Undefined: only logs tell. */
  readonly stunMs: number | undefined;
  /** Logs in which earlier stuns stand: paths, or patterns of such. */
  readonly stunLogs?: readonly string[];
  /** For the guard, which makes its own instance. */
  readonly topologySpec: { readonly kind: string; readonly config: unknown };
  /** Keep the others from taking over while the backup holds. */
  readonly holdOff: boolean;
  /** The members that can be reached from here, each as a workload of its own under the workload's name. */
  readonly members: ReadonlyMap<string, Workload>;
}

/** Long enough for members that do not answer, each of which has limits of its own. */
const viewMs = 30_000;

/** What one run knows of its cluster. */
export class ClusterAtWork {
  readonly cluster: Cluster;
  readonly chosen: ClusterObservation;
  readonly considered: readonly Considered[];
  readonly seen: ClusterEvidence['seen'][number][] = [];
  /** Read before anything is held. */
  readonly stuns: StunForecast;
  /** The newest view. */
  view: ClusterView;
  margin: { readonly silence: Silence; readonly answer: MarginAnswer } | undefined;
  token: HoldOffToken | undefined;

  constructor(
    cluster: Cluster,
    view: ClusterView,
    { member, choice, stuns }: { readonly member: string; readonly choice: Choice; readonly stuns: StunForecast },
  ) {
    this.cluster = cluster;
    this.stuns = stuns;
    this.view = view;
    this.chosen = observe(view, member);
    this.considered = choice.considered;
  }

  evidence(): ClusterEvidence {
    return {
      chosen: this.chosen,
      considered: this.considered,
      ...(this.margin === undefined ? {} : { margin: this.margin }),
      heldOff: this.token !== undefined,
      seen: [...this.seen],
    };
  }
}

/** Throws `usage` for a workload that is in no cluster. */
export function clusterOf(workload: Workload): Cluster {
  if (workload.cluster !== undefined) return workload.cluster;
  throw new StillpointError('usage', `workload ${workload.name} is in no cluster`, {
    hint: 'set `topology` and `members` of the workload',
  });
}

export async function viewOf({ topology }: Cluster, { clock }: Environment, signal: AbortSignal): Promise<ClusterView> {
  return await within<ClusterView, never>(clock, viewMs, topology.view(signal), () => {
    throw new StillpointError('cluster-unknown', `${topology.manager} did not answer within ${viewMs} ms`, {
      hint: 'see that its members can be reached, with `stillpoint mirror status`',
    });
  });
}

/** The workload as it is backed up: at the member that fits best. Throws `role-unsuitable` with every member's reasons. Changes nothing. */
export async function atMember(
  workload: Workload,
  environment: Environment,
  signal: AbortSignal,
): Promise<{ readonly workload: Workload; readonly cluster?: ClusterAtWork }> {
  const { cluster } = workload;
  if (cluster === undefined) return { workload };
  const view = await viewOf(cluster, environment, signal);
  const { policy, maxLagMs } = cluster;
  const choice = chooseMember({ view, policy, maxLagMs, reachable: new Set(cluster.members.keys()) });
  const member = choice.member === undefined ? undefined : cluster.members.get(choice.member);
  if (choice.member === undefined || member === undefined) throw noneFits(view, policy, choice);
  const stuns = await expectedStuns(cluster, signal);
  return { workload: member, cluster: new ClusterAtWork(cluster, view, { member: choice.member, choice, stuns }) };
}

/**
 * Throws `cluster-at-work` unless every other member is stopped. That nobody answers proves nothing, so somebody must have said it
 * (`vouched`), and nobody may be seen to run all the same. Changes nothing.
 */
export async function refuseClusterAtWork(
  { name, cluster }: Workload,
  environment: Environment,
  { member, vouched }: { readonly member: string | undefined; readonly vouched: boolean },
  signal: AbortSignal,
): Promise<void> {
  if (cluster === undefined) return;
  const seen = await viewOf(cluster, environment, signal).catch((cause: unknown) => {
    // Where all are stopped there is nobody left to tell.
    if (codeOf(cause) === 'cluster-unknown') return undefined;
    throw cause;
  });
  const others = seen === undefined ? [] : othersAtWork(seen, member);
  if (others.length === 0 && vouched) return;
  const said = others.length > 0 ? `${others.join(', ')} would go on` : 'nobody has said that the others are stopped';
  throw new StillpointError(
    'cluster-at-work',
    `${name} is a cluster, and one member of it would go back to an earlier state: ${said}`,
    {
      hint: 'stop all members, restore with --cluster-stopped, and make the others anew from it; to make one member anew while the others run, `stillpoint mirror seed`; to look at the data only, --target DIR',
      details: { others },
    },
  );
}

function noneFits(view: ClusterView, policy: MemberPolicy, { considered }: Choice): StillpointError {
  const reasons = considered.map(
    ({ member, objections }) => `${member}: ${objections.map(({ said }) => said).join(', ')}`,
  );
  const said = reasons.length === 0 ? 'it has no member' : reasons.join('; ');
  return new StillpointError('role-unsuitable', `no member of ${view.name} fits the policy ${policy}: ${said}`, {
    hint: 'see `stillpoint mirror status`; mend what is said there, or set member.from or member.maxLag of the workload',
    details: { considered },
  });
}

/** The workload whose engine made a hold, by the member that the hold's token names. */
export function whereHeld(workload: Workload, member: string | undefined): Workload {
  return (member === undefined ? undefined : workload.cluster?.members.get(member)) ?? workload;
}

/** The workload at each member that it may have been backed up at. */
export function whereverHeld(workload: Workload): readonly Workload[] {
  return workload.cluster === undefined ? [workload] : [...workload.cluster.members.values()];
}

/**
 * The longest hold that the guard may allow itself here. Refuses with the figures (`failover-risk`) when the predicted silence could
 * make another member take over. To be called with the newest view; failover that is about to be held off counts as held off.
 */
export function withinMargin(
  work: ClusterAtWork,
  forecast: { readonly holdMs: number; readonly budgetMs: number; readonly stopsWriters: boolean },
): number {
  const { cluster, chosen, stuns } = work;
  const silence: Silence = { stunMs: stuns.creation.expectedMs, holdMs: forecast.stopsWriters ? forecast.holdMs : 0 };
  const view = cluster.holdOff ? { ...work.view, failover: { ...work.view.failover, heldOff: true } } : work.view;
  const answer = failoverMargin(view, chosen.member, silence);
  work.margin = { silence, answer };
  const risks = [...answer.risks.map(({ said }) => said), ...risksOfRemoval(work)];
  if (risks.length > 0) {
    const seen = stunsSaid(work);
    throw new StillpointError('failover-risk', [...risks, ...(seen === undefined ? [] : [seen])].join('; '), {
      hint: 'back up another member, shorten the hold, give the cluster more time, or let Stillpoint hold off failover (member.holdOffFailover)',
      details: { ...silence, ...answer, stuns },
    });
  }
  return budgetWithin(forecast.budgetMs, answer, silence);
}

/** The machine stands still once more when the snapshot is removed: without a hold, but failover is let go by then. */
function risksOfRemoval({ cluster, chosen, stuns, view }: ClusterAtWork): readonly string[] {
  if (cluster.stunLogs === undefined || cluster.stunLogs.length === 0) return [];
  const free = { ...view, failover: { ...view.failover, heldOff: false } };
  const { risks } = failoverMargin(free, chosen.member, { stunMs: stuns.removal.expectedMs, holdMs: 0 });
  return risks
    .filter(({ code }) => code === 'margin' || code === 'stun-unknown')
    .map(({ said }) => `when the snapshot is removed: ${said}`);
}

/** The figures for people, before anything is held. */
export function stunFindings(work: ClusterAtWork | undefined): readonly Finding[] {
  const said = work === undefined ? undefined : stunsSaid(work);
  return said === undefined ? [] : [{ severity: 'info', check: 'stun', said }];
}

/** The figures on which the prediction rests; undefined where no log is read. */
function stunsSaid({ cluster, stuns, view }: ClusterAtWork): string | undefined {
  if (cluster.stunLogs === undefined || cluster.stunLogs.length === 0) return undefined;
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  const one = (what: string, { seen, longestMs, expectedMs }: StunsSeen): string => {
    const longest = longestMs === undefined ? '' : `, longest ${seconds(longestMs)}`;
    const expected =
      expectedMs === undefined ? 'none can be expected without a bound' : `expected ${seconds(expectedMs)}`;
    return `${seen} ${seen === 1 ? 'stun' : 'stuns'} of ${what} seen${longest}, ${expected}`;
  };
  const { automatic, detectionMs } = view.failover;
  return [
    one('snapshots', stuns.creation),
    one('their removal', stuns.removal),
    ...(stuns.torn === 0 ? [] : [`${stuns.torn} damaged lines not counted`]),
    ...(automatic && detectionMs !== undefined ? [`margin ${seconds(marginOf(detectionMs))}`] : []),
  ].join('; ');
}

/** Looks once more right before the freeze, and holds off failover where that is wanted. */
export async function secureMember(
  state: Backup,
  signal: AbortSignal,
  noteTrace: (trace: Trace) => Promise<void>,
): Promise<void> {
  const work = state.cluster;
  if (work === undefined) return;
  const { cluster } = work;
  const { topology } = cluster;
  work.view = await viewOf(cluster, state.environment, signal);
  const changed = changeBetween(work.chosen, observe(work.view, work.chosen.member));
  if (changed !== undefined) {
    throw new StillpointError('role-unsuitable', `the cluster changed while the backup was prepared: ${changed}`, {
      hint: 'run again when it is settled; see `stillpoint mirror status`',
    });
  }
  if (cluster.holdOff) {
    if (topology.holdOff === undefined || topology.holdOffToken === undefined) throw cannotHoldOff(topology);
    const token = topology.holdOffToken(state.runId, work.view);
    await noteTrace({ kind: 'failover', token });
    work.token = token;
    await topology.holdOff(token, signal);
    work.view = await viewOf(cluster, state.environment, signal);
    if (work.view.failover.heldOff !== true) {
      throw new StillpointError('failover-risk', `${topology.manager} does not show that failover is held off`, {
        hint: 'see `stillpoint mirror status`',
      });
    }
  }
  const forecast = state.forecast.peek();
  if (forecast === undefined) return;
  // The cluster may have become quicker to act since the prediction.
  const budgetMs = withinMargin(work, { ...forecast, stopsWriters: state.stopsWriters });
  state.forecast.set({ ...forecast, budgetMs });
}

function cannotHoldOff({ manager }: Topology): StillpointError {
  return new StillpointError('config-invalid', `${manager} has no way to hold off failover`, {
    hint: 'take member.holdOffFailover out of the workload',
  });
}

/** What the guard has to know to let failover go when this run dies. */
export function failoverOf({ cluster }: Backup): { readonly failover?: NonNullable<GuardSpec['failover']> } {
  if (cluster?.token === undefined) return {};
  return { failover: { topology: cluster.cluster.topologySpec, token: cluster.token } };
}

/** Idempotent, takes no cancellation. */
export async function letFailoverGo(state: Backup): Promise<void> {
  const work = state.cluster;
  if (work?.token === undefined) return;
  await work.cluster.topology.letGo?.(work.token);
}

/** Notes who is who now. What changed since the choice is for `judge` to see. */
export async function watchMember(state: Backup, when: 'cut' | 'record', signal: AbortSignal): Promise<void> {
  const work = state.cluster;
  if (work === undefined) return;
  work.view = await viewOf(work.cluster, state.environment, signal);
  const seen = observe(work.view, work.chosen.member);
  work.seen.push({ when, seen, at: state.environment.clock.now() });
  state.event(`cluster: ${seen.role} ${seen.member} in epoch ${seen.epoch}`);
}

/** For people: who was chosen, why each of the others was not, and what is wrong in the cluster. */
export function findingsOfCluster(work: ClusterAtWork | undefined): readonly Finding[] {
  if (work === undefined) return [];
  const { chosen, considered, view } = work;
  const info = (said: string): Finding => ({ severity: 'info', check: 'member', said });
  // What is wrong with another member is no error of this backup.
  const others = view.members.flatMap(({ name, findings }) =>
    findings.map(({ severity, check, said }): Finding => {
      const weaker = severity === 'error' && name !== chosen.member ? 'warning' : severity;
      return { severity: weaker, check, said: `${name}: ${said}` };
    }),
  );
  return [
    ...stunFindings(work),
    info(`${chosen.member} is chosen: ${chosen.role} in epoch ${chosen.epoch}`),
    ...considered.flatMap(({ member, objections }) => objections.map(({ said }) => info(`not ${member}: ${said}`))),
    ...view.findings,
    ...others,
  ];
}

export function noteChoice(state: Backup): void {
  for (const finding of findingsOfCluster(state.cluster)) note(state, finding);
}
