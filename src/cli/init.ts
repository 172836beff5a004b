import { mkdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { commentedConfig } from '../config/write.ts';
import { codeOf, messageOf, StillpointError } from '../model/errors.ts';
import type { Answer, Context, FoundApplication } from './command.ts';

export interface InitOptions {
  readonly output?: string;
  readonly force?: boolean;
  readonly repository?: string;
}

/** Looks for engines and writes what it found; makes nothing else. A file that is there stays unless `--force` is given. */
export async function initCommand(context: Context, options: InitOptions): Promise<Answer> {
  const file = resolve(options.output ?? context.configFile ?? 'stillpoint.yaml');
  const found = await context.services.discover(context.signal);
  const places = usualPlaces();
  const repository = options.repository === undefined ? places.repository : resolve(options.repository);
  const text = commentedConfig({ repository, passwordFile: places.passwordFile, workloads: found });
  await write(file, text, options.force === true);
  const config = options.output === undefined && context.configFile === undefined ? '' : ` --config ${file}`;
  return {
    document: {
      outcome: 'complete',
      file,
      repository,
      passwordFile: places.passwordFile,
      workloads: found.map(({ name, kind, config: settings, said, storage }) => ({
        name,
        kind,
        config: settings,
        said,
        storage,
      })),
    },
    lines: [
      `wrote ${context.paint('bold', file)}`,
      ...found.map(describe),
      ...(found.length === 0 ? ['  no database was found here; the file holds an example to fill in'] : []),
      '',
      'next, after a look at the file:',
      `  stillpoint repo init --generate-password${config}`,
      `  stillpoint check${config}`,
    ],
  };
}

function describe(each: FoundApplication): string {
  return `  ${each.name}: ${each.said}${each.storage === undefined ? '' : `; ${each.storage}`}`;
}

function usualPlaces(): { readonly repository: string; readonly passwordFile: string } {
  if (process.getuid?.() === 0) {
    return { repository: '/var/backups/stillpoint', passwordFile: '/etc/stillpoint/repository.key' };
  }
  const home = homedir();
  return {
    repository: join(home, '.local/share/stillpoint/repository'),
    passwordFile: join(home, '.config/stillpoint/repository.key'),
  };
}

async function write(file: string, text: string, force: boolean): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text, { flag: force ? 'w' : 'wx' });
  } catch (error) {
    if (codeOf(error) === 'EEXIST') {
      throw new StillpointError('usage', `${file} is there already`, {
        hint: 'give --force to replace it, or --output FILE for another one',
      });
    }
    throw new StillpointError('io', `${file} cannot be written: ${messageOf(error)}`, {
      hint: 'give another place with --output FILE',
      cause: error,
    });
  }
}
