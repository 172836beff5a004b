import { stat } from 'node:fs/promises';
import { StillpointError } from '../../../model/errors.ts';
import { environmentFor, execThrough } from '../../../platform/exec-through.ts';
import type { Exec } from '../../../platform/exec.ts';
import type { Host } from '../../../ports/host.ts';
import type { ReachModule } from '../../../ports/module.ts';
import { clientVariables, execIn, identityOf, inspect } from './commands.ts';
import { config, type Config } from './config.ts';
import { parseIdentity, parseMounts, sourceOf } from './parse.ts';

const timeoutMs = 15_000;

/** A container of docker or podman. */
export const docker: ReachModule<Config> = {
  kind: 'docker',
  config,
  create: (settings, local) => host(settings, local),
};

function host(settings: Config, local: Host): Host {
  const clientEnv = environmentFor(clientVariables);
  const exec = execThrough(local.exec, {
    name: `container ${settings.container}`,
    wrap: (argv, as) => execIn(settings, argv, as),
    clientEnv,
  });
  const pathHere = async (path: string): Promise<string | undefined> => {
    const argv = inspect(settings);
    const { stdout } = await local.exec.check({ argv, env: clientEnv, timeoutMs });
    const source = sourceOf(path, parseMounts(stdout, argv.join(' ')));
    return source !== undefined && (await isSame(exec, path, source)) ? source : undefined;
  };
  return {
    name: settings.container,
    exec,
    pathHere,
    async stackOf(path, signal) {
      return await local.stackOf((await pathHere(path)) ?? outside(path, settings), signal);
    },
    async freeBytes(path) {
      return await local.freeBytes((await pathHere(path)) ?? outside(path, settings));
    },
  };
}

/**
 * What `inspect` says holds on the daemon's machine, which may be another one, or a virtual one; and something may be mounted over it in
 * the container. Only the same device and inode on both sides prove that it is the file that was meant.
 */
async function isSame(exec: Exec, there: string, here: string): Promise<boolean> {
  const { stdout } = await exec.check({ argv: identityOf(there), timeoutMs });
  try {
    const { dev, ino } = await stat(here, { bigint: true });
    return parseIdentity(stdout) === `${dev}:${ino}`;
  } catch {
    // Not on this machine, or not for this user.
    return false;
  }
}

function outside(path: string, { container }: Config): never {
  throw new StillpointError(
    'path-outside-group',
    `${path} of container ${container} lies on no volume of this machine`,
    {
      hint: 'put it on a bind mount or a volume, and run this as root on the machine of the container',
    },
  );
}
