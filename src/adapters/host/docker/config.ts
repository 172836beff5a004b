import { z } from 'zod';

export const config = z
  .strictObject({
    container: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, { error: 'must be the name or id of a container' })
      .describe('Name of the container. An id ends to be right when the container is made anew.'),
    user: z
      .string()
      .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/, {
        error: 'must be a user, or user:group, by name or number',
      })
      .optional()
      .describe('User of the container, by name or number, to run commands as. The user of its image if absent.'),
    program: z.enum(['docker', 'podman']).default('docker').describe('Client program.'),
  })
  .meta({
    description: 'A container on this machine, through `docker exec` or `podman exec`.',
    examples: [{ container: 'iris', user: 'irisowner' }],
  });

export type Config = z.output<typeof config>;
