import { z } from 'zod';

const guid = /^\{[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}$/;
/** diskshadow reads its script as ASCII, a line a command: no quotes, blanks only in directories. */
const volumeName = /^(?:[A-Z]:\\|\\\\\?\\Volume\{[0-9a-fA-F-]{36}\}\\)$/;
const directoryName = /^[A-Z]:(?:\\[A-Za-z0-9_.-]+)+$/;
const absolute = z.string().startsWith('/', { error: 'must be an absolute path' });

const volume = z
  .strictObject({
    volume: z
      .string()
      .regex(volumeName, { error: String.raw`must be a drive such as D:\ or \\?\Volume{...}\ as mountvol prints it` })
      .describe('The volume as Windows names it. Dynamic disks, mirrors and stripes are volumes like others.'),
    here: absolute.describe('Where that volume is mounted on this machine (SMB). Paths below it are claimed.'),
    expose: z
      .string()
      .regex(/^[A-Z]:$/, { error: 'must be a free drive letter such as X:' })
      .optional()
      .describe('Free drive letter under which Windows shows a shadow copy while it is read.'),
    exposedHere: absolute.optional().describe('Where the share of that drive is mounted on this machine.'),
  })
  .refine(({ expose, exposedHere }) => (expose === undefined) === (exposedHere === undefined), {
    error: 'needs both `expose` and `exposedHere`, or neither',
  });

/** The schema with the settings of the reach by which the Windows machine is called. */
export function configWith<C>(ssh: z.ZodType<C>) {
  return z
    .strictObject({
      host: z
        .strictObject({ ssh })
        .refine(({ ssh: settings }) => (settings as { readonly shell?: unknown }).shell === 'powershell', {
          error: 'needs `shell: powershell` under `ssh`',
        })
        .optional()
        .describe('The Windows machine. Without it this provider claims nothing.'),
      volumes: z
        .array(volume)
        .max(64)
        .default([])
        .describe('Its volumes. All that a workload needs are cut as one set.'),
      writers: z
        .array(
          z
            .string()
            .regex(guid, { error: 'must be the id of a writer, in braces, as `vssadmin list writers` prints it' }),
        )
        .default([])
        .describe(
          'Writers that must take part: a cut without one of them fails. Without any, all writers must be well after the cut.',
        ),
      completeBackup: z
        .boolean()
        .default(false)
        .describe(
          'Tell writers that the backup is complete, right after the cut. SQL Server, Exchange and others may drop logs then, before anything was copied.',
        ),
      directory: z
        .string()
        .regex(directoryName, {
          error: String.raw`must be a directory such as C:\ProgramData\Stillpoint, without blanks`,
        })
        .default(String.raw`C:\ProgramData\Stillpoint`)
        .describe('Directory on the Windows machine for scripts and logs; its rights are set to administrators only.'),
    })
    .describe('Shadow copies of Windows volumes (VSS), by diskshadow over SSH. Not yet met for real.');
}

export type Config = z.output<ReturnType<typeof configWith>>;
