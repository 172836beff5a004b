import { z } from 'zod';

export const config = z
  .strictObject({
    snapshotDirectory: z
      .string()
      .startsWith('/')
      .optional()
      .describe(
        'Directory for the copies, on the same file system as the data. Default: .stillpoint in the directory where that file system is mounted.',
      ),
  })
  .describe('Copies that share their blocks with the originals (reflinks) on xfs and btrfs.');

export type Config = z.infer<typeof config>;
