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
  readonly real: string;
  readonly device: string;
}

/** Asks nothing of the instance itself: the list of instances and the CPF tell where everything is, without a login. */
export async function locate(control: Control, signal: AbortSignal): Promise<Located> {
  const instances = await control.wanted(signal);
  for (const instance of instances) assertFit(instance);
  const all: { readonly places: Places; readonly seen: readonly Seen[]; readonly console: string }[] = [];
  for (const instance of instances) {
    signal.throwIfAborted();
    const places = await placesOf(control, instance);
    const wanted = wantedPaths(places, control.config.exclude);
    const [console = places.console] = (await realPaths(control, [places.console])) ?? [];
    all.push({ places, seen: await look(control, wanted), console });
  }
  const leftOut = all.flatMap(({ places, seen }) => leftOutOf(places, seen, control.config.exclude));
  const paths = required(
    all.flatMap(({ seen }) => seen),
    leftOut,
  );
  return {
    version: [...new Set(instances.map((each) => each.version))].join(', '),
    member: memberOf(control.platform.host.name, instances),
    holdKind: 'writes-stopped',
    paths,
    bytes: await bytesOf(control, paths),
    identity: instances.map((each) => `${each.name}:${each.dataDirectory}`).join(' '),
    facts: Object.fromEntries(all.flatMap(factsOf)),
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

async function look(control: Control, wanted: readonly Wanted[]): Promise<readonly Seen[]> {
  const reals = await realPaths(
    control,
    wanted.map(({ path }) => path),
  );
  const stat = await control.command(['stat', '-L', '-c', '%d %F', '--', ...wanted.map(({ path }) => path)]);
  const kinds = stat.stdout.split('\n').slice(0, -1);
  if (reals === undefined || stat.exitCode !== 0 || kinds.length !== wanted.length) {
    throw new StillpointError(
      'database-file',
      `a directory of the instance cannot be looked at: ${stat.stderr.trim().split('\n')[0] ?? ''}`,
      { hint: 'mount it, take it out of the CPF, or list its database under application.iris.exclude' },
    );
  }
  return wanted.map((each, i) => {
    const [device = '', ...kind] = (kinds[i] ?? '').split(' ');
    if (kind.join(' ') !== 'directory') {
      throw new StillpointError('database-file', `${each.path} is no directory`, {
        hint: 'see the CPF of the instance',
      });
    }
    return { ...each, real: reals[i] ?? each.path, device };
  });
}

interface Absolute extends Omit<LeftOut, 'relative'> {
  readonly path: string;
}

/** A copied lock file keeps the copy from being mounted; it belongs to the process that runs, not to the data. */
function leftOutOf(places: Places, seen: readonly Seen[], exclude: readonly string[]): readonly Absolute[] {
  const lock = isCache(places.instance) ? 'cache.lck' : 'iris.lck';
  const locks = seen
    .filter(({ name }) => name.endsWith('.manager') || name.includes('.database-'))
    .map(({ real }) => ({ path: join(real, lock), match: 'entry' as const, why: 'lock file of the running instance' }));
  const excluded = places.cpf.databases
    .filter(({ name, remote }) => !remote && exclude.includes(name))
    .map(({ name, directory }) => ({
      path: absolute(directory, places.manager),
      match: 'contents' as const,
      why: `database ${name} is excluded by the configuration`,
    }));
  return [...locks, ...excluded];
}

/**
 * Each path once. One below another is dropped only if it is on the same file system: a mount inside the installation is in no snapshot of
 * the volume around it.
 */
function required(seen: readonly Seen[], leftOut: readonly Absolute[]): readonly RequiredPath[] {
  const kept: Seen[] = [];
  const mounted: Absolute[] = [];
  for (const each of seen.toSorted((a, b) => a.real.length - b.real.length || a.name.localeCompare(b.name))) {
    const above = kept.findLast((other) => isBelow(each.real, other.real));
    if (above?.device === each.device) continue;
    if (above !== undefined) {
      mounted.push({ path: each.real, match: 'contents', why: `another volume is mounted here; it is named apart` });
    }
    kept.push(each);
  }
  const out = [...leftOut, ...mounted];
  return kept.map(({ name, role, real }) => ({
    path: real,
    role,
    name,
    kind: 'directory',
    companions: [],
    leftOut: out
      .filter(({ path }) => path !== real && isBelow(path, real) && innermost(kept, path) === real)
      .map(({ path, match, why }) => ({ relative: relative(real, path), match, why })),
  }));
}

/** The kept directory in which a path is looked for; for a mount point that is the one around it. */
function innermost(kept: readonly Seen[], path: string): string | undefined {
  return kept.findLast((each) => each.real !== path && isBelow(path, each.real))?.real;
}

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}

async function bytesOf(control: Control, paths: readonly RequiredPath[]): Promise<number> {
  // Exit 1 when a file vanishes meanwhile, as they do on a live instance; the sums are there all the same.
  const result = await control.command(['du', '-sb', '--', ...paths.map(({ path }) => path)], sizeMs);
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

function factsOf(found: {
  readonly places: Places;
  readonly seen: readonly Seen[];
  readonly console: string;
}): readonly (readonly [string, string])[] {
  const { name, version, product } = found.places.instance;
  const databases = found.seen.filter((each) => each.name.includes('.database-')).map((each) => each.real);
  return [
    [`${name}.version`, version],
    [`${name}.product`, product],
    [`${name}.console`, found.console],
    // A path holds no line end: `realpath` gave one a line.
    [`${name}.databases`, databases.join('\n')],
  ];
}

/** Databases of a point, by instance, from the facts that `locate` left in it. */
export function databasesIn(facts: Readonly<Record<string, string>>): ReadonlyMap<string, readonly string[]> {
  return new Map(
    Object.entries(facts)
      .filter(([key]) => key.endsWith('.databases'))
      .map(([key, value]) => [key.slice(0, -'.databases'.length), value.split('\n').filter((each) => each !== '')]),
  );
}
