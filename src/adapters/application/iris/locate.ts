import { join, relative } from 'node:path';
import { StillpointError } from '../../../model/errors.ts';
import type { LeftOut, PathRole, RequiredPath } from '../../../model/storage.ts';
import type { Located } from '../../../ports/application.ts';
import type { Control } from './control.ts';
import { absolute, isCache, type Places, placesOf } from './places.ts';
import { assertFit, memberOf } from './questions.ts';

const sizeMs = 120_000;

interface Wanted {
  readonly name: string;
  readonly role: PathRole;
  readonly path: string;
}

interface Seen extends Wanted {
  /** Where the instance has it, without links, and where that lies on this machine. */
  readonly real: string;
  readonly here: string;
  readonly device: string;
}

/** Asks nothing of the instance itself: the list of instances and the CPF tell where everything is, without a login. */
export async function locate(control: Control, signal: AbortSignal): Promise<Located> {
  const instances = await control.wanted(signal);
  for (const instance of instances) assertFit(instance);
  const all: { readonly places: Places; readonly seen: readonly Seen[]; readonly console: string }[] = [];
  const leftOut: Absolute[] = [];
  for (const instance of instances) {
    signal.throwIfAborted();
    const places = await placesOf(control, instance);
    const wanted = wantedPaths(places, control.config.exclude);
    const seen = await look(control, places, wanted);
    all.push({
      places,
      seen,
      console: (await hereOf(control, places.console).catch(() => undefined)) ?? places.console,
    });
    leftOut.push(...locksOf(places, seen), ...(await excludedOf(control, places)));
  }
  const paths = required(
    all.flatMap(({ seen }) => seen),
    leftOut,
  );
  return {
    version: [...new Set(instances.map((each) => each.version))].join(', '),
    member: memberOf(control.platform.host.name, instances),
    holdKind: 'writes-stopped',
    paths,
    bytes: await bytesOf(
      control,
      all.flatMap(({ seen }) => seen).filter(({ here }) => paths.some(({ path }) => path === here)),
    ),
    identity: instances.map((each) => `${each.name}:${each.dataDirectory}`).join(' '),
    facts: { ...Object.fromEntries(all.flatMap(factsOf)), ...(await ownerOf(control, all[0]?.places.manager)) },
  };
}

/** Paths of an instance as the engine names them. The manager's directory may be a link out of the installation. */
function wantedPaths(places: Places, exclude: readonly string[]): readonly Wanted[] {
  const { instance, cpf, manager } = places;
  const found: Wanted[] = [
    { name: 'install', role: 'configuration', path: instance.directory },
    { name: 'data', role: 'configuration', path: instance.dataDirectory },
    { name: 'manager', role: 'data', path: manager },
    ...cpf.databases
      .filter(({ name, remote }) => !remote && !exclude.includes(name))
      .map(({ name, directory }) => ({
        name: `database-${name}`,
        role: 'data' as const,
        path: absolute(directory, manager),
      })),
  ];
  const journals = [
    ['journal', cpf.currentJournalDirectory],
    ['journal-alternate', cpf.alternateJournalDirectory],
    ['wij', cpf.wijDirectory],
  ] as const;
  for (const [name, directory] of journals) {
    if (directory !== '') found.push({ name, role: 'journal', path: absolute(directory, manager) });
  }
  return found.map((each) => ({ ...each, name: `${instance.name}.${each.name}` }));
}

async function realPaths(control: Control, paths: readonly string[]): Promise<readonly string[] | undefined> {
  const result = await control.command(['realpath', '--', ...paths]);
  const lines = result.stdout.split('\n').slice(0, -1);
  return result.exitCode === 0 && lines.length === paths.length ? lines : undefined;
}

/** Where a path of the instance's machine lies on this one; undefined when it cannot be seen from here. */
export async function hereOf(control: Control, path: string): Promise<string | undefined> {
  const [real] = (await realPaths(control, [path])) ?? [];
  return real === undefined ? undefined : control.platform.host.pathHere(real);
}

async function look(control: Control, places: Places, wanted: readonly Wanted[]): Promise<readonly Seen[]> {
  const paths = wanted.map(({ path }) => path);
  const reals = await realPaths(control, paths);
  const stat = await control.command(['stat', '-L', '-c', '%d %F', '--', ...paths]);
  const kinds = stat.stdout.split('\n').slice(0, -1);
  if (reals === undefined || stat.exitCode !== 0 || kinds.length !== wanted.length) {
    throw new StillpointError(
      'database-file',
      `a directory of the instance cannot be looked at: ${stat.stderr.trim().split('\n')[0] ?? ''}`,
      { hint: 'mount it, take it out of the CPF, or list its database under application.iris.exclude' },
    );
  }
  const seen: Seen[] = [];
  for (const [i, each] of wanted.entries()) {
    const [device = '', ...kind] = (kinds[i] ?? '').split(' ');
    if (kind.join(' ') !== 'directory') {
      throw new StillpointError('database-file', `${each.path} is no directory`, {
        hint: 'see the CPF of the instance',
      });
    }
    const real = reals[i] ?? each.path;
    const here = await control.platform.host.pathHere(real);
    if (here !== undefined) seen.push({ ...each, real, here, device });
    else if (!comesWithImage(places, each)) {
      throw new StillpointError(
        'path-outside-group',
        `${real} of ${places.instance.name} cannot be seen from this machine`,
        {
          hint: 'put it on a volume or bind mount of the container (ISC_DATA_DIRECTORY), and run this on the same machine',
        },
      );
    }
  }
  return seen;
}

/** With durable %SYS everything that changes lies elsewhere, and the installation is that of the container's image. */
function comesWithImage({ instance }: Places, { path }: Wanted): boolean {
  return path === instance.directory && instance.dataDirectory !== instance.directory;
}

interface Absolute extends Omit<LeftOut, 'relative'> {
  readonly path: string;
}

/** A copied lock file keeps the copy from being mounted; it belongs to the process that runs, not to the data. */
function locksOf(places: Places, seen: readonly Seen[]): readonly Absolute[] {
  const lock = isCache(places.instance) ? 'cache.lck' : 'iris.lck';
  const directories = seen.filter(({ name }) => name.endsWith('.manager') || name.includes('.database-'));
  // The manager's directory is that of a database too.
  return [...new Set(directories.map(({ here }) => join(here, lock)))].map((path) => ({
    path,
    match: 'entry',
    why: 'lock file of the running instance',
  }));
}

async function excludedOf(control: Control, places: Places): Promise<readonly Absolute[]> {
  const found: Absolute[] = [];
  for (const { name, directory, remote } of places.cpf.databases) {
    if (remote || !control.config.exclude.includes(name)) continue;
    const here = await hereOf(control, absolute(directory, places.manager));
    const why = `database ${name} is excluded by the configuration`;
    if (here !== undefined) found.push({ path: here, match: 'contents', why });
  }
  return found;
}

/**
 * Each path once. One below another is dropped only if it is on the same file system: a mount inside the installation is in no snapshot of
 * the volume around it. All of it as seen from here, where two bind mounts of one file system are two places.
 */
function required(seen: readonly Seen[], leftOut: readonly Absolute[]): readonly RequiredPath[] {
  const kept: Seen[] = [];
  const mounted: Absolute[] = [];
  for (const each of seen.toSorted((a, b) => a.here.length - b.here.length || a.name.localeCompare(b.name))) {
    const above = kept.findLast((other) => isBelow(each.here, other.here));
    if (above?.device === each.device) continue;
    if (above !== undefined) {
      mounted.push({ path: each.here, match: 'contents', why: `another volume is mounted here; it is named apart` });
    }
    kept.push(each);
  }
  const out = [...leftOut, ...mounted];
  return kept.map(({ name, role, here }) => ({
    path: here,
    role,
    name,
    kind: 'directory',
    companions: [],
    leftOut: out
      .filter(({ path }) => innermost(kept, path) === here)
      .map(({ path, match, why }) => ({ relative: relative(here, path), match, why })),
  }));
}

/** The kept directory in which a path is looked for; for a mount point that is the one around it. */
function innermost(kept: readonly Seen[], path: string): string | undefined {
  return kept.findLast((each) => each.here !== path && isBelow(path, each.here))?.here;
}

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}

async function bytesOf(control: Control, kept: readonly Seen[]): Promise<number> {
  // Exit 1 when a file vanishes meanwhile, as they do on a live instance; the sums are there all the same.
  const result = await control.command(['du', '-sb', '--', ...new Set(kept.map(({ real }) => real))], sizeMs);
  const sizes = [...result.stdout.matchAll(/^(\d+)\t/gm)].map((found) => Number(found[1]));
  if (sizes.length === 0) {
    throw new StillpointError(
      'database-file',
      `the size of the instance’s files is not known: ${result.stderr.trim()}`,
      {
        hint: 'run as the owner of the instance: set application.iris.user',
      },
    );
  }
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Whoever restores a backup of the engine must let it read and write there. */
async function ownerOf(control: Control, directory = '/'): Promise<Readonly<Record<string, string>>> {
  const { exitCode, stdout } = await control.command(['stat', '-L', '-c', '%u %g', '--', directory]);
  const [, ownerUid, ownerGid] = /^(\d+) (\d+)$/.exec(stdout.trim()) ?? [];
  return exitCode !== 0 || ownerUid === undefined || ownerGid === undefined ? {} : { ownerUid, ownerGid };
}

function factsOf(found: {
  readonly places: Places;
  readonly seen: readonly Seen[];
  readonly console: string;
}): readonly (readonly [string, string])[] {
  const { name, version, product } = found.places.instance;
  const databases = found.seen.filter((each) => each.name.includes('.database-'));
  return [
    [`${name}.version`, version],
    [`${name}.product`, product],
    [`${name}.console`, found.console],
    // No path holds a line end: `realpath` gave one a line.
    [`${name}.databases`, databases.map((each) => each.here).join('\n')],
    // As the journal names them, in the same order.
    [`${name}.sources`, databases.map((each) => each.path).join('\n')],
  ];
}

/** Databases of a point, by instance, from the facts that `locate` left in it. */
export function databasesIn(facts: Readonly<Record<string, string>>): ReadonlyMap<string, readonly string[]> {
  return listsIn(facts, '.databases');
}

/** The same databases by the directories that the instance's journal names. */
export function sourcesIn(facts: Readonly<Record<string, string>>): ReadonlyMap<string, readonly string[]> {
  return listsIn(facts, '.sources');
}

function listsIn(facts: Readonly<Record<string, string>>, key: string): ReadonlyMap<string, readonly string[]> {
  return new Map(
    Object.entries(facts)
      .filter(([name]) => name.endsWith(key))
      .map(([name, value]) => [name.slice(0, -key.length), value.split('\n').filter((each) => each !== '')]),
  );
}
