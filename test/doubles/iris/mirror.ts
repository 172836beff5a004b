import type { Instance, Mirror, Store } from './state.ts';
import type { Methods } from './classes.ts';
import { ListValue, ScriptError, yes, type Value } from './values.ts';

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
    GetStatus: () => mirror()?.status ?? 'NOTINIT',
    GetMemberStatus: () => new ListValue((mirror()?.memberStatus ?? 'Not Initialized').split(';')),
    GetMemberType: () => mirror()?.memberType ?? 'Not Member',
  };
}

/** `SYS.Mirror`: %SYS only. */
export function mirrorClass(store: Store, name: string): Methods {
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

export function memberStatusList(instance: Instance): readonly (readonly string[])[] {
  return [headings, ...(instance.mirror?.members ?? [])];
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
