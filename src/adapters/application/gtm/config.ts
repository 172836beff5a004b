import { isAbsolute } from 'node:path';
import { z } from 'zod';

const absolutePath = z.string().refine(isAbsolute, { error: 'must be an absolute path' });
const argv = z.array(z.string().min(1)).min(1);

const verify = z
  .strictObject({
    routine: z
      .string()
      .regex(/^([A-Za-z%][A-Za-z0-9]*)?(\^[A-Za-z%][A-Za-z0-9]*)?$/, {
        error: 'must be an M entry reference: routine, label^routine or ^routine',
      })
      .min(1)
      .optional()
      .describe('M entry reference that a drill runs on the copy, for an invariant that only the application knows.'),
    expect: z
      .string()
      .min(1)
      .optional()
      .describe('Text that the routine must print. Without it, it must end without an error.'),
    integ: z
      .enum(['full', 'fast'])
      .default('full')
      .describe('How `mupip integ` checks a copy: `full` reads every block, `fast` only the index.'),
  })
  .refine((value) => value.expect === undefined || value.routine !== undefined, {
    error: '`expect` needs `routine`, which prints it',
  })
  .describe('What a drill asks the copy.');

export const gtmConfig = z
  .strictObject({
    globalDirectory: absolutePath.meta({
      description: 'Absolute path of the global directory (.gld), which names regions and database files.',
      examples: ['/srv/gtm/g/app.gld'],
    }),
    distribution: absolutePath
      .optional()
      .describe('Directory of mumps, mupip and dse ($gtm_dist). Looked for in the usual places if absent.'),
    environment: z
      .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: 'is not the name of a variable' }), z.string())
      .default({})
      .describe(
        'Environment variables of the application that the global directory or the engine uses, such as gtm_chset, or a variable inside file names. Nothing is inherited.',
      ),
    replicationInstance: absolutePath
      .optional()
      .describe('Replication instance file ($gtm_repl_instance), if the database is replicated.'),
    routines: z
      .string()
      .min(1)
      .optional()
      .describe(
        '$gtmroutines for `verify.routine`. Autorelink marks (*) are dropped, for they would leave shared memory behind.',
      ),
    freeze: z
      .enum(['plain', 'online'])
      .optional()
      .describe(
        'plain: writers wait until the thaw. online: writers go on into global buffers and journal, and wait only when the buffers are full; needs one region, and journaling with before-images. Default: online where that is given, else plain.',
      ),
    verify: verify.default({ integ: 'full' }),
    journalDirectory: absolutePath
      .optional()
      .describe('Directory to which switched journal files are moved. Default: they stay beside the journal.'),
    stop: argv.optional().describe('Command, without a shell, that stops the application, for cold backups.'),
    start: argv.optional().describe('Command, without a shell, that starts the application after a cold backup.'),
  })
  .describe('A GT.M database (FIS GT.M 7; YottaDB is built alike) on this machine.');

export type GtmConfig = z.output<typeof gtmConfig>;
