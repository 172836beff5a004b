import type { ClusterMember, Health, Role } from '../../../model/cluster.ts';
import type { Asked } from './instance.ts';
import { findingsOf } from './findings.ts';
import { mirrorsOf, parsePair, type MemberRow, type PairMember } from './parse.ts';
import { healthOfWord, lagOfSeconds, lagOfWord, roleOfWord, togetherLag, worst } from './parse-words.ts';

/** Everything that was said about one member of the mirror, by itself and by others. */
interface Heard {
  readonly member: string;
  readonly own: Asked | undefined;
  readonly rows: readonly MemberRow[];
  readonly pair: readonly PairMember[];
  /** Some list of members came through whole. */
  readonly anyList: boolean;
}

/** Every member that is configured or that somebody named. Names of the configuration win. Pure. */
export function membersOf(mirror: string, asked: readonly Asked[]): readonly ClusterMember[] {
  const rows = asked.flatMap(({ answers }) => answers?.rows ?? []);
  const pair = asked.flatMap(({ answers }) =>
    ['this', 'other'].flatMap((which) => parsePair(answers?.values.get(which)) ?? []),
  );
  const names = new Set(
    [...asked, ...[...rows, ...pair].map(({ name }) => ({ member: name }))].map(({ member }) => member),
  );
  return [...names].map((member) =>
    memberOf(mirror, {
      member,
      own: asked.find((each) => each.member === member),
      rows: rows.filter(({ name }) => name === member),
      pair: pair.filter(({ name }) => name === member),
      anyList: asked.some(({ answers }) => answers?.rows !== undefined),
    }),
  );
}

function memberOf(mirror: string, heard: Heard): ClusterMember {
  const { member, own } = heard;
  const role = roleOf(heard);
  const health = healthOf(mirror, heard);
  const lags = role === 'primary' ? {} : lagsOf(heard);
  return {
    name: own?.name ?? member,
    role,
    health,
    reported: reportedOf(heard),
    ...lags,
    // The arbiter must not run on the machine of a member (High Availability Guide, locating the arbiter).
    leadsQuorum: false,
    mayTakeOver: role !== 'primary' && !isAsync(heard, role),
    findings: own === undefined ? [] : findingsOf(mirror, own, role),
  };
}

/** A member knows its own role best, and says it in no language. Else: what all others say, if they agree. */
function roleOf({ own, rows, pair }: Heard): Role {
  if (own?.answers !== undefined) return ownRole(own.answers.values);
  const told = new Set<Role>([...rows, ...pair].map(({ role }) => roleOfWord(role)));
  const listed = listedRole(own);
  if (listed !== undefined) told.add(listed);
  const [only] = told;
  return told.size === 1 && only !== undefined ? only : 'unknown';
}

function ownRole(values: ReadonlyMap<string, string>): Role {
  const [primary, backup] = [values.get('primary') === '1', values.get('backup') === '1'];
  if (primary !== backup) return primary ? 'primary' : 'backup';
  return !primary && values.get('member') === '2' ? 'async' : 'unknown';
}

/** `qlist` needs no login, so it tells a role also while nobody can log in. */
function listedRole(own: Asked | undefined): Role | undefined {
  if (own?.listed?.state !== 'running') return undefined;
  const { memberType, mirrorStatus } = own.listed;
  if (memberType.toLowerCase() === 'failover') return roleOfWord(mirrorStatus);
  return isAsyncType(memberType) ? 'async' : undefined;
}

function isAsyncType(type: string): boolean {
  return /^(?:async|disaster recovery|read-only reporting|read-write reporting)$/i.test(type.trim());
}

/** When in doubt it is a failover member: it then counts among those whose trouble forbids a backup. */
function isAsync({ own, rows }: Heard, role: Role): boolean {
  return (
    role === 'async' ||
    own?.answers?.values.get('member') === '2' ||
    (rows.length > 0 && rows.every(({ displayType }) => isAsyncType(displayType)))
  );
}

/** The worst of all that was said. Nobody is healthy of whom something is not understood, or was not told. */
function healthOf(mirror: string, { member, own, rows, pair, anyList }: Heard): Health {
  const voices: Health[] = rows.flatMap(({ status, displayStatus }) => [
    healthOfWord(status),
    healthOfWord(displayStatus),
  ]);
  voices.push(...pair.map(({ status }) => healthOfWord(status)));
  if (!anyList || rows.length === 0) voices.push('unknown');
  if (own === undefined) return worst(voices);
  if (own.answers === undefined) return worst([...voices, 'unknown', ...listedHealth(own)]);
  // It answers: whoever calls it down has lost the connection to it.
  const told = voices.map((voice) => (voice === 'down' ? 'trouble' : voice));
  const { values } = own.answers;
  const isHere = values.get('self')?.toUpperCase() === member && mirrorsOf(values).includes(mirror);
  const detail = values.get('detail') ?? '';
  return worst([
    ...told,
    ...listedHealth(own),
    isHere ? 'healthy' : 'unknown',
    healthOfWord(values.get('status') ?? ''),
    detail === '' ? 'healthy' : healthOfWord(detail),
    ownRole(values) === 'unknown' ? 'unknown' : 'healthy',
  ]);
}

function listedHealth({ listed, answers }: Asked): readonly Health[] {
  if (listed === undefined) return answers === undefined ? ['unknown'] : [];
  const { state, health } = listed;
  if (state === 'down' || state === 'crashed') return ['down'];
  if (state === 'changing' || health === 'hung') return ['trouble'];
  return state === 'unknown' ? ['unknown'] : [];
}

function lagsOf({ own, rows }: Heard): Pick<ClusterMember, 'transfer' | 'apply'> {
  const values = own?.answers?.values;
  const seconds = (name: string) => [name].flatMap((each) => values?.get(each) ?? []).map((each) => lagOfSeconds(each));
  // Without time the column counts bytes or files.
  const inWords = (word: string) => (/^-?\d+$/.test(word) ? undefined : lagOfWord(word));
  const transfer = togetherLag([
    ...seconds('transfer'),
    ...rows.flatMap(({ journalTime, journalLatency }) => [lagOfWord(journalTime), inWords(journalLatency)]),
  ]);
  const apply = togetherLag([
    ...seconds('apply'),
    ...rows.flatMap(({ databaseTime, databaseLatency }) => [lagOfWord(databaseTime), inWords(databaseLatency)]),
  ]);
  return { ...(transfer === undefined ? {} : { transfer }), ...(apply === undefined ? {} : { apply }) };
}

function reportedOf({ member, own, rows, pair }: Heard): string {
  const words = (all: readonly (string | undefined)[]): string =>
    [...new Set(all.filter((each) => each !== undefined && each !== ''))].join(' ');
  const [row] = rows;
  const told = row === undefined ? '' : words([row.displayType, row.displayStatus, row.status]);
  const values = own?.answers?.values;
  const isOther = own !== undefined && own.name !== member;
  const said =
    values === undefined
      ? words([own === undefined ? undefined : noAnswer(own), told])
      : words([
          values.get('type'),
          values.get('status'),
          values.get('detail'),
          pair[0]?.status,
          rows[0]?.displayStatus,
        ]);
  return words([said, isOther ? `(${member})` : undefined]) || 'nothing is told of it';
}

function noAnswer({ listed, refusal }: Asked): string {
  const state = listed === undefined || listed.state === 'running' ? '' : `instance ${listed.status}; `;
  return `${state}${refusal?.said ?? 'no answer'};`;
}
