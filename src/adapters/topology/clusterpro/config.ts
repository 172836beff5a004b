import { z } from 'zod';

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds of a duration that the schema let through. */
export function millisecondsOf(text: string): number {
  const [, count = '', unit = ''] = /^(\d+)([a-z]+)$/.exec(text) ?? [];
  return Number(count) * (units[unit] ?? Number.NaN);
}

const duration = z
  .string()
  .regex(/^[1-9]\d{0,6}(?:ms|s|m)$/, { error: 'must be a whole number with a unit, such as 30s or 2m' });

/** It becomes an argument of commands and a part of addresses. */
const name = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}$/, { error: 'must be a name as `clpstat --long` prints it' });

const absolute = z.string().startsWith('/', { error: 'must be an absolute path' });

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

/** Basic authentication sends the password itself. */
const address = z.string().regex(/^https:\/\/[A-Za-z0-9.:[\]-]+$/, { error: 'must be https://HOST:PORT and no more' });

const severalServers = { error: 'must name all servers of the cluster, two or more' };

const rest = z
  .strictObject({
    servers: z
      .record(name, address)
      .refine((all) => Object.keys(all).length >= 2, severalServers)
      .describe('Address of the API of each server, by its name in the cluster: https://server1.example:29009'),
    user: z
      .string()
      .regex(/^[^:\p{Cc}]+$/u, { error: 'must hold neither a colon nor a control character' })
      .describe('Operating-system user that the API lets in, with the right to operate.'),
    password: secret,
    ca: absolute
      .optional()
      .describe(
        "File with the certificate of the authority that signed the servers' certificates. The system's if absent.",
      ),
  })
  .describe('Ask and tell the cluster by its RESTful API (CLUSTERPRO X 4.2 or later, API service enabled with HTTPS).');

const holdOff = z
  .strictObject({
    monitors: z
      .array(name)
      .default([])
      .describe(
        'Monitor resources that are suspended on all servers while a backup runs, such as those of the application. Never that of the mirror: its state would be unknown.',
      ),
    ratio: z
      .strictObject({
        factor: z.int().min(2).max(10_000).describe('By how much all time-outs of the cluster are extended.'),
        time: z
          .string()
          .regex(/^[1-9]\d{0,4}[mhd]$/, { error: 'must be whole minutes, hours or days, such as 10m or 1h' })
          .refine((text) => millisecondsOf(text) <= 30 * 86_400_000, { error: 'must be at most 30 days' })
          .describe('After this time the cluster goes back to its own time-outs, whatever became of us.'),
      })
      .optional()
      .describe('Extend the time-outs. Without it a machine that stands still too long is still taken for dead.'),
  })
  .refine(({ monitors, ratio }) => monitors.length > 0 || ratio !== undefined, {
    error: 'needs `monitors` or `ratio`',
  })
  .describe('What may be done to keep the cluster from a failover during a backup. Nothing is done if absent.');

/** The schema with the settings of the reach by which the servers are called. */
export function configWith<C>(ssh: z.ZodType<C>) {
  return z
    .strictObject({
      group: name.describe('The failover group with the mirror disks. Where it is online is the primary.'),
      mirrors: z
        .record(
          name,
          z.strictObject({
            monitor: name.describe('Its mirror disk monitor resource, such as mdw1.'),
          }),
        )
        .refine((all) => Object.keys(all).length > 0, { error: 'must name a mirror disk resource, such as md1' })
        .describe('Mirror disk resources of that group, such as md1.'),
      servers: z
        .record(name, z.strictObject({ ssh }))
        .refine((all) => Object.keys(all).length >= 2, severalServers)
        .optional()
        .describe('How each server is called, by its name in the cluster, as a user who may run the commands (root).'),
      rest: rest.optional(),
      programs: absolute
        .optional()
        .describe(
          'Directory of clpstat and the others on the servers, if it is not on their PATH: /opt/nec/clusterpro/bin',
        ),
      heartbeatTimeout: duration
        .default('30s')
        .describe(
          "The cluster's own heartbeat timeout, from its properties. A wrong one makes backups cause failovers.",
        ),
      watchers: z
        .record(name, duration)
        .default({})
        .describe(
          'Monitor resources that fail when the application takes no write, with the time after which they act (timeout times retries).',
        ),
      networkPartition: name
        .optional()
        .describe('Network partition resolution resource that is asked before a failover, such as pingnp1.'),
      failover: z.enum(['automatic', 'manual']).default('automatic').describe('The failover attribute of the group.'),
      holdOff: holdOff.optional(),
    })
    .refine(({ servers, rest: api }) => (servers === undefined) !== (api === undefined), {
      error: 'needs either `servers` or `rest`',
    })
    .refine(
      ({ heartbeatTimeout, holdOff: hold }) =>
        hold?.ratio === undefined ||
        millisecondsOf(heartbeatTimeout) * hold.ratio.factor >= millisecondsOf(hold.ratio.time),
      {
        error:
          'holdOff.ratio: heartbeatTimeout times `factor` must be at least `time`, or a failover may begin within it',
      },
    )
    .refine(
      ({ mirrors, holdOff: hold }) => !Object.values(mirrors).some(({ monitor }) => hold?.monitors.includes(monitor)),
      {
        error: 'holdOff.monitors must not name the monitor of a mirror',
      },
    )
    .describe('A mirror disk cluster of CLUSTERPRO X (EXPRESSCLUSTER X) for Linux. Not yet met for real.');
}

export type Config = z.output<ReturnType<typeof configWith>>;
