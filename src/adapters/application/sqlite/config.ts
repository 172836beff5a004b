import { isAbsolute } from 'node:path';
import { z } from 'zod';

const databasePath = z
  .string()
  .refine(isAbsolute, { error: 'must be an absolute path' })
  .meta({ description: 'Absolute path of the database file.', examples: ['/srv/app/app.db'] });

/** One or several SQLite files that are frozen together. */
export const sqliteConfig = z
  .strictObject({
    file: databasePath.optional().describe('Absolute path of the database file. Give this or `files`.'),
    files: z
      .array(databasePath)
      .min(1, { error: 'must name at least one database file' })
      .optional()
      .meta({
        description:
          'Absolute paths of several database files that belong together. All of them are locked in one hold, so that the point shows them at one moment. Give this or `file`.',
        examples: [['/srv/app/users.db', '/srv/app/orders.db']],
      }),
    verify: z
      .strictObject({
        integrity: z
          .enum(['full', 'quick'])
          .default('full')
          .describe(
            'How a restored copy is checked: `full` runs PRAGMA integrity_check, `quick` runs PRAGMA quick_check, which is faster and does not compare indexes with their tables.',
          ),
      })
      .prefault({})
      .describe('How a restored copy is checked.'),
    canary: z
      .boolean()
      .default(false)
      .describe(
        'Writes numbered records into a table stillpoint_canary of each database until the cut, so that a drill can prove that the copy ends where it should. The table stays in the database.',
      ),
  })
  .refine((config) => (config.file === undefined) !== (config.files === undefined), {
    error: 'needs either `file` or `files`, and not both',
  })
  .describe('SQLite 3 database files on this machine.');

export type SqliteConfig = z.output<typeof sqliteConfig>;

/** In locking order: two holds that share files can then not block each other. */
export function filesOf(config: SqliteConfig): readonly string[] {
  return (config.files ?? (config.file === undefined ? [] : [config.file])).toSorted();
}
