import {
  displayOf,
  inLanguage,
  membershipOf,
  updateMirror,
  type Language,
  type MirrorMember,
  type MirrorSet,
} from './mirror-set.ts';
import { pause, type Instance, type Mirror, type Store } from './state.ts';
import { plain, slash } from './texts.ts';
import type { Methods } from './classes.ts';
import {
  list,
  ListValue,
  number,
  ScriptError,
  set as assign,
  StatusValue,
  text,
  truth,
  yes,
  type Argument,
  type Value,
} from './values.ts';

/** `$SYSTEM.Mirror`: questions that every namespace may ask. */
export function systemMirror(store: Store, name: string): Methods {
  const mirror = (): Mirror | undefined => store.read(name).mirror;
  const failover = (): boolean => mirror()?.memberType === 'Failover';
  return {
    IsMember: () => (mirror() === undefined ? '0' : failover() ? '1' : '2'),
    IsPrimary: () => yes(mirror()?.status === 'PRIMARY'),
    IsBackup: () => yes(mirror()?.status === 'BACKUP'),
    IsAsyncMember: () => yes(mirror() !== undefined && !failover()),
    MirrorName: () => mirror()?.name ?? '',
    GetMirrorNames: () => {
      const found = mirror();
      return found === undefined ? '' : new ListValue([found.name]);
    },
    GetStatus: ([wanted]) => {
      const found = mirror();
      return found === undefined || !['', found.name].includes(text(wanted)) ? 'NOTINIT' : found.status;
    },
    GetMemberStatus: () => {
      const detail = membershipOf(store, name)?.me.detail ?? '';
      const items = (mirror()?.memberStatus ?? 'Not Initialized').split(';');
      return new ListValue(detail === '' ? items : [...items, detail]);
    },
    GetMemberType: () => mirror()?.memberType ?? 'Not Member',
  };
}

/** Of this process: every session is one of its own. */
let sessionLanguage: string | undefined;

export function messageDictionary(): Methods {
  return {
    SetSessionLanguage: ([language]) => {
      const before = sessionLanguage ?? 'en';
      sessionLanguage = text(language).toLowerCase();
      return before;
    },
    GetSessionLanguage: () => sessionLanguage ?? 'en',
  };
}

function languageOf(set: MirrorSet): Language {
  return set.speaksEnglish && sessionLanguage?.startsWith('en') === true ? 'en' : set.language;
}

/** `Config.Mirrors` and `Config.MirrorMember`, as far as they are read. */
export function mirrorConfiguration(store: Store, name: string): Readonly<Record<string, Methods>> {
  return {
    'Config.Mirrors': {
      Get: ([wanted, properties]) => {
        const found = membershipOf(store, name);
        if (found === undefined || found.set.name !== text(wanted)) return new StatusValue('Mirror does not exist');
        assign(properties, String(found.set.qosMs), 'QOSTimeout');
        assign(properties, found.me.definedPrimary, 'DefinedPrimary');
        assign(properties, found.set.arbiter?.address ?? '', 'ArbiterNode');
        return '1';
      },
    },
    'Config.MirrorMember': {
      Get: ([properties]) => {
        assign(properties, membershipOf(store, name)?.me.member ?? '', 'SystemName');
        return '1';
      },
    },
  };
}

/** `SYS.Mirror`: %SYS only. */
export function mirrorClass(store: Store, name: string): Methods {
  const found = membershipOf(store, name);
  return found === undefined ? configuredClass(store, name) : setClass(store, name, found.set.name);
}

/** A mirror that is nothing but what a test wrote into the instance. */
function configuredClass(store: Store, name: string): Methods {
  const mirror = (): Mirror => {
    const found = store.read(name).mirror;
    if (found === undefined) throw new ScriptError('FUNCTION', 'this instance is no mirror member');
    return found;
  };
  const noFailover = (value: boolean): Value => {
    store.update(name, (instance) => {
      if (instance.mirror !== undefined) instance.mirror.noFailover = value;
    });
    return '1';
  };
  return {
    IsFailoverReady: () => {
      const { ready, reason } = mirror().failoverReady;
      return ready ? new ListValue(['1']) : new ListValue(['0', reason]);
    },
    SetNoFailover: () => noFailover(true),
    ClearNoFailover: () => noFailover(false),
    DatabasesLatency: () => '0',
    JournalFilesLatency: () => '0',
  };
}

/** A member of a mirror with state. */
function setClass(store: Store, name: string, mirror: string): Methods {
  const now = (): { readonly set: MirrorSet; readonly me: MirrorMember; readonly other: MirrorMember | undefined } => {
    const { set, me } = membershipOf(store, name) as { set: MirrorSet; me: MirrorMember };
    return { set, me, other: otherFailover(set, me) };
  };
  const latency = (of: (me: MirrorMember) => number, error: string): string => {
    const { me } = now();
    return me.state === 'BACKUP' || me.state === 'CONNECTED' ? String(of(me)) : error;
  };
  const flag = (alone: boolean, value: (set: MirrorSet) => string): Value => {
    const { me, other } = now();
    if (me.type !== 'Failover') return new StatusValue('Operation is only allowed on a failover member');
    if (other?.state === 'DOWN' && !alone) return new StatusValue(`Cannot contact failover member ${other.member}`);
    updateMirror(store, mirror, (set) => {
      for (const member of set.members)
        if (member.member === me.member || (member.type === 'Failover' && member.state !== 'DOWN'))
          member.definedPrimary = value(set);
    });
    return '1';
  };
  const faults = () => store.faults(name);
  return {
    GetFailoverMemberStatus: ([mine, others]) => {
      const { me, other } = now();
      if (me.type !== 'Failover') return new StatusValue('Operation is only allowed on a failover member');
      assign(mine, pairOf(me));
      if (other !== undefined) assign(others, pairOf(other));
      return '1';
    },
    IsFailoverReady: ([seconds]) => {
      const { set, me, other } = now();
      const why = whyNotReady(set, me, other, number(seconds, 60));
      return why === undefined ? new ListValue(['1']) : new ListValue(['0', inLanguage(why, languageOf(set))]);
    },
    SetNoFailover: () => {
      while (faults().setNoFailover === 'hangs before') pause(50);
      if (faults().setNoFailover === 'fails') return new StatusValue('Failed to set no failover');
      const primary = now().set.members.find(({ state }) => state === 'PRIMARY')?.member ?? now().me.member;
      const done = flag(false, () => primary);
      while (faults().setNoFailover === 'hangs after') pause(50);
      return done;
    },
    ClearNoFailover: ([, alone]) => {
      if (faults().clearNoFailover === 'fails') return new StatusValue('Failed to clear no failover');
      return flag(truth(alone), () => '');
    },
    JournalFilesLatency: () => latency((me) => me.transferSeconds, '-1'),
    DatabasesLatency: () => latency((me) => me.applySeconds, '-1,not connected'),
    StopMirror: () => {
      if (now().me.state === 'PRIMARY') return new StatusValue('Operation is not allowed on the primary');
      updateMirror(store, mirror, ({ members }) => {
        for (const member of members) if (member.instance === name) member.state = 'STOPPED';
      });
      return '1';
    },
    StartMirror: () => {
      updateMirror(store, mirror, ({ members }) => {
        for (const member of members)
          if (member.instance === name && member.state === 'STOPPED')
            member.state = member.type === 'Failover' ? 'BACKUP' : 'CONNECTED';
      });
      return '1';
    },
    ActivateMirroredDatabase: ([directory]) =>
      changeStatus(store, name, plain(text(directory)), 'Needs Activation', 'Needs Catchup'),
    CatchupDB: ([numbers]) => {
      if (now().me.state !== 'BACKUP' && now().me.state !== 'CONNECTED')
        return new StatusValue('Mirror is not connected');
      const { databases } = store.read(name);
      for (const each of list(numbers)) {
        const found = databases[number(each)];
        if (found === undefined) return new StatusValue(`No database ${text(each)}`);
        const done = changeStatus(store, name, found.directory, 'Needs Catchup', undefined);
        if (done !== '1') return done;
      }
      return '1';
    },
    AsyncDejournalStatus: () => (now().me.type === 'Failover' ? '' : now().me.dejournal),
  };
}

/** Where a mirrored database lies: a database of the instance with that name, or nowhere. */
function directoryOf({ databases }: Instance, name: string): string {
  const found = databases.find((one) => one.name === name);
  return found === undefined ? `/isc/${name}/` : slash(found.directory);
}

function mirroredAt(store: Store, instance: string, directory: string): MirrorMember['databases'][number] | undefined {
  const known = store.read(instance).databases.find((one) => one.directory === directory)?.name;
  return membershipOf(store, instance)?.me.databases.find(({ name }) => name === known);
}

export function mirroredStatus(store: Store, instance: string, directory: string): string | undefined {
  return mirroredAt(store, instance, directory)?.status;
}

/** The mirror holds the copies of a backup member as long as it runs there. */
export function heldByMirror(store: Store, instance: string, directory: string): boolean {
  const state = membershipOf(store, instance)?.me.state;
  return mirroredAt(store, instance, directory) !== undefined && (state === 'BACKUP' || state === 'CONNECTED');
}

function changeStatus(
  store: Store,
  instance: string,
  directory: string,
  from: string | undefined,
  to: string | undefined,
): Value {
  const found = membershipOf(store, instance);
  const named = mirroredAt(store, instance, directory)?.name;
  if (found === undefined || named === undefined) return new StatusValue(`${directory} is not mirrored`);
  return updateMirror(store, found.set.name, ({ members }) => {
    const database = members
      .find((member) => member.instance === instance)
      ?.databases.find(({ name }) => name === named);
    if (database === undefined || database.status !== from)
      return new StatusValue(`${directory} is ${database?.status ?? 'active'}, and not ${from ?? 'active'}`);
    database.status = to;
    return '1';
  });
}

/** A copy that was put into the place of a mirrored database has to be activated. */
export function noteMounted(store: Store, instance: string, directory: string): void {
  const found = mirroredAt(store, instance, directory);
  if (found !== undefined && membershipOf(store, instance)?.me.state === 'STOPPED')
    changeStatus(store, instance, directory, found.status, 'Needs Activation');
}

function otherFailover(set: MirrorSet, me: MirrorMember): MirrorMember | undefined {
  return set.members.find(({ type, member }) => type === 'Failover' && member !== me.member);
}

function pairOf(member: MirrorMember): ListValue {
  const role = member.state === 'PRIMARY' ? 'Primary' : member.state === 'BACKUP' ? 'Backup' : '';
  const address = (member.member.split('/')[0] ?? '').toLowerCase();
  return new ListValue([member.member, address, role, statusOf(member), address, address]);
}

function statusOf({ state, status, type }: MirrorMember): string {
  if (state === 'DOWN') return 'Down';
  if (type !== 'Failover') return 'Async';
  return state === 'PRIMARY' || state === 'BACKUP' ? status : state === 'SYNCHRONIZING' ? 'Catchup' : 'Inactive';
}

function whyNotReady(
  set: MirrorSet,
  me: MirrorMember,
  other: MirrorMember | undefined,
  seconds: number,
): string | undefined {
  if (me.type !== 'Failover') return 'This is not a failover member';
  const pair = [me, ...(other === undefined ? [] : [other])];
  const backup = pair.find(({ state }) => state === 'BACKUP');
  if (!pair.some(({ state }) => state === 'PRIMARY') || backup === undefined) return 'There is no connected backup';
  if (backup.status !== 'Active') return 'The backup is not active';
  if (set.arbiter?.up === false) return 'The mirror is not in arbiter controlled mode';
  if (me.definedPrimary !== '') return 'No failover is set';
  if (backup.databases.some((database) => databaseStatus(backup, database) !== 'Dejournaling'))
    return 'A database is not active';
  return backup.applySeconds > seconds ? 'The latency of the backup is out of range' : undefined;
}

function databaseStatus(member: MirrorMember, { status }: MirrorMember['databases'][number]): string {
  return status ?? (member.state === 'PRIMARY' ? 'Normal' : 'Dejournaling');
}

const headings = [
  'Member Name',
  'Current Role',
  'Current Status',
  'Journal Transfer Latency',
  'Dejournal Latency',
  'Journal Transfer Latency',
  'Dejournal Latency',
  'Display Type',
  'Display Status',
] as const;

/** Rows of a query with the row of headings in front; undefined for a query that is not there. */
export function mirrorQuery(store: Store, name: string, query: string, words: readonly Argument[]) {
  const instance = store.read(name);
  const found = membershipOf(store, name);
  if (query === 'MemberStatusList') {
    const rows = found === undefined ? (instance.mirror?.members ?? []) : memberRows(found.set, text(words[0]));
    return { columns: memberColumns, rows: [headings, ...rows] };
  }
  if (query === 'MirroredDatabaseList') {
    const of = found === undefined || ![found.set.name, '*', ''].includes(text(words[1])) ? undefined : found.me;
    const rows = (of?.databases ?? []).map((one) => [
      one.name,
      directoryOf(instance, one.name),
      found?.set.name ?? '',
      databaseStatus(of as MirrorMember, one),
    ]);
    return { columns: databaseColumns, rows: [databaseColumns, ...rows] };
  }
  if (query === 'MissingMirroredDatabases')
    return { columns: ['Name'], rows: [['Name'], ...(found?.me.missing ?? []).map((one) => [one])] };
  return undefined;
}

const memberColumns = [
  'MemberName',
  'CurrentRole',
  'CurrentStatus',
  'JournalLatency',
  'DatabaseLatency',
  'JournalTimeLatency',
  'DatabaseTimeLatency',
  'DisplayType',
  'DisplayStatus',
] as const;
const databaseColumns = ['Name', 'Directory', 'MirrorName', 'MirrorStatus'] as const;

function memberRows(set: MirrorSet, wanted: string): readonly (readonly string[])[] {
  if (!['', set.name].includes(wanted)) return [];
  const language = languageOf(set);
  return set.members.map((member) => {
    const role = member.type === 'Failover' ? (pairOf(member).items[2] as string) || 'Unknown' : 'Async';
    const words = [member.state === 'DOWN' ? 'Unknown' : role, statusOf(member), ...latencies(member), member.type];
    const display = member.state === 'PRIMARY' && member.detail === 'Trouble' ? 'In Trouble' : displayOf(member);
    return [member.member, ...[...words, display].map((word) => inLanguage(word, language))];
  });
}

/** Four columns: bytes and files are not told, so both pairs are alike. */
function latencies(member: MirrorMember): readonly string[] {
  if (member.latency !== undefined) return [member.latency, member.latency, member.latency, member.latency];
  if (member.state === 'PRIMARY') return ['N/A', 'N/A', 'N/A', 'N/A'];
  if (member.state !== 'BACKUP' && member.state !== 'CONNECTED') {
    const off = 'Disconnected on 06/13/2023 07:16:26';
    return [off, off, off, off];
  }
  const lag = (seconds: number): string => (seconds === 0 ? 'Caught up' : `${seconds} seconds behind`);
  const transfer = member.state === 'BACKUP' && member.status === 'Active' ? 'Active' : lag(member.transferSeconds);
  return [transfer, lag(member.applySeconds), transfer, lag(member.applySeconds)];
}

export function localMirrorStatus(instance: Instance): string {
  const { mirror } = instance;
  if (mirror === undefined) return '\nThis instance is not a mirror member\n';
  const count = instance.journal.files.length;
  return [
    '',
    `This instance is a ${mirror.memberType} member`,
    `     Status for mirror ${mirror.name} is "${mirror.memberStatus}"`,
    '',
    `Current mirror file #${count} ends at 681224`,
    `Min trans file #${count} min trans index: 680744`,
    '',
  ].join('\n');
}
