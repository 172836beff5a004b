import { lstat, readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { codeOf, messageOf, StillpointError } from '../../../model/errors.ts';
import type { LeftOut, PathRole, RequiredPath } from '../../../model/storage.ts';
import type { MariadbConfig } from './config.ts';
import { isOn, parseLink, replicaFiles, systemFiles } from './parse.ts';
import type { Row, Variables } from './parse.ts';

interface Outside {
  readonly path: string;
  readonly role: PathRole;
  readonly name: string;
  readonly kind: RequiredPath['kind'];
  /** How the server's files write it, where that is another path to the same place. */
  readonly written?: string;
}

export interface Required {
  readonly paths: readonly RequiredPath[];
  /** Real paths of what is written otherwise in links, `.isl` files and the index of binary logs. */
  readonly aliases: Readonly<Record<string, string>>;
  /** InnoDB's system tablespace: real path and the rest of the setting. Empty: all beside the other data. */
  readonly system: readonly { readonly path: string; readonly rest: string }[];
}

export async function real(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (cause) {
    throw new StillpointError('database-file', `${path} cannot be reached: ${messageOf(cause)}`, {
      hint:
        codeOf(cause) === 'EACCES'
          ? 'run as root or as the owner of the data directory'
          : 'the server must run on this machine, and every link in its data directory must lead somewhere',
      cause,
    });
  }
}

/** Everything that recovery needs: the data directory, and what lies outside by a setting, a link or an `.isl` file. Real paths. */
export async function requiredPaths(
  data: string,
  variables: Variables,
  channels: readonly Row[],
  config: MariadbConfig,
): Promise<Required> {
  const system = await systemTablespace(data, variables);
  const found: readonly Outside[] = [
    ...system.map(systemFile),
    ...(await directories(data, variables, config)),
    ...(await linkedFrom(data)),
  ];
  const outside = distinct(found.filter(({ path }) => !isInside(path, data)));
  const above = outside.find(({ path }) => isInside(data, path));
  if (above !== undefined) {
    throw new StillpointError('database-file', `${above.path} (${above.name}) holds the data directory itself`, {
      hint: 'move the logs into a directory of their own, beside the data directory or in it',
      details: { path: above.path },
    });
  }
  const leftOut: LeftOut[] = [
    { relative: 'ibtmp1', match: 'entry', why: 'the temporary tablespace is made anew at start' },
    ...(channels.length === 0 ? [] : replicaFiles(channels).map(ofReplica)),
  ];
  return {
    paths: [
      { path: data, role: 'data', name: 'data', kind: 'directory', companions: [], leftOut },
      ...outside.map(({ path, role, name, kind }) => ({ path, role, name, kind, companions: [], leftOut: [] })),
    ],
    aliases: Object.fromEntries(
      found.flatMap(({ path, written }) => (written === undefined || written === path ? [] : [[written, path]])),
    ),
    system: system.every(({ path }) => isInside(path, data)) ? [] : system,
  };
}

function systemFile({ path }: { readonly path: string }): Outside {
  return { path, role: 'data', name: `innodb-${basename(path)}`, kind: 'file' };
}

function ofReplica(relative: string): LeftOut {
  return {
    ...{ relative, match: 'entry' },
    why: 'a restored copy must not replicate under the number of the living replica; its GTID position is in a table',
  };
}

function isInside(path: string, parent: string): boolean {
  return path === parent || path.startsWith(parent + sep);
}

/** Nothing twice, and nothing below another one; names are unique. */
function distinct(found: readonly Outside[]): readonly Outside[] {
  const kept = found.filter(
    ({ path }, index) =>
      found.findIndex((each) => each.path === path) === index &&
      !found.some((each) => each.path !== path && isInside(path, each.path)),
  );
  const names = new Set<string>();
  return kept.map((each) => {
    let { name } = each;
    for (let i = 2; names.has(name); i += 1) name = `${each.name}-${i}`;
    names.add(name);
    return { ...each, name };
  });
}

/** Of a setting, as the server takes it: relative to the data directory. */
function place(data: string, path: string): string {
  return path.startsWith('/') ? path : join(data, path);
}

async function systemTablespace(data: string, variables: Variables): Promise<Required['system']> {
  const home = variables['innodb_data_home_dir'] ?? '';
  const files = systemFiles(variables['innodb_data_file_path'] ?? '');
  const raw = files.find((each) => each.raw);
  if (raw !== undefined) {
    throw new StillpointError('database-file', `InnoDB's system tablespace is on the raw disk ${raw.path}`, {
      hint: 'raw disks are not supported: move the tablespace into files',
    });
  }
  return await Promise.all(
    files.map(async ({ path, rest }) => {
      const full = path.startsWith('/') && home === '' ? path : join(place(data, home), path);
      return { path: await real(full), rest };
    }),
  );
}

async function directories(data: string, variables: Variables, config: MariadbConfig): Promise<readonly Outside[]> {
  const named: [name: string, role: PathRole, path: string | undefined][] = [
    ['redo', 'journal', variables['innodb_log_group_home_dir']],
    ['undo', 'data', variables['innodb_undo_directory']],
    ['aria', 'journal', variables['aria_log_dir_path']],
  ];
  if (isOn(variables['log_bin']) && config.binaryLogs === 'included') {
    for (const key of ['log_bin_basename', 'log_bin_index'])
      named.push(['binlog', 'journal', dirname(variables[key] ?? '')]);
  }
  const found: Outside[] = [];
  for (const [name, role, path] of named) {
    if (path === undefined || path === '' || path === '.') continue;
    const written = place(data, path);
    found.push({ path: await real(written), role, name, kind: 'directory', written });
  }
  return found;
}

/** Links of databases and tables, and tablespaces with a DATA DIRECTORY: whatever lies outside. */
async function linkedFrom(data: string): Promise<readonly Outside[]> {
  const found: Outside[] = [];
  for (const name of (await readdir(data)).toSorted()) {
    const path = join(data, name);
    const seen = await lookAt(path);
    if (seen === undefined) continue;
    if (seen.isSymbolicLink()) found.push(await behind(path, name));
    else if (!seen.isDirectory()) continue;
    // A database that is a link can hold links itself.
    if (!(await isDirectory(path))) continue;
    for (const inner of (await readdir(path)).toSorted()) {
      const file = join(path, inner);
      if (inner.endsWith('.isl')) found.push(...(await tablespace(file)));
      else if ((await lookAt(file))?.isSymbolicLink() === true) found.push(await behind(file, `${name}-${inner}`));
    }
  }
  return found;
}

async function lookAt(path: string): Promise<Awaited<ReturnType<typeof lstat>> | undefined> {
  try {
    return await lstat(path);
  } catch (cause) {
    // Dropped since it was listed.
    if (codeOf(cause) === 'ENOENT') return undefined;
    throw cause;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path)).isDirectory();
}

async function behind(link: string, name: string): Promise<Outside> {
  const path = await real(link);
  const kind = (await isDirectory(path)) ? 'directory' : 'file';
  return { path, role: 'external', name: `link-${name}`, kind, written: await readlink(link) };
}

/** The directory: `DATA DIRECTORY` puts the tables of a database into one of their own there. */
async function tablespace(link: string): Promise<readonly Outside[]> {
  let content: string;
  try {
    content = await readFile(link, 'utf8');
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return [];
    throw cause;
  }
  const target = place(dirname(dirname(link)), parseLink(content));
  const path = dirname(await real(target));
  const name = `tablespace-${path.slice(1).replaceAll('/', '-')}`;
  return [{ path, role: 'tablespace', name, kind: 'directory', written: dirname(target) }];
}

/** Bytes of all files below. What vanishes meanwhile counts nothing. */
export async function bytesOf(path: string): Promise<number> {
  const seen = await lookAt(path);
  if (seen === undefined) return 0;
  if (!seen.isDirectory()) return seen.isFile() ? Number(seen.size) : 0;
  let names: readonly string[] = [];
  try {
    names = await readdir(path);
  } catch (cause) {
    if (codeOf(cause) !== 'ENOENT') throw cause;
  }
  let bytes = 0;
  for (const name of names) bytes += await bytesOf(join(path, name));
  return bytes;
}
