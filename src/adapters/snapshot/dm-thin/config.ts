import { z } from 'zod';

const limitForm = /^(?<count>[1-9]\d*)(?<unit>ms|s)$/;
const mostMs = 60_000;

/** Milliseconds of a limit that the schema let through. */
export function milliseconds(text: string): number {
  const { count, unit } = limitForm.exec(text)?.groups ?? {};
  return Number(count) * (unit === 'ms' ? 1 : 1000);
}

export const config = z
  .strictObject({
    limit: z
      .string()
      .regex(limitForm, { message: 'must be a duration such as 500ms or 5s' })
      .refine((text) => milliseconds(text) <= mostMs, { message: 'must be 60s or less' })
      .default('2s')
      .describe(
        'Longest time for which the volumes may stay frozen and suspended. A process of its own resumes and thaws them then, whatever happened to the cut.',
      ),
    atLeast: z
      .int()
      .min(1)
      .default(2)
      .describe(
        'Take a workload only if its paths lie on at least this many thin volumes. A single one is left to plain LVM snapshots by default.',
      ),
  })
  .describe('Snapshots of several thin volumes at one instant, by messages to their pools.');

export type Config = z.infer<typeof config>;
