import { z } from 'zod';
import { secretSetting } from '../../../platform/secret-setting.ts';

const member = z
  .strictObject({
    host: z
      .string()
      .min(1)
      .default('/var/run/postgresql')
      .describe('Directory of the Unix socket, or the host name or address of this one server; never one that moves.'),
    port: z.int().min(1).max(65_535).default(5432).describe('Port, also of a Unix socket.'),
    user: z.string().min(1).default('postgres').describe('Role that asks; a member of pg_monitor is enough.'),
    database: z.string().min(1).default('postgres').describe('Database to connect to; nothing is written there.'),
    password: secretSetting.optional(),
    slot: z
      .string()
      .regex(/^[a-z0-9_]{1,63}$/, { error: 'a slot has 1 to 63 small letters, digits or underscores' })
      .optional()
      .describe('Replication slot of this member on the primary, for `mirror seed`. It must exist there.'),
  })
  .describe('How the server of this member is reached.');

export const config = z
  .strictObject({
    members: z
      .record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, { error: 'must be a plain name' }), member)
      .refine((members) => Object.keys(members).length > 0, { error: 'needs at least one member' })
      .describe('Every server of the cluster, by the name that this program is to call it.'),
  })
  .meta({
    description: 'PostgreSQL streaming replication, version 14 or later, in which a person fails over.',
    examples: [{ members: { db1: { host: 'db1.example' }, db2: { host: 'db2.example' } } }],
  });

export type Config = z.output<typeof config>;
export type Member = z.output<typeof member>;
