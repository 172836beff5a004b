import { z } from 'zod';
import { mariadbPlace } from '../../../platform/mariadb-place.ts';

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, { error: 'must be a plain name' });

export const config = z
  .strictObject({
    members: z
      .record(name, mariadbPlace)
      .refine((members) => Object.keys(members).length > 0, { error: 'needs at least one member' })
      .describe('Every server of the cluster with data, by the name that this program is to call it; no arbitrator.'),
    writers: z
      .array(name)
      .min(1)
      .optional()
      .describe(
        'Members that the applications write to, in the order in which the proxy before them prefers them. The first one that takes writes is called primary. All members in their order if absent.',
      ),
  })
  .refine(({ members, writers }) => (writers ?? []).every((each) => members[each] !== undefined), {
    error: 'must name members',
    path: ['writers'],
  })
  .meta({
    description:
      'Galera cluster of MariaDB, version 10.5 or later: every member takes writes, and votes expel who is silent.',
    examples: [
      { members: { db1: { host: 'db1.example' }, db2: { host: 'db2.example' }, db3: { host: 'db3.example' } } },
    ],
  });

export type Config = z.output<typeof config>;
