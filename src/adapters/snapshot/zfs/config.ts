import { z } from 'zod';

export const config = z
  .strictObject({})
  .describe(
    'Snapshots of ZFS datasets; those of one pool show one instant. Written to the documentation, not yet met for real.',
  );

export type Config = z.infer<typeof config>;
