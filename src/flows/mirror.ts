import { chooseMember, type Choice } from '../model/choose-member.ts';
import { alarmEvents, alarmsOf, primaryChange, type Alarm, type AlarmEvent } from '../model/cluster-alarms.ts';
import { clusterMetrics, type JournalDisk, type Metric } from '../model/cluster-metrics.ts';
import { memberOf, type ClusterView } from '../model/cluster.ts';
import { StillpointError } from '../model/errors.ts';
import { failoverMargin, type MarginAnswer } from '../model/failover-margin.ts';
import type { RecoveryPlan } from '../model/recovery.ts';
import type { Seeded } from '../ports/topology.ts';
import { clusterOf, viewOf, type Cluster } from './cluster.ts';
import type { Environment, Workload } from './environment.ts';
import { diskAlarms, JournalDisks } from './journal-disks.ts';
import { expectedStuns } from './stun-logs.ts';
import { restore, type RestoreRequest, type RestoreResult, type RestoreTarget } from './restore.ts';

export interface MirrorStatus {
  readonly view: ClusterView;
  readonly choice: Choice;
  /** For each member that can be backed up from here: what a hold as long as the longest of late would mean to it. */
  readonly margins: readonly { readonly member: string; readonly margin: MarginAnswer }[];
  readonly predictedHoldMs: number;
  /** The longest one to reckon with at a cut; undefined where nothing can be said. */
  readonly stunMs: number | undefined;
  readonly alarms: readonly Alarm[];
  /** The same in figures. */
  readonly metrics: readonly Metric[];
}

/** The cluster as it is now. Changes nothing. */
export async function mirrorStatus(
  workload: Workload,
  environment: Environment,
  signal: AbortSignal,
): Promise<MirrorStatus> {
  const cluster = clusterOf(workload);
  const view = await viewOf(cluster, environment, signal);
  const { policy, maxLagMs } = cluster;
  const stunMs = (await expectedStuns(cluster, signal)).creation.expectedMs;
  const reachable = new Set(cluster.members.keys());
  const holds = (await environment.catalog()).holds(workload.name, 10).map(({ heldMs }) => heldMs);
  const predictedHoldMs = Math.max(0, ...holds);
  const alarms = alarmsOf(view, { maxLagMs });
  const disks = await new JournalDisks(workload, environment).look(view, true, signal);
  const viewedAtMs = environment.clock.wallMs();
  return {
    view,
    choice: chooseMember({ view, policy, maxLagMs, reachable }),
    margins: view.members
      .filter(({ name }) => reachable.has(name))
      .map(({ name }) => ({ member: name, margin: failoverMargin(view, name, { stunMs, holdMs: predictedHoldMs }) })),
    predictedHoldMs,
    stunMs,
    alarms,
    metrics: clusterMetrics({ workload: workload.name, viewedAtMs, view, disks, alarms }),
  };
}

export interface SeedMemberRequest {
  readonly member: string;
  readonly plan: RecoveryPlan;
  readonly target: RestoreTarget;
  readonly signal: AbortSignal;
}

/** Restores a point and makes the copy ready to start as that member. On failure nothing is left. Throws `role-unsuitable` for a member that lives. */
export async function seedMember(
  workload: Workload,
  environment: Environment,
  request: SeedMemberRequest,
): Promise<{ readonly restore: RestoreResult; readonly seeded: Seeded }> {
  const { topology } = clusterOf(workload);
  const { member, plan, target, signal } = request;
  const seed = topology.seed?.bind(topology);
  if (seed === undefined) {
    throw new StillpointError('method-unsupported', `${topology.manager} makes no member of a point`, {
      hint: 'restore the point to a directory and make a member of it by hand',
    });
  }
  const there = memberOf(await viewOf(clusterOf(workload), environment, signal), member);
  if (there !== undefined && there.health !== 'down' && there.health !== 'unknown') {
    throw new StillpointError('role-unsuitable', `${member} lives: it is ${there.role} and ${there.health}`, {
      hint: 'stop its engine first, or give the name of another member',
    });
  }
  let seeded: Seeded | undefined;
  const become: RestoreRequest['become'] = async (copy, { point, evidence }, during) => {
    const { at, required, facts } = copy;
    const journal = evidence.hold?.journal?.to ?? null;
    seeded = await seed({ member, at, required, facts, identity: point.identity, journal }, during);
  };
  const result = await restore(workload, environment, { plan, target, signal, become });
  if (seeded === undefined) throw new Error('the copy was not made a member');
  return { restore: result, seeded };
}

export interface WatchRequest {
  readonly everyMs: number;
  readonly signal: AbortSignal;
  /** Once for what begins and ends, never for what only lasts. */
  onEvent(event: AlarmEvent): void;
  onView?(view: ClusterView): void;
  /** At each look, and once before the first one. What it throws the first time ends the watch; later it is an alarm. */
  onMetrics?(metrics: readonly Metric[]): Promise<void>;
}

/** Looks at the cluster again and again until it is cancelled; a view that cannot be had is an alarm, and no reason to end. */
export async function watchMirror(
  workload: Workload,
  environment: Environment,
  request: WatchRequest,
): Promise<{ readonly looks: number; readonly metrics: readonly Metric[] }> {
  const cluster = clusterOf(workload);
  const disks = new JournalDisks(workload, environment);
  let before: readonly Alarm[] = [];
  let last: ClusterView | undefined;
  let looks = 0;
  let viewedAtMs: number | undefined;
  const measured = (view: ClusterView | undefined, about: readonly JournalDisk[], alarms: readonly Alarm[]) =>
    clusterMetrics({ workload: workload.name, viewedAtMs, view, disks: about, alarms });
  let metrics = measured(undefined, [], []);
  await request.onMetrics?.(metrics);
  const tell = async (event: AlarmEvent): Promise<void> => {
    request.onEvent(event);
    const at = environment.clock.now().wall;
    await environment.notify?.({
      schema: 'stillpoint/1',
      event: 'alarm',
      workload: workload.name,
      at,
      kind: event.kind,
      ...event.alarm,
    });
  };
  while (!request.signal.aborted) {
    const view = await lookAt(cluster, environment, request.signal);
    if (request.signal.aborted) break;
    looks += 1;
    const seen = 'alarm' in view ? undefined : view;
    if (seen !== undefined) viewedAtMs = environment.clock.wallMs();
    const found = seen === undefined ? [] : await disks.look(seen, request.onMetrics !== undefined, request.signal);
    const now: Alarm[] =
      'alarm' in view
        ? [...before.filter(({ code }) => code !== 'view-lost' && code !== 'metrics-lost'), view.alarm]
        : [...alarmsOf(view, cluster), ...diskAlarms(view, found)];
    metrics = measured(seen, found, now);
    const lost = await written(request, metrics);
    if (lost !== undefined) now.push(lost);
    if (seen !== undefined) {
      request.onView?.(seen);
      const changed = last === undefined ? undefined : primaryChange(last, seen);
      if (changed !== undefined) await tell({ kind: 'happened', alarm: changed });
      // Without a primary in between, the change is seen against the last view that had one.
      if (seen.members.some(({ role }) => role === 'primary')) last = seen;
    }
    for (const event of alarmEvents(before, now)) await tell(event);
    before = now;
    await environment.clock.sleep(request.everyMs, request.signal).catch(() => undefined);
  }
  return { looks, metrics };
}

async function written(request: WatchRequest, metrics: readonly Metric[]): Promise<Alarm | undefined> {
  try {
    await request.onMetrics?.(metrics);
    return undefined;
  } catch (error) {
    if (!(error instanceof StillpointError)) throw error;
    return { code: 'metrics-lost', severity: 'error', said: error.message };
  }
}

async function lookAt(
  cluster: Cluster,
  environment: Environment,
  signal: AbortSignal,
): Promise<ClusterView | { readonly alarm: Alarm }> {
  try {
    return await viewOf(cluster, environment, signal);
  } catch (error) {
    if (!(error instanceof StillpointError)) throw error;
    return { alarm: { code: 'view-lost', severity: 'error', said: error.message } };
  }
}
