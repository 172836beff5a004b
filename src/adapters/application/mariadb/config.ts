import { z } from 'zod';
import { mariadbPlace } from '../../../platform/mariadb-place.ts';

export const mariadbConfig = mariadbPlace
  .extend({
    host: mariadbPlace.shape.host.describe('File of the Unix socket, or a host name of this machine.'),
    user: mariadbPlace.shape.user.describe('Account that makes the backup; README lists its privileges.'),
    dataDirectory: z
      .string()
      .startsWith('/')
      .optional()
      .describe(
        'Data directory. The server is asked if absent; give it so that a dead server can be told from a silent one.',
      ),
    program: z
      .string()
      .startsWith('/')
      .optional()
      .describe('The program mariadbd, for drills; that of the running server if absent.'),
    binaryLogs: z
      .enum(['included', 'left-out'])
      .default('included')
      .describe(
        'Binary logs outside the data directory. left-out: the point has the same rows, but a server restored from it begins a new binary log and nobody can replicate from it where they left off.',
      ),
    verify: z
      .strictObject({
        checkTables: z.boolean().default(true).describe('CHECK TABLE on every table of the copy.'),
      })
      .default({ checkTables: true })
      .describe('What a drill asks the copy.'),
    canary: z
      .boolean()
      .default(false)
      .describe('Write numbered records to table stillpoint.canary until the freeze, and look for them in drills.'),
  })
  .describe('A MariaDB server, version 10.5 or later, on this machine.');

export type MariadbConfig = z.infer<typeof mariadbConfig>;
