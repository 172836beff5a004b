import { StillpointError } from '../../../model/errors.ts';
import type { Differences, MemberDifference } from '../../../ports/topology.ts';
import { questions } from './commands-lists.ts';
import { areas, listedAreas, type ListedArea, mirrorDifferences } from './cpf-diff.ts';
import type { Refusal, Settings } from './instance.ts';
import { localDatabases } from './parse-lists.ts';

/** What one configured member told, or why it did not. */
export interface Told {
  /** In the configuration. */
  readonly name: string;
  readonly settings: Settings | Refusal;
}

const untold: readonly ListedArea[] = listedAreas.filter((area) => !Object.hasOwn(questions, area));
const notEmpty = (area: ListedArea): boolean => !untold.includes(area);

/** Everything that the members have not alike, each held against the primary if it told, or else against the first. Pure. */
export function differencesOf(mirror: string, told: readonly Told[]): Differences {
  const silent = told.flatMap(({ name, settings }) =>
    'said' in settings ? [{ member: name, said: settings.said }] : [],
  );
  const open = told.flatMap(({ name, settings }) => ('said' in settings ? [] : [{ name, settings }]));
  const [first, ...others] = [...open].sort(
    (one, other) => Number(other.settings.isPrimary) - Number(one.settings.isPrimary),
  );
  if (first === undefined || others.length === 0) throw tooFew(mirror, told, silent);
  return {
    compared: [first, ...others].map(({ name }) => name),
    silent,
    found: [
      ...others.flatMap((other) => between(first, other)),
      ...[first, ...others].flatMap(({ name, settings }) => localOf(name, settings)),
    ],
    untold: untold.map((area) => ({ kind: area, remedy: areas[area] })),
  };
}

interface Open {
  readonly name: string;
  readonly settings: Settings;
}

function between(one: Open, other: Open): readonly MemberDifference[] {
  const names = [one.name, other.name] as const;
  return mirrorDifferences({ name: one.name, ...one.settings }, { name: other.name, ...other.settings })
    .filter(({ area, kind }) => kind !== 'not-compared' || notEmpty(area as ListedArea))
    .map(({ area, kind, item, member, said, remedy }) => ({
      ...{ kind: area, name: item, state: kind, between: names, said, remedy },
      ...(member === undefined ? {} : { member }),
    }));
}

/** Told of each member by itself: databases of one name may be mirrored at one and not at the other. */
function localOf(name: string, { cpf, mirrored }: Settings): readonly MemberDifference[] {
  const common = { kind: 'local-databases', between: [name], remedy: areas.databases };
  if (mirrored === undefined) {
    const said = `it is not known which databases of ${name} are mirrored: it gave no list of them`;
    return [{ ...common, name: '', state: 'not-compared', said }];
  }
  return localDatabases(cpf, mirrored).map(({ name: database, directory, namespaces }) => ({
    ...{ ...common, name: database, state: 'local' as const },
    said: `${database} of ${name} in ${directory} is not mirrored, nor are the file streams there; used by ${namespaces.join(', ')}`,
  }));
}

function tooFew(mirror: string, told: readonly Told[], silent: Differences['silent']): StillpointError {
  const said = silent.map(({ member, said: why }) => `${member}: ${why}`).join('; ');
  const most = told.length < 2 ? 'fewer than two of its members are configured' : said;
  return new StillpointError('cluster-unknown', `fewer than two members of ${mirror} told their settings: ${most}`, {
    hint:
      told.length < 2
        ? 'name both failover members under `instances` of the topology'
        : 'see `stillpoint mirror status`, and that the account may use %Admin_Secure and read the configuration file',
  });
}
