import { writeFile } from 'node:fs/promises';
import { StillpointError, messageOf } from '../model/errors.ts';

export async function writeSvg(file: string, picture: string): Promise<void> {
  try {
    await writeFile(file, picture);
  } catch (error) {
    throw new StillpointError('io', `${file} cannot be written: ${messageOf(error)}`, {
      hint: 'give a file in an existing folder with --svg',
      cause: error,
    });
  }
}
