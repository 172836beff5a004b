import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Discovered, Platform } from '../../../ports/module.ts';
import { parsePostmasterPid, settingOf } from './parse.ts';

const debianRoot = '/etc/postgresql';

/** Running servers by their processes, and Debian's clusters that are down. What may not be looked at is not found. */
export async function discover(platform: Platform, signal: AbortSignal): Promise<readonly Discovered[]> {
  const found = new Map<string, Discovered>();
  for (const each of await running(signal)) found.set(each.directory, each.discovered);
  for (const each of await debianClusters(signal)) {
    if (!found.has(each.directory)) found.set(each.directory, each.discovered);
  }
  platform.log.info('looked for PostgreSQL servers', { found: found.size });
  return [...found.values()];
}

interface Found {
  readonly directory: string;
  readonly discovered: Discovered;
}

async function running(signal: AbortSignal): Promise<readonly Found[]> {
  const found: Found[] = [];
  for (const name of await orNothing(readdir('/proc'))) {
    signal.throwIfAborted();
    if (!/^\d+$/.test(name)) continue;
    const comm = await orEmpty(readFile(`/proc/${name}/comm`, 'utf8'));
    if (!/^(postgres|postmaster)\n?$/.test(comm)) continue;
    // A postmaster works in its data directory and has its own number in there; its children only share the directory.
    const directory = await orEmpty(readlink(`/proc/${name}/cwd`));
    const pidFile = parsePostmasterPid(await orEmpty(readFile(join(directory, 'postmaster.pid'), 'utf8')));
    if (pidFile === undefined || pidFile.pid !== Number(name)) continue;
    const port = pidFile.port ?? 5432;
    const host = pidFile.socketDirectory ?? 'localhost';
    found.push({
      directory,
      discovered: {
        name: nameOf(directory, port),
        config: { dataDirectory: directory, host, port, user: 'postgres' },
        said: `PostgreSQL ${await versionIn(directory)} runs on ${directory}, port ${port}`,
      },
    });
  }
  return found;
}

async function debianClusters(signal: AbortSignal): Promise<readonly Found[]> {
  const found: Found[] = [];
  for (const version of await orNothing(readdir(debianRoot))) {
    for (const cluster of await orNothing(readdir(join(debianRoot, version)))) {
      signal.throwIfAborted();
      const file = join(debianRoot, version, cluster, 'postgresql.conf');
      const configuration = await orEmpty(readFile(file, 'utf8'));
      const directory = settingOf(configuration, 'data_directory');
      if (directory === undefined) continue;
      const port = Number(settingOf(configuration, 'port') ?? 5432);
      found.push({
        directory,
        discovered: {
          name: `postgresql-${version}-${cluster}`,
          config: { dataDirectory: directory, host: '/var/run/postgresql', port, user: 'postgres' },
          said: `PostgreSQL ${version} of ${file} does not run`,
        },
      });
    }
  }
  return found;
}

function nameOf(directory: string, port: number): string {
  const debian = /^\/var\/lib\/postgresql\/([^/]+)\/([^/]+)$/.exec(directory);
  return debian?.[1] === undefined ? `postgresql-${port}` : `postgresql-${debian[1]}-${debian[2] ?? ''}`;
}

async function versionIn(directory: string): Promise<string> {
  return (await orEmpty(readFile(join(directory, 'PG_VERSION'), 'utf8'))).trim();
}

/** Processes end and directories are closed to us while we look around: neither is a failure of looking. */
async function orEmpty(text: Promise<string>): Promise<string> {
  return text.catch(() => '');
}

async function orNothing(names: Promise<string[]>): Promise<readonly string[]> {
  return names.catch(() => []);
}
