import { z } from 'zod';

/** A setting that says where a password comes from; `readSecret` resolves it. The password itself never stands in a configuration. */
export const secretSetting = z
  .strictObject({
    file: z.string().min(1).optional().describe('File whose first line is the password.'),
    env: z.string().min(1).optional().describe('Environment variable that holds the password.'),
    command: z.array(z.string()).min(1).optional().describe('Command, without a shell, that prints the password.'),
  })
  .describe('Where the password comes from: exactly one of file, env, command.')
  .refine((source) => Object.values(source).filter((value) => value !== undefined).length === 1, {
    error: 'give exactly one of file, env, command',
  });
