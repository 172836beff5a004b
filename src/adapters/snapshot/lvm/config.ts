import { z } from 'zod';
import { parseBytes } from './size.ts';

export const thinConfig = z
  .strictObject({})
  .describe('Snapshots of LVM thin volumes: as large as what changes afterwards, taken from their pool.');

export type ThinConfig = z.infer<typeof thinConfig>;

export const thickConfig = z
  .strictObject({
    snapshotSize: z
      .string()
      .refine((text) => text === 'auto' || parseBytes(text) !== undefined, 'must be auto, or a size such as 10GiB')
      .optional()
      .describe(
        'Space that each snapshot gets in the volume group: `auto`, or a size such as 10GiB. A snapshot that runs over is worthless and the point fails. Default: auto, from the rate of writes and how long copies took of late; at least 64 MiB or a tenth of the volume.',
      ),
  })
  .describe('Snapshots of ordinary LVM volumes (linear, striped, RAID), with space from their volume group.');

export type ThickConfig = z.infer<typeof thickConfig>;
