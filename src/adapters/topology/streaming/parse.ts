import { z } from 'zod';
import { StillpointError } from '../../../model/errors.ts';

/** The engine gives a bigint as text. Positions fit: 2^53 bytes of WAL are eight pebibytes. */
const bytes = z
  .string()
  .regex(/^-?\d{1,16}$/)
  .transform(Number)
  .nullable();

const positions = z.object({ received: bytes, replayed: bytes });

const facts = z.object({
  version: z.number(),
  startedAt: z.string(),
  systemIdentifier: z.string().min(1),
  inRecovery: z.boolean(),
  timeline: z.number().nullable(),
  /** Of a primary: what is safe on its disk, and so may have been sent. */
  written: bytes,
  ...positions.shape,
  replayedAgoMs: z.number().nullable(),
  replayPause: z.string().nullable(),
  receiver: z
    .object({ status: z.string().nullable(), timeline: z.number().nullable(), slot: z.string().nullable() })
    .nullable(),
  senders: z.array(
    z.object({
      pid: z.number().nullable(),
      name: z.string().nullable(),
      state: z.string().nullable(),
      sync: z.string().nullable(),
    }),
  ),
  slots: z.array(
    z.object({
      name: z.string(),
      type: z.string(),
      pid: z.number().nullable(),
      wal: z.string().nullable(),
      safeBytes: bytes,
    }),
  ),
  conflicts: z.string().transform(Number),
  ownSlot: z.string().nullable(),
  walKeepBytes: bytes,
  slotKeepBytes: bytes,
  applyDelayMs: z.number().nullable(),
  readsStatistics: z.boolean(),
  managers: z.array(z.string()),
  libraries: z.string().nullable(),
});

export type Facts = z.output<typeof facts>;
export type Positions = z.output<typeof positions>;

export function parseFacts(text: unknown): Facts {
  return read(facts, text);
}

export function parsePositions(text: unknown): Positions {
  return read(positions, text);
}

function read<T>(schema: z.ZodType<T>, text: unknown): T {
  const parsed = typeof text === 'string' ? schema.safeParse(JSON.parse(text)) : undefined;
  if (parsed?.success === true) return parsed.data;
  const why = parsed === undefined ? 'no text' : z.prettifyError(parsed.error).replaceAll('\n', ' ').slice(0, 300);
  throw new StillpointError('command-failed', `PostgreSQL answered something that is not understood: ${why}`, {
    hint: 'PostgreSQL 14 or later is needed',
  });
}

/** Libraries and sessions of programs that promote a standby without a person. Empty: none was seen. */
export function othersWhoFailOver({ managers, libraries }: Pick<Facts, 'managers' | 'libraries'>): readonly string[] {
  const loaded = (libraries ?? '')
    .split(',')
    .map((each) => each.trim().replaceAll('"', ''))
    .filter((each) => each === 'repmgr' || each === 'pgautofailover');
  return [...new Set([...managers, ...loaded])].toSorted();
}

/** `unwell`: it answers, and takes no session or no question now. `silent`: no answer at all. */
export type Refusal = 'login' | 'unwell' | 'silent';

/** What a failed connection says, by SQLSTATE and, where there is none, by the client library's words. */
export function refusalOf(state: string | undefined, said: string): Refusal {
  // 28P01 password, 28000 pg_hba.conf, 3D000 no such database, 42501 privilege.
  if (state === '28P01' || state === '28000' || state === '3D000' || state === '42501') return 'login';
  // 57P03: it starts, or takes no readers; 53300: too many sessions.
  if (state !== undefined) return 'unwell';
  return /SASL|password must be a string/.test(said) ? 'login' : 'silent';
}
