import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { applications, machines, reaches, snapshotProviders, stores, topologies } from '../adapters/registry.ts';
import { formatDuration, missingUnit, parseDuration } from './units.ts';

/** A name and its settings, as adapters are written: `{ sqlite: { file: ... } }`. */
function oneOf(modules: readonly { readonly kind: string; readonly config: z.ZodType }[], what: string) {
  const kinds = modules.map((module) => module.kind);
  return z
    .strictObject(Object.fromEntries(modules.map((module) => [module.kind, module.config.optional()])))
    .refine((value) => Object.values(value).filter((each) => each !== undefined).length === 1, {
      error: `needs exactly one ${what}: ${kinds.join(', ')}`,
    })
    .meta({ minProperties: 1, maxProperties: 1 });
}

const absolutePath = z.string().refine(isAbsolute, { error: 'must be an absolute path' });

/** A text with a unit, within limits in milliseconds. Kept as text, so that what is put out can be read in again. */
function duration(limits: { readonly above: number; readonly most: number }) {
  return z
    .string({
      error: ({ input }) =>
        typeof input === 'number' ? missingUnit(String(input), 's') : 'must be a duration such as 500ms, 5s, 2m or 1h',
    })
    .superRefine((text, context) => {
      const parsed = parseDuration(text);
      if ('problem' in parsed) {
        context.addIssue(parsed.problem);
      } else if (parsed.value <= limits.above || parsed.value > limits.most) {
        context.addIssue(
          `must be more than ${formatDuration(limits.above)} and at most ${formatDuration(limits.most)}`,
        );
      }
    });
}

const repository = z
  .strictObject({
    store: oneOf(stores, 'store').describe('Where the repository lies.'),
    passwordFile: absolutePath.optional().meta({
      description: 'File that holds the password of the repository. One line ending is taken off its end.',
      examples: ['/etc/stillpoint/repository.key'],
    }),
    passwordEnv: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'Environment variable that holds the password.', examples: ['STILLPOINT_PASSWORD'] }),
    passwordCommand: z
      .array(z.string())
      .min(1)
      .optional()
      .meta({
        description: 'Command that prints the password, as a list of program and arguments. No shell reads it.',
        examples: [['/usr/bin/pass', 'show', 'stillpoint']],
      }),
  })
  .refine(
    (value) =>
      [value.passwordFile, value.passwordEnv, value.passwordCommand].filter((each) => each !== undefined).length === 1,
    { error: 'needs exactly one of passwordFile, passwordEnv, passwordCommand' },
  )
  .describe('Where copies go. The format is that of restic, which can read it too.');

const stunBound = duration({ above: 0, most: 3_600_000 }).meta({
  'x-type': 'duration',
  pattern: '^\\d+(\\.\\d+)?(ms|s|m|h|d)$',
  description: 'A bound that a person or the platform promises. A longer one in the logs outweighs it.',
  examples: ['800ms'],
});

const stunSources = z
  .strictObject({
    bound: stunBound.optional(),
    logs: z
      .array(
        z
          .string()
          .startsWith('/')
          .describe('Absolute path of a vmware.log, also packed by gzip; * is any part of a name.'),
      )
      .min(1)
      .optional()
      .describe(
        'Logs of the machines of all members. Read before each backup; without a bound they must tell at least 20 snapshots and 20 consolidations.',
      ),
  })
  .refine(({ bound, logs }) => bound !== undefined || logs !== undefined, { error: 'needs a bound, logs, or both' })
  .describe('A bound, logs in which earlier stuns stand, or both.');

const hold = z
  .strictObject({
    budget: duration({ above: 0, most: 24 * 3_600_000 })
      .optional()
      .meta({
        'x-type': 'duration',
        pattern: '^\\d+(\\.\\d+)?(ms|s|m|h|d)$',
        description:
          'Longest time that the application may stay frozen; the guard thaws it then, whatever else happens. Without it 5s where the hold stops writers, and 30m where it does not.',
        examples: ['5s'],
      }),
    stun: z
      .union([stunBound, stunSources])
      .optional()
      .describe(
        "Longest time that the whole machine stands still when its disks are cut, as a hypervisor's snapshot makes it: a duration, or what its logs tell. Counts against the cluster's failover margin. Without it nothing stands still.",
      ),
  })
  .describe('The freeze in force.');

const member = z
  .strictObject({
    from: z
      .enum(['prefer-standby', 'primary', 'standby', 'async'])
      .default('prefer-standby')
      .describe(
        'Which member of a cluster is backed up. `prefer-standby`: one that is caught up, else the primary. The others: only one in that role.',
      ),
    maxLag: duration({ above: 0, most: 24 * 3_600_000 })
      .default('10s')
      .meta({
        'x-type': 'duration',
        pattern: '^\\d+(\\.\\d+)?(ms|s|m|h|d)$',
        description: 'A standby that is further behind is passed over.',
      }),
    holdOffFailover: z
      .boolean()
      .default(false)
      .describe(
        'Whether the cluster is told not to fail over while the backup holds, where it can be told. A real failure is then not answered either, for as long as the hold lasts.',
      ),
  })
  .describe('Which member of the cluster is backed up.');

const upTo = (ms: number, description: string, otherwise: string) =>
  duration({ above: 0, most: ms })
    .default(otherwise)
    .meta({ 'x-type': 'duration', pattern: '^\\d+(\\.\\d+)?(ms|s|m|h|d)$', description });

const hourMs = 3_600_000;

const mirrorSplit = z
  .strictObject({
    answer: upTo(hourMs, 'A server or the service that runs the machines does not answer.', '2m'),
    off: upTo(4 * hourMs, 'A server that was told to leave goes off.', '15m'),
    boot: upTo(4 * hourMs, 'A machine that was started answers.', '15m'),
    service: upTo(4 * hourMs, 'The cluster services of a server that is up are running.', '10m'),
    group: upTo(4 * hourMs, 'The failover group says where it is online.', '10m'),
    whole: upTo(7 * 24 * hourMs, 'The standby has copied what it missed.', '4h'),
    fastRestore: z
      .boolean()
      .default(false)
      .describe(
        'Whether a restore has fast restore of the snapshot switched on in the zones of both servers until the volumes are made. It is billed by the zone.',
      ),
    fast: upTo(24 * hourMs, 'Fast restore is switched on: up to an hour for each TiB.', '4h'),
    attach: upTo(4 * hourMs, 'A volume is made, attached or detached.', '10m'),
    act: upTo(hourMs, 'What a command did shows in the state.', '3m'),
    autoRecovery: upTo(4 * hourMs, 'The mirror begins to recover by itself; it is told to after that.', '5m'),
    snapshot: upTo(7 * 24 * hourMs, 'The snapshot is complete. The cluster is whole meanwhile.', '24h'),
    oneCopy: upTo(7 * 24 * hourMs, 'Planned time with one copy and no failover. Longer is an alarm.', '1h'),
    poll: upTo(60_000, 'Between two looks.', '10s'),
  })
  .describe('How long each wait of the method `mirror-split` may last before it is an alarm.');

const workloadName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, {
  error: 'a workload name has 1 to 63 letters, digits, dots, dashes or underscores, and begins with a letter or digit',
});

const workload = z
  .strictObject({
    application: oneOf(applications, 'application').describe(
      'The database engine: exactly one kind with its settings.',
    ),
    reach: oneOf(reaches, 'reach')
      .optional()
      .meta({
        description:
          'Where the engine runs, if not on this machine: exactly one kind with its settings. Its commands are run there, and its files must be seen from here for a backup.',
        examples: [{ docker: { container: 'iris' } }],
      }),
    storage: z
      .union([z.literal('auto'), z.array(oneOf(snapshotProviders, 'snapshot provider')).min(1)])
      .default('auto')
      .meta({
        description:
          'How volumes are cut: `auto` tries every provider in the best order; a list names providers, in order of preference, with their settings.',
        examples: ['auto'],
      }),
    topology: oneOf(topologies, 'topology')
      .optional()
      .describe(
        'The cluster that the engine is a member of: exactly one kind with its settings. Without it the engine stands alone.',
      ),
    members: z
      .record(
        z.string().min(1),
        z.strictObject({
          application: z
            .record(z.string(), z.unknown())
            .prefault({})
            .describe("Settings of this member's engine; they replace those of `application`, key by key."),
          reach: oneOf(reaches, 'reach').optional().describe('Where this member runs, if not on this machine.'),
        }),
      )
      .optional()
      .describe('Members of the cluster that can be backed up from here, by the names that the cluster gives them.'),
    member: member.prefault({}),
    machines: oneOf(machines, 'kind of machines')
      .optional()
      .describe("The virtual machines of the cluster's servers, for the method `mirror-split`: exactly one kind."),
    mirrorSplit: mirrorSplit.prefault({}),
    hold: hold.prefault({}),
    method: z
      .enum(['snapshot', 'online', 'concurrent', 'cold', 'mirror-split'])
      .default('snapshot')
      .describe(
        "How a backup is made where nobody says it. `snapshot`: freeze, cut, thaw. `online`: the engine's own backup. `concurrent`: live files, closed by the engine's own incremental. `cold`: stop the users, cut, start them again. `mirror-split`: take the standby of a mirror disk cluster out, cut its disk, let it come back.",
      ),
    consistency: z
      .enum(['application', 'crash'])
      .default('application')
      .describe(
        'The weakest verdict that is accepted. `application`: a point that is not application-consistent is discarded. `crash`: a crash-consistent one is kept, and labelled so.',
      ),
    changedBlocks: z
      .boolean()
      .default(true)
      .describe(
        'Whether only changed blocks are read where the storage can tell them. The snapshots of the newest point stay for that until the next backup, and take the space of what changes meanwhile.',
      ),
    degradedStorage: z
      .enum(['refuse', 'accept'])
      .default('refuse')
      .describe(
        'What becomes of a backup when a layer below the data is unsound: a degraded or resyncing array, a pool that is nearly full. `accept`: it is made all the same where the cut is made above that layer.',
      ),
    drill: z
      .strictObject({
        directory: absolutePath.optional().meta({
          description:
            'Directory under which drills restore, with room for a whole copy. Without it `drill` in the state directory.',
          examples: ['/var/tmp'],
        }),
      })
      .prefault({})
      .describe('Test restores.'),
  })
  .describe('One thing that is protected as a whole.');

const part = z
  .strictObject({
    reach: oneOf(reaches, 'reach')
      .optional()
      .meta({
        description:
          'The host that this part runs on, if not this machine: exactly one kind with its settings. Stillpoint must be installed there, with a configuration of its own.',
        examples: [{ ssh: { host: 'db1.example', user: 'backup' } }],
      }),
    workload: workloadName.meta({
      description: 'The workload that this part is, by its name in the configuration of its host.',
      examples: ['orders'],
    }),
    config: absolutePath.optional().meta({
      description:
        'Configuration file on that host. Without it the usual places there, and for a part on this machine this file.',
      examples: ['/etc/stillpoint/stillpoint.yaml'],
    }),
    command: z
      .array(z.string())
      .min(1)
      .optional()
      .meta({
        description:
          'What starts Stillpoint there, as a list of program and arguments; no shell reads it. Without it `stillpoint`, and on this machine the program that runs.',
        examples: [['/opt/stillpoint/bin/stillpoint']],
      }),
  })
  .describe('One part of a group: a workload of a Stillpoint on its host.');

const group = z
  .strictObject({
    parts: z
      .record(workloadName, part)
      .refine((parts) => Object.keys(parts).length > 0, { error: 'needs at least one part' })
      .describe('What is held together, by name.'),
    barrier: z
      .strictObject({
        budget: upTo(
          hourMs,
          'Longest time that any part may stay frozen. It replaces `hold.budget` of its workload; half of it is for all parts to become frozen.',
          '5s',
        ),
        skew: duration({ above: 0, most: hourMs })
          .optional()
          .meta({
            'x-type': 'duration',
            pattern: '^\\d+(\\.\\d+)?(ms|s|m|h|d)$',
            description:
              'Accepts parts whose writers go on while they are held, if no two of them are cut further apart than this. The point is then kept as `unproven`. Without it such parts are refused.',
            examples: ['200ms'],
          }),
        ready: upTo(
          24 * hourMs,
          'Longest time for all parts to start, to checkpoint and to sync; later to collect their journals, and to record.',
          '10m',
        ),
      })
      .prefault({})
      .describe('How the parts wait for each other.'),
  })
  .describe('Workloads on several hosts that are frozen, cut and thawed together, for one point of all of them.');

/**
 * Every option, once: validation, the JSON schema, the reference and the file that `init` writes all come from here. An adapter's part
 * comes from its own config.ts.
 */
export const configSchema = z
  .strictObject({
    repository,
    stateDirectory: absolutePath.optional().meta({
      description:
        'Intent journals, catalog, locks and guard sockets. Never on a disk that is frozen. Without it /var/lib/stillpoint for root, and ~/.local/state/stillpoint for others.',
      examples: ['/var/lib/stillpoint'],
    }),
    notify: z
      .strictObject({
        command: z
          .array(z.string())
          .min(1)
          .meta({
            description:
              'Command that is given each alarm of `stillpoint mirror watch` once when it begins and once when it ends, as one JSON document on standard input. A list of program and arguments; no shell reads it.',
            examples: [['/usr/local/bin/page-the-dba']],
          }),
      })
      .optional()
      .describe('Who is told of alarms.'),
    workloads: z.record(workloadName, workload).default({}).describe('What is protected, by name.'),
    groups: z
      .record(workloadName, group)
      .default({})
      .describe('Workloads on several hosts that are made one point of, by name.'),
  })
  .describe('Configuration of Stillpoint.');

export type ParsedConfig = z.output<typeof configSchema>;

/** For editors, and the source of the reference and of "did you mean". */
export function configurationJsonSchema(): Readonly<Record<string, unknown>> {
  return z.toJSONSchema(configSchema, { io: 'input' });
}
