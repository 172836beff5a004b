import type { ClusterMember, ClusterView, Lag } from './cluster.ts';

export type AlarmCode =
  | 'primary-changed'
  | 'no-primary'
  | 'member-down'
  | 'member-trouble'
  | 'transfer-behind'
  | 'apply-behind'
  | 'quorum-lost'
  | 'failover-held-off'
  | 'finding'
  | 'journal-disk-filling'
  | 'view-lost'
  | 'metrics-lost';

/** A state that somebody should know of, as long as it lasts. */
export interface Alarm {
  readonly code: AlarmCode;
  /** Absent: of the cluster as a whole. */
  readonly member?: string;
  readonly severity: 'warning' | 'error';
  readonly said: string;
  /** What tells two alarms of one code and member apart. */
  readonly about?: string;
}

/** What is worth a word: an alarm that began or ended, or a change of the primary, which has no duration. */
export interface AlarmEvent {
  readonly kind: 'raised' | 'cleared' | 'happened';
  readonly alarm: Alarm;
}

export interface AlarmLimits {
  readonly maxLagMs: number;
}

/** Every alarm of one view. Pure. */
export function alarmsOf(view: ClusterView, limits: AlarmLimits): readonly Alarm[] {
  const alarms = view.members.flatMap((member) => alarmsOfMember(member, limits));
  if (!view.members.some(({ role }) => role === 'primary' || role === 'standalone'))
    alarms.push({ code: 'no-primary', severity: 'error', said: `${view.name} has no primary` });
  const { quorum, failover } = view;
  if (quorum.kind !== 'none' && quorum.health !== 'healthy')
    alarms.push({
      code: 'quorum-lost',
      severity: 'error',
      said: `the ${quorum.kind} is ${quorum.health}: ${quorum.said}`,
    });
  if (failover.heldOff === true)
    alarms.push({
      code: 'failover-held-off',
      severity: 'warning',
      said: `nobody takes over by himself: ${failover.said}`,
    });
  for (const { severity, check, said } of view.findings) {
    if (severity !== 'info') alarms.push({ code: 'finding', severity, about: check, said: `${check}: ${said}` });
  }
  return alarms;
}

function alarmsOfMember(member: ClusterMember, { maxLagMs }: AlarmLimits): Alarm[] {
  const { name, health, reported, findings } = member;
  const alarms: Alarm[] = [];
  if (health === 'down')
    alarms.push({ code: 'member-down', member: name, severity: 'error', said: `${name} is down (${reported})` });
  else if (health !== 'healthy')
    alarms.push({
      code: 'member-trouble',
      member: name,
      severity: 'error',
      said: `${name} is in ${health} state (${reported})`,
    });
  for (const [code, what, lag] of [
    ['transfer-behind', 'has not received', member.transfer],
    ['apply-behind', 'has not applied', member.apply],
  ] as const) {
    const behind = behindBy(lag, maxLagMs);
    if (behind !== undefined)
      alarms.push({ code, member: name, severity: 'warning', said: `${name} ${what} ${behind}` });
  }
  for (const { severity, check, said } of findings) {
    if (severity !== 'info')
      alarms.push({ code: 'finding', member: name, severity, about: check, said: `${name}: ${check}: ${said}` });
  }
  return alarms;
}

function behindBy(lag: Lag | undefined, maxLagMs: number): string | undefined {
  if (lag?.ms !== undefined && lag.ms > maxLagMs) return `the last ${Math.round(lag.ms / 1000)} s`;
  // Bytes alone are no alarm: a busy primary is always some ahead.
  return lag?.caughtUp === false && lag.ms === undefined && lag.bytes === undefined ? 'all of the journal' : undefined;
}

function keyOf({ code, member, about }: Alarm): string {
  return JSON.stringify([code, member, about]);
}

/** What began and what ended between two looks; the same alarm with other figures is neither. Pure. */
export function alarmEvents(before: readonly Alarm[], after: readonly Alarm[]): readonly AlarmEvent[] {
  const [was, is] = [new Set(before.map(keyOf)), new Set(after.map(keyOf))];
  return [
    ...after.filter((alarm) => !was.has(keyOf(alarm))).map((alarm) => ({ kind: 'raised' as const, alarm })),
    ...before.filter((alarm) => !is.has(keyOf(alarm))).map((alarm) => ({ kind: 'cleared' as const, alarm })),
  ];
}

/** Undefined when it is the same one, or when one of the views has none (which is an alarm of its own). Pure. */
export function primaryChange(before: ClusterView, after: ClusterView): Alarm | undefined {
  const [was, is] = [before, after].map((view) => view.members.find(({ role }) => role === 'primary')?.name);
  if (was === undefined || is === undefined || (was === is && before.epoch === after.epoch)) return undefined;
  const said =
    was === is
      ? `${is} became primary anew: epoch ${before.epoch}, then ${after.epoch}`
      : `${is} became primary after ${was} (epoch ${before.epoch}, then ${after.epoch})`;
  return { code: 'primary-changed', member: is, severity: 'error', said };
}

export interface SpaceSample {
  readonly atMs: number;
  readonly freeBytes: number;
}

/**
 * When a disk is full if it goes on filling as it did, by least squares over the samples. Undefined for fewer than three samples, and
 * when it does not fill. Pure.
 */
export function fullAt(
  samples: readonly SpaceSample[],
): { readonly atMs: number; readonly bytesPerSecond: number } | undefined {
  const last = samples.at(-1);
  if (last === undefined || samples.length < 3) return undefined;
  const mean = (of: (sample: SpaceSample) => number): number =>
    samples.reduce((sum, each) => sum + of(each), 0) / samples.length;
  const [time, free] = [mean(({ atMs }) => atMs), mean(({ freeBytes }) => freeBytes)];
  const spread = mean(({ atMs }) => (atMs - time) ** 2);
  if (spread === 0) return undefined;
  const perMs = mean(({ atMs, freeBytes }) => (atMs - time) * (freeBytes - free)) / spread;
  if (perMs >= 0) return undefined;
  return { atMs: last.atMs + last.freeBytes / -perMs, bytesPerSecond: -perMs * 1000 };
}
