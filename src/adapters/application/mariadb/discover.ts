import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Discovered, Platform } from '../../../ports/module.ts';
import { listeningSockets } from './parse.ts';

/** Running servers by their processes. What may not be looked at is not found. */
export async function discover(platform: Platform, signal: AbortSignal): Promise<readonly Discovered[]> {
  const sockets = listeningSockets(await orEmpty(readFile('/proc/net/unix', 'utf8')));
  const found: Discovered[] = [];
  for (const pid of await orNothing(readdir('/proc'))) {
    signal.throwIfAborted();
    if (!/^\d+$/.test(pid)) continue;
    if (!/^(?:mariadbd|mysqld)\n?$/.test(await orEmpty(readFile(`/proc/${pid}/comm`, 'utf8')))) continue;
    // A server works in its data directory. MySQL has no Aria.
    const directory = await orEmpty(readlink(`/proc/${pid}/cwd`));
    if (directory === '' || !(await isThere(join(directory, 'ibdata1')))) continue;
    if (!(await isThere(join(directory, 'aria_log_control')))) continue;
    const host = (await socketOf(pid, sockets)) ?? '/run/mysqld/mysqld.sock';
    found.push({
      name: directory === '/var/lib/mysql' ? 'mariadb' : `mariadb-${pid}`,
      config: { dataDirectory: directory, host, user: 'root' },
      said: `MariaDB runs on ${directory}, socket ${host}`,
    });
  }
  platform.log.info('looked for MariaDB servers', { found: found.length });
  return found;
}

async function socketOf(pid: string, sockets: ReadonlyMap<string, string>): Promise<string | undefined> {
  for (const fd of await orNothing(readdir(`/proc/${pid}/fd`))) {
    const inode = /^socket:\[(\d+)\]$/.exec(await orEmpty(readlink(`/proc/${pid}/fd/${fd}`)))?.[1];
    const path = inode === undefined ? undefined : sockets.get(inode);
    if (path !== undefined) return path;
  }
  return undefined;
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Processes end and directories are closed to us while we look around: neither is a failure of looking. */
async function orEmpty(text: Promise<string>): Promise<string> {
  return text.catch(() => '');
}

async function orNothing(names: Promise<string[]>): Promise<readonly string[]> {
  return names.catch(() => []);
}
