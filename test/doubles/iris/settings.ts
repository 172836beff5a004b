/** What a mirror does not replicate: users, roles, tasks... as state of an instance, and the classes that tell it. */
import type { Methods } from './classes.ts';
import type { Instance, Store } from './state.ts';
import { ScriptError, set as assign, StatusValue, text, type Argument } from './values.ts';

/** Properties by name, of items by name, of classes by name. */
export type Settings = Record<string, Record<string, Record<string, string>>>;

const securityClasses = [
  'Security.Users',
  'Security.Roles',
  'Security.Resources',
  'Security.Services',
  'Security.Applications',
] as const;
const taskClass = '%SYS.Task';

/** What every new instance comes with, in small. */
export function newSettings(): Settings {
  return {
    'Security.Users': {
      _SYSTEM: { Enabled: '1', Roles: '%All', NameSpace: '', Password: 'hash-of-system', Salt: 'salt-of-system' },
      backup: { Enabled: '1', Roles: '%Manager,%Operator', NameSpace: '%SYS', Password: 'hash-of-backup' },
    },
    'Security.Roles': { '%All': { Resources: '%DB_USER:RW', GrantedRoles: '' } },
    'Security.Resources': { '%DB_USER': { PublicPermission: '', Type: '1' } },
    'Security.Services': { '%Service_Terminal': { Enabled: '1', AutheEnabled: '16', ClientSystems: '' } },
    'Security.Applications': { '/csp/sys': { Enabled: '1', NameSpace: '%SYS', AutheEnabled: '32', MatchRoles: '' } },
    [taskClass]: {
      'Switch Journal': { TaskClass: '%SYS.Task.SwitchJournal', NameSpace: '%SYS', Suspended: '0', MirrorStatus: '2' },
    },
  };
}

const of = (instance: Instance, name: string): Settings[string] => (instance.settings ?? newSettings())[name] ?? {};

export function settingsClasses(store: Store, instance: string): Readonly<Record<string, Methods>> {
  return Object.fromEntries(
    securityClasses.map((name): readonly [string, Methods] => [
      name,
      {
        Get: ([wanted, properties]) => {
          if (store.faults(instance).unreadable?.includes(name) === true) return new StatusValue('Access denied');
          const found = of(store.read(instance), name)[text(wanted)];
          if (found === undefined) return new StatusValue(`${text(wanted)} does not exist`);
          for (const [key, value] of Object.entries(found)) assign(properties, value, key);
          return '1';
        },
      },
    ]),
  );
}

/** Rows with headings in front; undefined for what is no query of these. */
export function settingsQuery(store: Store, instance: string, className: string, query: string) {
  if (query !== 'List' || !(securityClasses as readonly string[]).includes(className)) return undefined;
  const names = Object.keys(of(store.read(instance), className));
  return { columns: ['Name'], rows: [['Name'], ...names.map((name) => [name])] };
}

/** `SELECT a,b FROM %SYS.Task` and nothing else. */
export function taskQuery(store: Store, instance: string, sql: Argument) {
  const columns = /^SELECT ([A-Za-z,]+) FROM %SYS\.Task$/.exec(text(sql))?.[1]?.split(',');
  if (columns === undefined) throw new ScriptError('SYNTAX', 'not a query that the stand-in knows');
  const rows = Object.entries(of(store.read(instance), taskClass)).map(([name, properties]) =>
    columns.map((column) => (column === 'Name' ? name : (properties[column] ?? ''))),
  );
  return { columns, rows: [columns, ...rows] };
}
