import { chooseMember, type Choice } from '../model/choose-member.ts';
import {
  alarmEvents,
  alarmsOf,
  fullAt,
  primaryChange,
  type Alarm,
  type AlarmEvent,
  type SpaceSample,
} from '../model/cluster-alarms.ts';
import { memberOf, type ClusterView } from '../model/cluster.ts';
import { StillpointError } from '../model/errors.ts';
import { failoverMargin, type MarginAnswer } from '../model/failover-margin.ts';
import type { RecoveryPlan } from '../model/recovery.ts';
import type { Seeded } from '../ports/topology.ts';
import { clusterOf, viewOf, type Cluster } from './cluster.ts';
import type { Environment, Workload } from './environment.ts';
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
  return {
    view,
    choice: chooseMember({ view, policy, maxLagMs, reachable }),
    margins: view.members
      .filter(({ name }) => reachable.has(name))
      .map(({ name }) => ({ member: name, margin: failoverMargin(view, name, { stunMs, holdMs: predictedHoldMs }) })),
    predictedHoldMs,
    stunMs,
    alarms: alarmsOf(view, { maxLagMs }),
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
}

const mostSamples = 60;
/** A disk that is full within a day is worth an alarm. */
const soonMs = 24 * 3_600_000;

/** Looks at the cluster again and again until it is cancelled; a view that cannot be had is an alarm, and no reason to end. */
export async function watchMirror(
  workload: Workload,
  environment: Environment,
  request: WatchRequest,
): Promise<{ readonly looks: number }> {
  const cluster = clusterOf(workload);
  const disks = new JournalDisks(workload, environment);
  let before: readonly Alarm[] = [];
  let last: ClusterView | undefined;
  let looks = 0;
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
    const now =
      'alarm' in view
        ? [...before.filter(({ code }) => code !== 'view-lost'), view.alarm]
        : [...alarmsOf(view, cluster), ...(await disks.alarms(view, request.signal))];
    const seen = 'alarm' in view ? undefined : view;
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
  return { looks };
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

/** While a member is down the primary keeps the journals that it has not received, and its disk fills. */
class JournalDisks {
  readonly #workload: Workload;
  readonly #environment: Environment;
  readonly #samples = new Map<string, SpaceSample[]>();

  constructor(workload: Workload, environment: Environment) {
    this.#workload = workload;
    this.#environment = environment;
  }

  async alarms(view: ClusterView, signal: AbortSignal): Promise<readonly Alarm[]> {
    // An arbiter receives no journals, so none are kept for it.
    const down = view.members
      .filter(({ role, health }) => role !== 'arbiter' && (health === 'down' || health === 'unknown'))
      .map(({ name }) => name);
    const primary = view.members.find(({ role }) => role === 'primary')?.name;
    const at = primary === undefined ? undefined : this.#workload.cluster?.members.get(primary);
    if (down.length === 0 || primary === undefined || at === undefined) {
      this.#samples.clear();
      return [];
    }
    const alarms: Alarm[] = [];
    for (const path of await journalPaths(at, signal)) {
      const samples = [
        ...(this.#samples.get(path) ?? []),
        { atMs: this.#environment.clock.monoMs(), freeBytes: await this.#environment.host.freeBytes(path) },
      ].slice(-mostSamples);
      this.#samples.set(path, samples);
      const full = fullAt(samples);
      const now = samples.at(-1);
      if (full === undefined || now === undefined || full.atMs - now.atMs > soonMs) continue;
      const hours = ((full.atMs - now.atMs) / 3_600_000).toFixed(1);
      alarms.push({
        code: 'journal-disk-filling',
        member: primary,
        severity: 'error',
        about: path,
        said: `the disk of ${path} is full in ${hours} h: journals are kept for ${down.join(', ')}. Bring that member back or take it out of the cluster; never delete journals by hand that were not sent`,
      });
    }
    return alarms;
  }
}

async function journalPaths({ application }: Workload, signal: AbortSignal): Promise<readonly string[]> {
  try {
    const { paths } = await application.locate(signal);
    return [...new Set(paths.filter(({ role }) => role === 'journal' || role === 'data').map(({ path }) => path))];
  } catch (error) {
    // The engine does not answer: that is told by the view.
    if (error instanceof StillpointError) return [];
    throw error;
  }
}
