import { z } from 'zod';

export const config = z
  .strictObject({
    snapshotDirectory: z
      .string()
      .startsWith('/')
      .optional()
      .describe(
        'Directory for snapshots, on the same btrfs as the data. Default: .stillpoint in the directory where that file system is mounted.',
      ),
  })
  .describe('Read-only snapshots of btrfs subvolumes.');

export type Config = z.infer<typeof config>;
