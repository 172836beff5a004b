import type { Alarm } from './cluster-alarms.ts';
import type { ClusterMember, ClusterView, Health, Lag } from './cluster.ts';
import { marginOf } from './failover-margin.ts';

/** One figure of a cluster, for machines. Names and units are kept as they are: alerts are written on them. */
export interface Metric {
  readonly name: string;
  /** `state`: a number that stands for a word, see `help`. `time`: seconds since 1970. */
  readonly unit: 'seconds' | 'bytes' | 'count' | 'state' | 'time';
  readonly help: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A disk that holds journals of a member. */
export interface JournalDisk {
  readonly member: string;
  readonly path: string;
  readonly freeBytes: number;
  /** Until it is full, if it goes on filling as it did. Undefined: it does not fill, or too little was seen of it. */
  readonly fullInMs?: number;
}

export interface Measured {
  readonly workload: string;
  /** Wall clock, milliseconds since 1970, of the last view that there was; undefined: none yet. */
  readonly viewedAtMs: number | undefined;
  /** Undefined: nobody tells now. No figure of a member is given then, for it would be of before. */
  readonly view: ClusterView | undefined;
  readonly disks: readonly JournalDisk[];
  readonly alarms: readonly Alarm[];
}

const healths: Readonly<Record<Health, number>> = { down: 0, unknown: 1, trouble: 2, healthy: 3 };
const healthHelp = '0 down, 1 unknown, 2 in trouble, 3 healthy';

type Add = (name: string, unit: Metric['unit'], help: string, value: number | undefined, labels?: Labels) => void;
type Labels = Readonly<Record<string, string>>;

/** Everything that is known in figures. What is not known has none, and is never 0. Pure. */
export function clusterMetrics({ workload, viewedAtMs, view, disks, alarms }: Measured): readonly Metric[] {
  const metrics: Metric[] = [];
  const add: Add = (name, unit, help, value, labels = {}) => {
    if (value === undefined) return;
    metrics.push({ name: `stillpoint_cluster_${name}`, unit, help, labels: { workload, ...labels }, value });
  };
  add('up', 'state', '1 if the last look gave a view of the cluster, else 0', view === undefined ? 0 : 1);
  const lookedAt = viewedAtMs === undefined ? 0 : viewedAtMs / 1000;
  add('view_timestamp_seconds', 'time', 'When the last view was had; 0 if there was none', lookedAt);
  for (const severity of ['warning', 'error'] as const) {
    const count = alarms.filter((alarm) => alarm.severity === severity).length;
    add('alarms', 'count', 'Alarms that last, by severity', count, { severity });
  }
  if (view === undefined) return metrics;
  for (const member of view.members) ofMember(member, add);
  ofCluster(view, add);
  for (const { member, path, freeBytes, fullInMs } of disks) {
    const labels = { member, path };
    add('journal_disk_free_bytes', 'bytes', 'Free space where journals of the member lie', freeBytes, labels);
    const help = 'Time until that disk is full, if it goes on filling as it does; absent when it does not fill';
    add('journal_disk_full_seconds', 'seconds', help, seconds(fullInMs), labels);
  }
  return metrics;
}

function ofMember({ name, role, health, mayTakeOver, leadsQuorum, transfer, apply }: ClusterMember, add: Add): void {
  const labels = { member: name };
  add('member_health', 'state', `Health of the member: ${healthHelp}`, healths[health], labels);
  add('member_role', 'state', '1 for the role that the member has', 1, { ...labels, role });
  const may = 'Whether it could become primary without a person';
  add('member_may_take_over', 'state', may, Number(mayTakeOver), labels);
  const leads = 'Whether it leads what decides about failover';
  add('member_leads_quorum', 'state', leads, leadsQuorum === undefined ? undefined : Number(leadsQuorum), labels);
  lagOf('transfer', 'not received', transfer, labels, add);
  lagOf('apply', 'not applied', apply, labels, add);
}

function lagOf(what: string, said: string, lag: Lag | undefined, labels: Labels, add: Add): void {
  if (lag === undefined) return;
  add(`member_${what}_lag_seconds`, 'seconds', `Journal that the member has ${said}, in time`, seconds(lag.ms), labels);
  add(`member_${what}_lag_bytes`, 'bytes', `Journal that the member has ${said}`, lag.bytes, labels);
  const caughtUp = lag.caughtUp === undefined ? undefined : Number(lag.caughtUp);
  add(`member_${what}_caught_up`, 'state', 'Whether the manager calls it caught up', caughtUp, labels);
}

function ofCluster({ failover, quorum, members }: ClusterView, add: Add): void {
  const { automatic, detectionMs, heldOff } = failover;
  const primaries = members.filter(({ role }) => role === 'primary').length;
  add('primaries', 'count', 'How many members are primary', primaries);
  add('failover_automatic', 'state', 'Whether somebody takes over without a person', Number(automatic));
  const held = heldOff === undefined ? undefined : Number(heldOff);
  add('failover_held_off', 'state', 'Whether failover is held off now', held);
  const detection = 'Silence of a member after which the others act';
  add('failover_detection_seconds', 'seconds', detection, seconds(detectionMs));
  const margin = automatic && detectionMs !== undefined ? marginOf(detectionMs) : undefined;
  add('failover_margin_seconds', 'seconds', 'Silence that a backup must stay below', seconds(margin));
  if (quorum.kind === 'none') return;
  const labels = { kind: quorum.kind };
  add('quorum_health', 'state', `Health of what decides about failover: ${healthHelp}`, healths[quorum.health], labels);
}

function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1000;
}

/** The text format of Prometheus, for the textfile collector of its node exporter. Metrics of one name stand together, as it wants them. Pure. */
export function prometheusText(metrics: readonly Metric[]): string {
  const lines = [...Map.groupBy(metrics, ({ name }) => name)].flatMap(([name, those]) => [
    `# HELP ${name} ${escaped((those[0] as Metric).help)}`,
    `# TYPE ${name} gauge`,
    ...those.map(({ labels, value }) => {
      const written = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text).replaceAll('"', '\\"')}"`);
      return `${name}{${written.join(',')}} ${value}`;
    }),
  ]);
  return `${lines.join('\n')}\n`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
