import { StillpointError } from '../model/errors.ts';
import type { ClusterEvidence } from '../model/evidence.ts';
import { stopsWriters as stopsWritersOf } from '../model/hold.ts';
import type { Finding, Level, Method } from '../model/point.ts';
import type { Located } from '../ports/application.ts';
import { stepsOf } from './backup.ts';
import { chooseLevel, unsupported } from './backup-online.ts';
import { atMember, findingsOfCluster, stunFindings, withinMargin, type ClusterAtWork } from './cluster.ts';
import type { Environment, Workload } from './environment.ts';
import { budgetOf, locateGroup, type Group } from './group.ts';
import { examineLayers, type Layers } from './layers.ts';
import { chooseParent, predict, type Forecast, type ParentChoice } from './predict.ts';

export interface Plan {
  readonly workload: string;
  readonly member: Located['member'];
  /** Null: the workload is in no cluster, or none of its members fits. */
  readonly cluster: ClusterEvidence | null;
  readonly engine: { readonly name: string; readonly version: string };
  readonly method: Method;
  readonly holdKind: Located['holdKind'];
  readonly level: ParentChoice['level'];
  readonly parent: string | null;
  readonly volumes: readonly { readonly id: string; readonly provider: string; readonly paths: readonly string[] }[];
  readonly atomicity: Group['atomicity'];
  readonly how: string;
  readonly forecast: Forecast | null;
  readonly bytes: number;
  readonly steps: readonly { readonly name: string; readonly does: string }[];
  /** Why a backup would be refused now; empty = it would run. */
  readonly refusals: readonly { readonly code: string; readonly said: string; readonly hint: string | null }[];
  readonly findings: readonly Finding[];
}

/** What a backup would do now, with its refusals. Touches nothing: no checkpoint, no sync, no directory. */
export async function planBackup(
  configured: Workload,
  environment: Environment,
  request: { readonly level: Level | undefined; readonly method: Method },
  signal: AbortSignal,
): Promise<Plan> {
  const { level, method } = request;
  const refusals: Plan['refusals'][number][] = [];
  const refused = (error: unknown): undefined => {
    if (!(error instanceof StillpointError)) throw error;
    refusals.push({ code: error.code, said: error.message, hint: error.hint ?? null });
    return undefined;
  };
  const at = await atMember(configured, environment, signal).catch(refused);
  const workload = at?.workload ?? configured;
  // Without the engine's own word on its paths there is nothing to plan.
  const found = await workload.application.locate(signal);
  const missing = methodMissing(workload, method);
  if (missing !== undefined) refused(missing);
  if (method === 'online' || method === 'concurrent')
    return {
      ...(await planOnline(workload, environment, found, { method, level }, refusals, signal)),
      cluster: at?.cluster?.evidence() ?? null,
    };
  const located: Located = method === 'cold' ? { ...found, holdKind: 'writes-stopped' } : found;
  const group = await locateGroup(located, workload, signal).catch(refused);
  const layers =
    group === undefined ? undefined : await examineLayers(group, located, workload, environment, signal).catch(refused);
  const choice = await choose(workload, environment, located, level).catch(refused);
  const forecast =
    group === undefined
      ? undefined
      : await forecastOf(workload, environment, located, group, method, signal).catch(refused);
  const withinCluster =
    forecast === undefined ? undefined : await marginOf(at?.cluster, forecast, located, layers).catch(refused);
  const paths = new Map(located.paths.map((path) => [path.name, path.path]));
  return {
    workload: workload.name,
    member: located.member,
    engine: { name: workload.application.engine, version: located.version },
    method,
    holdKind: located.holdKind,
    level: choice?.level ?? 'full',
    parent: choice?.point?.id ?? null,
    volumes: (group?.volumes ?? []).map((volume) => ({
      id: volume.id,
      provider: volume.provider,
      paths: volume.holds.map((name) => paths.get(name) ?? name),
    })),
    atomicity: group?.atomicity ?? 'sequential',
    how: group?.how ?? 'no group was found',
    forecast: withinCluster ?? forecast ?? null,
    cluster: at?.cluster?.evidence() ?? null,
    bytes: located.bytes,
    steps: stepsOf(method).map((step) => ({
      name: step.name,
      does: describe(step.name, workload, located, method, group, choice, layers),
    })),
    refusals,
    findings: [
      ...stunFindings(at?.cluster),
      ...(layers?.findings ?? []),
      ...(forecast?.findings ?? []),
      ...(choice?.degraded === undefined
        ? []
        : [{ severity: 'warning' as const, check: 'level', said: choice.degraded }]),
    ],
  };
}

/** The forecast with its budget cut to the margin. */
async function marginOf(
  work: ClusterAtWork | undefined,
  forecast: Forecast,
  located: Located,
  layers: Layers | undefined,
): Promise<Forecast> {
  if (work === undefined) return forecast;
  const stopsWriters = stopsWritersOf(located.holdKind) || (layers?.fileSystems.length ?? 0) > 0;
  return { ...forecast, budgetMs: withinMargin(work, { ...forecast, stopsWriters }) };
}

function methodMissing(workload: Workload, method: Method): StillpointError | undefined {
  const { application } = workload;
  const there = {
    snapshot: true,
    online: application.online !== undefined,
    concurrent: application.online?.mark !== undefined,
    cold: application.openStop !== undefined,
    'mirror-split': workload.mirrorSplit !== undefined,
  };
  return there[method] ? undefined : unsupported(workload, method);
}

/** The engine copies itself: no volume, no hold, but a chain of levels and its own counters. */
async function planOnline(
  workload: Workload,
  environment: Environment,
  located: Located,
  request: { readonly method: Method; readonly level: Level | undefined },
  refusals: Plan['refusals'],
  signal: AbortSignal,
): Promise<Omit<Plan, 'cluster'>> {
  const { method } = request;
  const { application } = workload;
  const points = (await environment.catalog()).points(workload.name);
  const snapshots = new Set((await (await environment.repository()).snapshots()).map((each) => each.id));
  const asked = method === 'concurrent' ? 'full' : request.level;
  const choice = chooseLevel({ asked, identity: located.identity, points, snapshots });
  const marks = choice.point?.marks;
  const since = marks === undefined || marks === null ? {} : { [choice.level]: marks };
  const size = (await application.estimate?.(since, signal))?.find((each) => each.level === choice.level);
  return {
    workload: workload.name,
    member: located.member,
    engine: { name: application.engine, version: located.version },
    method,
    holdKind: 'none',
    level: choice.level,
    parent: choice.point?.id ?? null,
    volumes: [],
    atomicity: 'sequential',
    how: `${application.engine} copies itself while users work`,
    forecast: null,
    bytes: size?.bytes ?? located.bytes,
    steps: stepsOf(method).map((step) => ({
      name: step.name,
      does: describeOnline(step.name, application.engine, method, choice, size?.said),
    })),
    refusals,
    findings: choice.degraded === undefined ? [] : [{ severity: 'warning', check: 'level', said: choice.degraded }],
  };
}

function describeOnline(
  step: string,
  engine: string,
  method: Method,
  choice: ReturnType<typeof chooseLevel>,
  said: string | undefined,
): string {
  switch (step) {
    case 'locate':
      return `ask ${engine} what it is and where its files are`;
    case 'choose':
      return `open the repository; ${choice.level}${choice.point === null ? '' : ` on ${choice.point.id}, which ends where this one must begin`}`;
    case 'predict':
      return said ?? 'the engine keeps no counters to estimate the size from';
    case 'prepare':
      return 'a directory for pipes';
    case 'copy':
      return method === 'concurrent'
        ? `let ${engine} mark its counters; read the live files; close them with ${engine}'s own incremental since the mark`
        : `stream ${engine}'s own ${choice.level} into the repository; judge by its counters on both sides`;
    case 'record':
      return 'the point into the catalog';
    default:
      return 'remove the pipes';
  }
}

async function choose(
  workload: Workload,
  environment: Environment,
  located: Located,
  level: Level | undefined,
): Promise<ParentChoice> {
  const catalog = await environment.catalog();
  const repository = await environment.repository();
  return chooseParent({
    asked: level,
    identity: located.identity,
    points: catalog.points(workload.name),
    snapshots: new Set((await repository.snapshots()).map((each) => each.id)),
    nowMs: environment.clock.wallMs(),
  });
}

async function forecastOf(
  workload: Workload,
  environment: Environment,
  located: Located,
  group: Group,
  method: Method,
  signal: AbortSignal,
): Promise<Forecast> {
  const history = (await environment.catalog()).holds(workload.name, 10);
  return await predict({
    workload,
    host: environment.host,
    located,
    group,
    history,
    budgetMs: budgetOf(method === 'cold' ? 'stopped' : located.holdKind, workload.budgetMs),
    signal,
  });
}

function describe(
  step: string,
  workload: Workload,
  located: Located,
  method: Method,
  group: Group | undefined,
  choice: ParentChoice | undefined,
  layers: Layers | undefined,
): string {
  const engine = workload.application.engine;
  const mounts = (layers?.fileSystems ?? []).map(({ mountPoint }) => mountPoint);
  const also = mounts.length === 0 ? '' : `; then ${mounts.join(', ')} are frozen, and thawed first`;
  const held = located.holdKind !== 'none';
  const providers = [...new Set((group?.parts ?? []).map((part) => part.provider.kind))].join(', ') || 'no provider';
  switch (step) {
    case 'locate':
      return `ask ${engine} for its paths; find the volumes under them`;
    case 'choose':
      return `open the repository; ${located.member.role} ${located.member.member}; ${choice?.level ?? 'no level'}${choice?.point == null ? '' : ` on parent ${choice.point.id}`}`;
    case 'predict':
      return 'hold from the history of this workload, space, extents';
    case 'prepare':
      return `sync the volumes (${providers})${held ? `, start guard and sentinel, let ${engine} checkpoint` : ''}`;
    case 'freeze':
      if (method === 'cold')
        return `stop the users of ${engine}, in the guard; prove that nobody has its files open${also}`;
      return held
        ? `${engine} ${located.holdKind === 'copy-rules' ? 'enters backup mode' : located.holdKind === 'one-instant' ? 'stops commits' : 'stops writers'}, in the guard's session${also}`
        : 'nothing: configured to cut without a hold';
    case 'cut':
      return `${providers}: ${group?.how ?? ''}`;
    case 'thaw':
      if (method === 'cold') return `prove that still nobody has the files open; start the users of ${engine} again`;
      return held
        ? `ask ${engine} whether it is still frozen, thaw, prove it${located.holdKind === 'copy-rules' ? '; collect the journal from freeze to thaw' : ''}`
        : 'nothing';
    case 'judge':
      return 'what follows from the evidence; a weaker verdict than asked discards the point';
    case 'copy':
      return choice?.point == null
        ? 'read all files into the repository'
        : `read the files that changed since the parent${workload.changedBlocks === true ? ', and of them only the changed blocks where the storage can tell them' : ''}`;
    case 'record':
      return 'role and epoch again; point and evidence into the repository and the catalog';
    default:
      return 'remove snapshots and staging';
  }
}

export interface CheckResult {
  readonly findings: readonly Finding[];
  readonly passed: boolean;
}

/** Looks at the real thing and changes nothing: engine, privileges, volumes, repository, clock, what dead runs left. */
export async function check(configured: Workload, environment: Environment, signal: AbortSignal): Promise<CheckResult> {
  const findings: Finding[] = [];
  const add = (finding: Finding): void => {
    findings.push(finding);
    environment.reporter.finding(finding);
  };
  const attempt = async <T>(what: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof StillpointError)) throw error;
      add({
        severity: 'error',
        check: what,
        said: `${error.message}${error.hint === undefined ? '' : ` (HINT: ${error.hint})`}`,
      });
      return undefined;
    }
  };
  const at = await attempt('cluster', () => atMember(configured, environment, signal));
  const workload = at?.workload ?? configured;
  for (const finding of findingsOfCluster(at?.cluster)) add(finding);
  const located = await attempt('database', () => workload.application.locate(signal));
  if (located !== undefined) {
    add({
      severity: 'info',
      check: 'database',
      said: `${workload.application.engine} ${located.version}, ${located.member.role} ${located.member.member}, ${located.paths.length} required paths`,
    });
    for await (const finding of workload.application.check?.(signal) ?? []) add(finding);
    const group = await attempt('volumes', () => locateGroup(located, workload, signal));
    if (group !== undefined) {
      for (const volume of group.volumes)
        add({ severity: 'info', check: 'volumes', said: `${volume.id} holds ${volume.holds.join(', ')}` });
      add({ severity: 'info', check: 'volumes', said: `${group.atomicity}: ${group.how}` });
      const layers = await attempt('storage', () => examineLayers(group, located, workload, environment, signal));
      for (const finding of layers?.findings ?? []) add(finding);
      for (const { mountPoint } of layers?.fileSystems ?? [])
        add({ severity: 'info', check: 'storage', said: `${mountPoint} is frozen with the engine` });
      const forecast = await attempt('predict', () =>
        forecastOf(workload, environment, located, group, 'snapshot', signal),
      );
      for (const finding of forecast?.findings ?? []) add(finding);
      if (forecast !== undefined)
        add({
          severity: 'info',
          check: 'hold',
          said: `predicted ${Math.round(forecast.holdMs)} ms of ${forecast.budgetMs} ms (${forecast.basis})`,
        });
    }
  }
  await attempt('repository', async () => {
    const repository = await environment.repository();
    add({
      severity: 'info',
      check: 'repository',
      said: `${repository.location}, ${(await repository.snapshots()).length} snapshots`,
    });
    if (located !== undefined) await choose(workload, environment, located, undefined);
  });
  add({ severity: 'info', check: 'clock', said: environment.clock.now().wall });
  return { findings, passed: !findings.some((finding) => finding.severity === 'error') };
}
