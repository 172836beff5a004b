import { z } from 'zod';

/**
 * Patroni's answers, versions 2.0 to 4.1. Fields that a version lacks are absent. What does not have the expected form is "not
 * understood": undefined, which no caller may take for well.
 */
const truth = z.boolean().optional().catch(undefined);
const number = z.number().optional().catch(undefined);
const word = z.string().optional().catch(undefined);
const tags = z.record(z.string(), z.unknown()).optional().catch(undefined);

const listedMember = z.object({
  name: z.string().min(1),
  role: z.string(),
  state: z.string(),
  api_url: word,
  timeline: number,
  tags,
});

const clusterForm = z.object({
  members: z.array(listedMember),
  pause: truth,
  scheduled_switchover: z.object({ at: z.string() }).optional().catch({ at: 'a time that is not understood' }),
});

const statusForm = z.object({
  state: z.string(),
  role: z.string(),
  postmaster_start_time: word,
  timeline: number,
  /** Absent: the server was not asked, and `role` is what Patroni remembers of it. */
  xlog: z
    .object({
      location: number,
      received_location: number,
      replayed_location: number,
      replayed_timestamp: z.string().nullish().catch(undefined),
      paused: truth,
    })
    .optional()
    .catch(undefined),
  /** 3.1 and later. */
  replication_state: word,
  replication: z
    .array(
      z.object({
        application_name: z.string().nullish(),
        state: z.string().nullish(),
        sync_state: z.string().nullish(),
      }),
    )
    .optional()
    .catch(undefined),
  sync_standby: truth,
  quorum_standby: truth,
  pause: truth,
  cluster_unlocked: truth,
  failsafe_mode_is_active: truth,
  /** Since 2.1 at the latest; seconds since 1970 on that machine's clock. */
  dcs_last_seen: number,
  database_system_identifier: word,
  pending_restart: truth,
  scheduled_restart: z.unknown().optional(),
  watchdog_failed: truth,
  tags,
  patroni: z.object({ version: word, scope: word, name: word }).optional().catch(undefined),
});

export type ListedMember = z.output<typeof listedMember>;
export type Cluster = z.output<typeof clusterForm>;
export type Status = z.output<typeof statusForm>;
/** The configuration in the DCS, with keys of every version and of others' making. */
export type Dynamic = Readonly<Record<string, unknown>>;

export function parseCluster(json: unknown): Cluster | undefined {
  return clusterForm.safeParse(json).data;
}

export function parseStatus(json: unknown): Status | undefined {
  return statusForm.safeParse(json).data;
}

export function parseDynamic(json: unknown): Dynamic | undefined {
  return z.record(z.string(), z.unknown()).safeParse(json).data;
}

export type EngineRole = 'primary' | 'replica' | 'standby_leader' | 'unknown';

/** What the server itself is, by the word of its Patroni: `master` until 3.x, `primary` since 4.0. */
export function engineRole(said: string): EngineRole {
  if (said === 'master' || said === 'primary') return 'primary';
  return said === 'replica' || said === 'standby_leader' ? said : 'unknown';
}

export type ListedRole = 'leader' | 'standby_leader' | 'replica' | 'unknown';

/** Who holds the leader's key, by the list of the cluster. */
export function listedRole(said: string): ListedRole {
  if (said === 'leader' || said === 'master' || said === 'primary') return 'leader';
  if (said === 'standby_leader') return said;
  return said === 'replica' || said === 'sync_standby' || said === 'quorum_standby' ? 'replica' : 'unknown';
}

const unwell = new Set([
  'initializing new cluster',
  'initdb failed',
  'running custom bootstrap script',
  'custom bootstrap failed',
  'creating replica',
  'starting',
  'starting after custom bootstrap',
  'start failed',
  'restarting',
  'restart failed',
  'stopping',
  'stopped',
  'stop failed',
  'crashed',
]);

/** The server's state in one word. A word that is not listed means that nobody knows. */
export function stateOf(said: string): 'running' | 'unwell' | 'unknown' {
  if (said === 'running') return 'running';
  return unwell.has(said) ? 'unwell' : 'unknown';
}

export interface Timing {
  /** In seconds. */
  readonly ttl: number;
  readonly loopWait: number;
  readonly retryTimeout: number;
}

/** Undefined: a value is set that is not understood. What is not set has the default of every version. */
export function timingOf(dynamic: Dynamic): Timing | undefined {
  const seconds = (key: string, otherwise: number): number =>
    z.coerce
      .number()
      .positive()
      .catch(Number.NaN)
      .parse(dynamic[key] ?? otherwise);
  const timing = {
    ttl: seconds('ttl', 30),
    loopWait: seconds('loop_wait', 10),
    retryTimeout: seconds('retry_timeout', 10),
  };
  return Object.values(timing).some(Number.isNaN) ? undefined : timing;
}

/** A tag may be YAML's own truth or a word for it. Undefined: it is not set. */
export function isTagged(member: Pick<Status, 'tags'> | undefined, name: string): boolean | undefined {
  const value = member?.tags?.[name];
  return value === undefined ? undefined : isTrue(value);
}

/** As Patroni reads truth from YAML and JSON. */
export function isTrue(value: unknown): boolean {
  return value === true || value === 1 || (typeof value === 'string' && /^(?:true|yes|on|1)$/i.test(value));
}

/** `failover_priority: 0` is `nofailover`, which wins if both are set (4.0). */
export function mayBeElected(member: Pick<Status, 'tags'> | undefined): boolean {
  const forbidden = isTagged(member, 'nofailover');
  if (forbidden !== undefined) return !forbidden;
  const priority = member?.tags?.['failover_priority'];
  return priority === undefined || !(Number(priority) <= 0);
}

/** Milliseconds since 1970 of `2026-11-21 17:05:59.824447+00:00`. */
export function timeOf(text: string | null | undefined): number | undefined {
  const ms = Date.parse((text ?? '').replace(' ', 'T'));
  return Number.isNaN(ms) ? undefined : ms;
}

/** Whether the server itself says that it is not in recovery. */
export function isPrimary(status: Status | undefined): boolean {
  return status?.xlog !== undefined && engineRole(status.role) === 'primary';
}

/** In the configuration in the DCS, beside `pause` and written with it: who paused. Patroni passes over keys that it does not know. */
export const markerKey = 'stillpoint_hold_off';

/** Our mark of who paused, or `somebody else`; undefined if it is not paused. */
export function pausedBy(dynamic: Dynamic): string | undefined {
  if (!isTrue(dynamic['pause'])) return undefined;
  const marker = dynamic[markerKey];
  return typeof marker === 'string' ? marker : 'somebody else';
}
