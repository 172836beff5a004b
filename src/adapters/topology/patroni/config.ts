import { z } from 'zod';
import { secretSetting } from '../../../platform/secret-setting.ts';

const url = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .refine((text) => new URL(text).username === '' && new URL(text).password === '', {
    error: 'must hold no user or password; give login',
  });

const tls = z
  .strictObject({
    ca: z
      .string()
      .startsWith('/')
      .optional()
      .describe('File of the CA that signed the certificates. The system’s if absent.'),
    certificate: z.string().startsWith('/').optional().describe('File of our own certificate.'),
    key: z.string().startsWith('/').optional().describe('File of its key, without a passphrase.'),
  })
  .refine(({ certificate, key }) => (certificate === undefined) === (key === undefined), {
    error: 'certificate and key belong together',
  })
  .describe('For https. Certificates are always checked.');

const etcd = z.strictObject({
  url: url.describe('Client URL of one etcd.'),
  on: z.string().min(1).describe('The Patroni member on whose machine it runs, or `elsewhere`.'),
});

export const config = z
  .strictObject({
    members: z
      .record(z.string().min(1), url)
      .refine((members) => Object.keys(members).length > 0, { error: 'needs at least one member' })
      .describe(
        'REST interface of each member, by the member’s name in Patroni. Others are found by what the cluster tells; a dead one is missed only if it stands here.',
      ),
    tls: tls.optional(),
    login: z
      .strictObject({
        user: z.string().min(1).describe('`restapi.authentication.username` of Patroni.'),
        password: secretSetting,
      })
      .optional()
      .describe(
        'Basic authentication. Needed to hold failover off where Patroni asks for it; never sent for a question.',
      ),
    dcs: z
      .union([
        z.literal('elsewhere'),
        z.strictObject({
          etcd: z.array(etcd).min(1).describe('All etcds of the cluster.'),
          tls: tls.optional(),
        }),
      ])
      .optional()
      .describe(
        'What decides about failover. `elsewhere`: it runs on no machine of a member. If absent, whether a member leads it is not known, and its machine may not stand still.',
      ),
    watchdogTimeout: z
      .string()
      .regex(/^[1-9]\d{0,4}s$/, { error: 'must be whole seconds, such as 25s' })
      .optional()
      .describe(
        'After what the members’ watchdogs reset their machine: ttl less safety_margin, or half of ttl if that is -1. Absent: they have none, or the default margin of 5s.',
      ),
  })
  .meta({
    description: 'A PostgreSQL cluster under Patroni 2 to 4, asked by its REST interface.',
    examples: [
      {
        members: { db1: 'https://db1.example:8008', db2: 'https://db2.example:8008' },
        tls: { ca: '/etc/patroni/ca.crt' },
        dcs: {
          etcd: [
            { url: 'https://db1.example:2379', on: 'db1' },
            { url: 'https://db2.example:2379', on: 'db2' },
            { url: 'https://witness.example:2379', on: 'elsewhere' },
          ],
        },
      },
    ],
  });

export type Config = z.output<typeof config>;
export type Tls = z.output<typeof tls>;
