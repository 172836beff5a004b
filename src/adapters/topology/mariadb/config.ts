import { z } from 'zod';
import { mariadbPlace } from '../../../platform/mariadb-place.ts';

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000 };

/** Milliseconds of a duration that the schema let through. */
export function millisecondsOf(text: string): number {
  const [, count = '', unit = ''] = /^(\d+)([a-z]+)$/.exec(text) ?? [];
  return Number(count) * (units[unit] ?? Number.NaN);
}

export const config = z
  .strictObject({
    name: z.string().min(1).default('mariadb').describe('Name of the cluster: its servers have none for it.'),
    members: z
      .record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, { error: 'must be a plain name' }), mariadbPlace)
      .refine((members) => Object.keys(members).length > 0, { error: 'needs at least one member' })
      .describe('Every server of the cluster, by the name that this program is to call it.'),
    failover: z
      .strictObject({
        by: z.string().min(1).describe('What fails over: MaxScale, Orchestrator, replication-manager, a script.'),
        detection: z
          .string()
          .regex(/^[1-9]\d{0,6}(?:ms|s|m)$/, { error: 'must be a whole number with a unit, such as 30s or 2m' })
          .describe('Silence of the primary after which it acts at the soonest, by its own settings.'),
      })
      .optional()
      .describe('A program that makes another server primary without a person. The servers do not know it.'),
  })
  .meta({
    description: 'Replication of MariaDB, version 10.5 or later, in which a person or a program beside it fails over.',
    examples: [{ members: { db1: { host: 'db1.example' }, db2: { host: 'db2.example' } } }],
  });

export type Config = z.output<typeof config>;
