import { z } from 'zod';
import type { Host } from '../../../ports/host.ts';

/** A way to a place that is not this machine, with its type of configuration closed over. The registry knows them. */
export interface Reach {
  readonly kind: string;
  readonly config: z.ZodType;
  create(config: unknown, local: Host): Host;
}

const secret = z
  .strictObject({
    file: z.string().min(1).optional().describe('File whose first line is the password.'),
    env: z.string().min(1).optional().describe('Environment variable that holds the password.'),
    command: z.array(z.string()).min(1).optional().describe('Command, without a shell, that prints the password.'),
  })
  .describe('Where the password comes from: exactly one of file, env, command.')
  .refine((source) => Object.values(source).filter((value) => value !== undefined).length === 1, {
    error: 'give exactly one of file, env, command',
  });

const login = z
  .strictObject({
    user: z
      .string()
      .min(1)
      .regex(/^\P{Cc}+$/u, { error: 'must hold no control character' })
      .describe('Account of the instance.'),
    password: secret,
  })
  .describe(
    'Account for sessions that ask for one. Leave it out with operating-system authentication: the lines would be taken for commands.',
  );

/** Names of mirror members hold none of `: # , ; = ^ ~ "` and no blank (class reference of Config.MirrorMember); `|` parts our marks. */
const memberName = z
  .string()
  .max(32, { error: 'must be at most 32 characters long' })
  .regex(/^[^:#,;=^~"|\s\p{Cc}]+$/u, { error: 'must be the name of a mirror member, such as DB1/IRIS' });

function reachWith(reaches: readonly Reach[]) {
  const kinds = reaches.map(({ kind }) => kind);
  return z
    .strictObject(Object.fromEntries(reaches.map(({ kind, config }) => [kind, config.optional()])))
    .refine((value) => Object.values(value).filter((each) => each !== undefined).length === 1, {
      error: `needs exactly one of ${kinds.join(', ')}`,
    })
    .describe('Where the instance runs, if not on this machine: exactly one kind with its settings.');
}

function instanceWith(reaches: readonly Reach[]) {
  return z
    .strictObject({
      instance: z
        .string()
        .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, { error: 'must be the name of an instance, as `iris list` prints it' })
        .describe('Name of the instance on its machine.'),
      member: memberName
        .optional()
        .describe(
          'Name of this member in the mirror, as the mirror monitor shows it. The name of this entry if absent.',
        ),
      reach: reachWith(reaches).optional(),
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
    })
    .describe('One instance that is asked.');
}

/** The schema with the ways to other machines that this program has. */
export function configWith(reaches: readonly Reach[]) {
  return z
    .strictObject({
      mirror: z
        .string()
        .regex(/^[A-Z0-9]{1,15}$/, { error: 'must be the name of a mirror: at most 15 capital letters and digits' })
        .describe('Name of the mirror.'),
      instances: z
        .record(memberName, instanceWith(reaches))
        .refine((instances) => Object.keys(instances).length > 0, { error: 'must name at least one instance' })
        .refine(
          (instances) => {
            const names = Object.entries(instances).map(([name, { member }]) => (member ?? name).toUpperCase());
            return new Set(names).size === names.length;
          },
          { error: 'must not name one member of the mirror twice' },
        )
        .describe(
          'The members that can be asked, by the names that they have in `members`. One is enough for a view; holding off failover wants both failover members.',
        ),
    })
    .describe('A mirror of InterSystems IRIS or Caché. Not yet met for real.');
}

export type Config = z.output<ReturnType<typeof configWith>>;
export type InstanceConfig = Config['instances'][string];

/** Names of members are kept in capitals by the engine. */
export function memberNameOf(name: string, { member }: InstanceConfig): string {
  return (member ?? name).toUpperCase();
}
