import type { ClusterMember, ClusterView, FailoverRule, Quorum } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import type { Asked } from './instance.ts';
import { membersOf } from './members.ts';
import { parseFlag, parseQos } from './parse.ts';

export const manager = 'iris-mirror';

/** Longer timeouts bring troubles of their own: the primary waits as long for a backup that hangs. */
const longQosMs = 30_000;

/**
 * The mirror as those said who were asked. Throws `cluster-unknown` when nobody answered or two members call themselves primary,
 * `database-login` when nobody was allowed to ask. Pure.
 */
export function viewOf(mirror: string, asked: readonly Asked[]): ClusterView {
  refuseSilence(mirror, asked);
  const members = membersOf(mirror, asked);
  const primaries = members.filter(({ role }) => role === 'primary');
  if (primaries.length > 1) throw twoPrimaries(mirror, primaries);
  return {
    manager,
    name: mirror,
    epoch: epochOf(asked, primaries[0]),
    members,
    quorum: quorumOf(asked),
    failover: failoverOf(asked, mirrorNameOf(asked, primaries[0])),
    findings: findingsOf(asked),
  };
}

function refuseSilence(mirror: string, asked: readonly Asked[]): void {
  if (asked.some(({ answers }) => answers !== undefined)) return;
  const said = asked.map(({ name, refusal }) => `${name}: ${refusal?.said ?? 'no answer'}`).join('; ');
  const isLogin = asked.some(({ refusal }) => refusal?.login === true);
  throw new StillpointError(isLogin ? 'database-login' : 'cluster-unknown', `no member of ${mirror} answers: ${said}`, {
    hint: isLogin
      ? 'let the user log in by operating-system authentication, or set `login` of the instance in the topology'
      : 'see `iris list` on the machines of the members',
  });
}

function twoPrimaries(mirror: string, primaries: readonly ClusterMember[]): StillpointError {
  const said = primaries.map(({ name, reported }) => `${name} (${reported})`).join(' and ');
  return new StillpointError('cluster-unknown', `${mirror} has more than one primary: ${said}`, {
    hint: 'look at both with ^MIRROR at once: one of them must be stopped before it takes more writes',
  });
}

/**
 * The primary and the start of its instance. A member that lost the role went down, or was forced down, and must be started before it can
 * have it again: so this pair is never the same in two terms. Journal files will not do, for a freeze switches them too, and neither will
 * messages.log, which is rotated. Where the primary's machine cannot be asked, the starts of the failover members that can be: if one of
 * them was primary in between, it was started since.
 */
function epochOf(asked: readonly Asked[], primary: ClusterMember | undefined): string {
  const start = ({ name, listed }: Asked): string =>
    `${name} ${listed?.state === 'running' ? listed.note : 'not known'}`;
  const own = asked.find(({ name }) => name === primary?.name);
  if (own?.listed?.state === 'running' && own.listed.note !== '') return start(own);
  const others = asked.filter(({ answers }) => answers?.values.get('member') !== '2').map((each) => start(each));
  return [primary?.name ?? 'nobody', ...others].join('; ');
}

function mirrorNameOf(asked: readonly Asked[], member: ClusterMember | undefined): string | undefined {
  return asked.find(({ name }) => name === member?.name)?.member ?? member?.name;
}

/** Failover members only: IsFailoverReady and the flag mean nothing elsewhere. */
function answeredFailover(asked: readonly Asked[]) {
  return asked.flatMap(({ name, answers }) =>
    answers?.values.get('member') === '1' ? [{ name, answers, values: answers.values }] : [],
  );
}

/** Who could read the configuration of the mirror, which is the same on all members. */
function settingsOf(asked: readonly Asked[], key: string): readonly string[] {
  return asked.flatMap(({ answers }) =>
    answers?.values.get('settings') === '1' ? [answers.values.get(key) ?? ''] : [],
  );
}

/**
 * There is no documented question for the arbiter alone. But IsFailoverReady succeeds only in arbiter controlled mode where an arbiter is
 * configured, and in that mode both failover members are connected to it. When it fails, that may have other reasons: not known.
 */
function quorumOf(asked: readonly Asked[]): Quorum {
  const arbiters = settingsOf(asked, 'arbiter');
  const address = arbiters.find((each) => each !== '');
  if (address === undefined && arbiters.length > 0)
    return {
      kind: 'none',
      health: 'healthy',
      said: "no arbiter is configured: the backup takes over only by the word of the primary or of the ISCAgent on the primary's machine",
    };
  const answers = answeredFailover(asked).flatMap(({ values }) => values.get('ready') ?? []);
  const isReady =
    answers.some((answer) => answer.startsWith('1^')) && !answers.some((answer) => !answer.startsWith('1^'));
  const where = address === undefined ? 'whether there is an arbiter is not known' : `arbiter at ${address}`;
  if (isReady && address !== undefined)
    return { kind: 'arbiter', health: 'healthy', said: `${where}, arbiter controlled` };
  const why = answers.map((answer) => answer.slice(answer.indexOf('^') + 1)).find((each) => each !== '');
  const reason = why ?? 'no failover member says whether it is ready for a failover';
  return {
    kind: 'arbiter',
    health: 'unknown',
    said: `${where}; not proved to be in arbiter controlled mode: ${reason}`,
  };
}

/** Each failover member keeps the flag for itself. It holds off failover only if all know it, and it names who is primary now. */
function flagsOf(asked: readonly Asked[]): readonly { readonly name: string; readonly flag: string }[] {
  return answeredFailover(asked).flatMap(({ name, answers }) => {
    const flag = parseFlag(answers);
    return flag === undefined ? [] : [{ name, flag }];
  });
}

/**
 * Always automatic: that there is no second failover member is never certain, for it may only be missing in a list. Detection is the QoS
 * timeout, the smallest that somebody tells.
 */
function failoverOf(asked: readonly Asked[], primary: string | undefined): FailoverRule {
  const timeouts = settingsOf(asked, 'qos').flatMap((each) => parseQos(each) ?? []);
  const detectionMs = timeouts.length === 0 ? undefined : Math.min(...timeouts);
  const flags = flagsOf(asked);
  const heldOff = flags.length === 0 ? undefined : flags.every(({ flag }) => flag !== '' && flag === primary);
  const isArbiter = quorumOf(asked).kind === 'arbiter';
  const trouble =
    detectionMs === undefined || isArbiter ? '' : `, trouble timeout ${Math.max(2 * detectionMs, 5_000)} ms`;
  const said =
    detectionMs === undefined
      ? 'no member tells the QoS timeout'
      : `QoS timeout ${detectionMs} ms, ${isArbiter ? 'with an arbiter' : 'agent controlled'}${trouble}`;
  return {
    automatic: true,
    ...(detectionMs === undefined ? {} : { detectionMs }),
    ...(heldOff === undefined ? {} : { heldOff }),
    said: heldOff === true ? `${said}; no failover is set: only ${primary} may be primary` : said,
  };
}

function findingsOf(asked: readonly Asked[]): readonly Finding[] {
  const found: Finding[] = [];
  const warn = (check: string, said: string): void => void found.push({ severity: 'warning', check, said });
  const flags = flagsOf(asked);
  if (new Set(flags.map(({ flag }) => flag)).size > 1) {
    const told = flags.map(({ name, flag }) => `${name}: ${flag === '' ? 'nobody' : flag}`);
    warn('no-failover', `members disagree for whom failover is held off (${told.join(', ')}): another may take over`);
  }
  const timeouts = new Set(settingsOf(asked, 'qos'));
  if (timeouts.size > 1) warn('qos', `members tell different QoS timeouts: ${[...timeouts].join(', ')} ms`);
  const longest = Math.max(0, ...[...timeouts].map((each) => parseQos(each) ?? 0));
  if (longest > longQosMs)
    warn(
      'qos',
      `the QoS timeout is ${longest} ms: above ${longQosMs} ms a dead member holds up the others for as long`,
    );
  return found;
}
