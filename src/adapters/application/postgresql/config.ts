import { z } from 'zod';
import { secretSetting } from '../../../platform/secret-setting.ts';

const verify = z
  .strictObject({
    amcheck: z
      .boolean()
      .default(true)
      .describe('Check every B-tree index and every table of the copy with the extension amcheck, if it is installed.'),
    databases: z
      .array(z.string().min(1))
      .min(1)
      .optional()
      .describe('Databases of the copy to look into; all that allow connections if absent.'),
  })
  .describe('What a drill asks the copy.');

export const postgresqlConfig = z
  .strictObject({
    dataDirectory: z
      .string()
      .startsWith('/')
      .optional()
      .describe(
        'Data directory. The engine is asked if absent; give it so that a dead engine can be told from a silent one.',
      ),
    host: z
      .string()
      .min(1)
      .default('/var/run/postgresql')
      .describe('Directory of the Unix socket, or a host name of this machine.'),
    port: z.int().min(1).max(65_535).default(5432).describe('Port, also of a Unix socket.'),
    user: z.string().min(1).default('postgres').describe('Role that makes the backup; README lists its privileges.'),
    database: z.string().min(1).default('postgres').describe('Database to connect to; also holds the canary.'),
    password: secretSetting.optional(),
    binDirectory: z
      .string()
      .startsWith('/')
      .optional()
      .describe('Directory of the programs postgres and pg_checksums, for drills; the running engine’s own if absent.'),
    hold: z
      .enum(['backup-mode', 'atomic-cut'])
      .default('backup-mode')
      .describe(
        'backup-mode: pg_backup_start to pg_backup_stop, with the WAL of that span. atomic-cut: no hold; one snapshot of all volumes at one instant, crash-consistent.',
      ),
    verify: verify.default({ amcheck: true }),
    canary: z
      .boolean()
      .default(false)
      .describe('Write numbered records to table stillpoint.canary until the cut, and look for them in drills.'),
  })
  .describe('A PostgreSQL server, version 14 or later, on this machine.');

export type PostgresqlConfig = z.infer<typeof postgresqlConfig>;
