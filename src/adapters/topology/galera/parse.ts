import { z } from 'zod';
import { StillpointError } from '../../../model/errors.ts';

export type Row = Readonly<Record<string, string | null>>;

/** Sequence numbers fit: 2^53 write-sets are a thousand every millisecond for three centuries. -1: none. */
const whole = z
  .string()
  .regex(/^-?\d{1,16}$/)
  .transform(Number);

const flag = z.string().transform((text) => text === 'ON' || text === '1' || text === 'true');

const variables = z.object({
  wsrep_on: flag.default(false),
  wsrep_cluster_name: z.string().default(''),
  wsrep_provider_options: z.string().default(''),
  wsrep_reject_queries: z.string().default('NONE'),
  read_only: z.string().transform((text) => text !== 'OFF' && text !== '0'),
});

/** What a server says that is in no group: the provider gives the rest only while it runs. */
const status = z.object({
  wsrep_cluster_status: z.string().default('none'),
  wsrep_cluster_state_uuid: z.string().default(''),
  wsrep_cluster_conf_id: z.string().default(''),
  wsrep_cluster_size: whole.default(0),
  wsrep_cluster_weight: whole.default(0),
  wsrep_connected: flag.default(false),
  wsrep_ready: flag.default(false),
  wsrep_local_state_comment: z.string().default('none'),
  wsrep_gcomm_uuid: z.string().default(''),
  wsrep_last_committed: whole.default(-1),
  wsrep_local_recv_queue: whole.default(0),
  wsrep_flow_control_paused: z.coerce.number().default(0),
  wsrep_flow_control_active: flag.default(false),
  wsrep_flow_control_requested: flag.default(false),
  wsrep_desync_count: whole.default(0),
  wsrep_evs_evict_list: z.string().default(''),
});

/** What decides about expelling and about votes. Undefined: it does not say. */
export interface Options {
  readonly suspectMs: number | undefined;
  readonly inactiveMs: number | undefined;
  /** Entries in the list of delayed members after which one is shut out for good. 0: never. */
  readonly autoEvict: number;
  readonly delayMarginMs: number | undefined;
  readonly weight: number;
  /** Loss of the majority, or of the other half, does not stop this member. */
  readonly ignoresQuorum: boolean;
}

export interface Facts {
  readonly on: boolean;
  readonly cluster: string;
  readonly options: Options;
  /** Clients are turned away, or may not write. */
  readonly refusesWrites: boolean;
  readonly component: string;
  readonly stateUuid: string;
  readonly configuration: string;
  readonly size: number;
  readonly weight: number;
  readonly connected: boolean;
  readonly ready: boolean;
  readonly state: string;
  /** Another one with every start of the provider. */
  readonly incarnation: string;
  readonly committed: number;
  readonly queue: number;
  /** Part of the time since the last FLUSH STATUS, 0 to 1. */
  readonly paused: number;
  readonly pausedNow: boolean;
  readonly asksForPause: boolean;
  readonly desyncs: number;
  readonly evicted: string;
}

export function parseFacts(variableRows: readonly Row[], statusRows: readonly Row[]): Facts {
  const settings = parse(variables, variableRows, 'variables');
  const read = parse(status, statusRows, 'status');
  return {
    on: settings.wsrep_on,
    cluster: settings.wsrep_cluster_name,
    options: parseOptions(settings.wsrep_provider_options),
    refusesWrites: settings.read_only || settings.wsrep_reject_queries !== 'NONE',
    component: read.wsrep_cluster_status,
    stateUuid: read.wsrep_cluster_state_uuid,
    configuration: read.wsrep_cluster_conf_id,
    size: read.wsrep_cluster_size,
    weight: read.wsrep_cluster_weight,
    connected: read.wsrep_connected,
    ready: read.wsrep_ready,
    state: read.wsrep_local_state_comment,
    incarnation: read.wsrep_gcomm_uuid,
    committed: read.wsrep_last_committed,
    queue: read.wsrep_local_recv_queue,
    paused: read.wsrep_flow_control_paused,
    pausedNow: read.wsrep_flow_control_active,
    asksForPause: read.wsrep_flow_control_requested,
    desyncs: read.wsrep_desync_count,
    evicted: read.wsrep_evs_evict_list,
  };
}

export function parseCommitted(rows: readonly Row[]): number {
  return parse(status, rows, 'status').wsrep_last_committed;
}

/** `evs.suspect_timeout = PT5S; pc.weight = 1; ...` */
export function parseOptions(text: string): Options {
  const pairs = new Map(
    text.split(';').map((each) => {
      const [name = '', value = ''] = each.split('=');
      return [name.trim(), value.trim()] as const;
    }),
  );
  const duration = (name: string): number | undefined => durationMs(pairs.get(name) ?? '');
  const yes = (name: string): boolean => ['yes', 'true', 'on', '1'].includes(pairs.get(name)?.toLowerCase() ?? '');
  return {
    suspectMs: duration('evs.suspect_timeout'),
    inactiveMs: duration('evs.inactive_timeout'),
    autoEvict: Number(pairs.get('evs.auto_evict') ?? 0),
    delayMarginMs: duration('evs.delay_margin'),
    weight: Number(pairs.get('pc.weight') ?? 1),
    ignoresQuorum: yes('pc.ignore_quorum') || yes('pc.ignore_sb'),
  };
}

/** A day, an hour, a minute, a second. */
const secondsOf = [86_400, 3600, 60, 1];

/** ISO 8601 without years and months, as the provider writes it: PT5S, PT0.5S, PT1M30S, P1D. Undefined: it is none. */
export function durationMs(text: string): number | undefined {
  const found = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/.exec(text);
  if (found === null) return undefined;
  const seconds = found
    .slice(1)
    .map((each: string | undefined, index) => Number(each ?? 0) * Number(secondsOf[index]))
    .reduce((sum, each) => sum + each, 0);
  return Math.round(seconds * 1000);
}

function parse<T>(schema: z.ZodType<T>, rows: readonly Row[], what: string): T {
  const parsed = schema.safeParse(Object.fromEntries(rows.map((row) => [row['Variable_name'], row['Value']])));
  if (parsed.success) return parsed.data;
  const why = z.prettifyError(parsed.error).replaceAll('\n', ' ').slice(0, 300);
  throw new StillpointError('command-failed', `the ${what} of a server is not understood: ${why}`, {
    hint: 'MariaDB 10.5 or later with the Galera provider is needed',
  });
}
