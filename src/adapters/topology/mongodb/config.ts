import { z } from 'zod';
import { mongodbAccess, mongodbPlace } from '../../../platform/mongodb-place.ts';

const address = z.string().regex(/^[^\s,/@]+:\d{1,5}$/, { error: 'must be host:port' });

const member = mongodbPlace.safeExtend({
  as: address
    .optional()
    .describe(
      'host:port by which the set itself names this member (`members[].host` of rs.conf()). Needed only while the member does not answer, and only if that is not host and port above.',
    ),
});

export const config = z
  .strictObject({
    members: z
      .record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, { error: 'must be a plain name' }), member)
      .refine((members) => Object.keys(members).length > 0, { error: 'needs at least one member' })
      .describe(
        'The servers of the set, arbiters too, by the names that this program is to call them. A primary is believed only if a majority of the voters among them says so.',
      ),
    replicaSet: z.string().min(1).optional().describe('Name that the set must have. Not looked at if absent.'),
    ...mongodbAccess,
  })
  .refine(({ user, password }) => (user === undefined) === (password === undefined), {
    error: 'user and password belong together',
    path: ['password'],
  })
  .meta({
    description:
      'Replica set of MongoDB, version 4.4.2 or later: its voters elect a primary when they hear nothing of it.',
    examples: [
      {
        members: {
          db1: { host: 'db1.example' },
          db2: { host: 'db2.example' },
          arbiter: { host: 'witness.example', port: 27_018 },
        },
        replicaSet: 'rs0',
        user: 'watcher',
        password: { file: '/etc/stillpoint/mongodb.password' },
        tls: { ca: '/etc/ssl/mongodb-ca.pem' },
      },
    ],
  });

export type Config = z.output<typeof config>;
export type MemberSettings = z.output<typeof member>;
