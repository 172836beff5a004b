import type { ClusterMember, ClusterView, FailoverRule, Health, Quorum, Role } from '../../../model/cluster.ts';
import { StillpointError } from '../../../model/errors.ts';
import type { Finding } from '../../../model/point.ts';
import { millisecondsOf } from './config.ts';
import type { Heard, Report } from './way.ts';

export const manager = 'clusterpro';

export interface ViewSettings {
  readonly group: string;
  readonly mirrors: Readonly<Record<string, { readonly monitor: string }>>;
  readonly servers: readonly string[];
  readonly heartbeatTimeout: string;
  readonly watchers: Readonly<Record<string, string>>;
  readonly networkPartition?: string | undefined;
  readonly failover: 'automatic' | 'manual';
  readonly holdOff?:
    | {
        readonly monitors: readonly string[];
        readonly ratio?: { readonly factor: number; readonly time: string } | undefined;
      }
    | undefined;
}

/** Words of the cluster that mean well, and those that mean trouble. Any other word means that nobody knows. */
const wellWords = new Set(['Online', 'Normal']);
const troubleWords = /^(?:Caution|Error|Online Pending|Offline Pending|Online Failure|Offline Failure|Suspend)$/;
const badColours = new Set(['YELLOW', 'RED', 'BLUE']);
const behindWords = new Set(['Recovering', 'Abnormal', 'No Construction']);

/** Stands for a name that no answer has. */
export const nothing = 'nothing';

/** What servers told, held against each other: where they do not say the same, nobody knows. */
export class Told {
  readonly heard: readonly Heard[];
  readonly reports: readonly Report[];

  /** Throws `cluster-unknown` when no server answered. */
  constructor(heard: readonly Heard[]) {
    this.heard = heard;
    this.reports = heard.flatMap(({ report }) => (report === undefined ? [] : [report]));
    if (this.reports.length > 0) return;
    throw unknown(
      `no server of the cluster tells its state (${heard.map(({ server, why }) => `${server}: ${why}`).join('; ')})`,
      'see with `clpstat` on a server whether the cluster runs, and that the servers can be reached from here',
    );
  }

  /** The word that all answers have in common; else a word that is none of the cluster's. */
  word(of: (report: Report) => string | undefined): string {
    const words = [...new Set(this.reports.map((report) => of(report) ?? nothing))];
    return words.join(' or ');
  }

  server(name: string): string {
    return this.word((report) => report.servers.get(name));
  }

  colour(mirror: string, server: string): string {
    return this.word((report) => report.mirrors.get(mirror)?.colours.get(server));
  }

  monitor(monitor: string, server: string): string {
    return this.word((report) => report.monitors.get(monitor)?.get(server));
  }

  /** Undefined unless all say the same. */
  get ratio(): number | undefined {
    const [first, ...others] = this.reports.map(({ ratio }) => ratio);
    return others.every((each) => each === first) ? first : undefined;
  }
}

function unknown(said: string, hint: string): StillpointError {
  return new StillpointError('cluster-unknown', said, { hint });
}

/** Pure. Throws `cluster-unknown` when servers contradict each other about who is primary. */
export function viewOf(told: Told, settings: ViewSettings): ClusterView {
  const [first] = told.reports;
  const name = told.word(({ cluster }) => cluster);
  if (first === undefined || name !== first.cluster)
    throw unknown(`the servers belong to several clusters: ${name}`, 'correct the addresses under `servers` or `rest`');
  const members = [...first.servers.keys()];
  const strange = settings.servers.filter((server) => !members.includes(server));
  if (strange.length > 0)
    throw unknown(
      `the cluster ${name} has no server ${strange.join(', ')}`,
      `name the servers as \`clpstat --long\` does: ${members.join(', ')}`,
    );
  const primary = primaryOf(told, settings.group);
  const findings = findingsOf(told, settings, members);
  return {
    manager,
    name,
    epoch: `${settings.group}@${primary ?? 'nobody'}`,
    members: members.map((server) => memberOf(told, settings, server, primary)),
    quorum: quorumOf(told, settings, members),
    failover: failoverOf(told, settings, members),
    findings,
  };
}

function primaryOf(told: Told, group: string): string | undefined {
  const answers = told.heard.flatMap(({ server, report }) => {
    if (report === undefined) return [];
    const found = report.groups.get(group);
    if (found === undefined)
      throw unknown(`${server} knows no failover group ${group}`, 'name it as `clpstat --long` does, under `group`');
    return [{ server, current: found.current }];
  });
  const [first] = answers;
  if (answers.every(({ current }) => current === first?.current)) return first?.current;
  const said = answers.map(({ server, current }) => `${server} says on ${current ?? 'none'}`).join(', ');
  throw unknown(
    `the servers contradict each other about where ${group} runs: ${said}`,
    'the group may be up on both sides of a broken network; look at both servers before anything else',
  );
}

function memberOf(told: Told, settings: ViewSettings, server: string, primary: string | undefined): ClusterMember {
  const word = told.server(server);
  const group = told.word((report) => report.groups.get(settings.group)?.status);
  const colours = Object.keys(settings.mirrors).map((mirror) => `${mirror} ${told.colour(mirror, server)}`);
  const why = told.heard.find((each) => each.server === server)?.why;
  const role: Role = primary === undefined ? 'unknown' : server === primary ? 'primary' : 'backup';
  const isPrimary = role === 'primary';
  const caughtUp = caughtUpOf(told, settings);
  return {
    name: server,
    role,
    health: worst([
      word === 'Offline' ? 'down' : healthOf(word),
      told.heard.some((each) => each.server === server) && why === undefined ? 'healthy' : 'unknown',
      ...Object.keys(settings.mirrors).map((mirror) => healthOfColour(told.colour(mirror, server))),
      ...(isPrimary ? [healthOf(group)] : []),
    ]),
    reported: [`server ${word}`, ...colours, ...(isPrimary ? [`${settings.group} ${group}`] : [])].join(', '),
    // A write counts as done when both disks have it: received is applied.
    ...(role === 'backup' ? { transfer: { caughtUp }, apply: { caughtUp } } : {}),
    mayTakeOver: !isPrimary && settings.failover === 'automatic' && word !== 'Offline',
    findings:
      why === undefined ? [] : [{ severity: 'warning', check: 'server', said: `${server} does not answer: ${why}` }],
  };
}

/** The first of: down, trouble, unknown, healthy. A server that is known to be in trouble is so whatever else is not known. */
function worst(all: readonly Health[]): Health {
  return (['down', 'trouble', 'unknown'] as const).find((each) => all.includes(each)) ?? 'healthy';
}

function healthOf(word: string): Health {
  return wellWords.has(word) ? 'healthy' : troubleWords.test(word) ? 'trouble' : 'unknown';
}

function healthOfColour(colour: string): Health {
  return colour === 'GREEN' ? 'healthy' : badColours.has(colour) ? 'trouble' : 'unknown';
}

function caughtUpOf(told: Told, settings: ViewSettings): boolean | undefined {
  const states = Object.keys(settings.mirrors).map((mirror) => {
    const status = told.word((report) => report.mirrors.get(mirror)?.status);
    const colours = [...(told.reports[0]?.servers.keys() ?? [])].map((server) => told.colour(mirror, server));
    if (behindWords.has(status) || colours.some((colour) => badColours.has(colour))) return false;
    return status === 'Normal' && colours.every((colour) => colour === 'GREEN') ? true : undefined;
  });
  return states.includes(false) ? false : states.includes(undefined) ? undefined : true;
}

function quorumOf(told: Told, settings: ViewSettings, members: readonly string[]): Quorum {
  const resource = settings.networkPartition;
  if (resource === undefined) {
    return { kind: 'none', health: 'healthy', said: 'no network partition resolution is configured here' };
  }
  const words = members
    .filter((server) => told.server(server) !== 'Offline')
    .map((server) => told.word((report) => report.parts.get(server)?.get(resource)));
  return {
    kind: 'arbiter',
    health: worst(words.map(healthOf)),
    said: `${resource} ${[...new Set(words)].join(', ')}`,
  };
}

function failoverOf(told: Told, settings: ViewSettings, members: readonly string[]): FailoverRule {
  const automatic = settings.failover === 'automatic';
  const watched = Object.entries(settings.watchers).filter(([monitor]) => !isSilenced(told, monitor, members));
  const times = [settings.heartbeatTimeout, ...watched.map(([, time]) => time)];
  const ratio = told.ratio ?? 1;
  const detectionMs = Math.min(...times.map(millisecondsOf)) * ratio;
  const heldOff = settings.holdOff === undefined ? undefined : isHeldOff(told, settings.holdOff, members, detectionMs);
  return {
    automatic,
    detectionMs,
    ...(heldOff === undefined ? {} : { heldOff }),
    said: [
      `${settings.group} fails over ${automatic ? 'by itself' : 'by hand only'}`,
      `heartbeat timeout ${settings.heartbeatTimeout}`,
      ...watched.map(([monitor, time]) => `${monitor} ${time}`),
      `time-out ratio ${told.ratio ?? 'not told'}`,
    ].join(', '),
  };
}

/** Suspended wherever it could act. One of which nobody says that is not silenced: a wrong name would hide it. */
function isSilenced(told: Told, monitor: string, members: readonly string[]): boolean {
  const words = members.map((server) => told.monitor(monitor, server));
  return words.includes('Suspend') && words.every((word) => ['Suspend', 'Offline', nothing].includes(word));
}

/** Only the ratio keeps a machine that stands still from being taken for dead; suspended monitors alone do not. */
function isHeldOff(
  told: Told,
  { monitors, ratio }: NonNullable<ViewSettings['holdOff']>,
  members: readonly string[],
  detectionMs: number,
): boolean {
  if (ratio === undefined || told.ratio === undefined) return false;
  const quiet = monitors.every((monitor) => isSilenced(told, monitor, members));
  return quiet && told.ratio >= ratio.factor && detectionMs >= millisecondsOf(ratio.time);
}

function findingsOf(told: Told, settings: ViewSettings, members: readonly string[]): readonly Finding[] {
  const findings: Finding[] = [];
  const add = (check: string, said: string): void => void findings.push({ severity: 'warning', check, said });
  for (const [mirror, { monitor }] of Object.entries(settings.mirrors)) {
    const status = told.word((report) => report.mirrors.get(mirror)?.status);
    if (status !== 'Normal') add('mirror', `the mirror ${mirror} is ${status}`);
    for (const server of members) {
      if (told.monitor(monitor, server) === 'Suspend')
        add('monitor', `${monitor} is suspended on ${server}: the mirror does not recover by itself`);
    }
  }
  const group = told.word((report) => report.groups.get(settings.group)?.status);
  if (group !== 'Online') add('group', `the group ${settings.group} is ${group}`);
  return findings;
}
