import { z } from 'zod';
import { StillpointError } from '../../../model/errors.ts';

const units = { kB: 1e3, KiB: 1024, MB: 1e6, MiB: 1024 ** 2, GB: 1e9, GiB: 1024 ** 3 } as const;

export const config = z
  .strictObject({
    staging: z
      .string()
      .startsWith('/')
      .optional()
      .describe('Directory for the copies; needs as much room as the data. Default: staging in the state directory.'),
    rate: z
      .string()
      .regex(/^[1-9]\d*(?:kB|KiB|MB|MiB|GB|GiB)\/s$/, 'a rate is a number with a unit, as in 200MB/s')
      .default('200MB/s')
      .describe('How fast this machine copies, for the prediction of the hold, as in 200MB/s.'),
  })
  .describe('Plain copies of the files, for file systems without snapshots. Only within a hold.');

export type Config = z.infer<typeof config>;

/** Bytes a second. */
export function parseRate(rate: string): number {
  const match = /^(\d+)(kB|KiB|MB|MiB|GB|GiB)\/s$/.exec(rate);
  const unit = Object.entries(units).find(([name]) => name === match?.[2])?.[1];
  if (unit === undefined) throw new StillpointError('config-invalid', `${rate} is no rate`, { hint: 'write 200MB/s' });
  return Number(match?.[1]) * unit;
}
