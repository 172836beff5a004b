import { z } from 'zod';

export const localConfig = z
  .string()
  .startsWith('/', 'must be an absolute path')
  .describe(
    'Directory of the repository, on a mounted file system. It is made by `stillpoint repo init`. Never on a disk that is frozen.',
  );
export type LocalConfig = z.infer<typeof localConfig>;
