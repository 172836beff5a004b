import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf, StillpointError } from '../../../model/errors.ts';
import { environmentFor, execThrough } from '../../../platform/exec-through.ts';
import type { Exec } from '../../../platform/exec.ts';
import { execThroughPowerShell } from '../../../platform/powershell.ts';
import type { Host } from '../../../ports/host.ts';
import type { ReachModule } from '../../../ports/module.ts';
import { clientVariables, run, runWords } from './commands.ts';
import { config, type Config } from './config.ts';

/** Another machine, through OpenSSH's client. */
export const ssh: ReachModule<Config> = {
  kind: 'ssh',
  config,
  create: (settings, local) => host(settings, local),
};

function host(settings: Config, local: Host): Host {
  const outside = (path: string): StillpointError =>
    new StillpointError('path-outside-group', `${path} of host ${settings.host} lies on no volume of this machine`, {
      hint: 'run Stillpoint on that host for a backup; `stillpoint freeze` and `thaw` work from here, around snapshots that others make',
    });
  return {
    name: settings.host,
    exec: execFor(settings, local.exec),
    // Even a host of the same name may be another machine: nothing here proves that it is this one.
    pathHere: () => Promise.resolve(undefined),
    stackOf: (path) => Promise.reject(outside(path)),
    freeBytes: (path) => Promise.reject(outside(path)),
  };
}

function execFor(settings: Config, local: Exec): Exec {
  const name = `host ${settings.host}`;
  const clientEnv = environmentFor(clientVariables);
  return settings.shell === 'sh'
    ? execThrough(local, { name, clientEnv, wrap: (argv, as) => run(settings, controlSocket(settings), argv, as) })
    : execThroughPowerShell(local, {
        name,
        clientEnv,
        wrap: (argv) => runWords(settings, controlSocket(settings), argv),
      });
}

/**
 * Socket of the connection that all commands of these settings share: with other settings (another key, another file of known hosts) it
 * is another one. Throws `command-failed` unless its directory is ours alone: whoever owns the socket is us on the other host.
 */
export function controlSocket(settings: Config): string {
  const uid = process.geteuid?.() ?? 0;
  const directory = join(tmpdir(), `stillpoint-ssh-${uid}`);
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
  const found = lstatSync(directory);
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
    throw new StillpointError('command-failed', `${directory} is not a directory of ours alone`, {
      hint: `look who made it, and remove it; it must belong to user ${uid} with mode 0700`,
    });
  }
  // Short: ssh adds 17 characters while it makes the socket, and 108 is the limit of the address.
  return join(directory, createHash('sha256').update(JSON.stringify(settings)).digest('hex').slice(0, 16));
}
