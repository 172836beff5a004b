/** A mirror with state of its own: who is primary, links, lags, the no-failover flag of each member. Lies beside the instances. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tryLock } from '../../../src/platform/process-lock.ts';
import type { Gtm } from './gtm.ts';
import { pathOf, switchJournal } from './journal.ts';
import { pause, type Store } from './state.ts';
import { message } from './texts.ts';

export type MemberState =
  | 'PRIMARY'
  | 'BACKUP'
  | 'CONNECTED'
  | 'TRANSITION'
  | 'SYNCHRONIZING'
  | 'WAITING'
  | 'STOPPED'
  | 'CRASHED'
  | 'DOWN';

export type Language = 'en' | 'ja' | 'zh';

export interface MirrorMember {
  /** In the mirror, `NODEA/IRIS`. */
  readonly member: string;
  readonly instance: string;
  readonly type: 'Failover' | 'Disaster Recovery' | 'Read-Only Reporting' | 'Read-Write Reporting';
  /** `$SYSTEM.Mirror.GetStatus()`; DOWN from when its instance was seen not to run until it runs again. */
  state: MemberState;
  /** Of GetFailoverMemberStatus and of the column CurrentStatus. */
  status: string;
  /** Second item of GetMemberStatus: `Trouble`. */
  detail: string;
  transferSeconds: number;
  applySeconds: number;
  /** Words of the latency columns instead of those that follow from the seconds. */
  latency: string | undefined;
  databases: { readonly name: string; status: string | undefined }[];
  missing: string[];
  /** Of AsyncDejournalStatus. */
  dejournal: string;
  /** It has lost its primary; one that was an active backup then takes over as soon as it may. */
  orphaned: boolean;
  /** The no-failover flag: who alone may be primary. Each member keeps it in its own configuration. */
  definedPrimary: string;
}

export interface MirrorSet {
  readonly name: string;
  qosMs: number;
  arbiter: { readonly address: string; up: boolean } | undefined;
  language: Language;
  /** Whether SetSessionLanguage("en") has an effect. */
  speaksEnglish: boolean;
  members: MirrorMember[];
}

export interface MirrorOptions {
  readonly name: string;
  /** Default 8000. */
  readonly qosMs?: number;
  /** Default `arbiter|2188`; `null` for none. */
  readonly arbiter?: string | null;
  /** Default `en`. */
  readonly language?: Language;
  /** The first failover member is primary, the next ones are backups. */
  readonly members: readonly {
    readonly member: string;
    readonly instance: string;
    readonly type?: MirrorMember['type'];
  }[];
}

export function newMirrorSet(options: MirrorOptions): MirrorSet {
  const isFailover = (type: MirrorMember['type'] | undefined): boolean => (type ?? 'Failover') === 'Failover';
  const first = options.members.find(({ type }) => isFailover(type));
  const { arbiter = 'arbiter|2188' } = options;
  return {
    name: options.name,
    qosMs: options.qosMs ?? 8000,
    arbiter: arbiter === null ? undefined : { address: arbiter, up: true },
    language: options.language ?? 'en',
    speaksEnglish: true,
    members: options.members.map((each) => ({
      member: each.member,
      instance: each.instance,
      type: each.type ?? 'Failover',
      state: each === first ? 'PRIMARY' : isFailover(each.type) ? 'BACKUP' : 'CONNECTED',
      status: isFailover(each.type) ? 'Active' : 'Async',
      detail: '',
      transferSeconds: 0,
      applySeconds: 0,
      latency: undefined,
      databases: [{ name: 'APP', status: undefined }],
      missing: [],
      dejournal: 'running',
      orphaned: false,
      definedPrimary: '',
    })),
  };
}

const directory = (store: Store): string => join(store.root, 'mirrors');
const fileOf = (store: Store, name: string): string => join(directory(store), `${name}.json`);

export function mirrorNames(store: Store): readonly string[] {
  if (!existsSync(directory(store))) return [];
  return readdirSync(directory(store)).flatMap((file) => (file.endsWith('.json') ? [file.slice(0, -5)] : []));
}

export function readMirror(store: Store, name: string): MirrorSet {
  return JSON.parse(readFileSync(fileOf(store, name), 'utf8')) as MirrorSet;
}

export function writeMirror(store: Store, set: MirrorSet): void {
  mkdirSync(directory(store), { recursive: true });
  const temporary = `${fileOf(store, set.name)}.${process.pid}`;
  writeFileSync(temporary, JSON.stringify(set, undefined, 1));
  renameSync(temporary, fileOf(store, set.name));
}

/** The lock of a mirror is taken before that of an instance, never after. */
export function updateMirror<T>(store: Store, name: string, change: (set: MirrorSet) => T): T {
  let lock = tryLock(join(store.root, `mirror-${name}.lock`));
  while (lock === undefined) {
    pause(5);
    lock = tryLock(join(store.root, `mirror-${name}.lock`));
  }
  try {
    const set = readMirror(store, name);
    const result = change(set);
    writeMirror(store, set);
    return result;
  } finally {
    lock.release();
  }
}

/** The mirror that an instance is in, and which member it is there. */
export function membershipOf(
  store: Store,
  instance: string,
): { readonly set: MirrorSet; readonly me: MirrorMember } | undefined {
  for (const name of mirrorNames(store)) {
    const set = readMirror(store, name);
    const me = set.members.find((member) => member.instance === instance);
    if (me !== undefined) return { set, me };
  }
  return undefined;
}

/** What follows from which instances run now: who is down, who takes over, who comes back. */
export function settleMirrors(gtm: Gtm, store: Store): void {
  for (const name of mirrorNames(store)) {
    const takers = updateMirror(store, name, (set) => {
      const runs = (member: MirrorMember): boolean => store.read(member.instance).status === 'running';
      const taker = settle(set, runs);
      for (const member of set.members) show(store, set, member);
      return taker === undefined ? [] : [taker];
    });
    for (const taker of takers) takeOver(gtm, store, name, taker);
  }
}

/** Returns who has become primary. */
function settle(set: MirrorSet, runs: (member: MirrorMember) => boolean): MirrorMember | undefined {
  const lost: MirrorMember[] = [];
  for (const member of set.members) {
    if (runs(member) || member.state === 'DOWN') continue;
    if (member.state === 'PRIMARY') lost.push(member);
    member.state = 'DOWN';
  }
  let primary = set.members.find(({ state }) => state === 'PRIMARY');
  let taker: MirrorMember | undefined;
  if (lost.length > 0)
    for (const member of set.members)
      if (member.state === 'BACKUP' || member.state === 'CONNECTED') {
        member.state = 'WAITING';
        member.orphaned = true;
      }
  if (primary === undefined) {
    // Held off where the flag names somebody else.
    taker = set.members.find(
      ({ orphaned, type, state, status, member, definedPrimary }) =>
        orphaned &&
        type === 'Failover' &&
        status === 'Active' &&
        state !== 'DOWN' &&
        (definedPrimary === '' || definedPrimary === member),
    );
    if (taker !== undefined) Object.assign(taker, { state: 'PRIMARY', orphaned: false });
    primary = taker;
  }
  for (const member of set.members) {
    if (member.state !== 'DOWN' || !runs(member)) continue;
    const may = member.definedPrimary === '' || member.definedPrimary === member.member;
    if (member.type !== 'Failover') member.state = 'CONNECTED';
    else if (primary !== undefined)
      Object.assign(member, { state: 'BACKUP', status: 'Active', definedPrimary: primary.definedPrimary });
    else if (may) {
      primary = taker = member;
      Object.assign(member, { state: 'PRIMARY', status: 'Active' });
      // Cleared by itself when the defined primary starts up as primary.
      for (const each of set.members) each.definedPrimary = '';
    }
  }
  if (primary !== undefined)
    for (const member of set.members) {
      if (!member.orphaned) continue;
      member.orphaned = false;
      if (member.state === 'DOWN') continue;
      if (member.type === 'Failover') Object.assign(member, { state: 'BACKUP', status: 'Active' });
      else member.state = 'CONNECTED';
    }
  return taker;
}

const displays: Readonly<Record<MemberState, string>> = {
  PRIMARY: 'Primary',
  BACKUP: 'Backup',
  CONNECTED: 'Connected',
  TRANSITION: 'Transition',
  SYNCHRONIZING: 'Synchronizing',
  WAITING: 'Waiting',
  STOPPED: 'Stopped',
  CRASHED: 'Crashed',
  DOWN: 'Down',
};

export function displayOf({ state }: MirrorMember): string {
  return displays[state];
}

/** What `qlist` and the journal's name go by. */
function show(store: Store, set: MirrorSet, member: MirrorMember): void {
  store.update(member.instance, (instance) => {
    instance.mirror = {
      name: set.name,
      memberType: member.type,
      status: member.state === 'DOWN' ? 'NOTINIT' : member.state,
      memberStatus: displayOf(member),
      failoverReady: { ready: true, reason: '' },
      members: [],
      noFailover: member.definedPrimary !== '',
    };
  });
}

/** The lines of the published log, and the journal that goes on under the mirror's name. */
function takeOver(gtm: Gtm, store: Store, mirror: string, taker: MirrorMember): void {
  store.update(taker.instance, (instance) => {
    message(instance, 0, `Manager initialized for ${mirror}`);
    switchJournal(gtm, instance, 'by mirror');
    const file = instance.journal.files.at(-1);
    if (file !== undefined)
      message(
        instance,
        0,
        `INTERSYSTEMS IRIS JOURNALING SYSTEM MESSAGE\nJournaling switched to: ${pathOf(instance, file)}`,
        'Generic.Event',
      );
    message(instance, 2, 'Becoming primary mirror server');
  });
}

const translations: Readonly<Record<Exclude<Language, 'en'>, Readonly<Record<string, string>>>> = {
  ja: {
    Primary: 'プライマリ',
    Backup: 'バックアップ',
    Async: '非同期',
    Active: 'アクティブ',
    'Caught up': '最新',
    Connected: '接続済み',
    Failover: 'フェイルオーバー',
    'Disaster Recovery': '災害復旧',
    Trouble: 'トラブル',
    Down: 'ダウン',
  },
  zh: {
    Primary: '主',
    Backup: '备机',
    Async: '异步',
    Active: '活动',
    'Caught up': '被捕获',
    Connected: '已连接',
    Failover: '故障转移',
    'Disaster Recovery': '灾难恢复',
    Trouble: '故障',
    Down: '关闭',
  },
};

/** A word that has no translation stays, as it does in the real dictionaries. */
export function inLanguage(word: string, language: Language): string {
  return language === 'en' ? word : (translations[language][word] ?? word);
}
