import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { secretSetting } from '../../../platform/secret-setting.ts';

const factors: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

const duration = z
  .string()
  .regex(/^[1-9]\d{0,5}(?:s|m|h)$/, { error: 'must be whole seconds, minutes or hours, such as 30s or 5m' });

/** Seconds of a duration that the schema let through. */
export function secondsOf(text: string): number {
  return Number(text.slice(0, -1)) * (factors[text.slice(-1)] as number);
}

const instance = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, { error: 'must be the name of an instance, as `iris list` prints it' });

/** It stands inside a command of ours and, with some releases, passes through a shell script of the engine's. */
const plainPath = z
  .string()
  .refine(isAbsolute, { error: 'must be an absolute path' })
  .regex(/^[A-Za-z0-9_./ +:@=,-]*$/, { error: 'must hold only letters, digits and _ . / - + : @ = , or blanks' });

const login = z
  .strictObject({
    user: z
      .string()
      .min(1)
      .regex(/^\P{Cc}+$/u, { error: 'must hold no control character' })
      .describe('Account of the instance.'),
    password: secretSetting,
  })
  .describe(
    'Account for sessions that ask for one. Leave it out with operating-system authentication: the lines would be taken for commands.',
  );

const verify = z
  .strictObject({
    instance: instance.describe(
      'An instance on this machine that serves nothing else and is in no mirror; it mounts the copies read-only. Never one that is backed up.',
    ),
    partial: z
      .boolean()
      .default(false)
      .describe('Check only the pointers of large globals: quicker, and sees no damage in data blocks.'),
  })
  .describe('Where a drill checks a copy. Without it a drill asks nothing of the databases and says so.');

export const irisConfig = z
  .strictObject({
    instances: z
      .union([z.literal('all'), z.array(instance).min(1)])
      .default('all')
      .describe('Instances that are frozen together in one hold: `all` that run here, or their names.'),
    command: z
      .enum(['auto', 'iris', 'ccontrol'])
      .default('auto')
      .describe(
        '`iris` for InterSystems IRIS, `ccontrol` (with `csession`) for Caché; auto takes the first that is there.',
      ),
    user: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_.-]*$/, { error: 'must be the name of an operating-system user' })
      .optional()
      .describe('Operating-system user to run the commands as, by `runuser`; usually the owner of the instance.'),
    login: login.optional(),
    freezeTimeout: duration
      .optional()
      .describe(
        'ExternalFreezeTimeOut: how long processes may go on updating in memory while frozen. The same as wdSuspendLimit if absent, at most 10m.',
      ),
    wdSuspendLimit: duration
      .optional()
      .describe(
        'WDSuspendLimit: after this the engine resumes by itself, whatever became of us. The budget of the hold, rounded up, and 5 s if absent.',
      ),
    requireSuspendLimit: z
      .boolean()
      .default(true)
      .describe(
        'Refuse a release whose ExternalFreeze has no WDSuspendLimit. With false nothing in it ends a forgotten freeze.',
      ),
    maySwitchJournal: z
      .boolean()
      .default(true)
      .describe('Let the freeze switch to a new journal file, with which rolling forward then begins.'),
    allowNotJournaled: z
      .array(z.string().min(1))
      .default(['irislocaldata', 'iristemp', 'cachetemp', 'cachelocaldata'])
      .describe(
        'Databases that need no journal: last part of the directory, or the whole directory. Any other one that is not journaled refuses the backup, since a crash in the freeze would lose its updates.',
      ),
    exclude: z
      .array(z.string().min(1))
      .default([])
      .describe(
        'Names of databases (section [Databases] of the CPF) that recovery does not need. They are left out, and the evidence says so.',
      ),
    logDirectory: plainPath
      .optional()
      .describe(
        'Where ExternalFreeze writes its log, one small file a hold, removed after a proved thaw. The manager’s directory of each instance if absent. The instance must be able to write there.',
      ),
    backupDirectory: plainPath
      .optional()
      .describe(
        'Where the engine writes its own backup (methods online and concurrent) before it goes into the repository; a subdirectory for each run, removed afterwards. On a local disk with room for a full: in its last pass a backup suspends the write daemon, and a network drive that hangs then hangs the instance. The instance must be able to write there, and strangers must not.',
      ),
    backupTimeout: duration
      .default('24h')
      .describe('How long the engine’s own backup of one instance may take before it is aborted.'),
    maySpoilHistory: z
      .boolean()
      .default(false)
      .describe(
        'Let the method concurrent clear the bitmaps and with them the engine’s history of backups (CLRINC^DBACK). Every chain of incrementals, also of others, then begins anew with a full.',
      ),
    verify: verify.optional(),
  })
  .describe('InterSystems IRIS or Caché instances on this machine.');

export type IrisConfig = z.output<typeof irisConfig>;

/** Above this the engine is reported to treat every value alike. */
export const longestFreezeTimeoutS = 600;
/** The engine's own limit lies this much behind ours, so that ours is what ends a hold that still has an owner. */
const limitMarginS = 5;

export interface Limits {
  readonly wdSuspendLimitS: number;
  readonly freezeTimeoutS: number;
}

/** Limits inside the engine for a hold of `budgetMs`. */
export function limitsFor(config: IrisConfig, budgetMs: number): Limits {
  const wdSuspendLimitS =
    config.wdSuspendLimit === undefined ? Math.ceil(budgetMs / 1000) + limitMarginS : secondsOf(config.wdSuspendLimit);
  // Not shorter than the other limit: updates that wait inside a hold of ours would only harm the users.
  const freezeTimeoutS =
    config.freezeTimeout === undefined
      ? Math.min(wdSuspendLimitS, longestFreezeTimeoutS)
      : secondsOf(config.freezeTimeout);
  return { wdSuspendLimitS, freezeTimeoutS };
}
