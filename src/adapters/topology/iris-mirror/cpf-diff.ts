import { parseCpf, type Section } from './parse-cpf.ts';

/**
 * What a mirror does not replicate: it carries the journals of mirrored databases, and nothing else (High Availability Guide, mirror
 * configuration guidelines). After a failover the new primary works with its own.
 */
export const areas = {
  version: 'upgrade the members to the same version',
  mirror: 'let the member take the definition from the primary, or correct it with ^MIRROR',
  namespaces: 'make the namespace on each member: by hand, by a manifest or by a configuration merge',
  mappings: 'make the mapping on each member: by hand, by a manifest or by a configuration merge',
  databases: 'make the database on each member; one that is to be replicated must be added to the mirror on each',
  settings: 'set it on each member: by hand, by a manifest or by a configuration merge',
  users: 'export and import the security settings (^SECURITY), or let LDAP or Kerberos know the users',
  roles: 'export and import the security settings (^SECURITY)',
  resources: 'export and import the security settings (^SECURITY)',
  services: 'enable and set the service on each member',
  'web-applications': 'make the application on each member, or export and import it (Security.Applications)',
  tasks:
    'make the task on each member, or export and import it (%SYS.Task), and choose on which members of a mirror it runs',
  'sql-gateways': 'make the connection on each member',
  'language-servers': 'set the server on each member',
  files: 'copy the file to each member whenever it is deployed',
  streams:
    'keep file streams where every member can reach them: the directory `stream` beside a database is not mirrored',
} as const;

export type Area = keyof typeof areas;

/** Areas that no CPF tells of. Whoever exports them gives each item by its name, and its definition as any text that can be compared. */
export const listedAreas = [
  'users',
  'roles',
  'resources',
  'services',
  'web-applications',
  'tasks',
  'sql-gateways',
  'language-servers',
  'files',
  'streams',
] as const satisfies readonly Area[];

export type ListedArea = (typeof listedAreas)[number];

/** What is configured at one member. */
export interface MemberSettings {
  readonly name: string;
  /** Text of its iris.cpf or cache.cpf. */
  readonly cpf: string;
  /** A list that is absent was not exported: nothing is said about it, which is not the same as an empty one. */
  readonly lists: Partial<Record<ListedArea, ReadonlyMap<string, string>>>;
}

export interface MirrorDifference {
  readonly area: Area;
  /** `not-compared`: a member gave no such list. */
  readonly kind: 'missing' | 'different' | 'not-compared';
  readonly item: string;
  /** The member that lacks it; absent for the other kinds. */
  readonly member?: string;
  readonly said: string;
  readonly remedy: string;
}

/** Sections that are of the machine, or of the member alone. */
const ownSections = new Set(['configfile', 'mirrormember']);
/** Places and ports, which may differ from machine to machine. `[Section]key`, in lower case. */
const ownKeys = new Set([
  '[config]wijdir',
  '[config]targwijsz',
  '[config]console',
  '[config]errlog',
  '[journal]currentdirectory',
  '[journal]alternatedirectory',
  '[startup]defaultport',
  '[startup]defaultportbindaddress',
  '[startup]webserverport',
  '[startup]webservername',
  '[sql]jdbcgatewayport',
  '[miscellaneous]ipv6',
]);
/** A directory is the machine's own wherever it is set. */
const isOwnKey = (key: string): boolean => ownKeys.has(key) || /directory$|dir$/.test(key);

/** Everything that two members would do differently as primary, as far as these texts and lists tell. Pure. */
export function mirrorDifferences(one: MemberSettings, other: MemberSettings): readonly MirrorDifference[] {
  return [...differencesOfCpf(one, other), ...listedAreas.flatMap((area) => differencesOfList(area, one, other))];
}

function differencesOfList(area: ListedArea, one: MemberSettings, other: MemberSettings): readonly MirrorDifference[] {
  const [here, there] = [one.lists[area], other.lists[area]];
  if (here === undefined || there === undefined) {
    const silent = [one, other].filter(({ lists }) => lists[area] === undefined).map(({ name }) => name);
    const said = `${area} were not compared: there is no list of ${silent.join(' and ')}`;
    return [{ area, kind: 'not-compared', item: '', said, remedy: areas[area] }];
  }
  return compared(area, { name: one.name, items: here }, { name: other.name, items: there });
}

interface Side {
  readonly name: string;
  readonly items: ReadonlyMap<string, string>;
}

function compared(area: Area, one: Side, other: Side): readonly MirrorDifference[] {
  const names = [...new Set([...one.items.keys(), ...other.items.keys()])].sort();
  return names.flatMap((item): readonly MirrorDifference[] => {
    const [here, there] = [one.items.get(item), other.items.get(item)];
    if (here === there) return [];
    const common = { area, item, remedy: areas[area] };
    if (here !== undefined && there !== undefined) {
      const [ours, theirs] = isSecret(item) ? ['one thing', 'another'] : unlike(here, there).map(quote);
      const said = `${area}: ${item} is ${ours} on ${one.name} and ${theirs} on ${other.name}`;
      return [{ ...common, kind: 'different', said }];
    }
    const [has, lacks] = here === undefined ? [other.name, one.name] : [one.name, other.name];
    const said = `${area}: ${item} is on ${has} and not on ${lacks}`;
    return [{ ...common, kind: 'missing', member: lacks, said }];
  });
}

/** A configuration file may hold the hash of a password: that they differ is told, what they are is not. */
function isSecret(item: string): boolean {
  return /password|passwd|secret|token|hash|privatekey/i.test(item);
}

/** Of definitions with fields only those that differ. */
function unlike(here: string, there: string): readonly [string, string] {
  const [ours, theirs] = [here.split('; '), there.split('; ')];
  const rest = (fields: readonly string[], others: readonly string[]): string =>
    fields.filter((field) => !others.includes(field)).join('; ');
  return ours.length === theirs.length ? [rest(ours, theirs), rest(theirs, ours)] : [here, there];
}

/** Definitions may be long documents. */
function quote(value: string): string {
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
}

function differencesOfCpf(one: MemberSettings, other: MemberSettings): readonly MirrorDifference[] {
  const [here, there] = [itemsOf(one.cpf), itemsOf(other.cpf)];
  const found = [...new Set([...here.keys(), ...there.keys()])];
  const none: ReadonlyMap<string, string> = new Map();
  return found.flatMap((area) =>
    compared(
      area,
      { name: one.name, items: here.get(area) ?? none },
      { name: other.name, items: there.get(area) ?? none },
    ),
  );
}

/** The comparable items of a CPF by area, in the order of `areas`. */
function itemsOf(cpf: string): ReadonlyMap<Area, ReadonlyMap<string, string>> {
  const found = new Map<Area, Map<string, string>>(
    (['version', 'mirror', 'namespaces', 'mappings', 'databases', 'settings'] as const).map((area) => [
      area,
      new Map(),
    ]),
  );
  const sections = parseCpf(cpf);
  const version = sections.get('configfile')?.settings.get('version')?.value;
  if (version !== undefined) found.get('version')?.set('Version', version);
  for (const [key, section] of sections) {
    const area = areaOf(key);
    if (area === undefined) continue;
    for (const [item, value] of sectionItems(key, section)) found.get(area)?.set(item, value);
  }
  return found;
}

function areaOf(section: string): Area | undefined {
  if (ownSections.has(section)) return undefined;
  if (section === 'namespaces' || section === 'databases') return section;
  if (section.startsWith('map.')) return 'mappings';
  return section === 'mirrors' || section.startsWith('mapmirrors') ? 'mirror' : 'settings';
}

function sectionItems(section: string, { name, settings }: Section): readonly (readonly [string, string])[] {
  return [...settings].flatMap(([lower, { key, value }]) => {
    if (section === 'namespaces') return [[key, normal(value)] as const];
    if (section === 'databases') return [[key, serverOf(value)] as const];
    if (section === 'mirrors') return [[`[${name}]${key}`, withoutFlag(value)] as const];
    return isOwnKey(`[${section}]${lower}`) ? [] : [[`[${name}]${key}`, normal(value)] as const];
  });
}

const normal = (value: string): string =>
  value
    .split(',')
    .map((part) => part.trim())
    .join(',');

/** `directory,server,...`: the directory is the machine's own, but whether it is a local one must be the same. */
function serverOf(value: string): string {
  const server = (value.split(',')[1] ?? '').trim();
  return server === '' ? 'local' : `of ${server}`;
}

/** The fourth field says who alone may be primary now: a state, and no setting. */
function withoutFlag(value: string): string {
  return normal(value)
    .split(',')
    .map((field, at) => (at === 3 ? '' : field))
    .join(',');
}
