import { isAbsolute } from 'node:path';
import { z } from 'zod';

const absolutePath = z.string().refine(isAbsolute, { error: 'must be an absolute path' });

export interface MemberPlace {
  readonly distribution: string;
  readonly globalDirectory: string;
  readonly replicationInstance: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Where its receiver server listens, as the primary reaches it. Needed to make it of a point. */
  readonly receiver?: { readonly host: string; readonly port: number } | undefined;
  /** The one kind with its settings. */
  readonly reach?: Readonly<Record<string, unknown>> | undefined;
}

export interface Config {
  readonly members: Readonly<Record<string, MemberPlace>>;
}

/** The schema with the settings of the ways to members that are not on this machine. */
export function configWith(reaches: readonly { readonly kind: string; readonly config: z.ZodType }[]) {
  const kinds = reaches.map(({ kind }) => kind);
  const reach = z
    .strictObject(Object.fromEntries(reaches.map(({ kind, config }) => [kind, config.optional()])))
    .refine((value) => Object.values(value).filter((each) => each !== undefined).length === 1, {
      error: `needs exactly one reach: ${kinds.join(', ')}`,
    });
  const member = z
    .strictObject({
      distribution: absolutePath.meta({
        description: 'Directory of mupip and dse ($gtm_dist).',
        examples: ['/usr/lib/x86_64-linux-gnu/fis-gtm/V7.0-005_x86_64'],
      }),
      globalDirectory: absolutePath.describe('Global directory (.gld) of this instance ($gtmgbldir).'),
      replicationInstance: absolutePath.describe('Replication instance file ($gtm_repl_instance).'),
      environment: z
        .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: 'is not the name of a variable' }), z.string())
        .default({})
        .describe('Environment variables that the global directory or the engine uses. Nothing is inherited.'),
      receiver: z
        .strictObject({
          host: z
            .string()
            .regex(/^[A-Za-z0-9][A-Za-z0-9.:_-]*$/, { error: 'must be the name or address of a machine' })
            .describe('Name or address of its machine, as the primary reaches it.'),
          port: z.int().min(1).max(65_535).describe('TCP port of its receiver server.'),
        })
        .optional()
        .describe('Where its receiver server listens. Only `mirror seed` needs it.'),
      reach: reach.optional().describe('Where this instance runs, if not on this machine: exactly one kind.'),
    })
    .describe('Where one instance is and how its programs are called.');
  return z
    .strictObject({
      members: z
        // The engine's own limit for the name of an instance.
        .record(
          z.string().regex(/^[^\s]{1,15}$/, { error: 'must be the name of an instance: 1 to 15 characters' }),
          member,
        )
        .refine((members) => Object.keys(members).length > 0, { error: 'needs at least one member' })
        .describe('Every instance, by the name with which its instance file was created.'),
    })
    .describe(
      'GT.M replication: an originating instance and replicating ones, between which a person or a script switches.',
    );
}
